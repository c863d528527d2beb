// Forward and input gradient by the FFT:
//
//   W = the transforms of all taps, parts and phases                    parallel, once for a call
//   a sum of one term (a channel of its own, few taps):
//     for each vector of tiles                                          parallel: the tasks
//       X = its transform; for each filter: y = inverse of X conj(W)    all in one thread's caches
//   a sum of many:
//     for each group, box of tiles                                      parallel, or one by one, by all threads:
//       for each source channel and vector of tiles: X                  parallel
//       for each frequency: Y = the sum over terms of X conj(W)         parallel; one sum in one order
//       for each filter and vector of tiles: y = inverse of Y           parallel
//
// In:  a Plan of this strategy, the operands.   Out: results, and which samples of them are not finite.
// Read before: call.hpp, result_tiles.hpp.   Next: grad.hpp.
#pragma once

#include <algorithm>

#include "machine/parallel.hpp"
#include "strategies/fft/result_tiles.hpp"

namespace convpp {

template <class T>
void transform_weights(const FourierCall<T>& call, size_t index, int threads, T* to,
                       const ThreadBuffers<FourierBuffers<T>>& buffers) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[index];
    const Transforms<T> transforms = call.transforms(index);
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const FourierWeights layout(plan, m, lanes);
    const TileTensor tensor = kernel_tensor(plan, m);
    parallel_for(ceil_div(layout.items, lanes), threads, [&](int64_t vector, int thread) {
        const FourierBuffers<T>& own = buffers[static_cast<size_t>(thread)];
        for (int64_t l = 0; l < lanes; ++l) {
            const int64_t item = vector * lanes + l;
            LaneTile& tile = own.tiles.tiles[l];
            tile = {};
            if (item < layout.items)
                tile =
                    pair_tile(plan, plan.maps[index], m, item / terms / filters, item / terms % filters, item % terms);
        }
        T* const z = m.lanes_are_groups ? to + vector * m.spectrum(lanes) : own.z;
        transforms.forward(call.operands.w, tensor, own.tiles, transforms.scale(), z);
        if (!m.lanes_are_groups)
            call.kernel.store_rows(z, lanes, 2 * m.points, std::min(lanes, layout.items - vector * lanes),
                                   to + vector * lanes, layout.items);
    });
}

// The source of a map, channel `channel` of all groups and phase `phase`.
template <class T>
void set_source(const Plan& plan, const FourierMap& m, const MapPlan& map, int64_t channel, int64_t item,
                LaneTile& to) {
    const int64_t phases = m.phases();
    const FourierItem place(m, item);
    to = {};
    if (place.sample >= plan.batch()) return;
    to = source_tile(map.map, m, place, channel % phases);
    to.at = place.sample * plan.source.strides.batch + channel / phases * plan.source.strides.channel;
}

inline TileTensor source_tensor(const Plan& plan, const MapPlan& map, const FourierMap& m) {
    TileTensor tensor;
    tensor.steps = plan.source.strides.axis;
    tensor.beyond = map.map.has_border() ? &map.map : nullptr;
    for (size_t a = 0; a < 3; ++a) tensor.limit[a] = m.axis[a].reach();
    return tensor;
}

// A vector's spectrum becomes results of one filter.  The bias is added at frequency 0, to all results at once.
template <class T>
void store_products(const FourierCall<T>& call, size_t index, int64_t channel, int64_t first_item, T* z,
                    const FourierBuffers<T>& own) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[index];
    const int64_t lanes = call.kernel.lanes;
    const bool by_groups = m.lanes_are_groups;
    for (int64_t l = 0; l < lanes; ++l) {
        LaneTile& tile = own.tiles.tiles[l];
        const int64_t own_channel = channel + (by_groups ? l : 0);
        const FourierItem place(m, first_item + (by_groups ? 0 : l));
        tile = {};
        if (place.sample >= plan.batch() || own_channel >= plan.tasks.groups * plan.tasks.channels) continue;
        tile = result_tile(plan.maps[index].map, m, place);
        tile.at = place.sample * plan.result.batch + own_channel * plan.result.channel;
        if (call.operands.bias) z[l] += call.operands.bias[own_channel];
    }
    call.transforms(index).inverse(z, hops_of(m));
    const int64_t together = by_groups && plan.result.channel == 1 ? std::min(lanes, plan.tasks.groups - channel) : 0;
    ResultTiles<T>(call, m, own.tiles, plan.result.axis, hops_of(m), together).store(z);
}

