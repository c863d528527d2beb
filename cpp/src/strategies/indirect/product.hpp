// Results from pixels that are read one by one where they lie, times packed weights: vectors run along the channels.
//
// In:  a Plan of this strategy, the operands, packed weights, a task.   Out: the task's results.
// Nothing is packed but the weights; the source is at most copied once with its padding (source/padded.hpp).
//
// channels_last: tiles write the results themselves.  channels_first: they leave sums[pixel][channel], which are
// transposed into the result when they are whole.  There, the residue classes that share a row of the result (the
// input gradient of a strided layer) belong to one task, so that the row is written as one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "result/order.hpp"
#include "weights/panels.hpp"
#include "source/padded.hpp"
#include "strategies/indirect/multiply.hpp"

namespace convpp {

// The tiles of a plan.
template <class T>
const kernels::TileKernels<T>& indirect_tiles(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    return (plan.order == SumOrder::pairs ? kernel.bf16_pairs : kernel.tiles)[plan.tile.shape];
}

template <class T>
struct IndirectBuffers {
    PackingBuffers packing;
    SourceCopy<T> padded;
    T* weights = nullptr;       // of a block and a task's channels, where tasks pack them
    OrderedSums<T> sums;        // channels_first: of all pixels of a task
    T* gap = nullptr;           // of each result that has no terms
    T* tail = nullptr;          // channels_last: of a tile whose last vector is partly filled
    const T** source = nullptr; // of each pixel
    T** result = nullptr;       // of each pixel, where tiles write

    IndirectBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels),
          padded(padded_copy<T>(carver, plan, kernel.lanes)) {
        int64_t pixels = 0, results = 0, most_runs = 0;  // of a task
        for (const MapPlan& m : plan.maps) {
            pixels = std::max(pixels, m.boxes.largest() * m.classes);
            results = std::max(results, m.boxes.largest() * results_of_pixel(plan, m));
            most_runs = std::max(most_runs, most_result_runs(plan, m));
        }
        const bool last = plan.buffer.strides.channel == 1;
        const auto& tiles = indirect_tiles(plan, kernel);
        if (plan.packing.by_tasks) {
            const int64_t width = packed_weights(plan, kernel).width;
            int64_t pairs = 0;
            for (const MapPlan& m : plan.maps) pairs = std::max(pairs, m.patches.largest());
            const int64_t panel = pairs * width + kernel.lanes;  // and its slack
            weights = carver.take<T>(ceil_div(plan.tasks.channel_block, width) * panel + kernel.lanes);
        }
        const int64_t pitch = channel_pitch(plan, kernel);
        if (!last) sums = {carver, carver.take<T>(pixels * pitch), pitch, results, most_runs};
        gap = carver.take<T>(plan.gaps_from < 3 ? pitch : 0);
        tail = carver.take<T>(int64_t(tiles.rows) * tiles.vectors * kernel.lanes);
        source = carver.take<const T*>(pixels);
        result = carver.take<T*>(pixels);
    }
};

// Whether a task's residue classes read the same part of the source, which is copied: those of a kernel as long as its
// stride do.
inline bool one_copy_serves(const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const Box pixels = pixels_of(*maps, task.pixels);
    if (maps->classes == 1 || maps->in_place || maps->map.has_border() || pixels.elems() == 0) return false;
    for (const MapPlan* m = maps + 1; m != maps + maps->classes; ++m) {
        const Box own = pixels_of(*m, task.pixels);
        if (own.elems() == 0 || m->in_place || m->map.taps() != 1 || maps->map.taps() != 1 ||
            m->patches.count() != maps->patches.count() ||
            !reads_alike(*maps, pixels, *m, own, patch_block(maps->patches, 0)))
            return false;
    }
    return true;
}

