// Results of forward and input_grad whose padding met weights that are not finite, computed again without it.
//
//   for each group, panel of result channels with such weights, part of the pixels      parallel: the tasks
//     for each class of pixels (border.hpp) for which such a weight lies outside
//       for each tile of its pixels, of all samples: sums over the taps inside           (kernels/tile/)
//
// In:  a Plan and the operands of a call that has been carried out.   Out: results as the definition has them.
// Next: depthwise.hpp, where channels are too few for panels.
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
#include "repair/border.hpp"
#include "repair/finite.hpp"
#include "repair/rows.hpp"
#include "source/border_map.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// The shape of tile that multiplies: its panels are two vectors wide on every instruction set.
inline constexpr int repair_shape = 1;

// The least box that holds all taps of a result channel with a weight that is not finite.
struct TapBounds {
    std::array<Span, 3> of;

    bool none() const { return of[0].length() == 0; }
    // Whether one of these taps reads padding at the class's pixels: an outermost one is outside, if any is.
    bool leaves(const PixelClass& pixels) const {
        for (size_t a = 0; a < 3; ++a)
            if (of[a].lo < pixels.taps[a].lo || of[a].hi > pixels.taps[a].hi) return !none();
        return false;
    }
    void add(const Extents& tap) {
        const bool first = none();
        for (size_t a = 0; a < 3; ++a)
            of[a] = first ? Span{tap[a], tap[a] + 1} : Span{std::min(of[a].lo, tap[a]), std::max(of[a].hi, tap[a] + 1)};
    }
};

// A pass of y or dx, as the definition has it: single channels, whatever the plan makes of them.
struct RepairShape {
    int64_t groups, channels, result_channels;  // of a group
    TensorStrides strides;  // of the source
    bool in_place;  // tiles can read the source

    explicit RepairShape(const Plan& plan) {
        const Geometry& g = plan.problem.geometry();
        const bool to_input = plan.pass == Pass::input_grad;
        groups = g.groups;
        channels = (to_input ? g.out_channels : g.in_channels) / g.groups;
        result_channels = (to_input ? g.in_channels : g.out_channels) / g.groups;
        strides = to_input ? y_strides(plan.problem) : x_strides(plan.problem);
        in_place = !plan.converts() && !plan.maps[0].map.has_border();
    }
    // The weights of a result channel begin so far on.
    int64_t weights_at(const Plan& plan, int64_t channel) const {
        return channel / result_channels * plan.weights.group + channel % result_channels * plan.weights.result_channel;
    }
};

inline int64_t source_pixels(const Plan& plan) {
    const Extents& extents = plan.pass == Pass::input_grad ? plan.problem.output() : plan.problem.geometry().input;
    return extents[0] * extents[1] * extents[2];
}

inline bool is_depthwise(const Plan& plan) {
    const Geometry& g = plan.problem.geometry();
    return g.groups > 1 && g.in_channels == g.groups && g.out_channels == g.groups && !plan.maps[0].map.has_border();
}

// Whether planes of channels_first are turned so that their channels lie side by side: small ones, of depthwise layers.
inline bool turns_planes(const Plan& plan) {
    constexpr int64_t small = 4096;
    return is_depthwise(plan) && !plan.channels_last() &&
           std::max(source_pixels(plan),
                    plan.problem.y_elems() / plan.batch() / plan.problem.geometry().out_channels) <= small;
}

// to[pixel][channel], `width` apart, of planes of `pixels` elements.
template <class T>
void turn_planes(const kernels::KernelTable<T>& kernel, const Stored<T>& planes, int64_t pixels, int64_t channels,
                 int64_t width, T* to) {
    std::array<int64_t, 256> offsets;
    for (int64_t c = 0; c < channels; ++c) offsets[static_cast<size_t>(c)] = c * pixels;
    const kernels::Run run{0, 0, pixels};
    reading(kernel, planes).transpose_panel(planes.at, offsets.data(), channels, &run, 1, to, width, planes.end);
}

// Where a tap of a map lies in the weights of a pair of channels.
inline int64_t weight_at(const Plan& plan, const IndexMap& map, const Extents& tap) {
    int64_t at = 0;
    for (size_t a = 0; a < 3; ++a) at += map.axis[a].taps[static_cast<size_t>(tap[a])].weight * plan.weights.axis[a];
    return at;
}

