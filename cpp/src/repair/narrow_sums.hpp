// The same as sums.hpp for groups of a few channels, as of depthwise layers: neighbouring channels (channels_last,
// depthwise) or the pixels of rows side by side.
//
// In:  a Plan and the operands of a call that has been carried out; which taps of which filters are spoiled.
// Out: dw as the definition has it.   Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "repair/rows.hpp"
#include "repair/sums.hpp"

namespace convpp {

// Calls row(dy, x, count): offsets of the first pixel, for all rows of pixels that read inside at a tap.
template <class Row>
void for_each_row_inside(const Plan& plan, const Border& border, const TensorStrides& x, const Extents& tap,
                         const Row& row) {
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const SourceSteps depth(axis[0], x.axis[0]), height(axis[1], x.axis[1]), width(axis[2], x.axis[2]);
    const Span d = border.axis[0].pixels_of(tap[0]), h = border.axis[1].pixels_of(tap[1]),
               w = border.axis[2].pixels_of(tap[2]);
    if (w.length() == 0) return;
    for (int64_t n = 0; n < plan.batch(); ++n)
        for (int64_t i = d.lo; i < d.hi; ++i)
            for (int64_t j = h.lo; j < h.hi; ++j)
                row(plan.result.offset(n, 0, {i, j, w.lo}),
                    n * x.batch + depth.at(i, tap[0]) + height.at(j, tap[1]) + width.at(w.lo, tap[2]), w.length());
}

inline Extents tap_of(const Border& border, int64_t index) {
    const Extents count = border.tap_extents();
    return {index / count[2] / count[1], index / count[2] % count[1], index % count[2]};
}

// Neighbouring channels, each with a filter of its own, at one tap.
template <class T, class S>
void sum_channels(const Plan& plan, const Border& border, const S* dy, const S* x, int64_t count, const Extents& tap,
                  std::array<T, dot_lanes>& sums) {
    const RepairShape shape(plan);
    const int64_t dy_step = plan.result.axis[2], x_step = plan.maps[0].map.axis[2].source_step * shape.strides.axis[2];
    sums.fill(T(0));
    for_each_row_inside(plan, border, shape.strides, tap, [&](int64_t dy_at, int64_t x_at, int64_t pixels) {
        const S *a = dy + dy_at, *b = x + x_at;
        std::array<T, dot_lanes> row = sums;
        for (int64_t i = 0; i < pixels; ++i, a += dy_step, b += x_step) {
            if (count == dot_lanes)
                for (int64_t j = 0; j < dot_lanes; ++j)
                    row[static_cast<size_t>(j)] += computed<T>(a[j]) * computed<T>(b[j]);
            else
                for (int64_t j = 0; j < count; ++j)
                    row[static_cast<size_t>(j)] += computed<T>(a[j]) * computed<T>(b[j]);
        }
        sums = row;
    });
}

template <class T>
void repair_narrow_sums(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                        const SpoiledTaps& spoiled) {
    const RepairShape shape(plan);
    const IndexMap& map = plan.maps[0].map;
    const int64_t filters = plan.problem.geometry().out_channels, per_group = filters / shape.groups;
    T* const dw = operands.result.plain();
    const auto into = [&](int64_t k, int64_t c, const Extents& tap) -> T& {
        return dw[k * plan.weights.result_channel + c * plan.weights.source_channel + weight_at(plan, map, tap)];
    };
    if (shape.channels == 1 && per_group == 1 && plan.channels_last() && filters > 1) {
        parallel_for(ceil_div(filters, dot_lanes) * border.taps(), threads, [&](int64_t task, int) {
            const int64_t first = task / border.taps() * dot_lanes, count = std::min(dot_lanes, filters - first);
            const int64_t index = task % border.taps();
            const Extents tap = tap_of(border, index);
            bool again = false;
            for (int64_t j = 0; j < count; ++j) again |= spoiled.again(first + j, index);
            if (!again) return;
            std::array<T, dot_lanes> sums;
            const Stored<T> x = operands.x + first;
            with_elements(operands.dy + first, [&](const auto* dy) {
                sum_channels(plan, border, dy, reinterpret_cast<decltype(dy)>(x.at), count, tap, sums);
            });
            for (int64_t j = 0; j < count; ++j)
                if (spoiled.again(first + j, index)) into(first + j, 0, tap) = sums[static_cast<size_t>(j)];
        });
        return;
    }
    const int64_t dy_step = plan.result.axis[2], x_step = map.axis[2].source_step * shape.strides.axis[2];
    parallel_for(filters * border.taps(), threads, [&](int64_t task, int) {
        const int64_t k = task / border.taps(), index = task % border.taps();
        if (!spoiled.again(k, index)) return;
        const Extents tap = tap_of(border, index);
        for (int64_t c = 0; c < shape.channels; ++c) {
            const Stored<T> x = operands.x + (k / per_group * shape.channels + c) * shape.strides.channel;
            T sum = T(0);
            with_elements(operands.dy + k * plan.result.channel, [&](const auto* dy) {
                const auto* const from = reinterpret_cast<decltype(dy)>(x.at);
                for_each_row_inside(plan, border, shape.strides, tap, [&](int64_t dy_at, int64_t x_at, int64_t count) {
                    sum += dot<T>(dy + dy_at, dy_step, from + x_at, x_step, count);
                });
            });
            into(k, c, tap) = sum;
        }
    });
}

}  // namespace convpp
