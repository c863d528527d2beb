// A task of forward or input_grad of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  a Plan of this strategy, the operands, a task.   Out: the task's results.
// Next: kernels/tile/slide.hpp, the tiles.
//
// Planes are read where they lie, padding and all: tiles leave out rows outside the plane and blank columns outside it.
// Only where whole vectors would reach beyond the tensor (its first and last planes), the rows are copied before; and
// halves are, some planes at once, where their results have to be whole sums before they are rounded.
// Weights are read where they lie, and results written where they belong.
#pragma once

#include <algorithm>
#include <cstdint>

#include "strategies/operands.hpp"
#include "strategies/sliding/strip.hpp"

namespace convpp {

// Where rows are wider than a tile, some rows of some planes, of so many elements, pass by before the next ones: so
// their source stays in L1.
inline constexpr int64_t slide_elems = 4096;

// Whether the weights are read as they lie.
inline bool reads_all_weights(const Plan& plan) { return plan.maps[0].map.taps() == plan.weights.group; }

// Planes whose rows are copied at once.
inline int64_t copied_planes(const Plan& plan) { return plan.converts() ? plan.tasks.group_block : 1; }

template <class T>
struct SlideBuffers {
    T* source = nullptr;  // rows of the source, with room for whole vectors before and behind
    T* weights = nullptr;  // of a task's planes, where they are converted or not all of a kernel's are read

    SlideBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const bool in_place = reads_all_weights(plan) && !plan.converts();
        source = carver.take<T>(slide_source_elems(plan, copied_planes(plan), kernel.lanes));
        weights = carver.take<T>(in_place ? 0 : plan.tasks.group_block * plan.maps[0].map.taps() + kernel.lanes);
    }
};

// The weights of a task's planes, [plane][line][tap], and those of the kernel of the first one.
template <class T>
const T* slide_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                       const ProductTask& task, T* buffer) {
    const IndexMap& map = task.map.map;
    const Taps &lines = map.axis[1].taps, &columns = map.axis[2].taps;
    const Stored<T> first = operands.w + task.group_lo * plan.weights.group;
    const int64_t planes = task.group_hi - task.group_lo;
    if (reads_all_weights(plan)) {
        if (!plan.converts()) return first.plain();
        const int64_t elems = planes * plan.weights.group;
        reading(kernel, first).copy_rows(first.at, elems, 1, 1, elems, buffer, elems, first.end);
        return buffer;
    }
    T* to = buffer;
    for (int64_t group = 0; group < planes; ++group)
        for (int64_t line = 0; line < lines.size(); ++line)
            for (int64_t column = 0; column < columns.size(); ++column)
                *to++ =
                    first[group * plan.weights.group + map.axis[0].taps.weight(0) * plan.weights.axis[0] +
                          lines.weight(line) * plan.weights.axis[1] + columns.weight(column) * plan.weights.axis[2]];
    return buffer;
}

// Some planes' rows, in strips as wide as the tiles are.
template <class T, class S>
void slide(const kernels::KernelTable<T>& kernel, const kernels::Strip<T, S>& planes, int64_t columns, int64_t stride,
           kernels::Onto onto) {
    const auto& tiles = slide_tiles<S>(kernel).of[stride - 1];
    const int64_t lanes = kernel.lanes, half = lanes / 2, tile = planes.lines - 1;
    const int64_t widest = tiles[2][tile] != nullptr ? 2 * lanes : lanes;
    const int64_t row_block = columns <= widest ? planes.rows : std::max<int64_t>(slide_elems / columns, planes.lines);
    const int64_t plane_block =
        columns <= widest ? planes.planes : std::max<int64_t>(slide_elems / (columns * planes.rows), 1);
    kernels::Strip<T, S> strip = planes;
    for (int64_t plane = 0; plane < planes.planes; plane += plane_block) {
        strip.planes = std::min(plane_block, planes.planes - plane);
        strip.weights = planes.weights + plane * planes.weights_plane;
        if (planes.bias != nullptr) strip.bias = planes.bias + plane;
        for (int64_t row = 0; row < planes.rows; row += row_block) {
            strip.rows = std::min(row_block, planes.rows - row);
            strip.first_row = planes.first_row + row * stride * planes.direction;
            for (int64_t column = 0; column < columns; column += strip.count) {
                const int64_t left = columns - column;
                strip.count = std::min(widest, left);
                strip.first_tap = planes.first_tap + column * stride;
                strip.source = planes.source + plane * planes.source_plane;
                strip.result = planes.result + plane * planes.result_plane + row * planes.result_step + column;
                const int width = strip.count > lanes ? 2 : strip.count > half || tiles[0][tile] == nullptr ? 1 : 0;
                tiles[width][tile](strip, onto);
            }
        }
    }
}