// The product of one vector's spectrum and one term; by what, the caller says.
template <class T>
kernels::SpectraProduct<T> product_of_vector(int64_t points, int64_t lanes, const T* x, const int64_t* x_at, T* y) {
    kernels::SpectraProduct<T> product{};
    product.points = points;
    product.rows = product.terms = product.vectors = 1;
    product.x = x;
    product.x_at = x_at;
    product.y = y;
    product.x_point = product.y_point = 2 * lanes;
    product.x_half = product.y_half = lanes;
    return product;
}

// A vector of tiles that meets one term for each filter.
template <class T>
void multiply_alone(const FourierCall<T>& call, size_t index, int64_t task, const T* weights,
                    const FourierBuffers<T>& own) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[index];
    const MapPlan& map = plan.maps[index];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels;
    const int64_t group = task / m.boxes * (m.lanes_are_groups ? lanes : 1), box = task % m.boxes;
    const int64_t item = m.lanes_are_groups ? box : box * lanes;
    TileTensor tensor = source_tensor(plan, map, m);
    for (int64_t l = 0; l < lanes; ++l) {
        LaneTile& tile = own.tiles.tiles[l];
        tile = {};
        if (!m.lanes_are_groups) set_source<T>(plan, m, map, group, item + l, tile);
        else if (group + l < plan.tasks.groups) set_source<T>(plan, m, map, group + l, item, tile);
    }
    if (m.lanes_are_groups && plan.source.strides.channel == 1)
        tensor.lanes_together = std::min(lanes, plan.tasks.groups - group);
    const Transforms<T> transforms = call.transforms(index);
    transforms.forward(call.operands.source(plan.pass), tensor, own.tiles, T(1), own.z);
    const FourierWeights layout(plan, m, lanes);
    const int64_t no_shift = 0;
    for (int64_t k = 0; k < filters; ++k) {
        T* const to = filters == 1 ? own.z : own.product;
        kernels::SpectraProduct<T> product = product_of_vector(m.points, lanes, own.z, &no_shift, to);
        if (m.lanes_are_groups) {
            product.w = weights + group / lanes * m.spectrum(lanes);
            product.w_point = 2 * lanes;
            product.w_half = lanes;
            call.kernel.fourier.multiply_lanes(product);
        } else {
            product.w = weights + group * filters + k;
            product.w_point = 2 * layout.items;
            product.w_half = layout.items;
            call.kernel.fourier.multiply(product);
        }
        store_products(call, index, group * filters + k, item, to, own);
    }
}

// Transforms some channels of items [first, first + count): channel c of `channels` goes to `to` + c*pitch.
template <class T, class SetTile>
void transform_items(const FourierCall<T>& call, size_t index, const Stored<T>& source, const TileTensor& tensor,
                     T scale, int64_t channels, int64_t count, int threads, const SetTile& set_tile, T* to,
                     int64_t pitch, int64_t half, const ThreadBuffers<FourierBuffers<T>>& buffers, int thread_of_task) {
    const int64_t lanes = call.kernel.lanes, vectors = ceil_div(count, lanes);
    const FourierMap& m = call.fourier.maps[index];
    parallel_for(channels * vectors, threads, [&](int64_t task, int thread) {
        const FourierBuffers<T>& own = buffers[static_cast<size_t>(threads > 1 ? thread : thread_of_task)];
        const int64_t channel = task / vectors, item = task % vectors * lanes;
        for (int64_t l = 0; l < lanes; ++l) set_tile(channel, item + l, own.tiles.tiles[l]);
        call.transforms(index).forward(source, tensor, own.tiles, scale, own.z);
        call.kernel.store_rows(own.z, lanes, 2 * m.points, std::min(lanes, pitch - item), to + channel * pitch + item,
                               half);
    });
}

// Frequencies that a task multiplies: enough to take longer than handing it out.
inline int64_t points_of_task(const FourierMap& m, int threads) {
    constexpr int64_t tasks = 8;
    return threads == 1 ? m.points : std::max<int64_t>(ceil_div(m.points, tasks * threads), 8);
}

