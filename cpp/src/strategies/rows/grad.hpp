// The weight gradient where channels are few: rows of dy times rows of x, read where they lie; pixels run along the
// lanes.
//
// In:  a Plan, a task, the operands.   Out: sums[filter][pair], then dw.   Next: kernels/tile/dot.hpp.
//
// Halves of dy are converted before, some filters at a time: once for all pairs of the product.
#pragma once

#include <algorithm>
#include <utility>

#include "strategies/panel_sums.hpp"
#include "strategies/rows/row_product.hpp"

namespace convpp {

template <class T>
struct RowSumBuffers {
    Staging<T> patches;
    RowWriting<T> writing;
    T* sums = nullptr;
    T* dy = nullptr;  // of some filters, where dy is stored in half
    RowVectors vectors;
    std::pair<int64_t, int64_t> known{-1, -1};  // box and first pair that `vectors` and `patches` were found for

    RowSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : patches(carver, plan.maps, kernel.lanes),
          writing(carver, SumLayout(plan, kernel), plan.maps[0].boxes.largest()) {
        const int64_t count = most_vectors(plan.maps[0].boxes.box(0), kernel.lanes);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : SumLayout(plan, kernel).elems);
        if (plan.converts())
            dy = carver.take<T>(kernel.dot_tile_rows * plan.maps[0].boxes.largest() + 2 * kernel.lanes);
        vectors.at = carver.take<kernels::VectorAt>(count);
        vectors.skip = carver.take<unsigned char>(count);
        vectors.count = carver.take<unsigned char>(count);
    }
};

// The pixels of a box of some channels of dy, one behind the other.
template <class T>
void convert_dy(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& dy, const Box& pixels,
                int64_t channels, T* to) {
    const TensorStrides& from = plan.result;
    const int64_t length = pixels.extent(3), height = pixels.extent(2);
    const bool joined = from.axis[1] == length;  // rows follow each other
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d, to += height * length) {
                const Stored<T> rows = dy + (c * from.channel + n * from.batch + d * from.axis[0] +
                                             pixels.lo[2] * from.axis[1] + pixels.lo[3]);
                reading(kernel, dy)
                    .copy_rows(rows.at, from.axis[1], 1, joined ? 1 : height, joined ? height * length : length, to,
                               length, dy.end);
            }
}

template <class T>
void sum_rows(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task, const Operands<T>& operands,
              T* sums, RowSumBuffers<T>& buffers) {
    const SumProduct& product = task.product;
    const int64_t pitch = sum_pitch(plan, kernel, product);
    const Stored<T> dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel;
    std::fill_n(sums, product.channels * pitch, T(0));
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const Box pixels = plan.maps[0].boxes.box(b);
        const bool fresh = buffers.known != std::pair(b, product.block.start);  // neighbouring groups are alike
        buffers.known = {b, product.block.start};
        const Patches patches{plan.maps[0], plan.source.strides, pixels, product.block};
        const SourceView<T> view =
            stage_patches(kernel, patches, first_x(plan, product, operands), buffers.patches, fresh);
        const bool converts = plan.converts();
        if (fresh) {
            const Box copied{{0, 0, 0, 0}, {pixels.extent(0), pixels.extent(1), pixels.extent(2), pixels.extent(3)}};
            find_row_vectors(
                plan.maps[0].map,
                converts ? dense_strides(1, {copied.hi[1], copied.hi[2], copied.hi[3]}, "dy") : plan.result,
                converts ? copied : pixels, view.step, kernel.lanes, false, buffers.writing.offsets, buffers.vectors);
        }
        const int64_t at_once = converts ? kernel.dot_tile_rows : product.channels;
        for (int64_t c = 0; c < product.channels; c += at_once) {
            const int64_t channels = std::min(at_once, product.channels - c), count = pixels.elems();
            if (converts) convert_dy(plan, kernel, dy + c * plan.result.channel, pixels, channels, buffers.dy);
            reading_plain(kernel).dot_rows(converts ? buffers.dy : dy.plain(), converts ? count : plan.result.channel,
                                           converts ? buffers.dy + channels * count + kernel.lanes : dy.plain_end(),
                                           channels, view.base.plain(), buffers.patches.offsets, product.block.size(),
                                           buffers.vectors, lane_run, sums + c * pitch, pitch);
        }
    }
}

template <class T>
using RowsSums = RowSums<T, RowSumBuffers<T>, &sum_rows<T>>;

}  // namespace convpp
