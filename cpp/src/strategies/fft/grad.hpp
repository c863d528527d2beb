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
// The sums of a pair are [point][real, imaginary].  Where lanes are groups they are a spectrum; and with many channels,
// vectors of source channels: [point][real, imaginary][part of the taps][filter][source channel].
#pragma once

#include "strategies/chunks.hpp"
#include "strategies/fft/product.hpp"

namespace convpp {

// Where the sums of pairs and chunks lie: [chunk][pair, or vector of groups].
struct FourierSumLayout {
    int64_t pairs, pair, chunk;
    int64_t row, half;  // sums_by_channels: of a filter; of a point's parts and filters.  A pair is then a group.

    FourierSumLayout(const Plan& plan, const FourierMap& m, int64_t lanes) {
        constexpr const char* what = "the transformed sums";
        row = round_up(m.source_channels, lanes);
        half = checked_mul(checked_mul(m.parts(), plan.tasks.channels, what), row, what) + lanes;
        if (m.sums_by_channels) {
            pairs = plan.tasks.groups;
            pair = checked_mul(2 * m.points, half, what);
        } else if (m.lanes_are_groups) {
            pairs = ceil_div(plan.tasks.groups, lanes);
            pair = m.spectrum(lanes);
        } else {
            pairs = checked_mul(plan.tasks.groups * plan.tasks.channels, m.terms(), what);
            pair = round_up(2 * m.points, lanes) + lanes;
        }
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
        if (m.lanes_are_groups) {
            kernels::SpectraProduct<T> product = product_of_vector(m.points, lanes, own.z, &no_shift, sums);
            product.w = own.product;
            product.w_point = point;
            product.w_half = lanes;
            product.onto = true;
            call.kernel.fourier.multiply_lanes(product);
        } else {
            call.kernel.fourier.sum({m.points, 1, 1, 1, own.z, &no_shift, point, lanes, 0, own.product, point, lanes, 0,
                                     0, sums, layout.pair});
        }
    }
}

// The spectra of a box of x and dy: vectors along items, or along channels.
template <class T>
void transform_box(const FourierCall<T>& call, int64_t group, int64_t first, int64_t count, const BoxSpectra<T>& box,
                   int threads, const ThreadBuffers<FourierBuffers<T>>& buffers, int thread_of_task) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const int64_t filters = plan.tasks.channels;
    const auto source = [&](int64_t channel, int64_t item, LaneTile& tile) {
        tile = {};
        if (channel < m.source_channels)
            set_source<T>(plan, m, plan.maps[0], group * m.source_channels + channel, first + item, tile);
    };
    const auto result = [&](int64_t channel, int64_t item, LaneTile& tile) {
        tile = {};
        if (channel < filters && item < count) set_result(plan, m, group * filters + channel, first + item, tile);
    };
    const T scale = call.transforms(0).scale();
    TileTensor x = source_tensor(plan, plan.maps[0], m), dy = result_tensor(plan, m);
    if (!m.sums_by_channels) {
        // As far as the last vector's lanes read, those without a tile of dy, too: their products are added with the rest.
        const int64_t read = round_up(count, call.kernel.lanes) + m.halo();
        transform_items(call, 0, call.operands.x, x, T(1), m.source_channels, read, threads, source, box.x, box.x_pitch,
                        box.x_half, buffers, thread_of_task);
        transform_items(call, 0, call.operands.dy, dy, scale, filters, count, threads, result, box.y, box.y_pitch,
                        box.y_half, buffers, thread_of_task);
        return;
    }
    const auto swapped = [](const auto& set) {
        return [&set](int64_t item, int64_t channel, LaneTile& tile) { set(channel, item, tile); };
    };
    transform_items(call, 0, call.operands.x, x, T(1), count + m.halo(), m.source_channels, threads, swapped(source),
                    box.x, box.x_pitch, box.x_half, buffers, thread_of_task);
    transform_items(call, 0, call.operands.dy, dy, scale, count, filters, threads, swapped(result), box.y, box.y_pitch,
                    box.y_half, buffers, thread_of_task);
}

