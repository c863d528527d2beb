// Weight gradient by Winograd's algorithm, dw = G^T [sum over tiles (A dy A^T) (B^T x B)] G:
//
//   for each group, block of filters, block of source channels, chunk of boxes of tiles     parallel: the tasks
//     for each box of the chunk                                                             serial: one sum in one order
//       for each vector of source channels: V = B^T x B, for each tile                      (kernels/winograd.hpp)
//       for each vector of filters: W = A dy A^T, for each tile                             the same with another matrix
//       for each point of the tiles: S[source channel][filter] += sum over tiles V W        (indirect_product.hpp)
//     for each vector of filters: sums = G^T S G, the taps of each source channel
//   add the chunks' sums in a tree of fixed shape, write dw                                 parallel: vectors of filters
//
// V is [point][place][source channel], and a row of the product's tile is a source channel.  W is laid down as the panels
// of columns that the tile reads: [point][panel][tile][filter].  Taps of axes that are not transformed have an S of their
// own each, from the same V and W.   Read before: winograd_tiles.hpp, sum_task.hpp.
#include "strategies/winograd/grad.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "strategies/chunks.hpp"
#include "strategies/indirect/multiply.hpp"
#include "strategies/product_loop.hpp"
#include "strategies/sum_prefetch.hpp"
#include "strategies/winograd/tiles.hpp"

namespace convpp {
namespace {

using kernels::KernelTable;
using kernels::TileSteps;

// How the largest task's operands and sums lie in memory.  A chunk's sums are [vector of filters][source channel][tap]
// [filter]: the taps of a filter lie in the order of dw, which a transpose makes of each vector.
struct WinogradSumLayout {
    int64_t width, lanes;  // of a panel of filters, of a vector
    int64_t taps;  // of the kernel
    int64_t source_pitch, filter_pitch;  // of V's places, of S's source channels
    int64_t v_point, w_point, s_point, s_taps;  // S: of a point, of all points
    int64_t vector_elems, elems;  // of the sums: of a vector of filters, of all

    template <class T>
    WinogradSumLayout(const Plan& plan, const KernelTable<T>& kernel, const WinogradBox& box) {
        const MapPlan& m = plan.maps[0];
        width = panel_widths(plan, kernel).channels;
        lanes = kernel.lanes;
        taps = m.map.taps();
        source_pitch = apart_by_odd_lines<T>(round_up(m.patches.channels_per_block, lanes));
        filter_pitch = round_up(std::min(plan.tasks.channel_block, plan.tasks.channels), lanes);
        v_point = apart_by_odd_lines<T>(checked_mul(box.place_count(), source_pitch, "the transformed input"));
        w_point = apart_by_odd_lines<T>(box.tile_count() * round_up(filter_pitch, width));
        s_point = apart_by_odd_lines<T>(m.patches.channels_per_block * filter_pitch);
        s_taps = winograd_of(plan).points() * s_point;
        vector_elems = m.patches.channels_per_block * taps * lanes;
        elems = filter_pitch / lanes * vector_elems;
    }
};

template <class T>
struct WinogradSumBuffers {
    LaneCopy<T> copy;  // of x, then of dy
    T* v = nullptr;
    T* w = nullptr;
    T* s = nullptr;
    T* sums = nullptr;  // of a chunk, if there is one
    T* tail = nullptr;
    int64_t* places = nullptr;  // where they begin in the copy
    int64_t* place_to = nullptr;  // and in a point of V
    int64_t* tiles = nullptr;  // where they begin in the copy of dy
    int64_t* tile_to = nullptr;  // and in a panel of W
    int64_t* offsets = nullptr;  // of the first place that each reads, in a point of V
    int64_t* taps = nullptr;  // places from there to those of outer taps
    const T** rows = nullptr;  // of the tile: source channels
    T** row_sums = nullptr;
    int64_t* sum_from = nullptr;  // of source channels and vectors of filters, in a point of S
    int64_t* sum_to = nullptr;  // and in a vector's sums
    const T** in_order = nullptr;  // a vector's sums in the order of dw
    kernels::Stretch* stretches = nullptr;  // of what the next box reads (read_ahead.hpp)

    WinogradSumBuffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel)
        : WinogradSumBuffers(carver, plan, kernel,
                             WinogradBox(winograd_of(plan), plan.maps[0].boxes.box(0), kernel.lanes)) {}

private:
    WinogradSumBuffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel, const WinogradBox& box)
        : copy(carver, plan, box.source, box.results, kernel.lanes) {
        const WinogradPlan& winograd = winograd_of(plan);
        const WinogradSumLayout layout(plan, kernel, box);
        const int64_t channels = plan.maps[0].patches.channels_per_block;
        v = carver.take<T>(checked_mul(winograd.points(), layout.v_point, "the transformed input"));
        w = carver.take<T>(winograd.points() * layout.w_point);
        s = carver.take<T>(winograd.outer_taps() * layout.s_taps);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : layout.elems);
        tail = carver.take<T>(int64_t(kernel.tiles[plan.tile.shape].rows) * layout.width);
        places = carver.take<int64_t>(box.place_count());
        place_to = carver.take<int64_t>(box.place_count());
        tiles = carver.take<int64_t>(box.tile_count());
        tile_to = carver.take<int64_t>(box.tile_count());
        offsets = carver.take<int64_t>(box.tile_count());
        taps = carver.take<int64_t>(winograd.outer_taps());
        rows = carver.take<const T*>(channels);
        row_sums = carver.take<T*>(channels);
        sum_from = carver.take<int64_t>(channels * layout.filter_pitch / kernel.lanes);
        sum_to = carver.take<int64_t>(channels * layout.filter_pitch / kernel.lanes);
        stretches = carver.take<kernels::Stretch>(most_stretches);
        in_order = carver.take<const T*>(channels * layout.taps);
    }
};

// What the tasks share: the chunks' sums.
template <class T>
struct SharedSums {
    T* partial = nullptr;
    SharedSums(Carver& carver, const Plan& plan, const WinogradSumLayout& layout) {
        partial = carver.take<T>(plan.tasks.chunks > 1 ? plan.tasks.count * layout.elems : 0);
    }
};

// V and W of a box.
template <class T>
void transform_box(const Plan& plan, const KernelTable<T>& kernel, const WinogradSumLayout& layout,
                   const SumOperands<T>& operands, const SumProduct& product, const Box& pixels, const WinogradBox& box,
                   const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& winograd = winograd_of(plan);
    const MapPlan& m = plan.maps[0];
    const int64_t places = box.place_count(), tiles = box.tile_count(), lanes = kernel.lanes;
    box.find_places(winograd, buffers.places);
    box.find_tiles(winograd, buffers.tiles);
    for (int64_t i = 0; i < places; ++i) buffers.place_to[i] = i * layout.source_pitch;
    for (int64_t i = 0; i < tiles; ++i) buffers.tile_to[i] = i * layout.width;
    const Stored<T> x = first_x(plan, product, operands), dy = first_dy(plan, product, operands);
    const int64_t source_channels = product.block.channel_hi - product.block.channel_lo;
    for (int64_t c = 0; c < source_channels; c += lanes) {
        copy_lanes(plan, kernel, m, x,
                   {pixels, box.source, product.block.channel_lo + c, std::min(lanes, source_channels - c)},
                   buffers.copy);
        transforms(plan, kernel)
            .source(buffers.copy.padded.copy, buffers.places, WinogradBox::steps(winograd, box.source), places, nullptr,
                    buffers.v + c, buffers.place_to, point_steps(winograd, layout.v_point));
    }
    // Tiles may reach beyond the results: dy is padded with zeros there.
    const Extents results{m.map.axis[0].count, m.map.axis[1].count, m.map.axis[2].count};
    for (int64_t k = 0; k < product.channels; k += lanes) {
        copy_lanes(kernel, {plan.result, results, plan.channels_last()}, dy,
                   {pixels, box.results, product.channel_lo + k, std::min(lanes, product.channels - k)}, buffers.copy);
        T* const to = buffers.w + k / layout.width * layout.width * tiles + k % layout.width;
        transforms(plan, kernel)
            .results_adjoint(buffers.copy.padded.copy, buffers.tiles, WinogradBox::steps(winograd, box.results), tiles,
                             nullptr, to, buffers.tile_to, point_steps(winograd, layout.w_point));
    }
}

// What the tiles of a box ask for while they multiply: x and dy of the next one, in channels_last.  There each vector of
// channels is copied from pixels that lie far apart, which the processor does not foresee.  (3x3, float32: 64-64 at 56x56
// and at 224x224 gain 14 %, 128-128 at 112x112 6 %.  Rows of planes it foresees: in channels_first nothing is gained.)
template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const KernelTable<T>& kernel, const SumOperands<T>& operands,
                        const SumProduct& product, const WinogradBox& box, const Box& next,
                        const WinogradSumBuffers<T>& buffers) {
    const kernels::TileKernels<T>& tiles = kernel.tiles[plan.tile.shape];
    const int64_t channels = product.block.channel_hi - product.block.channel_lo;
    const int64_t full_tiles = channels / tiles.rows * (product.channels / (tiles.vectors * kernel.lanes)) *
                          winograd_of(plan).points() * winograd_of(plan).outer_taps();  // the full ones
    if (full_tiles == 0) return {};
    return prefetch_of(plan, product, operands, results_of(plan, plan.maps[0], next), full_tiles, box.tile_count(), buffers.stretches);
}

