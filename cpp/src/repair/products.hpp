// Results of forward and input_grad whose padding met weights that are not finite, computed again without it.
//
//   for each group, panel of result channels with such weights, part of the pixels      parallel: the tasks
//     for each class of pixels (problem/border.hpp) for which such a weight lies outside
//       for each tile of its pixels, of all samples: sums over the taps inside           (kernels/tile/)
//
// In:  a Plan and the operands of a call that has been carried out.   Out: results as the definition has them.
// Next: lane_products.hpp and dot_products.hpp, where channels are too few for panels.
//
// A sum goes through the taps inside in order, and at each through the channels: so its bits follow from its own
// operands alone, not from threads or the batch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "problem/border.hpp"
#include "repair/bounds.hpp"
#include "repair/dots.hpp"
#include "repair/lanes.hpp"
#include "repair/shape.hpp"
#include "source/border_map.hpp"
#include "strategies/operands.hpp"

namespace convpp {

inline int64_t most_taps(const Plan& plan) {
    int64_t most = 0;
    for (const MapPlan& m : plan.maps) most = std::max(most, m.map.taps());
    return most;
}

// So many pixels are written at once, at most.
inline constexpr int64_t most_repaired = 128;

// What a thread needs.
template <class T>
struct ProductRepair {
    int64_t width, rows;  // of a tile
    T *panel, *patches, *sums, *bias;
    int64_t *offsets, *channels, *result_at;  // of pairs; of the panel's lanes; of the tile's rows
    bool* wanted;  // of the panel's lanes
    unsigned char* kinds;  // of find_bounds
    T* turned;  // of fill_panel
    int64_t panel_rows, *lane_at;
    const T** row;
    T** row_sums;
    RepairLanes<T> lane;  // which of the three serves, the plan says
    RepairDots<T> dots;