// All boxes of a group, whose filters and terms are many.
template <class T>
void sum_boxes(const FourierCall<T>& call, int64_t group, T* all_sums, const BoxSpectra<T>& box, int threads,
               const ThreadBuffers<FourierBuffers<T>>& buffers, int thread_of_task) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const FourierSumLayout layout(plan, m, lanes);
    const int64_t of_group = layout.chunk / plan.tasks.groups;
    T* const sums = all_sums + group * of_group;
    const int64_t points = round_up(points_of_task(m, threads), lanes);
    for (int64_t first = 0; first < plan.batch() * m.items(); first += m.box_items) {
        const int64_t count = std::min(m.box_items, plan.batch() * m.items() - first);
        transform_box(call, group, first, count, box, threads, buffers, thread_of_task);
        if (!m.sums_by_channels && first == 0)
            parallel_for(filters * terms, threads, [&](int64_t pair, int) {
                std::fill(sums + pair * layout.pair, sums + (pair + 1) * layout.pair, T(0));
            });
        parallel_for(ceil_div(m.points, points), threads, [&](int64_t part, int) {
            const int64_t lo = part * points, own = std::min(points, m.points - lo);
            const T *const x = box.x + lo * 2 * box.x_half, *const y = box.y + lo * 2 * box.y_half;
            if (!m.sums_by_channels) {
                call.kernel.fourier.sum({own, filters, terms, ceil_div(count, lanes), x, box.x_at, 2 * box.x_half,
                                         box.x_half, lanes, y, 2 * box.y_half, box.y_half, lanes, box.y_pitch,
                                         sums + 2 * lo, layout.pair});
                return;
            }
            for (int64_t p = 0; p < m.parts(); ++p)
                call.kernel.fourier.multiply({own,
                                              filters,
                                              count,
                                              layout.row / lanes,
                                              x + m.shift_of(p) * box.x_pitch,
                                              box.x_at,
                                              2 * box.x_half,
                                              box.x_half,
                                              lanes,
                                              y,
                                              2 * box.y_half,
                                              box.y_half,
                                              0,
                                              1,
                                              box.y_pitch,
                                              sums + lo * 2 * layout.half + p * filters * layout.row,
                                              2 * layout.half,
                                              layout.half,
                                              lanes,
                                              layout.row,
                                              first > 0});
        });
    }
}

// Vectors of pairs whose taps are stored together: of pairs as they are numbered, or of source channels.
inline int64_t vectors_of_pairs(const Plan& plan, const FourierMap& m, int64_t lanes) {
    const int64_t filters = plan.tasks.groups * plan.tasks.channels;
    return m.sums_by_channels ? filters * m.parts() * ceil_div(m.source_channels, lanes)
                              : ceil_div(filters * m.terms(), lanes);
}

template <class T>
void store_sums(const FourierCall<T>& call, int64_t vector, const T* sums, const FourierBuffers<T>& own) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[0];
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms(), parts = m.parts();
    const int64_t pairs = plan.tasks.groups * filters * terms;
    const FourierSumLayout layout(plan, m, lanes);
    const auto set = [&](int64_t l, int64_t pair) {
        own.tiles.tiles[l] = {};
        if (pair < pairs)
            own.tiles.tiles[l] =
                pair_tile(plan, plan.maps[0], m, pair / terms / filters, pair / terms % filters, pair % terms);
    };
    if (m.sums_by_channels) {
        const int64_t blocks = layout.row / lanes, block = vector % blocks, filter = vector / blocks % filters,
                      part = vector / blocks / filters % parts, group = vector / blocks / filters / parts;
        for (int64_t l = 0; l < lanes; ++l) {
            const int64_t channel = block * lanes + l;
            set(l, channel < m.source_channels ? (group * filters + filter) * terms + channel * parts + part : pairs);
        }
        call.kernel.store_rows(sums + group * layout.pair + (part * filters + filter) * layout.row + block * lanes,
                               layout.half, 2 * m.points, lanes, own.z, lanes);
    } else {
        for (int64_t l = 0; l < lanes; ++l) {
            own.tiles.offsets[l] = std::min(vector * lanes + l, pairs - 1) * layout.pair;
            set(l, vector * lanes + l);
        }
        if (m.lanes_are_groups) {
            std::copy_n(sums + vector * layout.pair, 2 * m.points * lanes, own.z);
        } else {
            const kernels::Run run{0, 0, 2 * m.points};
            call.kernel.read[static_cast<int>(Storage::plain)].transpose_panel(sums, own.tiles.offsets, lanes, &run, 1,
                                                                               own.z, lanes, sums + layout.chunk);
        }
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
    parallel_for(vectors_of_pairs(plan, m, call.kernel.lanes), threads, [&](int64_t vector, int thread) {
        store_sums(call, vector, shared.sums, buffers[static_cast<size_t>(thread)]);
    });
}

}  // namespace convpp
