// Weight gradient by the FFT: dw = inverse of [the sum over tiles of X conj(D)], D of the tiles of dy.
//
//   for each group, chunk of boxes of tiles              parallel; one by one, by all threads, where channels are many
//     for each box of the chunk                          serial: one sum in one order
//       X, D = the transforms of its tiles of x and dy
//       for each frequency, filter and term: S += the sum over tiles of X conj(D)
//   add the chunks' sums in a tree of fixed shape        parallel
//   for each vector of (group, filter, term): its taps are the inverse of S          parallel
//
// In:  a Plan of this strategy, the operands.   Out: dw, and whether all of it is finite.   Read before: product.hpp.
//
// The sums of a pair are [point][real, imaginary]; or, where lanes are groups, a spectrum.
#pragma once

#include "strategies/chunks.hpp"
#include "strategies/fft/product.hpp"

namespace convpp {

// Where the sums of pairs and chunks lie: [chunk][pair, or vector of groups].
struct FourierSumLayout {
    int64_t pairs, pair, chunk;

    FourierSumLayout(const Plan& plan, const FourierMap& m, int64_t lanes) {
        constexpr const char* what = "the transformed sums";
        pairs = m.lanes_are_groups ? ceil_div(plan.tasks.groups, lanes)
                                   : checked_mul(plan.tasks.groups * plan.tasks.channels, m.terms(), what);
        pair = m.lanes_are_groups ? m.spectrum(lanes) : round_up(2 * m.points, lanes) + lanes;
        chunk = checked_mul(pairs, pair, what);
    }
};

template <class T>
struct FourierSumShared {
    T* sums = nullptr;
    std::byte* box = nullptr;

    FourierSumShared(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const FourierMap& m = fourier_of(plan).maps[0];
        sums = carver.take<T>(checked_mul(m.chunks, FourierSumLayout(plan, m, kernel.lanes).chunk, "the chunks' sums"));
        box = carver.take<std::byte>(fourier_of(plan).boxes_of_threads ? 0 : largest_box<T>(plan, kernel));
    }
};

inline TileTensor result_tensor(const Plan& plan, const FourierMap& m) {
    TileTensor tensor;
    tensor.steps = plan.result.axis;
    tensor.limit = hops_of(m);
    return tensor;
}

inline void set_result(const Plan& plan, const FourierMap& m, int64_t channel, int64_t item, LaneTile& to) {
    const FourierItem place(m, item);
    to = {};
    if (place.sample >= plan.batch()) return;
    to = result_tile(plan.maps[0].map, m, place);
    to.at = place.sample * plan.result.batch + channel * plan.result.channel;
}

// A chunk of the vectors of tiles of one group (or vector of groups) of one filter and term.
template <class T>
void sum_alone(const FourierCall<T>& call, int64_t task, T* all_sums, const FourierBuffers<T>& own) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const MapPlan& map = plan.maps[0];
    const int64_t lanes = call.kernel.lanes, chunk = task % m.chunks, pair = task / m.chunks;
    const int64_t group = pair * (m.lanes_are_groups ? lanes : 1);
    const FourierSumLayout layout(plan, m, lanes);
    T* const sums = all_sums + chunk * layout.chunk + pair * layout.pair;
    std::fill(sums, sums + layout.pair, T(0));
    const Transforms<T> transforms = call.transforms(0);
    TileTensor x = source_tensor(plan, map, m), dy = result_tensor(plan, m);
    const int64_t together = std::min(lanes, plan.tasks.groups - group);
    if (m.lanes_are_groups && plan.source.strides.channel == 1) x.lanes_together = together;
    if (m.lanes_are_groups && plan.result.channel == 1) dy.lanes_together = together;
    const int64_t no_shift = 0;
    for (int64_t box = m.boxes * chunk / m.chunks; box < m.boxes * (chunk + 1) / m.chunks; ++box) {
        const int64_t item = m.lanes_are_groups ? box : box * lanes;
        const auto set = [&](const auto& set_lane) {
            for (int64_t l = 0; l < lanes; ++l) {
                LaneTile& tile = own.tiles.tiles[l];
                tile = {};
                if (!m.lanes_are_groups) set_lane(group, item + l, tile);
                else if (group + l < plan.tasks.groups) set_lane(group + l, item, tile);
            }
        };
        set([&](int64_t g, int64_t i, LaneTile& tile) { set_source<T>(plan, m, map, g, i, tile); });
        transforms.forward(call.operands.x, x, own.tiles, T(1), own.z);
        set([&](int64_t g, int64_t i, LaneTile& tile) { set_result(plan, m, g, i, tile); });
        transforms.forward(call.operands.dy, dy, own.tiles, transforms.scale(), own.product);
        const int64_t point = 2 * lanes;
        if (m.lanes_are_groups)
            call.kernel.fourier.multiply_lanes({m.points, 1, 1, 1, own.z, &no_shift, point, lanes, 0, own.product,
                                                point, lanes, 0, 0, 0, sums, point, lanes, 0, 0, true});
        else
            call.kernel.fourier.sum({m.points, 1, 1, 1, own.z, &no_shift, point, lanes, 0, own.product, point, lanes, 0,
                                     0, sums, layout.pair});
    }
}