    ProductRepair(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : lane(carver, plan, kernel), dots(carver, plan, kernel) {
        const kernels::TileKernels<T>& tiles = kernel.tiles[repair_shape];
        const RepairShape shape(plan);
        const bool panels = lane.group == 0 && !dots.used;
        const int64_t pairs = panels ? checked_mul(shape.channels, most_taps(plan), "the workspace") : 0;
        width = int64_t(tiles.vectors) * kernel.lanes;
        rows = tiles.rows;
        panel = carver.take<T>(checked_mul(pairs, width, "the workspace"));
        int64_t stored = 0;
        for (const MapPlan& m : plan.maps) {
            const Span its = stored_taps(plan, m.map);
            if (!are_far_apart(its, m.map)) stored = std::max(stored, its.length());
        }
        panel_rows = panels ? std::max<int64_t>(stored, 64) : 0;
        turned = carver.take<T>(checked_mul(panel_rows, width, "the workspace") + kernel.lanes);
        lane_at = carver.take<int64_t>(width);
        kinds = carver.take<unsigned char>(checked_mul(kernels_together, plan.problem.taps(), "the workspace"));
        patches = carver.take<T>(shape.in_place ? 0 : checked_mul(pairs, rows, "the workspace"));
        sums = carver.take<T>(rows * width);
        bias = carver.take<T>(width);
        offsets = carver.take<int64_t>(pairs);
        channels = carver.take<int64_t>(width);
        result_at = carver.take<int64_t>(most_repaired);
        wanted = carver.take<bool>(width);
        row = carver.take<const T*>(rows);
        row_sums = carver.take<T*>(rows);
        for (int64_t i = 0; row_sums != nullptr && i < rows; ++i) row_sums[i] = sums + i * width;
    }
};

// Weights of `count` result channels side by side, for all pairs: taps in order, at each all source channels.  Kernels
// are transposed as they lie, some source channels at a time, and then put into this order.
template <class T>
void fill_panel(const Plan& plan, const IndexMap& map, const Border& border, const Stored<T>& w,
                const ProductRepair<T>& own, int64_t count) {
    const RepairShape shape(plan);
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const kernels::Readers<T>& read = reading(kernel, w);
    const Span stored = stored_taps(plan, map);
    const bool far_apart = are_far_apart(stored, map);
    const int64_t width = own.width, each = far_apart ? 1 : stored.length(), from_channel = plan.weights.source_channel;
    const int64_t at_once = std::max<int64_t>(own.panel_rows / each, 1), used = round_up(count, kernel.lanes);
    for (int64_t j = 0; j < count; ++j) own.lane_at[j] = shape.weights_at(plan, own.channels[j]);
    const auto turn = [&](const kernels::Run& run) {
        read.transpose_panel(w.at, own.lane_at, count, &run, 1, own.turned, width, w.end);
    };
    for (int64_t lo = 0; lo < shape.channels; lo += at_once) {
        const int64_t channels = std::min(at_once, shape.channels - lo), first = stored.lo + lo * from_channel;
        if (!far_apart && from_channel == each) turn({first, 0, channels * each});
        for (int64_t c = 0; c < channels && !far_apart && from_channel != each; ++c)
            turn({first + c * from_channel, c * each, each});
        T* to = own.panel + lo * width;
        for_each_position(border.tap_extents(), [&](const Extents& tap) {
            const int64_t at = weight_at(plan, map, tap);
            for (int64_t c = 0; c < channels && far_apart; ++c) turn({at + (lo + c) * from_channel, c, 1});
            const T* const from = own.turned + (far_apart ? 0 : at - stored.lo) * width;
            for (int64_t c = 0; c < channels; ++c) std::copy_n(from + c * each * width, used, to + c * width);
            to += shape.channels * width;
        });
    }
}

// Finds the lanes whose results at a class of pixels are spoiled.  Returns whether there are any.
template <class T>
bool find_wanted(const TapBounds* bounds, const PixelClass& of, int64_t lanes, const ProductRepair<T>& own) {
    bool any = false;
    for (int64_t j = 0; j < lanes; ++j) any |= own.wanted[j] = bounds[own.channels[j]].spoils(of);
    return any;
}

// use(results): a pointer of the type that they are stored in.
template <class T, class Use>
void with_results(const Results<T>& results, const Use& use) {
    switch (results.as) {
        case Storage::plain: return use(results.plain());
        case Storage::bfloat16: return use(reinterpret_cast<bfloat16*>(results.at));
        case Storage::float16: return use(reinterpret_cast<float16*>(results.at));
    }
}

template <class T, class S>
void store_rounded(T sum, S& to) {
    if constexpr (std::is_same_v<T, S>) to = sum;
    else to = S::from(static_cast<float>(sum));
}

// Sums of some pixels and lanes: from one to the next of both.
template <class T>
struct RepairedSums {
    const T* at;
    int64_t pixel, lane = 1;
};

// use(lo, hi): lanes that are wanted, and whose channels follow each other.
template <class T, class Use>
void for_each_run(const ProductRepair<T>& own, int64_t lanes, const Use& use) {
    for (int64_t lo = 0, hi = 0; lo < lanes; lo = std::max(hi, lo + 1)) {
        for (hi = lo; hi < lanes && own.channels[hi] - own.channels[lo] == hi - lo && own.wanted[hi];) ++hi;
        if (hi > lo) use(lo, hi);
    }
}

// Writes whole sums to the results that begin at result_at[pixel], for the lanes that are wanted.
template <class T>
void write_repaired(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                    const ProductRepair<T>& own, const RepairedSums<T>& sums, int64_t pixels, int64_t lanes) {
    const bool* const wanted = own.wanted;
    const int64_t step = plan.result.channel;
    std::array<T, static_cast<size_t>(most_repaired)> together;
    const auto put = [&](int64_t to, int64_t count) {
        apply_epilogue(kernel, operands.epilogue.from(to), {together.data(), count, 1, count}, operands.result + to,
                       count);
    };
    if (operands.epilogue.none()) {
        with_results(operands.result, [&](auto* results) {
            if (step == 1)
                for_each_run(own, lanes, [&](int64_t lo, int64_t hi) {
                    for (int64_t i = 0; i < pixels; ++i) {
                        auto* const to = results + own.result_at[i] + own.channels[lo];
                        for (int64_t j = lo; j < hi; ++j)
                            store_rounded(sums.at[i * sums.pixel + j * sums.lane], to[j - lo]);
                    }
                });
            else
                for (int64_t j = 0; j < lanes; ++j)
                    for (int64_t i = 0; i < (wanted[j] ? pixels : 0); ++i)
                        store_rounded(sums.at[i * sums.pixel + j * sums.lane],
                                      results[own.result_at[i] + own.channels[j] * step]);
        });
    } else if (step == 1) {  // channels that lie together
        for_each_run(own, lanes, [&](int64_t lo, int64_t hi) {
            for (int64_t i = 0; i < pixels; ++i) {
                for (int64_t j = lo; j < hi; ++j)
                    together[static_cast<size_t>(j - lo)] = sums.at[i * sums.pixel + j * sums.lane];
                put(own.result_at[i] + own.channels[lo], hi - lo);
            }
        });
    } else {  // pixels that lie together
        for (int64_t j = 0; j < lanes; ++j)
            for (int64_t i = 0, end = 0; i < (wanted[j] ? pixels : 0); i = end) {
                for (end = i; end < pixels && own.result_at[end] - own.result_at[i] == end - i; ++end)
                    together[static_cast<size_t>(end - i)] = sums.at[end * sums.pixel + j * sums.lane];
                put(own.result_at[i] + own.channels[j] * step, end - i);
            }
    }
}

// One group's panel, and its results in every `parts`-th tile of pixels.
template <class T>
struct PanelRepair {
    const Plan& plan;
    const IndexMap& map;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const TapBounds* bounds;
    const ProductRepair<T>& own;
    int64_t batch, lanes, part, parts;

