// Forward and input gradient by Winograd's algorithm:
//
//   U = G w G^T, for each pair of channels                          parallel, once for a call
//   for each group, box of tiles, block of result channels          parallel: the tasks
//     for each block of source channels                             serial: one sum in one order
//       for each vector of them: V = B^T x B, for each tile         (kernels/winograd/winograd.hpp)
//       for each point of the tiles: M += V U                       (strategies/indirect/multiply.hpp)
//     for each vector of result channels: y = A^T M A               the same transform with another matrix
//
// In:  a Plan of this strategy, the operands, a task.   Out: the task's results, and which samples of them are not
// finite.
// Read before: tiles.hpp, weights.hpp.
//
// All vectors run along channels, so a tile's form, spacing and neighbours do not matter to them.  channels_first
// planes are transposed on the way in and on the way out.
#pragma once

#include <algorithm>

#include "result/order.hpp"
#include "strategies/indirect/multiply.hpp"
#include "strategies/winograd/weights.hpp"

namespace convpp {

template <class T>
struct WinogradBuffers : TileBuffers<T> {
    WeightBuffers<T> transforming;
    T* weights = nullptr;  // transformed, of a block and a task, where tasks transform them
    T* m = nullptr;  // products: [point][tile][channel]
    int64_t m_pitch, m_point;  // from tile to tile, from point to point
    OrderedSums<T> results;  // of one vector of channels
    T* planes = nullptr;  // channels_first halves: the same as planes, before they are rounded
    int64_t* offsets = nullptr;  // of the contraction, in V

    WinogradBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : TileBuffers<T>(carver, plan, kernel, winograd_of(plan).source_block),
          transforming(carver, plan, kernel),
          m_pitch(channel_pitch(plan, kernel)) {
        const WinogradPlan& w = winograd_of(plan);
        const WinogradBox box = box_of(plan, 0, kernel.lanes);
        const WinogradWeights layout(plan, kernel, plan.tasks.channel_block);
        const int64_t elems = box.results.elems, pixels = elems / kernel.lanes;
        const bool first = !plan.channels_last();
        weights =
            carver.take<T>(plan.packing.by_tasks ? w.points() * layout.point_pitch(w.source_block) + kernel.lanes : 0);
        m_point = apart_by_odd_lines<T>(box.tile_count() * m_pitch);
        m = carver.take<T>(w.points() * m_point);
        planes = carver.take<T>(plan.converts() && first ? elems : 0);
        offsets = carver.take<int64_t>(w.outer_taps() * w.source_block);
        results = {carver, carver.take<T>(elems), kernel.lanes, first ? pixels : 0,
                   pixels / box.results.range[2].length};
    }
};

// While the tiles of a source block multiply, they ask for what comes next: the next block's source, or the results,
// and the source of the task that the thread probably takes then.
template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                                const ProductTask& task, const WinogradBox& box, int64_t block,
                                const WinogradBuffers<T>& buffers) {
    if (!plan.channels_last()) return {};
    const WinogradPlan& w = winograd_of(plan);
    PrefetchList list(buffers.stretches);
    const auto add_source = [&](const ProductTask& of, const WinogradBox& its_box, const SourceBlock& channels) {
        const int64_t channel = of.group_lo * plan.source.channels + channels.lo;
        list.add(source_part(plan, operands.source(plan.pass), its_box, channel, channels.channels),
                 its_box.source.range);
    };
    if (block + 1 < SourceBlock::count(plan)) {
        add_source(task, box, SourceBlock(plan, block + 1));
    } else {
        const int64_t channel = task.group_lo * plan.tasks.channels + task.channel_lo;
        list.add(result_part(plan, operands.result.stored(), box, channel, task.channels), box.results.range);
        if (buffers.next_task >= 0) {
            const ProductTask next(plan, buffers.next_task);
            add_source(next, WinogradBox(w, next.pixels, kernel.lanes), SourceBlock(plan, 0));
        }
    }
    const auto& tiles = kernel.tiles[plan.tile.shape];
    const int64_t full_tiles = box.tile_count() / tiles.rows * (task.channels / (tiles.vectors * kernel.lanes));
    return list.over(w.points() * full_tiles, w.outer_taps() * SourceBlock(plan, block).channels);
}

template <class T>
void run_winograd_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                       const T* transformed, const T* bias, const WinogradBuffers<T>& buffers,
                       const ProductTask& task) {
    const WinogradPlan& w = winograd_of(plan);
    const WinogradWeights layout(plan, kernel, transformed == nullptr ? plan.tasks.channel_block : plan.tasks.channels);
    const WinogradBox box(w, task.pixels, kernel.lanes);
    const int64_t tiles = box.tile_count();
    buffers.find(w, box, buffers.m_pitch);
    OrderedSums<T> results = buffers.results;
    order_area(plan.result, area_of(task.map, results_of(plan, task.map, box.units)), box.results.strides, results);
    const GroupOperands<T> own(plan, operands, bias, task, task.group_lo);
    Addend<T> addend;
    for (int64_t index = 0; index < SourceBlock::count(plan); ++index) {
        const SourceBlock block(plan, index);
        const int64_t channels = block.channels;
        transform_source(plan, kernel, own.source, box, block.lo, channels, buffers);
        for (int64_t t = 0, k = 0; t < layout.taps; ++t)
            for (int64_t c = 0; c < channels; ++c) buffers.offsets[k++] = buffers.taps[t] + c;
        const T* u = buffers.weights;
        if (transformed == nullptr)
            transform_own_weights(plan, kernel, operands, task, block, buffers.weights, buffers.transforming);
        else
            u = transformed + layout.block_at(plan, task.group_lo, index) +
                task.channel_lo / layout.width * layout.pitch(channels);
        kernels::Prefetch prefetch = prefetch_next(plan, kernel, operands, task, box, index, buffers);
        for (int64_t e = 0; e < w.points(); ++e, u += layout.point_pitch(channels)) {
            for (int64_t i = 0; i < tiles; ++i) {
                buffers.rows[i] = buffers.v + e * buffers.point + buffers.first_place[i];
                buffers.row_sums[i] = buffers.m + e * buffers.m_point + buffers.tile_at[i];
            }
            multiply_indirect(kernel, kernel.tiles[plan.tile.shape],
                              {{buffers.rows, buffers.offsets, tiles, kernels::Depth(layout.taps * channels)},
                               {u, layout.pitch(channels), task.channels},
                               {buffers.row_sums, buffers.tail, addend, true},
                               &prefetch});
        }
        addend.onto = kernels::Onto::c;
    }
    const int64_t samples = task.pixels.extent(0), of_sample = tiles / samples;
    for (int64_t c = 0; c < task.channels; c += kernel.lanes) {
        const T* const own_bias = own.bias != nullptr ? own.bias + c : nullptr;
        for (int64_t n = 0; n < samples; ++n) {
            const int64_t first = n * of_sample;
            if (!transforms(plan, kernel)
                     .results(buffers.m + c, buffers.tile_at + first, point_steps(w, buffers.m_point), of_sample,
                              own_bias, results.sums, buffers.tiles + first, WinogradBox::steps(w, box.results)))
                buffers.not_finite[task.pixels.lo[0] + n].store(1, std::memory_order_relaxed);
        }
        store_results(plan, kernel, results, std::min<int64_t>(kernel.lanes, task.channels - c), operands,
                      own.result_at + c * plan.result.channel, buffers.planes);
    }
}

template <class T>
using WinogradProducts =
    ProductParts<WinogradBuffers<T>, &transform_all_weights<T, WinogradBuffers<T>>, &run_winograd_task<T>, true>;

}  // namespace convpp