// A task whose results are stored as S, from `first_result` on (of all groups), with the strides `to`.
template <class T, class S>
void slide_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T* bias,
                const SlideBuffers<T>& buffers, const ProductTask& task, S* first_result, const TensorStrides& to) {
    const MapPlan& m = task.map;
    const Box& pixels = task.pixels;
    const AxisMap &depth = m.map.axis[0], &height = m.map.axis[1], &width = m.map.axis[2];
    const int64_t planes = task.group_hi - task.group_lo, rows = pixels.extent(2);
    const GroupOperands<T> own(plan, operands, bias, task, task.group_lo);
    const Addend<T> addend = own.addend(true);
    const Stored<T>& tensor = operands.source(plan.pass);
    SlideStrip<T, S> slides(plan, m, pixels, kernel.lanes);
    kernels::Strip<T, S>& strip = slides.strip;
    S* const copied = reinterpret_cast<S*>(buffers.source);
    strip.rows = rows;
    strip.result_step = to.axis[1] * strip.direction;
    const int64_t plane_step = plan.source.strides.channel;
    strip.result_plane = to.channel;
    strip.weights_plane = m.map.taps();
    const T* const weights = slide_weights(plan, kernel, operands, task, buffers.weights);
    for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
        for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
            const Stored<T> source = own.source + (n * plan.source.strides.batch + d * plan.source.strides.axis[0]);
            const int64_t first_row = height.result_start + (slides.upwards ? pixels.hi[2] - 1 : pixels.lo[2]);
            S* const result = first_result + task.group_lo * to.channel + n * to.batch +
                              (depth.result_start + d) * to.axis[0] + first_row * to.axis[1] + width.result_start +
                              pixels.lo[3];
            const auto slide_from = [&](int64_t plane) {
                strip.weights = weights + plane * strip.weights_plane;
                strip.bias = addend.bias != nullptr ? addend.bias + plane : nullptr;
                strip.result = result + plane * strip.result_plane;
                slide(kernel, strip, pixels.extent(3), width.source_step, addend.onto);
            };
            const auto copy_from = [&](int64_t plane, int64_t count) {
                slides.copy(kernel, source + plane * plane_step, count, plane_step, copied);
                slide_from(plane);
            };
            const auto in_place = [&](int64_t plane) { return slides.in_place(source + plane * plane_step, tensor); };
            // The first and the last planes of a tensor may have to be copied, and all where they are converted.
            const int64_t at_once = tensor.as == storage_of<S> ? 1 : copied_planes(plan);
            int64_t first = 0, end = planes;
            for (int64_t count; first < planes && !in_place(first); first += count) {
                count = std::min(at_once, planes - first);
                copy_from(first, count);
            }
            while (end > first && !in_place(end - 1)) --end;
            if (end > first) {
                slides.read_in_place(source + first * plane_step, end - first, plane_step);
                slide_from(first);
            }
            for (; end < planes; ++end) copy_from(end, 1);
        }
}

template <class T>
void run_slide_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T*,
                    const T* bias, const SlideBuffers<T>& buffers, const ProductTask& task) {
    slide_task(plan, kernel, operands, bias, buffers, task, operands.sums, plan.buffer.strides);
}

// Halves as the source and as results, which tiles round.
template <class T>
bool store_slide_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T*,
                      const T* bias, const SlideBuffers<T>& buffers, const ProductTask& task) {
    return with_halves(operands.source(plan.pass), operands.result, [&](auto* result) {
        slide_task(plan, kernel, operands, bias, buffers, task, result, plan.result);
    });
}

template <class T>
struct SlidingProduct : ProductParts<SlideBuffers<T>, &pack_nothing<T, SlideBuffers<T>>, &run_slide_task<T>> {
    static constexpr auto store = &store_slide_task<T>;
};

}  // namespace convpp
