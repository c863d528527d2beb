// The weight gradient where channels are few: rows of dy times rows of x, read where they lie; pixels run along the
// lanes.
//
// In:  a Plan, a task, the operands.   Out: sums[filter][pair], then dw.   Next: kernels/tile/dot.hpp.
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
    RowVectors vectors;
    std::pair<int64_t, int64_t> known{-1, -1};  // box and first pair that `vectors` and `patches` were found for

    RowSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : patches(carver, plan.maps, kernel.lanes),
          writing(carver, SumLayout(plan, kernel), plan.maps[0].boxes.largest()) {
        const int64_t count = most_vectors(plan.maps[0].boxes.box(0), kernel.lanes);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : SumLayout(plan, kernel).elems);
        vectors.at = carver.take<kernels::VectorAt>(count);
        vectors.skip = carver.take<unsigned char>(count);
        vectors.count = carver.take<unsigned char>(count);
    }
};

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
        if (fresh)
            find_row_vectors(plan.maps[0].map, plan.result, pixels, view.step, kernel.lanes, false,
                             buffers.writing.offsets, buffers.vectors);
        kernel.dot_rows(dy.plain(), plan.result.channel, dy.plain_end(), product.channels, view.base.plain(),
                        buffers.patches.offsets, product.block.size(), buffers.vectors, lane_run, sums, pitch);
    }
}

template <class T>
using RowsSums = RowSums<T, RowSumBuffers<T>, &sum_rows<T>>;

}  // namespace convpp
