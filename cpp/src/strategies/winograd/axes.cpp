// The axes of a pass as units of transforms.  axes.hpp says what comes in and goes out.
#include "strategies/winograd/axes.hpp"

#include <algorithm>

#include "kernels/contract.hpp"
#include "problem/checked.hpp"

namespace convpp {
namespace {

// How far the taps of an axis are apart, if a transform of `taps` taps serves it: at unit stride.  Else 0.
int64_t taps_apart(const AxisMap& axis, int64_t taps) {
    return axis.taps.size() == taps && axis.source_step == 1 && axis.result_step == 1 ? axis.taps.apart() : 0;
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
    axis.first = map.taps.offset(axis.reversed ? map.taps.size() - 1 : 0);
    return axis;
}

WinogradAxis outer_axis(const AxisMap& map) {
    WinogradAxis axis;
    axis.units = map.count;
    axis.step = map.source_step;
    const Span offsets = map.taps.offsets(0, map.taps.size());
    axis.first = offsets.lo;
    axis.reach = offsets.hi - offsets.lo;
    axis.taps = map.taps.size();
    axis.first_tap = map.taps.offset(0) - axis.first;
    axis.apart = map.taps.apart();
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