template <class T>
void run_indirect_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                       const T* packed, const T* bias, const IndirectBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const int64_t map_count = task.map.classes;
    const PackedWeights layout = packed_weights(plan, kernel);
    const bool last = plan.buffer.strides.channel == 1;
    const bool gaps = plan.gaps_from < 3 && !operands.accumulate;
    OrderedSums<T> order = buffers.sums;
    if (gaps) order.gap = buffers.gap;
    if (!last) order_results(plan, task, order);

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        const Addend<T> from_start = own.addend(false);
        if (!last && operands.accumulate) order.read(plan.buffer.strides, task.channels, own.result);
        if (gaps && own.bias != nullptr) std::copy_n(own.bias, task.channels, buffers.gap);
        else if (gaps) std::fill_n(buffers.gap, task.channels, T(0));
        // The pixels of a class, from where their sums begin.
        const auto point_to_results = [&](const MapPlan& m, const Box& pixels, T* sums) {
            T** to = buffers.result;
            if (!last) {
                for (int64_t i = 0; i < pixels.elems(); ++i, sums += order.pitch) *to++ = sums;
                return;
            }
            const int64_t step = m.map.axis[2].result_step * plan.buffer.strides.axis[2];
            for_each_result_row(m.map, plan.buffer.strides, pixels, [&](int64_t offset) {
                for (int64_t w = 0; w < pixels.extent(3); ++w) *to++ = own.result + offset + w * step;
            });
        };
        const auto multiply_block = [&](const MapPlan& m, const Box& pixels, int64_t b, bool copied) {
            const PatchBlock block = patch_block(m.patches, b);
            const Patches patches{m, plan.source.strides, pixels, block};
            const SourceView<T> view = view_pixels(kernel, patches, own.source, buffers.padded, copied);
            const T* const base = view.base.plain();
            const T** at = buffers.source;
            for_each_pixel(view, pixels, [&](int64_t alpha) { *at++ = base + alpha; });
            const T* weights = buffers.weights;
            if (packed != nullptr) {
                weights = packed + layout.of_task(m, group, task.channel_lo, block, b);
            } else {
                const Stored<T> unpacked = operands.w + group * plan.weights.group;
                const int64_t first = task.channel_lo / layout.width;
                const PackingItem<T> item{m,
                                          block,
                                          unpacked,
                                          first,
                                          first + ceil_div(task.channels, layout.width),
                                          layout.pitch(block),
                                          buffers.weights - first * layout.pitch(block)};
                pack_weights(plan, kernel, item, buffers.packing);
            }
            Addend<T> addend = from_start;
            if (b > task.first_block(m.patches)) addend.onto = kernels::Onto::c;
            multiply_indirect(kernel, indirect_tiles(plan, kernel),
                              {{buffers.source, buffers.padded.offsets, pixels.elems(), {block.size(), block.run}},
                               {weights, layout.pitch(block), task.channels},
                               {buffers.result, buffers.tail, addend, !last}});
        };
        const auto multiply_class = [&](int64_t index, T* sums, int64_t lo, int64_t hi, bool copied) {
            const Box pixels = pixels_of(maps[index], task.pixels);
            if (pixels.elems() == 0) return sums;
            point_to_results(maps[index], pixels, sums);
            for (int64_t b = lo; b < hi; ++b) multiply_block(maps[index], pixels, b, copied);
            return sums + pixels.elems() * order.pitch;
        };
        // Class by class; or block by block, where one copy of the source serves all classes.
        const int64_t lo = task.first_block(maps->patches), hi = task.end_block(maps->patches);
        const bool alike = one_copy_serves(task);
        for (int64_t b = lo; alike && b < hi; ++b) {
            T* sums = order.sums;
            for (int64_t index = 0; index < map_count; ++index) sums = multiply_class(index, sums, b, b + 1, index > 0);
        }
        T* sums = order.sums;
        for (int64_t index = 0; !alike && index < map_count; ++index)
            sums = multiply_class(index, sums, task.first_block(maps[index].patches),
                                  task.end_block(maps[index].patches), false);
        if (!last) order.write(kernel, plan.buffer.strides, task.channels, own.result);
    }
}

template <class T>
using IndirectProducts =
    ProductParts<IndirectBuffers<T>, &pack_all_weights<T, IndirectBuffers<T>>, &run_indirect_task<T>>;

}  // namespace convpp
