// What is repaired as the definition has it: single channels, whatever the plan makes of them.
//
// In:  a Plan.   Out: its groups, channels, strides; where its weights and elements lie.
// Next: products.hpp, sums.hpp, and for small groups lanes.hpp and dots.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "plan/plan.hpp"
#include "plan/setting.hpp"
#include "problem/checked.hpp"

namespace convpp {

// The shape of tile that multiplies: its panels are two vectors wide on every instruction set.
inline constexpr int repair_shape = 1;

struct RepairShape {
    int64_t groups, channels, result_channels;  // of a group
    TensorStrides strides;  // of the source
    Extents extents;
    bool in_place;  // tiles can read the source

    explicit RepairShape(const Plan& plan) {
        const Geometry& g = plan.problem.geometry();
        const bool to_input = plan.pass == Pass::input_grad;
        groups = g.groups;
        channels = (to_input ? g.out_channels : g.in_channels) / g.groups;
        result_channels = (to_input ? g.in_channels : g.out_channels) / g.groups;
        strides = to_input ? y_strides(plan.problem) : x_strides(plan.problem);
        extents = to_input ? plan.problem.output() : g.input;
        in_place = !plan.converts() && !plan.maps[0].map.has_border();
    }
    // The weights of a result channel begin so far on.
    int64_t weights_at(const Plan& plan, int64_t channel) const {
        return channel / result_channels * plan.weights.group + channel % result_channels * plan.weights.result_channel;
    }
};

inline int64_t pixels_of_plane(const Extents& extents) {
    return saturated_mul(extents[0], saturated_mul(extents[1], extents[2]));
}

inline int64_t source_pixels(const Plan& plan) {
    return pixels_of_plane(plan.pass == Pass::input_grad ? plan.problem.output() : plan.problem.geometry().input);
}

inline int64_t y_pixels(const Plan& plan) { return pixels_of_plane(plan.problem.output()); }

// Where a tap of a map lies in the weights of a pair of channels.
inline int64_t weight_at(const Plan& plan, const IndexMap& map, const Extents& tap) {
    int64_t at = 0;
    for (size_t a = 0; a < 3; ++a) at += map.axis[a].taps.weight(tap[a]) * plan.weights.axis[a];
    return at;
}

// From the first to the last of a map's taps as they are stored.
inline Span stored_taps(const Plan& plan, const IndexMap& map) {
    Span stored{0, 1};
    for (size_t a = 0; a < 3; ++a) {
        const Taps& taps = map.axis[a].taps;
        const int64_t first = taps.weight(0) * plan.weights.axis[a];
        const int64_t last = taps.weight(taps.size() - 1) * plan.weights.axis[a];
        stored = {stored.lo + std::min(first, last), stored.hi + std::max(first, last)};
    }
    return stored;
}

// Whether most of what lies between them is not the map's.
inline bool are_far_apart(const Span& stored, const IndexMap& map) {
    constexpr int64_t few_times = 8;
    return stored.length() / few_times > map.taps();
}

// Where the result of a map's pixel lies.
inline int64_t result_at(const Plan& plan, const IndexMap& map, int64_t n, const Extents& u) {
    int64_t at = n * plan.result.batch;
    for (size_t a = 0; a < 3; ++a)
        at += (map.axis[a].result_start + u[a] * map.axis[a].result_step) * plan.result.axis[a];
    return at;
}

// An element as what is computed with.
template <class T, class S>
T computed(S value) {
    if constexpr (std::is_same_v<S, T>) return value;
    else return static_cast<T>(static_cast<float>(value));
}

// Positions of a map's first pixel and tap along an axis of the source, and from one to the next.
struct SourceSteps {
    int64_t first, pixel, tap;

    SourceSteps(const AxisMap& axis, int64_t stride)
        : first(axis.taps.offset(0) * stride),
          pixel(axis.source_step * stride),
          tap(axis.taps.size() > 1 ? (axis.taps.offset(1) - axis.taps.offset(0)) * stride : 0) {}
    int64_t at(int64_t u, int64_t t) const { return first + u * pixel + t * tap; }
};

// So many parts of each of some items make enough tasks for the threads.
inline int64_t repair_parts(int64_t items, int threads) {
    constexpr int64_t most_parts = 64;
    return threads == 1 ? 1 : std::clamp(ceil_div(tasks_of_thread * threads, items), int64_t(1), most_parts);
}

}  // namespace convpp
