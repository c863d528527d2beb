// Weight gradient by Winograd's algorithm, dw = G^T [sum over tiles (A dy A^T) (B^T x B)] G:
//
//   for each group, block of filters, block of source channels, chunk of boxes of tiles     parallel: the tasks
//     for each box of the chunk                                                         serial: one sum in one order
//       for each vector of source channels: V = B^T x B, for each tile                  (kernels/winograd/)
//       for each vector of filters: W = A dy A^T, for each tile                         the same with another matrix
//       for each point of the tiles: S[source channel][filter] += sum over tiles V W    (indirect/multiply.hpp)
//     for each vector of filters: sums = G^T S G, the taps of each source channel
//   add the chunks' sums in a tree of fixed shape, write dw                             parallel: vectors of filters
//
// In:  a Plan of this strategy, the operands, a task.   Out: dw, and whether all of it, and of what it is computed
// from, is finite: the sums mix what the definition keeps apart, so otherwise dw is computed again, directly.
// Read before: tiles.hpp, strategies/sum_loop.hpp.
//
// V is [point][place][source channel], and a row of the product's tile is a source channel.  W is laid down as the
// panels of columns that the tile reads: [point][panel][tile][filter].  Taps of axes that are not transformed have an S
// of their own each, from the same V and W.
#pragma once

#include <algorithm>

#include "repair/finite.hpp"
#include "strategies/indirect/multiply.hpp"
#include "strategies/winograd/tiles.hpp"

namespace convpp {

template <class T>
struct WinogradSumBuffers : TileBuffers<T> {
    int64_t width;  // of a panel of filters
    int64_t filter_pitch;  // of S: from source channel to source channel
    int64_t w_point, s_point, s_taps;  // from point to point; from outer tap to outer tap
    T* w = nullptr;  // dy transformed, as panels: [point][panel][tile][filter]
    T* s = nullptr;  // products: [outer tap][point][source channel][filter]
    // Of a chunk, if there is one: [vector of filters][source channel][tap][filter].  The taps of a filter lie in the
    // order of dw, which a transpose makes of each vector.
    T* sums = nullptr;
    int64_t* sum_from = nullptr;  // of source channels and vectors of filters, in a point of S
    int64_t* sum_to = nullptr;  // and in the sums
    const T** in_order = nullptr;  // a vector's sums in the order of dw

    WinogradSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : TileBuffers<T>(carver, plan, kernel,
                         apart_by_odd_lines<T>(round_up(plan.maps[0].patches.channels_per_block, kernel.lanes))),
          width(panel_widths(plan, kernel).channels),
          filter_pitch(channel_pitch(plan, kernel)) {
        const WinogradPlan& winograd = winograd_of(plan);
        const MapPlan& m = plan.maps[0];
        const WinogradBox box = box_of(plan, 0, kernel.lanes);
        const int64_t channels = m.patches.channels_per_block;
        w_point = apart_by_odd_lines<T>(box.tile_count() * round_up(filter_pitch, width));
        s_point = apart_by_odd_lines<T>(channels * filter_pitch);
        s_taps = winograd.points() * s_point;
        w = carver.take<T>(winograd.points() * w_point);
        s = carver.take<T>(winograd.outer_taps() * s_taps);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : channels * m.map.taps() * filter_pitch);
        sum_from = carver.take<int64_t>(channels * filter_pitch / kernel.lanes);
        sum_to = carver.take<int64_t>(channels * filter_pitch / kernel.lanes);
        in_order = carver.take<const T*>(channels * m.map.taps());
    }
};

// W of a box.
template <class T>
void transform_results(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product,
                       const Stored<T>& dy, const WinogradBox& box, const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    const int64_t tiles = box.tile_count(), lanes = kernel.lanes, width = buffers.width;
    // Tiles may reach beyond the results: dy is padded with zeros there.
    for (int64_t k = 0; k < product.channels; k += lanes) {
        const int64_t valid = std::min(lanes, product.channels - k);
        copy_lanes(kernel, result_part(plan, dy, box, product.channel_lo + k, valid), plan.channels_last(), box.results,
                   buffers.copy);
        T* const to = buffers.w + k / width * width * tiles + k % width;
        transforms(plan, kernel)
            .results_adjoint(buffers.copy.at, buffers.tiles, WinogradBox::steps(w, box.results), tiles, nullptr, to,
                             buffers.tile_at, point_steps(w, buffers.w_point));
    }
}

// What the tiles of a box ask for while they multiply: x and dy of the next one.
template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                                const SumProduct& product, const WinogradBox& next, int64_t depth,
                                const WinogradSumBuffers<T>& buffers) {
    const kernels::TileKernels<T>& tiles = kernel.tiles[plan.tile.shape];
    const WinogradPlan& w = winograd_of(plan);
    const int64_t channels = product.block.channels();
    PrefetchList list(buffers.stretches);
    list.add(source_part(plan, first_x(plan, product, operands), next, product.block.channel_lo, channels),
             next.source.range);
    list.add(result_part(plan, first_dy(plan, product, operands), next, product.channel_lo, product.channels),
             next.results.range);
    const int64_t full_tiles = channels / tiles.rows * (product.channels / (tiles.vectors * kernel.lanes));
    return list.over(full_tiles * w.points() * w.outer_taps(), depth);
}