// S of each point and outer tap, over the tiles of a box.
template <class T>
void multiply_box(const Plan& plan, const KernelTable<T>& kernel, const WinogradSumLayout& layout,
                  const SumProduct& product, const WinogradBox& box, Beginning<T> beginning, kernels::Prefetch prefetch,
                  const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& winograd = winograd_of(plan);
    const int64_t tiles = box.tile_count(), channels = product.block.channel_hi - product.block.channel_lo;
    const int64_t columns = round_up(product.channels, kernel.lanes), outer_taps = winograd.outer_taps();
    box.find_first_places(winograd, buffers.offsets);
    box.find_taps(winograd, buffers.taps);
    for (int64_t i = 0; i < tiles; ++i) buffers.offsets[i] *= layout.source_pitch;
    for (int64_t e = 0; e < winograd.points(); ++e)
        for (int64_t tap = 0; tap < outer_taps; ++tap) {
            const T* const v = buffers.v + e * layout.v_point + buffers.taps[tap] * layout.source_pitch;
            T* const s = buffers.s + tap * layout.s_taps + e * layout.s_point;
            for (int64_t c = 0; c < channels; ++c) {
                buffers.rows[c] = v + c;
                buffers.row_sums[c] = s + c * layout.filter_pitch;
            }
            multiply_indirect(kernel, kernel.tiles[plan.tile.shape],
                              {{buffers.rows, buffers.offsets, channels, tiles},
                               {buffers.w + e * layout.w_point, tiles * layout.width, columns},
                               {buffers.row_sums, buffers.tail, beginning, true},
                               &prefetch});
        }
}

// G^T S G, to where the taps lie in a chunk's sums.  Returns whether all are finite.
template <class T>
bool transform_sums(const Plan& plan, const KernelTable<T>& kernel, const WinogradSumLayout& layout,
                    const SumProduct& product, T* sums, const WinogradSumBuffers<T>& buffers) {
    const WinogradPlan& winograd = winograd_of(plan);
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const int64_t channels = product.block.channel_hi - product.block.channel_lo, lanes = kernel.lanes;
    // In the order of S, so that each of its points is read from front to back.
    int64_t vectors = 0;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t k = 0; k < product.channels; k += lanes, ++vectors) {
            buffers.sum_from[vectors] = c * layout.filter_pitch + k;
            buffers.sum_to[vectors] = k / lanes * layout.vector_elems + c * layout.taps * lanes;
        }
    // Where a tap lies along an axis, and from there to the next one: of transformed axes, in the order of the source.
    const auto place = [&](size_t a, int64_t tap) {
        const auto last = static_cast<int64_t>(axis[a].taps.size()) - 1;
        const bool back = winograd.axis[a].transformed && winograd.axis[a].reversed;
        return axis[a].taps[static_cast<size_t>(back ? last - tap : tap)].weight * plan.weights.axis[a] * lanes;
    };
    const auto step = [&](size_t a) { return place(a, 1) - place(a, 0); };
    const TileSteps to_steps{step(winograd.along_a), step(winograd.along_b)};
    bool finite = true;
    const T* s = buffers.s;
    const auto count = [&](size_t a) { return static_cast<int64_t>(winograd.axis[a].offsets.size()); };
    for_each_index({1, count(0), count(1), count(2)}, [&](int64_t, int64_t a, int64_t b, int64_t c) {
        finite &= transforms(plan, kernel)
                      .weights_adjoint(s, buffers.sum_from, point_steps(winograd, layout.s_point), vectors, nullptr,
                                       sums + place(0, a) + place(1, b) + place(2, c), buffers.sum_to, to_steps);
        s += layout.s_taps;
    });
    return finite;
}

// A vector of filters goes to dw.
template <class T>
void write_filters(const Plan& plan, const KernelTable<T>& kernel, const WinogradSumLayout& layout,
                   const SumProduct& product, int64_t vector, const T* sums, const SumOperands<T>& operands,
                   const WinogradSumBuffers<T>& buffers) {
    const int64_t channels = product.block.channel_hi - product.block.channel_lo, k = vector * kernel.lanes;
    const int64_t count = channels * layout.taps;
    for (int64_t i = 0; i < count; ++i) buffers.in_order[i] = sums + vector * layout.vector_elems + i * kernel.lanes;
    T* const dw = operands.dw + product.group * plan.weights.group +
                  (product.channel_lo + k) * plan.weights.result_channel +
                  product.block.channel_lo * plan.weights.source_channel;
    kernel.transpose_rows(buffers.in_order, count, std::min<int64_t>(kernel.lanes, product.channels - k), dw,
                          plan.weights.result_channel);
}