// All boxes of a group, whose filters and terms are many.
template <class T>
void sum_boxes(const FourierCall<T>& call, int64_t group, T* all_sums, const BoxSpectra<T>& box, int threads,
               const ThreadBuffers<FourierBuffers<T>>& buffers, int thread_of_task) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const MapPlan& map = plan.maps[0];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const FourierSumLayout layout(plan, m, lanes);
    T* const sums = all_sums + group * filters * terms * layout.pair;
    parallel_for(filters * terms, threads, [&](int64_t pair, int) {
        std::fill(sums + pair * layout.pair, sums + (pair + 1) * layout.pair, T(0));
    });
    box.find(m);
    const T scale = call.transforms(0).scale();
    for (int64_t first = 0; first < plan.batch() * m.items(); first += m.box_items) {
        const int64_t count = std::min(m.box_items, plan.batch() * m.items() - first);
        transform_items(
            call, 0, call.operands.x, source_tensor(plan, map, m), T(1), m.source_channels, count + m.halo(), threads,
            [&](int64_t channel, int64_t item, LaneTile& tile) {
                set_source<T>(plan, m, map, group * m.source_channels + channel, first + item, tile);
            },
            box.x, box.x_items, box.x_half, buffers, thread_of_task);
        transform_items(
            call, 0, call.operands.dy, result_tensor(plan, m), scale, filters, count, threads,
            [&](int64_t channel, int64_t item, LaneTile& tile) {
                if (item < count) set_result(plan, m, group * filters + channel, first + item, tile);
                else tile = {};
            },
            box.y, box.y_items, box.y_half, buffers, thread_of_task);
        const int64_t points = round_up(points_of_task(m, threads), lanes);
        parallel_for(ceil_div(m.points, points), threads, [&](int64_t part, int) {
            const int64_t lo = part * points;
            call.kernel.fourier.sum({std::min(points, m.points - lo), filters, terms, ceil_div(count, lanes),
                                     box.x + lo * 2 * box.x_half, box.x_at, 2 * box.x_half, box.x_half, lanes,
                                     box.y + lo * 2 * box.y_half, 2 * box.y_half, box.y_half, lanes, box.y_items,
                                     sums + 2 * lo, layout.pair});
        });
    }
}

// The taps of a vector of pairs.
template <class T>
void store_sums(const FourierCall<T>& call, int64_t vector, const T* sums, const FourierBuffers<T>& own) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const int64_t pairs = plan.tasks.groups * filters * terms, first = vector * lanes;
    const FourierSumLayout layout(plan, m, lanes);
    for (int64_t l = 0; l < lanes; ++l) {
        LaneTile& tile = own.tiles.tiles[l];
        const int64_t pair = first + l;
        own.tiles.offsets[l] = std::min(pair, pairs - 1) * layout.pair;
        tile = {};
        if (pair < pairs)
            tile = pair_tile(plan, plan.maps[0], m, pair / terms / filters, pair / terms % filters, pair % terms);
    }
    if (m.lanes_are_groups) {
        std::copy_n(sums + vector * layout.pair, 2 * m.points * lanes, own.z);
    } else {
        const kernels::Run run{0, 0, 2 * m.points};
        call.kernel.read[static_cast<int>(Storage::plain)].transpose_panel(sums, own.tiles.offsets, lanes, &run, 1,
                                                                           own.z, lanes, sums + layout.chunk);
    }
    const Extents limit{m.axis[0].part, m.axis[1].part, m.axis[2].part};
    call.transforms(0).inverse(own.z, limit);
    ResultTiles<T>(call, m, own.tiles, plan.weights.axis, limit, 0).store(own.z);
}

template <class T>
void run_fourier_sums(const Plan& plan, const Operands<T>& operands, const RunContext& run) {
    const FourierCall<T> call(plan, operands, run);
    Carver carver(run.workspace);
    const FourierSumShared<T> shared(carver, plan, call.kernel);
    const auto buffers = thread_buffers<FourierBuffers<T>>(carver, plan, call.kernel, run.threads);
    const FourierMap& m = call.fourier.maps[0];
    const int threads = plan.tasks.parallel ? run.threads : 1;
    const FourierSumLayout layout(plan, m, call.kernel.lanes);
    const int64_t groups = plan.tasks.groups;
    if (meets_alone(plan, m)) {
        parallel_for(layout.pairs * m.chunks, threads, [&](int64_t task, int thread) {
            sum_alone(call, task, shared.sums, buffers[static_cast<size_t>(thread)]);
        });
        if (m.chunks > 1)
            parallel_for(layout.pairs, threads, [&](int64_t pair, int) {
                add_chunks(call.kernel, {m.chunks, layout.chunk, pair * layout.pair, layout.pair}, shared.sums);
            });
    } else if (call.fourier.boxes_of_threads) {
        parallel_for(groups, threads, [&](int64_t group, int thread) {
            Carver own(buffers[static_cast<size_t>(thread)].box);
            sum_boxes(call, group, shared.sums, BoxSpectra<T>(own, plan, m, call.kernel), 1, buffers, thread);
        });
    } else {
        for (int64_t group = 0; group < groups; ++group) {
            Carver own(shared.box);
            sum_boxes(call, group, shared.sums, BoxSpectra<T>(own, plan, m, call.kernel), threads, buffers, 0);
        }
    }
    const int64_t pairs = groups * plan.tasks.channels * m.terms();
    parallel_for(ceil_div(pairs, int64_t(call.kernel.lanes)), threads, [&](int64_t vector, int thread) {
        store_sums(call, vector, shared.sums, buffers[static_cast<size_t>(thread)]);
    });
}

}  // namespace convpp
