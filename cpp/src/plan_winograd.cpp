// Winograd's algorithm: axes, blocks and tasks.   winograd_plan.hpp and plan.hpp say what comes in and goes out.
#include <algorithm>
#include <cstdlib>

#include "plan_parts.hpp"
#include "winograd_plan.hpp"

namespace convpp {
namespace {

// The taps of an axis that a transform of `taps` taps serves: equally far apart, at unit stride.
bool transformable(const AxisMap& axis, int64_t taps) {
    if (static_cast<int64_t>(axis.taps.size()) != taps || axis.source_step != 1 || axis.result_step != 1) return false;
    const int64_t apart = axis.taps[1].offset - axis.taps[0].offset;
    for (size_t t = 1; t < axis.taps.size(); ++t)
        if (axis.taps[t].offset - axis.taps[t - 1].offset != apart) return false;
    return true;
}

WinogradAxis transformed_axis(const AxisMap& map, int size) {
    WinogradAxis axis;
    const int64_t apart = map.taps[1].offset - map.taps[0].offset;
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

int64_t WinogradPlan::outer_taps() const {
    int64_t taps = 1;
    for (const WinogradAxis& a : axis) taps *= static_cast<int64_t>(a.offsets.size());
    return taps;
}

std::string winograd_axes(const IndexMap& map, int size, WinogradPlan& plan) {
    plan.size = size;
    int axes = 0;
    for (const AxisMap& axis : map.axis)
        if (axis.result_step != 1) return "its input gradient needs stride 1";
    for (size_t a = 3; a-- > 0;) {
        const bool here = axes < 2 && transformable(map.axis[a], kernels::winograd_taps[size]);
        plan.axis[a] = here ? transformed_axis(map.axis[a], size) : outer_axis(map.axis[a]);
        if (!here) continue;
        if (axes == 0) plan.along_b = a;
        plan.along_a = a;
        ++axes;
    }
    return axes > 0 ? "" : "it needs a kernel extent of 3 or 5 at stride 1";
}

namespace {
int64_t tuned(const char* name, int64_t value) {
    const char* const text = std::getenv(name);
    return text ? std::atoll(text) : value;
}
}  // namespace

void plan_winograd_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    WinogradPlan& w = plan.winograd;
    MapPlan& m = plan.maps[0];
    plan.feed = Feed::pixel_scalars;
    plan.tile.pixels_are_columns = false;
    plan.tile.family = static_cast<int>(
        tuned("WG_FAMILY", plan.result_channels % (kernels.shape[2].vectors * kernels.shape[2].lanes) == 0 ? 2 : 0));
    const TileShape& shape = kernels.shape[plan.tile.family];
    plan.tile.rows = shape.rows;
    plan.tile.columns = shape.vectors * shape.lanes;
    const int64_t panel = panel_width(plan, shape, false);
    m.patches = make_patch_blocks(plan.source_channels, m.map);  // of packing
    const int64_t padded = round_up(plan.result_channels, panel), bytes = w.points() * elem_bytes;
    int64_t tiles = plan.batch;
    for (const WinogradAxis& a : w.axis) tiles *= a.tiles(a.units);
    int64_t limit = 0;
    const bool large = plan.source_channels * padded * bytes > tuned("WG_LARGE", 4 << 20);
    plan.packs_in_task = large && tiles <= tuned("WG_FEW", 64);
    if (plan.packs_in_task) {
        limit = tiles;
        plan.channel_block = round_up(tuned("WG_FKB", 256) / elem_bytes, panel);
        w.source_block = tuned("WG_FCB", 128) / elem_bytes;
    } else {
        w.source_block = tuned("WG_CB", 256) / elem_bytes;
        plan.channel_block = round_up(ceil_div(padded, ceil_div(padded, tuned("WG_KB", 512) / elem_bytes)), panel);
        limit = std::max<int64_t>(tuned("WG_BYTES", 600 << 10) / (bytes * (w.source_block + plan.channel_block)), tuned("WG_T", 28));
        for (const WinogradAxis& a : w.axis) limit = std::max<int64_t>(1, limit / a.phases);
    }
    w.source_block = std::min(plan.source_channels, w.source_block);
    w.source_block = round_up(ceil_div(plan.source_channels, ceil_div(plan.source_channels, w.source_block)), shape.lanes);
    m.pixels = BoxSplit({plan.batch, w.axis[0].units, w.axis[1].units, w.axis[2].units}, limit, shape.rows);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
    plan.group_block = 1;
    plan.tasks = plan.groups * m.pixels.count() * plan.channel_blocks;
    plan.packing_blocks = plan.groups * m.patches.count();
    const int64_t panels = (plan.packs_in_task ? plan.channel_block : padded) / panel;
    const int64_t of_panel = w.outer_taps() * w.source_block * panel + shape.lanes;
    m.weights_per_group = w.points() * panels * of_panel * ceil_div(plan.source_channels, w.source_block);
    plan.packed_weight_elems = checked_mul(m.weights_per_group, plan.groups, "the transformed weights");
}

}  // namespace convpp