// S of each point and outer tap, over the tiles of a box.
template <class T>
void multiply_box(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, int64_t tiles,
                  Addend<T> addend, kernels::Prefetch prefetch, const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    const int64_t channels = product.block.channels(), filters = round_up(product.channels, kernel.lanes);
    for (int64_t e = 0; e < w.points(); ++e)
        for (int64_t tap = 0; tap < w.outer_taps(); ++tap) {
            const T* const v = buffers.v + e * buffers.point + buffers.taps[tap];
            T* const s = buffers.s + tap * buffers.s_taps + e * buffers.s_point;
            for (int64_t c = 0; c < channels; ++c) {
                buffers.rows[c] = v + c;
                buffers.row_sums[c] = s + c * buffers.filter_pitch;
            }
            multiply_indirect(kernel, kernel.tiles[plan.tile.shape],
                              {{buffers.rows, buffers.first_place, channels, kernels::Depth(tiles)},
                               {buffers.w + e * buffers.w_point, tiles * buffers.width, filters},
                               {buffers.row_sums, buffers.tail, addend, true},
                               &prefetch});
        }
}

// Elements of a vector of filters in a chunk's sums.
template <class T>
int64_t vector_elems(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product) {
    return product.block.channels() * plan.maps[0].map.taps() * kernel.lanes;
}

// G^T S G, to where the taps lie in a chunk's sums.  Returns whether all are finite.
template <class T>
bool transform_sums(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, T* sums,
                    const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    const int64_t channels = product.block.channels(), lanes = kernel.lanes, taps = plan.maps[0].map.taps();
    // In the order of S, so that each of its points is read from front to back.
    int64_t vectors = 0;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t k = 0; k < product.channels; k += lanes, ++vectors) {
            buffers.sum_from[vectors] = c * buffers.filter_pitch + k;
            buffers.sum_to[vectors] = k / lanes * vector_elems(plan, kernel, product) + c * taps * lanes;
        }
    bool finite = true;
    const T* s = buffers.s;
    const KernelTaps kernel_taps(plan, lanes);
    kernel_taps.for_each_outer([&](int64_t at) {
        finite &= transforms(plan, kernel)
                      .weights_adjoint(s, buffers.sum_from, point_steps(w, buffers.s_point), vectors, nullptr,
                                       sums + at, buffers.sum_to, kernel_taps.steps(w));
        s += buffers.s_taps;
    });
    return finite;
}

// The sums of a chunk.
template <class T>
void sum_tiles(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task,
               const Operands<T>& operands, T* sums, const WinogradSumBuffers<T>& buffers) {
    const SumProduct& product = task.product;
    const Stored<T> x = first_x(plan, product, operands), dy = first_dy(plan, product, operands);
    Addend<T> addend;
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const WinogradBox box = box_of(plan, b, kernel.lanes);
        const int64_t tiles = box.tile_count();
        buffers.find(winograd_of(plan), box, buffers.width);
        transform_source(plan, kernel, x, box, product.block.channel_lo, product.block.channels(), buffers);
        transform_results(plan, kernel, product, dy, box, buffers);
        kernels::Prefetch prefetch;
        if (plan.channels_last() && b + 1 < task.box_hi)
            prefetch =
                prefetch_next(plan, kernel, operands, product, box_of(plan, b + 1, kernel.lanes), tiles, buffers);
        multiply_box(plan, kernel, product, tiles, addend, prefetch, buffers);
        addend.onto = kernels::Onto::c;  // each box's sum on its own: it rounds less
    }
    if (!transform_sums(plan, kernel, product, sums, buffers)) buffers.not_finite->store(1, std::memory_order_relaxed);
}

// Some vectors of filters go to dw.
template <class T>
void write_filters(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, const T* sums,
                   int64_t vector_lo, int64_t vector_hi, const Operands<T>& operands,
                   const WinogradSumBuffers<T>& buffers) {
    const int64_t elems = vector_elems(plan, kernel, product), count = elems / kernel.lanes;
    T* const dw = operands.result.plain() + product.group * plan.weights.group +
                  product.channel_lo * plan.weights.result_channel +
                  product.block.channel_lo * plan.weights.source_channel;
    for (int64_t vector = vector_lo; vector < vector_hi; ++vector) {
        const T* const from = sums + vector * elems;
        const int64_t k = vector * kernel.lanes;
        // Sums of chunks that are finite may add up to one that is not.
        if (plan.tasks.chunks > 1 && !all_finite(Stored<T>(from, elems), elems))
            buffers.not_finite->store(1, std::memory_order_relaxed);
        for (int64_t i = 0; i < count; ++i) buffers.in_order[i] = from + i * kernel.lanes;
        kernel.transpose_rows(buffers.in_order, count, std::min<int64_t>(kernel.lanes, product.channels - k),
                              dw + k * plan.weights.result_channel, plan.weights.result_channel);
    }
}

// For sum_loop.hpp: the rows of a product's sums are vectors of filters.
template <class T>
struct WinogradSums {
    using Buffers = WinogradSumBuffers<T>;
    static constexpr bool cuts_rows = true;
    static constexpr auto run = &sum_tiles<T>;
    static constexpr auto write = &write_filters<T>;
    static constexpr auto pitch = &vector_elems<T>;
    static int64_t elems(const Plan& plan, const kernels::KernelTable<T>& kernel) {
        return channel_pitch(plan, kernel) * plan.maps[0].patches.channels_per_block * plan.maps[0].map.taps();
    }
    static int64_t rows(const Plan& plan, const SumProduct& product) {
        return ceil_div(product.channels, kernel_table<T>(plan.kernels).lanes);
    }
};

}  // namespace convpp