template <class T>
void multiply_box(const FourierCall<T>& call, size_t index, int64_t task, const T* weights, const BoxSpectra<T>& box,
                  int threads, const ThreadBuffers<FourierBuffers<T>>& buffers, int thread_of_task) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[index];
    const MapPlan& map = plan.maps[index];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const int64_t group = task / m.boxes, first = task % m.boxes * m.box_items;
    const int64_t count = std::min(m.box_items, plan.batch() * m.items() - first), vectors = ceil_div(count, lanes);
    transform_items(
        call, index, call.operands.source(plan.pass), source_tensor(plan, map, m), T(1), m.source_channels,
        count + m.halo(), threads,
        [&](int64_t channel, int64_t item, LaneTile& tile) {
            set_source<T>(plan, m, map, group * m.source_channels + channel, first + item, tile);
        },
        box.x, box.x_pitch, box.x_half, buffers, thread_of_task);
    const FourierWeights layout(plan, m, lanes);
    const int64_t points = points_of_task(m, threads);
    parallel_for(ceil_div(m.points, points), threads, [&](int64_t part, int) {
        const int64_t lo = part * points;
        call.kernel.fourier.multiply({std::min(points, m.points - lo),
                                      filters,
                                      terms,
                                      vectors,
                                      box.x + lo * 2 * box.x_half,
                                      box.x_at,
                                      2 * box.x_half,
                                      box.x_half,
                                      lanes,
                                      weights + lo * 2 * layout.items + group * filters * terms,
                                      2 * layout.items,
                                      layout.items,
                                      0,
                                      terms,
                                      1,
                                      box.y + lo * 2 * box.y_half,
                                      2 * box.y_half,
                                      box.y_half,
                                      lanes,
                                      box.y_pitch,
                                      false});
    });
    parallel_for(filters * vectors, threads, [&](int64_t part, int thread) {
        const FourierBuffers<T>& own = buffers[static_cast<size_t>(threads > 1 ? thread : thread_of_task)];
        const int64_t k = part / vectors, item = part % vectors * lanes;
        call.kernel.store_rows(box.y + k * box.y_pitch + item, box.y_half, 2 * m.points, lanes, own.z, lanes);
        store_products(call, index, group * filters + k, first + item, own.z, own);
    });
}

// What all threads share: the transformed weights, and the spectra of a box that they do together.
template <class T>
struct FourierShared {
    T* weights = nullptr;
    std::byte* box = nullptr;

    FourierShared(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        weights = carver.take<T>(packed_weight_elems(plan) + kernel.lanes);
        box = carver.take<std::byte>(fourier_of(plan).boxes_of_threads ? 0 : largest_box<T>(plan, kernel));
    }
};

template <class T>
void run_fourier_products(const Plan& plan, const Operands<T>& operands, const RunContext& run) {
    const FourierCall<T> call(plan, operands, run);
    Carver carver(run.workspace);
    const FourierShared<T> shared(carver, plan, call.kernel);
    const auto buffers = thread_buffers<FourierBuffers<T>>(carver, plan, call.kernel, run.threads);
    const int threads = plan.tasks.parallel ? run.threads : 1;
    for (size_t i = 0; i < call.fourier.maps.size(); ++i) {
        const FourierMap& m = call.fourier.maps[i];
        const T* weights = operands.packed != nullptr ? operands.packed + m.weights_at : nullptr;
        if (weights == nullptr) {
            transform_weights(call, i, threads, shared.weights + m.weights_at, buffers);
            weights = shared.weights + m.weights_at;
        }
        const int64_t groups = plan.tasks.groups;
        if (meets_alone(plan, m)) {
            const int64_t vectors = m.lanes_are_groups ? ceil_div(groups, call.kernel.lanes) : groups;
            parallel_for(vectors * m.boxes, threads, [&](int64_t task, int thread) {
                multiply_alone(call, i, task, weights, buffers[static_cast<size_t>(thread)]);
            });
        } else if (call.fourier.boxes_of_threads) {
            parallel_for(groups * m.boxes, threads, [&](int64_t task, int thread) {
                Carver own(buffers[static_cast<size_t>(thread)].box);
                multiply_box(call, i, task, weights, BoxSpectra<T>(own, plan, m, call.kernel), 1, buffers, thread);
            });
        } else {
            for (int64_t task = 0; task < groups * m.boxes; ++task) {
                Carver own(shared.box);
                multiply_box(call, i, task, weights, BoxSpectra<T>(own, plan, m, call.kernel), threads, buffers, 0);
            }
        }
    }
}

template <class T>
void prepare_fourier(const Plan& plan, const Operands<T>& operands, const RunContext& run, T* packed) {
    const FourierCall<T> call(plan, operands, run);
    Carver carver(run.workspace);
    const FourierShared<T> shared(carver, plan, call.kernel);
    const auto buffers = thread_buffers<FourierBuffers<T>>(carver, plan, call.kernel, run.threads);
    for (size_t i = 0; i < call.fourier.maps.size(); ++i)
        transform_weights(call, i, plan.tasks.parallel ? run.threads : 1, packed + call.fourier.maps[i].weights_at,
                          buffers);
}

}  // namespace convpp
