// The same as sums.hpp for groups of a few channels, as of depthwise layers: neighbouring channels (channels_last,
// depthwise) or the pixels of rows side by side.
//
// In:  a Plan and the operands of a call that has been carried out; which taps of which filters are spoiled.
// Out: dw as the definition has it.   Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "repair/narrow_products.hpp"
#include "repair/rows.hpp"
#include "repair/sums.hpp"

namespace convpp {

// Calls row(dy, x, count): offsets of the first pixel, for all rows of a sample's pixels that read inside at a tap.
template <class Row>
void for_each_row_inside(const Plan& plan, const Border& border, const TensorStrides& x, const Extents& tap,
                         const Row& row) {
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const SourceSteps depth(axis[0], x.axis[0]), height(axis[1], x.axis[1]), width(axis[2], x.axis[2]);
    const Span d = border.axis[0].pixels_of(tap[0]), h = border.axis[1].pixels_of(tap[1]),
               w = border.axis[2].pixels_of(tap[2]);
    if (w.length() == 0) return;
    for (int64_t i = d.lo; i < d.hi; ++i)
        for (int64_t j = h.lo; j < h.hi; ++j)
            row(plan.result.offset(0, 0, {i, j, w.lo}),
                depth.at(i, tap[0]) + height.at(j, tap[1]) + width.at(w.lo, tap[2]), w.length());
}

// Whether products of rows are faster than tiles, whose rows are source channels: few channels on both sides, or few
// source channels and pixels that lie together.
inline bool has_long_rows(const Plan& plan) {
    constexpr int64_t few = 4, long_row = 12;
    const AxisMap& width = plan.maps[0].map.axis[2];
    return is_narrow(plan) || (RepairShape(plan).channels < few && !plan.channels_last() && width.source_step == 1 &&
                               width.count >= long_row && !plan.maps[0].map.has_border());
}

// Neighbouring channels, each with a filter of its own, of one sample at one tap.  Positions in dy and x count `scale`.
template <class T, class S>
void add_channels(const Plan& plan, const Border& border, const S* dy, const S* x, int64_t scale, int64_t count,
                  const Extents& tap, T* sums) {
    const RepairShape shape(plan);
    const int64_t dy_step = scale * plan.result.axis[2];
    const int64_t x_step = scale * plan.maps[0].map.axis[2].source_step * shape.strides.axis[2];
    for_each_row_inside(plan, border, shape.strides, tap, [&](int64_t dy_at, int64_t x_at, int64_t pixels) {
        const S *a = dy + scale * dy_at, *b = x + scale * x_at;
        std::array<T, dot_lanes> row;
        std::copy_n(sums, dot_lanes, row.begin());
        for (int64_t i = 0; i < pixels; ++i, a += dy_step, b += x_step) {
            if (count == dot_lanes)
                for (int64_t j = 0; j < dot_lanes; ++j)
                    row[static_cast<size_t>(j)] += computed<T>(a[j]) * computed<T>(b[j]);
            else
                for (int64_t j = 0; j < count; ++j)
                    row[static_cast<size_t>(j)] += computed<T>(a[j]) * computed<T>(b[j]);
        }
        std::copy_n(row.begin(), dot_lanes, sums);
    });
}

// Of dot_lanes channels, and some taps.
template <class T>
void repair_channels(const Plan& plan, const Border& border, const Operands<T>& operands, const SpoiledFilter* spoiled,
                     const SumRepair<T>& own, int64_t first, Span taps) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const RepairShape shape(plan);
    const int64_t count = std::min(dot_lanes, plan.problem.geometry().out_channels - first);
    bool any = false;
    for (int64_t t = taps.lo; t < taps.hi; ++t) {
        const Extents tap = border.tap_of(t);
        const bool again = std::any_of(spoiled + first, spoiled + first + count,
                                       [&](const SpoiledFilter& filter) { return filter.again(tap); });
        own.again[t - taps.lo] = again;
        any |= again;
    }
    if (!any) return;
    std::fill_n(own.sums, taps.length() * dot_lanes, T(0));
    const auto add = [&](const auto* dy, const auto* x, int64_t scale) {
        for (int64_t tap = taps.lo; tap < taps.hi; ++tap)
            if (own.again[tap - taps.lo] != 0)
                add_channels(plan, border, dy, x, scale, count, border.tap_of(tap),
                             own.sums + (tap - taps.lo) * dot_lanes);
    };
    for (int64_t n = 0; n < plan.batch(); ++n) {
        const Stored<T> dy = operands.dy + (n * plan.result.batch + first * plan.result.channel);
        const Stored<T> x = operands.x + (n * shape.strides.batch + first * shape.strides.channel);
        if (turns_planes(plan)) {
            turn_planes(kernel, dy, plan.result.channel, count, dot_lanes, own.dy_planes);
            turn_planes(kernel, x, shape.strides.channel, count, dot_lanes, own.x_planes);
            add(static_cast<const T*>(own.dy_planes), static_cast<const T*>(own.x_planes), dot_lanes);
        } else {
            with_elements(dy, [&](const auto* from) { add(from, reinterpret_cast<decltype(from)>(x.at), 1); });
        }
    }
    for (int64_t tap = taps.lo; tap < taps.hi; ++tap)
        for (int64_t j = 0; j < count; ++j)
            if (spoiled[first + j].again(border.tap_of(tap)))
                operands.result.plain()[(first + j) * plan.weights.result_channel +
                                        weight_at(plan, plan.maps[0].map, border.tap_of(tap))] =
                    own.sums[(tap - taps.lo) * dot_lanes + j];
}