inline int64_t most_taps(const Plan& plan) {
    int64_t most = 0;
    for (const MapPlan& m : plan.maps) most = std::max(most, m.map.taps());
    return most;
}

// What a thread needs.
template <class T>
struct ProductRepair {
    int64_t width, rows;  // of a tile
    T *panel, *patches, *sums, *bias;
    int64_t *offsets, *channels, *result_at;  // of pairs; of the panel's lanes; of the tile's rows
    bool* wanted;  // of the panel's lanes
    const T** row;
    T** row_sums;
    T* planes;  // depthwise, channels_first: of the panel's channels, side by side

    ProductRepair(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const kernels::TileKernels<T>& tiles = kernel.tiles[repair_shape];
        const RepairShape shape(plan);
        const int64_t pairs = checked_mul(shape.channels, most_taps(plan), "the workspace");
        width = int64_t(tiles.vectors) * kernel.lanes;
        rows = tiles.rows;
        constexpr int64_t marks = 8;  // find_bounds'
        panel = carver.take<T>(std::max(checked_mul(pairs, width, "the workspace"),
                                        checked_mul(marks, plan.problem.taps(), "the workspace")));
        patches = carver.take<T>(shape.in_place ? 0 : checked_mul(pairs, rows, "the workspace"));
        sums = carver.take<T>(rows * width);
        bias = carver.take<T>(width);
        offsets = carver.take<int64_t>(pairs);
        channels = carver.take<int64_t>(width);
        result_at = carver.take<int64_t>(rows);
        wanted = carver.take<bool>(width);
        row = carver.take<const T*>(rows);
        row_sums = carver.take<T*>(rows);
        planes = carver.take<T>(turns_planes(plan) ? source_pixels(plan) * width + kernel.lanes : 0);
        for (int64_t i = 0; row_sums != nullptr && i < rows; ++i) row_sums[i] = sums + i * width;
    }
};

// to[i] += 0 * from[i]: NaN from then on where a number is not finite.
template <class T>
void mark_not_finite(const Stored<T>& from, int64_t count, T* to) {
    with_elements(from, [&](const auto* elements) {
        for (int64_t i = 0; i < count; ++i) to[i] += T(0) * computed<T>(elements[i]);
    });
}

// The bounds of all result channels, of one map.
template <class T>
void find_bounds(const Plan& plan, const IndexMap& map, const Stored<T>& w, int threads, TapBounds* bounds,
                 const ThreadBuffers<ProductRepair<T>>& buffers) {
    const RepairShape shape(plan);
    const Extents extents = Border(map).tap_extents();
    // Kernels that lie together are looked at together: of a result channel's sources, or (input_grad) of some result
    // channels.
    constexpr int64_t together = 8;
    const bool forward = plan.pass == Pass::forward;
    const int64_t taps = plan.problem.taps(), width = forward ? 1 : together;
    const int64_t blocks = ceil_div(shape.result_channels, width);
    parallel_for(shape.groups * blocks, threads, [&](int64_t task, int thread) {
        T* const marks = buffers[static_cast<size_t>(thread)].panel;  // [kernel][tap]
        const int64_t first = task % blocks * width, count = std::min(width, shape.result_channels - first);
        const int64_t channel = task / blocks * shape.result_channels + first;
        const Stored<T> from = w + shape.weights_at(plan, channel);
        std::fill_n(bounds + channel, count, TapBounds{});
        if (forward && all_finite(from, shape.channels * taps)) return;
        std::fill_n(marks, together * taps, T(0));
        const int64_t step = forward ? together : 1;
        for (int64_t c = 0; c < shape.channels; c += step)
            mark_not_finite(from + c * plan.weights.source_channel,
                            (forward ? std::min(together, shape.channels - c) : count) * taps, marks);
        if (forward)
            for (int64_t i = taps; i < together * taps; ++i) marks[i % taps] += marks[i];
        for (int64_t c = 0; c < count; ++c)
            for_each_position(extents, [&](const Extents& tap) {
                const T mark = marks[c * taps + weight_at(plan, map, tap)];
                if (mark != mark) bounds[channel + c].add(tap);
            });
    });
}

