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
// Read before: tiles.hpp.
//
// A spectrum is [point][real, imaginary][lanes].  Those of many terms are [point][real, imaginary][channel][item], so
// that the part p of the taps finds its tile's spectrum some items on.
#pragma once

#include <algorithm>
#include <atomic>

#include "machine/parallel.hpp"
#include "repair/finite.hpp"
#include "strategies/fft/tiles.hpp"
#include "strategies/product_loop.hpp"

namespace convpp {

template <class T>
struct FourierCall {
    const Plan& plan;
    const kernels::KernelTable<T>& kernel;
    const FourierPlan& fourier;
    const Operands<T>& operands;
    std::atomic<unsigned char>* not_finite;

    FourierCall(const Plan& of_plan, const Operands<T>& of_operands, const RunContext& run)
        : plan(of_plan),
          kernel(kernel_table<T>(of_plan.isa)),
          fourier(fourier_of(of_plan)),
          operands(of_operands),
          not_finite(run.not_finite) {}

    Transforms<T> transforms(size_t map) const { return {kernel, fourier.maps[map], tables_of<T>(fourier, map)}; }
};

// A sum of one term is done by one thread from the source to the results.
inline bool meets_alone(const Plan& plan, const FourierMap& m) {
    return m.terms() == 1 && (plan.pass != Pass::weight_grad || plan.tasks.channels == 1);
}

// The spectra of a box of items of one group: [point][real, imaginary][channel][item]; or (sums_by_channels) [..][item]
// [channel], those of the source in whole vectors.
template <class T>
struct BoxSpectra {
    T *x = nullptr, *y = nullptr;
    int64_t* x_at = nullptr;  // of terms
    int64_t x_pitch, y_pitch, x_half, y_half;

    BoxSpectra(Carver& carver, const Plan& plan, const FourierMap& m, const kernels::KernelTable<T>& kernel) {
        constexpr const char* what = "the spectra of a box";
        const int64_t lanes = kernel.lanes, line = cache_line / static_cast<int64_t>(sizeof(T));
        const int64_t items = m.box_items + m.halo(), filters = plan.tasks.channels;
        const auto odd = [&](int64_t elems) { return (ceil_div(elems, line) | 1) * line; };
        const bool by_channels = m.sums_by_channels;
        x_pitch = round_up(by_channels ? m.source_channels : items, lanes);
        y_pitch = by_channels ? filters : round_up(m.box_items, lanes);
        x_half = odd(checked_mul(by_channels ? items : m.source_channels, x_pitch, what));
        y_half = odd(checked_mul(by_channels ? m.box_items : filters, y_pitch, what));
        // (What lanes of the last term read behind the last item belongs to results that nobody stores.)
        x = carver.take<T>(checked_add(checked_mul(2 * m.points, x_half, what), lanes, what));
        y = carver.take<T>(checked_mul(2 * m.points, y_half, what));
        x_at = carver.take<int64_t>(by_channels ? m.box_items : m.terms());
        if (x_at == nullptr) return;
        if (by_channels)
            for (int64_t i = 0; i < m.box_items; ++i) x_at[i] = i * x_pitch;
        else
            for (int64_t c = 0, t = 0; c < m.source_channels; ++c)
                for (int64_t p = 0; p < m.parts(); ++p) x_at[t++] = c * x_pitch + m.shift_of(p);
    }
};

template <class T>
int64_t largest_box(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    int64_t most = 0;
    for (const FourierMap& m : fourier_of(plan).maps)
        if (!meets_alone(plan, m)) most = std::max(most, measured<BoxSpectra<T>>(plan, m, kernel));
    return most;
}

// What a thread needs.
template <class T>
struct FourierBuffers {
    TileBuffer<T> tiles;
    T *z = nullptr, *product = nullptr;  // spectra
    std::byte* box = nullptr;  // those of a box, where threads take whole ones

    FourierBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) : tiles(carver, kernel) {
        int64_t most = 0;
        for (const FourierMap& m : fourier_of(plan).maps) most = std::max(most, m.spectrum(kernel.lanes));
        z = carver.take<T>(most);
        product = carver.take<T>(most);
        box = carver.take<std::byte>(fourier_of(plan).boxes_of_threads ? largest_box<T>(plan, kernel) : 0);
    }
};

// Transformed weights, by items that are (group, filter, term), or where lanes are groups, spectra of vectors of groups.
struct FourierWeights {
    int64_t items, pitch, elems;
    FourierWeights(const Plan& plan, const FourierMap& m, int64_t lanes) {
        constexpr const char* what = "the transformed weights";
        items = checked_mul(checked_mul(plan.tasks.groups, plan.tasks.channels, what), m.terms(), what);
        pitch = items;
        elems = m.lanes_are_groups ? checked_mul(ceil_div(plan.tasks.groups, lanes), m.spectrum(lanes), what)
                                   : checked_mul(checked_mul(2, m.points, what), pitch, what);
    }
};

inline TileTensor kernel_tensor(const Plan& plan, const FourierMap& m) {
    TileTensor tensor;
    tensor.steps = plan.weights.axis;
    for (size_t a = 0; a < 3; ++a) tensor.limit[a] = m.axis[a].part;
    return tensor;
}

// The taps of pair (filter, term) of a group.
inline LaneTile pair_tile(const Plan& plan, const MapPlan& map, const FourierMap& m, int64_t group, int64_t filter,
                          int64_t term) {
    const int64_t channel = term / m.parts();
    LaneTile tile = kernel_tile(map.map, m, term % m.parts(), channel % m.phases());
    tile.at = group * plan.weights.group + filter * plan.weights.result_channel +
              channel / m.phases() * plan.weights.source_channel;
    return tile;
}

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
                                   to + vector * lanes, layout.pitch);
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