    void run(const Stored<T>& group_source) const {
        const RepairShape shape(plan);
        fill_panel(plan, map, border, operands.w, own, lanes);
        for (int64_t j = 0; j < own.width; ++j)
            own.bias[j] = operands.bias && j < lanes ? operands.bias[own.channels[j]] : T(0);
        int64_t* offset = own.offsets;
        for_each_position(border.tap_extents(), [&](const Extents& tap) {
            int64_t at = 0;
            for (size_t a = 0; a < 3; ++a)
                at += map.axis[a].taps[static_cast<size_t>(tap[a])].offset * shape.strides.axis[a];
            for (int64_t c = 0; c < shape.channels; ++c, ++offset)
                *offset = shape.in_place ? at + c * shape.strides.channel : offset - own.offsets;
        });
        int64_t tile = 0;
        border.for_each_class([&](const PixelClass& of) {
            if (!find_wanted(bounds, of, lanes, own)) return;
            const int64_t pixels = of.pixel_count(), all = batch * pixels;
            for (int64_t first = 0; first < all; first += own.rows) {
                if (tile++ % parts != part) continue;
                const int64_t count = std::min(own.rows, all - first);
                for (int64_t i = 0; i < count; ++i) place_row(group_source, shape, of, i, first + i, pixels);
                multiply(of, shape.channels, count);
                write_repaired(plan, kernel, operands, own, {own.sums, own.width}, count, lanes);
            }
        });
    }

private:
    void place_row(const Stored<T>& group_source, const RepairShape& shape, const PixelClass& of, int64_t i,
                   int64_t item, int64_t pixels) const {
        const int64_t n = item / pixels, width = of.pixels[2].length(), height = of.pixels[1].length();
        const int64_t in_sample = item % pixels;
        const Extents u{of.pixels[0].lo + in_sample / width / height, of.pixels[1].lo + in_sample / width % height,
                        of.pixels[2].lo + in_sample % width};
        int64_t from = n * shape.strides.batch;
        for (size_t a = 0; a < 3 && shape.in_place; ++a) from += u[a] * map.axis[a].source_step * shape.strides.axis[a];
        own.result_at[i] = result_at(plan, map, n, u);
        if (shape.in_place) {
            own.row[i] = group_source.plain() + from;
            return;
        }
        T* const patch = own.patches + i * shape.channels * border.taps();
        own.row[i] = patch;
        with_elements(group_source, [&](const auto* elements) {
            for_each_inside(of, [&](const Extents& tap) {
                int64_t at = from;
                for (size_t a = 0; a < 3; ++a) at += border.axis[a].element(u[a], tap[a]) * shape.strides.axis[a];
                copy_elements(elements + at, shape.strides.channel, shape.channels,
                              patch + border.tap_index(tap) * shape.channels, 1);
            });
        });
    }

