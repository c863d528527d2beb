// The axes of a pass as units of transforms.  axes.hpp says what comes in and goes out.
#include "strategies/winograd/axes.hpp"

#include <algorithm>

#include "kernels/contract.hpp"
#include "problem/checked.hpp"

namespace convpp {
namespace {

// How far the taps of an axis are apart, if a transform of `taps` taps serves it: equally far, at unit stride.  Else 0.
int64_t taps_apart(const AxisMap& axis, int64_t taps) {
    if (static_cast<int64_t>(axis.taps.size()) != taps || axis.source_step != 1 || axis.result_step != 1) return 0;
    const int64_t apart = axis.taps[1].offset - axis.taps[0].offset;
    for (size_t t = 1; t < axis.taps.size(); ++t)
        if (axis.taps[t].offset - axis.taps[t - 1].offset != apart) return 0;
    return apart;
}

WinogradAxis transformed_axis(const AxisMap& map, int size, int64_t apart) {
    WinogradAxis axis;
    axis.transformed = true;
    axis.outputs = kernels::winograd_outputs[size];
    axis.points = axis.outputs + kernels::winograd_taps[size] - 1;
    axis.spacing = apart < 0 ? -apart : apart;
    axis.reversed = apart < 0;
    axis.phases = std::min(axis.spacing, map.count);
    axis.step = axis.outputs * axis.spacing;
    axis.units = ceil_div(map.count, axis.step);
    axis.first = axis.reversed ? map.taps.back().offset : map.taps.front().offset;
    axis.offsets = {0};
    return axis;
}

WinogradAxis outer_axis(const AxisMap& map) {
    WinogradAxis axis;
    axis.units = map.count;
    axis.step = map.source_step;
    axis.first = map.taps.front().offset;
    for (const Tap& tap : map.taps) axis.first = std::min(axis.first, tap.offset);
    for (const Tap& tap : map.taps) {
        axis.offsets.push_back(tap.offset - axis.first);
        axis.reach = std::max(axis.reach, axis.offsets.back());
    }
    return axis;
}

}  // namespace

std::string winograd_axes(const IndexMap& map, int size, WinogradPlan& plan) {
    // A box holds all tiles of a dilation's phases.  (Beyond that, tiles would have to be told apart in the results.)
    constexpr int64_t most_phases = 64;
    plan.size = size;
    int axes = 0;
    int64_t phases = 1;
    for (size_t a = 3; a-- > 0;) {
        const int64_t apart = axes < 2 ? taps_apart(map.axis[a], kernels::winograd_taps[size]) : 0;
        const bool here = apart != 0;
        plan.axis[a] = here ? transformed_axis(map.axis[a], size, apart) : outer_axis(map.axis[a]);
        phases = std::min(phases * plan.axis[a].phases, most_phases + 1);
        if (!here) continue;
        if (axes == 0) plan.along_b = a;
        plan.along_a = a;
        ++axes;
    }
    if (axes == 0) return "no kernel extent is 3 or 5 at stride 1, expected one at least";
    if (phases > most_phases)
        return "the dilation makes more than " + std::to_string(most_phases) + " interleaved parts, expected fewer";
    return "";
}

}  // namespace convpp