inline Extents hops_of(const FourierMap& m) { return {m.axis[0].hop, m.axis[1].hop, m.axis[2].hop}; }

// Stores results of all lanes from vectors of elements, row by row.
template <class T>
class ResultTiles {
public:
    // `steps` of the tensor that is written, `limit`: elements of a tile that are.
    ResultTiles(const FourierCall<T>& call, const FourierMap& m, const TileBuffer<T>& buffer, const Extents& steps,
                const Extents& limit, int64_t together)
        : call_(call), m_(m), buffer_(buffer), steps_(steps), limit_(limit), together_(together) {}

    void store(const T* z) const {
        const int64_t lanes = call_.kernel.lanes, row = m_.pitch * 2 * lanes;
        for (int64_t i = 0; i < limit_[0]; ++i)
            for_each_part(i, limit_, [&](const TilePart& part) {
                const T* const from = z + (i * m_.axis[1].length + part.row) * row + part.column * lanes;
                if (together_ > 0) {
                    for (int64_t r = 0; r < part.rows; ++r) store_together(from + r * row, part, part.row + r);
                    return;
                }
                int64_t vectors = 0;
                for (int64_t r = 0; r < part.rows; ++r)
                    for (int64_t c = 0; c < part.columns; ++c) buffer_.rows[vectors++] = from + r * row + c * lanes;
                call_.kernel.transpose_rows(buffer_.rows, vectors, lanes, buffer_.lines, buffer_.pitch);
                for (int64_t l = 0; l < lanes; ++l)
                    store_lines(buffer_.tiles[l], part, buffer_.lines + l * buffer_.pitch);
            });
    }

private:
    int64_t at(const LaneTile& tile, int64_t i, int64_t j, int64_t c) const {
        return tile.at + tile.line[0].at(i) * steps_[0] + tile.line[1].at(j) * steps_[1] +
               tile.line[2].at(c) * steps_[2];
    }
    void look(const LaneTile& tile, bool finite) const {
        if (!finite) call_.not_finite[tile.sample].store(1, std::memory_order_relaxed);
    }

    void store_lines(const LaneTile& tile, const TilePart& part, const T* lines) const {
        if (!tile.used || !tile.line[0].has(part.plane)) return;
        const int64_t rows = std::min(part.rows, tile.line[1].hi - part.row),
                      count = std::min(part.columns, tile.line[2].hi - part.column);
        if (rows <= 0 || count <= 0) return;
        const int64_t elems = (rows - 1) * part.columns + count;
        look(tile, all_finite(Stored<T>(lines, elems), elems));
        const int64_t first = at(tile, part.plane, part.row, part.column), step = tile.line[2].step * steps_[2],
                      row_step = tile.line[1].step * steps_[1];
        if (step == 1) return write({lines, part.columns, rows, count}, first, row_step);
        for (int64_t r = 0; r < rows; ++r) write({lines + r * part.columns, 1, count, 1}, first + r * row_step, step);
    }

    // Columns are vectors of neighbours.
    void store_together(const T* row, const TilePart& part, int64_t j) const {
        const LaneTile& tile = buffer_.tiles[0];
        if (!tile.used || !tile.line[0].has(part.plane) || !tile.line[1].has(j)) return;
        const int64_t lanes = call_.kernel.lanes, count = std::min(part.columns, tile.line[2].hi - part.column);
        if (count <= 0) return;
        bool finite = true;
        if (together_ == lanes) finite = all_finite(Stored<T>(row, count * lanes), count * lanes);
        else
            for (int64_t c = 0; c < count; ++c)
                finite = finite && all_finite(Stored<T>(row + c * lanes, together_), together_);
        look(tile, finite);
        write({row, lanes, count, together_}, at(tile, part.plane, j, part.column), tile.line[2].step * steps_[2]);
    }

    void write(const SumRows<T>& sums, int64_t first, int64_t pitch) const {
        const Operands<T>& operands = call_.operands;
        if (operands.result.as == Storage::plain && operands.epilogue.none()) {
            T* const to = operands.result.plain() + first;
            if (sums.count > 1) return call_.kernel.store_rows(sums.at, sums.pitch, sums.rows, sums.count, to, pitch);
            for (int64_t r = 0; r < sums.rows; ++r) to[r * pitch] = sums.at[r * sums.pitch];
            return;
        }
        apply_epilogue(call_.kernel, operands.epilogue.from(first), sums, operands.result + first, pitch);
    }

    const FourierCall<T>& call_;
    const FourierMap& m_;
    const TileBuffer<T>& buffer_;
    const Extents &steps_, limit_;
    int64_t together_;
};

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
        kernels::SpectraProduct<T> product{};
        product = {m.points, 1, 1, 1, own.z, &no_shift, 2 * lanes, lanes, 0, nullptr, 0,
                   0,        0, 0, 0, to,    2 * lanes, lanes,     0,     0, false};
        if (m.lanes_are_groups) {
            product.w = weights + group / lanes * m.spectrum(lanes);
            product.w_point = 2 * lanes;
            product.w_half = lanes;
            call.kernel.fourier.multiply_lanes(product);
        } else {
            product.w = weights + group * filters + k;
            product.w_point = 2 * layout.pitch;
            product.w_half = layout.pitch;
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
                                      weights + lo * 2 * layout.pitch + group * filters * terms,
                                      2 * layout.pitch,
                                      layout.pitch,
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