    template <class Body>
    static void for_each_inside(const PixelClass& of, const Body& body) {
        Extents tap{};
        for (tap[0] = of.taps[0].lo; tap[0] < of.taps[0].hi; ++tap[0])
            for (tap[1] = of.taps[1].lo; tap[1] < of.taps[1].hi; ++tap[1])
                for (tap[2] = of.taps[2].lo; tap[2] < of.taps[2].hi; ++tap[2]) body(tap);
    }

    // Rows of taps that lie together in the panel are one product.
    void multiply(const PixelClass& of, int64_t source_channels, int64_t count) const {
        const auto vectors = static_cast<size_t>(ceil_div(lanes, kernel.lanes));
        const auto tile = kernel.tiles[repair_shape].indirect[count - 1][vectors - 1];
        const bool whole_rows = of.taps[2].length() == border.axis[2].taps();
        const Span height = of.taps[1];
        const int64_t step = whole_rows ? std::max<int64_t>(height.length(), 1) : 1;
        kernels::Onto onto = kernels::Onto::column_bias;
        for (int64_t d = of.taps[0].lo; d < of.taps[0].hi && of.tap_count() > 0; ++d)
            for (int64_t h = height.lo; h < height.hi; h += step) {
                const int64_t pair = border.tap_index({d, h, of.taps[2].lo}) * source_channels;
                tile({of.taps[2].length() * step * source_channels, whole_taps}, own.row, own.offsets + pair,
                     own.panel + pair * own.width, own.row_sums, 0, onto, own.bias);
                onto = kernels::Onto::c;
            }
        if (onto == kernels::Onto::c) return;
        for (int64_t i = 0; i < count; ++i) std::copy_n(own.bias, own.width, own.row_sums[i]);
    }
};

// Of one map, where its result channels are wide enough for panels.
template <class T>
void repair_panels(const Plan& plan, const IndexMap& map, const Operands<T>& operands, int64_t batch, int threads,
                   const TapBounds* bounds, const ThreadBuffers<ProductRepair<T>>& buffers) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const RepairShape shape(plan);
    const Border border(map);
    const int64_t each = shape.result_channels, width = buffers[0].width, panels = ceil_div(each, width);
    // Panels without such channels are no work, and the others may be few.
    int64_t bad = 0;
    for (int64_t group = 0; group < shape.groups; ++group)
        bad += ceil_div(std::count_if(bounds + group * each, bounds + (group + 1) * each,
                                      [](const TapBounds& of) { return !of.none(); }),
                        width);
    if (bad == 0) return;
    const int64_t parts = repair_parts(bad, threads);
    parallel_for(shape.groups * panels * parts, threads, [&](int64_t task, int thread) {
        const ProductRepair<T>& own = buffers[static_cast<size_t>(thread)];
        const int64_t group = task / parts / panels, panel = task / parts % panels;
        int64_t found = 0, lanes = 0;
        for (int64_t channel = group * each; channel < (group + 1) * each && lanes < width; ++channel)
            if (!bounds[channel].none() && found++ >= panel * width) own.channels[lanes++] = channel;
        if (lanes == 0) return;
        const Stored<T> from = operands.source(plan.pass) + group * shape.channels * shape.strides.channel;
        PanelRepair<T>{plan, map, border, kernel, operands, bounds, own, batch, lanes, task % parts, parts}.run(from);
    });
}

}  // namespace convpp