// Weights of `count` result channels side by side, for all pairs: taps in order, at each all source channels.
template <class T>
void fill_panel(const Plan& plan, const IndexMap& map, const Border& border, const Stored<T>& w,
                const ProductRepair<T>& own, int64_t count) {
    const RepairShape shape(plan);
    for (int64_t j = 0; j < own.width; ++j) {
        T* to = own.panel + j;
        if (j >= count) {
            for (int64_t i = 0; i < shape.channels * border.taps(); ++i, to += own.width) *to = T(0);
            continue;
        }
        with_elements(w + shape.weights_at(plan, own.channels[j]), [&](const auto* weights) {
            for_each_position(border.tap_extents(), [&](const Extents& tap) {
                copy_elements(weights + weight_at(plan, map, tap), plan.weights.source_channel, shape.channels, to,
                              own.width);
                to += shape.channels * own.width;
            });
        });
    }
}

// Finds the lanes whose results at a class of pixels are spoiled.  Returns whether there are any.
template <class T>
bool find_wanted(const TapBounds* bounds, const PixelClass& of, int64_t lanes, const ProductRepair<T>& own) {
    bool any = false;
    for (int64_t j = 0; j < lanes; ++j) any |= own.wanted[j] = bounds[own.channels[j]].leaves(of);
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

// Writes whole sums[row][lane] to the results that begin at result_at[row], for the lanes that are wanted.
template <class T>
void write_repaired(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                    const ProductRepair<T>& own, int64_t rows, int64_t lanes) {
    const bool* const wanted = own.wanted;
    const int64_t step = plan.result.channel;
    const auto put = [&](int64_t to, const T* sums, int64_t count) {
        apply_epilogue(kernel, operands.epilogue.from(to), {sums, count, 1, count}, operands.result + to, count);
    };
    if (operands.epilogue.none()) {
        with_results(operands.result, [&](auto* results) {
            for (int64_t j = 0; j < lanes; ++j)
                for (int64_t i = 0; i < (wanted[j] ? rows : 0); ++i)
                    store_rounded(own.sums[i * own.width + j], results[own.result_at[i] + own.channels[j] * step]);
        });
    } else if (step == 1) {  // channels that lie together
        for (int64_t j = 0, end = 0; j < lanes; j = end) {
            for (end = j; end < lanes && own.channels[end] - own.channels[j] == end - j && wanted[end];) ++end;
            for (int64_t i = 0; i < rows && end > j; ++i)
                put(own.result_at[i] + own.channels[j], own.sums + i * own.width + j, end - j);
            end = std::max(end, j + 1);
        }
    } else {  // pixels that lie together
        std::array<T, kernels::max_tile_rows> together;
        for (int64_t j = 0; j < lanes; ++j)
            for (int64_t i = 0, end = 0; i < (wanted[j] ? rows : 0); i = end) {
                for (end = i; end < rows && own.result_at[end] - own.result_at[i] == end - i; ++end)
                    together[static_cast<size_t>(end - i)] = own.sums[end * own.width + j];
                put(own.result_at[i] + own.channels[j] * step, together.data(), end - i);
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
                write_repaired(plan, kernel, operands, own, count, lanes);
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
        int64_t to = n * plan.result.batch, from = n * shape.strides.batch;
        for (size_t a = 0; a < 3; ++a) {
            const AxisMap& axis = map.axis[a];
            to += (axis.result_start + u[a] * axis.result_step) * plan.result.axis[a];
            if (shape.in_place) from += u[a] * axis.source_step * shape.strides.axis[a];
        }
        own.result_at[i] = to;
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

// So many parts of each of some items make enough tasks for the threads.
inline int64_t repair_parts(int64_t items, int threads) {
    constexpr int64_t most_parts = 64;
    return threads == 1 ? 1 : std::clamp(ceil_div(tasks_of_thread * threads, items), int64_t(1), most_parts);
}

// Of one map, where its result channels are wide enough for panels.
template <class T>
void repair_panels(const Plan& plan, const IndexMap& map, const Operands<T>& operands, int64_t batch, int threads,
                   const TapBounds* bounds, const ThreadBuffers<ProductRepair<T>>& buffers) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
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