template <class T>
void repair_narrow_sums(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                        const SpoiledFilter* spoiled, const ThreadBuffers<SumRepair<T>>& buffers) {
    const RepairShape shape(plan);
    const IndexMap& map = plan.maps[0].map;
    const int64_t filters = plan.problem.geometry().out_channels, per_group = filters / shape.groups;
    T* const dw = operands.result.plain();
    const auto into = [&](int64_t k, int64_t c, const Extents& tap) -> T& {
        return dw[k * plan.weights.result_channel + c * plan.weights.source_channel + weight_at(plan, map, tap)];
    };
    if (is_depthwise(plan) && (plan.channels_last() || turns_planes(plan))) {
        const int64_t blocks = ceil_div(filters, dot_lanes), taps = border.taps();
        const int64_t at_once = std::min(buffers[0].tap_block, ceil_div(taps, repair_parts(blocks, threads)));
        const int64_t parts = ceil_div(taps, at_once);
        parallel_for(blocks * parts, threads, [&](int64_t task, int thread) {
            const int64_t lo = task % parts * at_once;
            repair_channels(plan, border, operands, spoiled, buffers[static_cast<size_t>(thread)],
                            task / parts * dot_lanes, {lo, std::min(lo + at_once, taps)});
        });
        return;
    }
    const int64_t dy_step = plan.result.axis[2], x_step = map.axis[2].source_step * shape.strides.axis[2];
    parallel_for(filters * border.taps(), threads, [&](int64_t task, int) {
        const int64_t k = task / border.taps(), index = task % border.taps();
        const Extents tap = border.tap_of(index);
        if (!spoiled[k].again(tap)) return;
        for (int64_t c = 0; c < shape.channels; ++c) {
            const Stored<T> x = operands.x + (k / per_group * shape.channels + c) * shape.strides.channel;
            T sum = T(0);
            with_elements(operands.dy + k * plan.result.channel, [&](const auto* dy) {
                const auto* const from = reinterpret_cast<decltype(dy)>(x.at);
                for (int64_t n = 0; n < plan.batch(); ++n) {
                    const auto add = [&](int64_t dy_at, int64_t x_at, int64_t count) {
                        sum += dot<T>(dy + n * plan.result.batch + dy_at, dy_step,
                                      from + n * shape.strides.batch + x_at, x_step, count);
                    };
                    for_each_row_inside(plan, border, shape.strides, tap, add);
                }
            });
            into(k, c, tap) = sum;
        }
    });
}

}  // namespace convpp