// Adds the chunks' sums of a vector of filters.  Returns whether all are finite.
template <class T>
bool add_finite_chunks(const KernelTable<T>& kernel, const ChunkPart& part, T* sums) {
    constexpr int64_t lanes = 16;
    T spoiled[lanes] = {};
    add_chunks(kernel, part, sums, [&](const T* piece, int64_t count) {
        for (int64_t i = 0; i < count; ++i) spoiled[i % lanes] += piece[i] * T(0);
    });
    return std::all_of(spoiled, spoiled + lanes, [](T zero) { return zero == zero; });
}

}  // namespace

template <class T>
void measure_winograd_sum(const Plan& plan, WorkspaceBytes& bytes) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const WinogradBox box(winograd_of(plan), plan.maps[0].boxes.box(0), kernel.lanes);
    Carver shared(nullptr), thread(nullptr);
    SharedSums<T>(shared, plan, WinogradSumLayout(plan, kernel, box));
    measure_buffers<WinogradSumBuffers<T>>(thread, plan, kernel);
    bytes = {shared.used(), thread.used()};
}

template <class T>
void run_winograd_sum(const Plan& plan, const PassOperands<T>& of, const RunContext& run) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const SumOperands<T> operands(of);
    const BoxSplit& boxes = plan.maps[0].boxes;
    const WinogradSumLayout layout(plan, kernel, WinogradBox(winograd_of(plan), boxes.box(0), kernel.lanes));
    Carver carver(run.workspace);
    const SharedSums<T> shared(carver, plan, layout);
    const auto buffers = thread_buffers<WinogradSumBuffers<T>>(carver, plan, kernel, run.threads);
    const auto spoil = [&] { run.not_finite->store(1, std::memory_order_relaxed); };
    parallel_for(plan.tasks.count, run.threads, [&](int64_t index, int thread) {
        const WinogradSumBuffers<T>& own = buffers[static_cast<size_t>(thread)];
        const SumTask task(plan, index);
        Beginning<T> beginning;
        for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
            const Box pixels = boxes.box(b);
            const WinogradBox box(winograd_of(plan), pixels, kernel.lanes);
            transform_box(plan, kernel, layout, operands, task.product, pixels, box, own);
            kernels::Prefetch prefetch;
            if (plan.channels_last() && b + 1 < task.box_hi)
                prefetch = prefetch_next(plan, kernel, operands, task.product, box, boxes.box(b + 1), own);
            multiply_box(plan, kernel, layout, task.product, box, beginning, prefetch, own);
            beginning.start = kernels::Start::onto_c;  // each box's sum on its own: it rounds less
        }
        T* const sums = plan.tasks.chunks > 1 ? shared.partial + index * layout.elems : own.sums;
        if (!transform_sums(plan, kernel, layout, task.product, sums, own)) spoil();
        if (plan.tasks.chunks > 1) return;
        for (int64_t k = 0; k < task.product.channels; k += kernel.lanes)
            write_filters(plan, kernel, layout, task.product, k / kernel.lanes, sums, operands, own);
    });
    if (plan.tasks.chunks == 1) return;
    const int64_t vectors = layout.filter_pitch / layout.lanes;
    parallel_for(plan.tasks.count / plan.tasks.chunks * vectors, run.threads, [&](int64_t index, int thread) {
        const int64_t vector = index % vectors;
        const SumProduct product(plan, index / vectors);
        if (vector * layout.lanes >= product.channels) return;
        const int64_t source_channels = product.block.channel_hi - product.block.channel_lo;
        T* const sums = shared.partial + index / vectors * plan.tasks.chunks * layout.elems;
        if (!add_finite_chunks(kernel,
                               {plan.tasks.chunks, layout.elems, 0, source_channels * layout.taps * layout.lanes},
                               sums + vector * layout.vector_elems))
            spoil();
        write_filters(plan, kernel, layout, product, vector, sums, operands, buffers[static_cast<size_t>(thread)]);
    });
}

template void measure_winograd_sum<float>(const Plan&, WorkspaceBytes&);
template void measure_winograd_sum<double>(const Plan&, WorkspaceBytes&);
template void run_winograd_sum(const Plan&, const PassOperands<float>&, const RunContext&);
template void run_winograd_sum(const Plan&, const PassOperands<double>&, const RunContext&);

}  // namespace convpp
