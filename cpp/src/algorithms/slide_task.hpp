// A task of forward or input_grad of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  the Plan (Feed::sliding_rows), the operands, packed weights, a task.   Out: the task's results.
// Next: kernels/slide.hpp, the tiles.
//
// Planes are read where they lie, padding and all: tiles leave out rows outside the plane and blank columns outside it.
// Only where whole vectors would reach beyond the tensor (its first and last rows), the rows are copied before.
// Results are written where they belong, but for rows shorter than a vector, which the tiles leave in a buffer.
#pragma once

#include <algorithm>
#include <cstdint>

#include "algorithms/packed_weights.hpp"
#include "algorithms/product_task.hpp"

namespace convpp {

template <class T>
struct SlideBuffers {
    PackingBuffers packing;
    T* source = nullptr;  // rows of the source, with room for whole vectors before and behind
    T* result = nullptr;  // rows of results, in whole vectors

    // How far outside of its row a vector of the source may begin, and end.
    static int64_t reach(int64_t lanes) { return slide_reach + lanes; }

    SlideBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels) {
        const MapPlan& m = plan.maps[0];
        const Box box = m.pixels.box(0);
        const int64_t rows = std::min(box.extent(2) + static_cast<int64_t>(m.map.axis[1].taps.size()) - 1,
                                      m.map.axis[1].source_extent);
        source = carver.take<T>(rows * plan.source.axis[1] + 2 * reach(kernel.lanes));
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

// Whether vectors of some rows reach beyond [begin, end).
template <class T>
struct SourceRows {
    const T* plane;  // row 0, column 0
    int64_t lo, hi;  // of the rows that are read

    // Moves them to `buffer` if a vector would reach beyond the source: `before` and `behind` a row.
    void keep_inside(const T* begin, const T* end, int64_t pitch, int64_t before, int64_t behind, T* buffer) {
        if (lo >= hi || (plane + lo * pitch - begin >= before && end - (plane + hi * pitch) >= behind)) return;
        std::copy_n(plane + lo * pitch, (hi - lo) * pitch, buffer + before);
        plane = buffer + before - lo * pitch;
    }
};

template <class T>
void slide(const kernels::KernelTable<T>& kernel, kernels::Strip<T> strip, const Box& pixels, bool shift_back,
           const Beginning<T>& beginning) {
    const int64_t lanes = kernel.lanes, width = pixels.extent(3), vectors = ceil_div(width, lanes);
    constexpr int64_t most_elems = 4096;  // of rows that stay in L1, their source and results, from strip to strip
    for_each_slide(pixels.extent(2), most_elems / width, [&](int size, int64_t first_row, int64_t tiles) {
        const int64_t parts = ceil_div(vectors, int64_t(kernel.slide_vectors[size]));
        for (int64_t part = 0, vector = 0; part < parts; ++part) {
            const int64_t count = vectors / parts + (part < vectors % parts);
            for (int64_t v = 0; v < count; ++v, ++vector)
                strip.column[v] = shift_back ? std::min(vector * lanes, width - lanes) : vector * lanes;
            kernel.slide_tiles[size][count - 1](strip, first_row, tiles, beginning.start, beginning.bias);
        }
    });
}

template <class T>
void run_slide_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                    const T* packed, const T* bias, const SlideBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const Box& pixels = task.pixels;
    const AxisMap &depth = m.map.axis[0], &height = m.map.axis[1], &width = m.map.axis[2];
    const PackedWeights layout = packed_weights(plan, kernel);
    const PatchBlock block = patch_block(m.patches, 0);  // the only one
    const int64_t lanes = kernel.lanes, rows = pixels.extent(2), columns = pixels.extent(3);
    const int64_t first_tap = height.taps.front().offset, last_tap = height.taps.back().offset;
    const bool upwards = last_tap < first_tap;

    kernels::Strip<T> strip;
    strip.row_step = plan.source.axis[1];
    strip.height = height.source_extent;
    strip.direction = upwards ? -1 : 1;
    strip.first_row = (upwards ? pixels.hi[2] - 1 : pixels.lo[2]) + first_tap;
    strip.lines = static_cast<int64_t>(height.taps.size());
    // Columns are counted from the box's first one.
    strip.width = width.source_extent;
    for (size_t t = 0; t < kernels::strip_taps; ++t) strip.tap[t] = width.taps[t].offset + pixels.lo[3];
    const auto [left, right] = std::minmax({strip.tap[0], strip.tap[1], strip.tap[2]});

    // A row's last vector is shifted back to end with the row, where its results may be written twice.
    const bool direct = columns >= lanes && (columns % lanes == 0 || !operands.accumulate);
    const int64_t pitch = plan.result.axis[1], buffer_pitch = round_up(columns, lanes);

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        strip.weights = packed + layout.of_task(m, group, task.channel_lo, block, 0);
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
                SourceRows<T> source{own.source.at + n * plan.source.batch + d * plan.source.axis[0],
                                     std::max<int64_t>(0, pixels.lo[2] + std::min(first_tap, last_tap)),
                                     std::min(strip.height, pixels.hi[2] + std::max(first_tap, last_tap))};
                source.keep_inside(operands.source, own.source.end, strip.row_step, std::max<int64_t>(0, -left),
                                   std::max<int64_t>(0, buffer_pitch + right - strip.width), buffers.source);
                strip.source = source.plane;
                T* const to = own.result + n * plan.result.batch + (depth.result_start + d) * plan.result.axis[0] +
                              (height.result_start + pixels.lo[2]) * pitch + width.result_start + pixels.lo[3];
                T* const first = direct ? to : buffers.result;
                const int64_t step = direct ? pitch : buffer_pitch;
                for (int64_t h = 0; !direct && operands.accumulate && h < rows; ++h)
                    std::copy_n(to + h * pitch, columns, first + h * step);
                strip.result = first + (upwards ? (rows - 1) * step : 0);
                strip.result_step = upwards ? -step : step;
                slide(kernel, strip, pixels, direct, own.beginning(true));
                if (!direct) kernel.store_rows(first, step, rows, columns, to, pitch);
            }
    }
}

}  // namespace convpp
