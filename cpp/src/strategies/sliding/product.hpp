// A task of forward or input_grad of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  a Plan of this strategy, the operands, packed weights, a task.   Out: the task's results.
// Next: kernels/tile/slide.hpp, the tiles.
//
// Planes are read where they lie, padding and all: tiles leave out rows outside the plane and blank columns outside it.
// Only where whole vectors would reach beyond the tensor (its first and last rows), the rows are copied before.
// Results are written where they belong, but for rows shorter than a vector, which the tiles leave in a buffer.
#pragma once

#include <algorithm>
#include <cstdint>

#include "weights/panels.hpp"
#include "strategies/sliding/strip.hpp"

namespace convpp {

template <class T>
struct SlideBuffers {
    PackingBuffers packing;
    T* source = nullptr;  // rows of the source, with room for whole vectors before and behind
    T* result = nullptr;  // rows of results, in whole vectors

    SlideBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels) {
        const Box box = plan.maps[0].boxes.box(0);
        source = carver.take<T>(slide_source_elems(plan, kernel.lanes));
        result = carver.take<T>(box.extent(2) * round_up(box.extent(3), kernel.lanes));
    }
};

// Calls use(size, first row, tiles) for the tiles that `rows` rows consist of, those of at most `most` rows together.
template <class Use>
void for_each_slide(int64_t rows, int64_t most, const Use& use) {
    int64_t first = 0;
    const auto take = [&](int size) {
        const int64_t of_tile = kernels::slide_rows[size], together = std::max<int64_t>(1, most / of_tile);
        for (int64_t tiles = (rows - first) / of_tile; tiles > 0; tiles -= together) {
            use(size, first, std::min(tiles, together));
            first += std::min(tiles, together) * of_tile;
        }
    };
    // Of the two largest, the one that leaves no rest if there is one.
    if (rows % kernels::slide_rows[0] != 0 && rows % kernels::slide_rows[1] == 0) take(1);
    for (int size = 0; size < kernels::slide_sizes && first < rows; ++size) take(size);
}

template <class T>
void slide(const kernels::KernelTable<T>& kernel, kernels::Strip<T> strip, const Box& pixels, bool shift_back,
           const Addend<T>& addend) {
    const int64_t lanes = kernel.lanes, width = pixels.extent(3), vectors = ceil_div(width, lanes);
    for_each_slide(pixels.extent(2), slide_elems / width, [&](int size, int64_t first_row, int64_t tiles) {
        const int64_t parts = ceil_div(vectors, int64_t(kernel.slide_vectors[size]));
        for (int64_t part = 0, vector = 0; part < parts; ++part) {
            const int64_t count = vectors / parts + (part < vectors % parts);
            for (int64_t v = 0; v < count; ++v, ++vector)
                strip.column[v] = shift_back ? std::min(vector * lanes, width - lanes) : vector * lanes;
            kernel.slide_tiles[size][count - 1](strip, first_row, tiles, addend.onto, addend.bias);
        }
    });
}

template <class T>
void run_slide_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                    const T* packed, const T* bias, const SlideBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const Box& pixels = task.pixels;
    const AxisMap &depth = m.map.axis[0], &height = m.map.axis[1], &width = m.map.axis[2];
    const PackedWeights layout = packed_weights(plan, kernel);
    const PatchBlock block = patch_block(m.patches, 0);  // the only one
    const int64_t lanes = kernel.lanes, rows = pixels.extent(2), columns = pixels.extent(3);
    SlideStrip<T> slides(plan, m, pixels, lanes);
    kernels::Strip<T>& strip = slides.strip;
    const bool upwards = slides.upwards;

    // A row's last vector is shifted back to end with the row, where its results may be written twice.
    const bool direct = columns >= lanes && (columns % lanes == 0 || !operands.accumulate);
    const int64_t pitch = plan.buffer.strides.axis[1], buffer_pitch = round_up(columns, lanes);

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        strip.weights = packed + layout.of_task(m, group, task.channel_lo, block, 0);
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
                slides.read(kernel, own.source + (n * plan.source.strides.batch + d * plan.source.strides.axis[0]),
                            operands.source(plan.pass), buffers.source);
                T* const to = own.result + n * plan.buffer.strides.batch +
                              (depth.result_start + d) * plan.buffer.strides.axis[0] +
                              (height.result_start + pixels.lo[2]) * pitch + width.result_start + pixels.lo[3];
                T* const first = direct ? to : buffers.result;
                const int64_t step = direct ? pitch : buffer_pitch;
                for (int64_t h = 0; !direct && operands.accumulate && h < rows; ++h)
                    std::fill(std::copy_n(to + h * pitch, columns, first + h * step), first + (h + 1) * step, T(0));
                strip.result = first + (upwards ? (rows - 1) * step : 0);
                strip.result_step = upwards ? -step : step;
                slide(kernel, strip, pixels, direct, own.addend(true));
                if (!direct) kernel.store_rows(first, step, rows, columns, to, pitch);
            }
    }
}

template <class T>
using SlidingProduct = ProductParts<SlideBuffers<T>, &pack_all_weights<T, SlideBuffers<T>>, &run_slide_task<T>>;

}  // namespace convpp
