// Winograd's algorithm: axes, blocks and tasks.   winograd_plan.hpp and plan.hpp say what comes in and goes out.
#include <algorithm>
#include <limits>
#include <string>

#include "plan/plan_parts.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {
namespace {

constexpr double least_flops = 1.5e6;  // of a sample: with less, a call is over before transforms pay
constexpr double least_gain = 1.1;     // that the estimate promises, before Winograd's algorithm is chosen
constexpr int64_t most_terms = 576;    // of a product's contraction, taps times channels: two blocks of patch_limit

TileChoice winograd_tile(const Plan& plan, const KernelShapes& kernels) {
    const auto wasted = [&](int index) {
        const int64_t width = kernels.shape[index].vectors * kernels.shape[index].lanes;
        return round_up(plan.result_channels, width) - plan.result_channels;
    };
    const int index = wasted(2) <= wasted(0) ? 2 : 0;
    const TileShape& shape = kernels.shape[index];
    return {index, false, shape.rows, shape.vectors * shape.lanes, 0};
}

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
    // A box holds all tiles of a dilation's phases.  (Beyond that, tiles would have to be told apart in the results.)
    constexpr int64_t most_phases = 64;
    plan.size = size;
    int axes = 0;
    int64_t phases = 1;
    for (size_t a = 3; a-- > 0;) {
        const bool here = axes < 2 && transformable(map.axis[a], kernels::winograd_taps[size]);
        plan.axis[a] = here ? transformed_axis(map.axis[a], size) : outer_axis(map.axis[a]);
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

namespace {

double f(int64_t n) { return static_cast<double>(n); }

// What transforms cost, in slots of a multiply-add unit, for a vector of channels: each point of the source, the results and
// the weights (arithmetic and stores); each element copied on the way in, and put into order on the way out beyond what
// the direct algorithm does.  (Measured by profile, 3x3 64-64 at 56x56 and 512-512 at 14x14, AVX-512.)
constexpr double source_point = 5.5, result_point = 3.0, weight_point = 8.0, copied_elem = 12.0, written_elem = 4.0;

// Weights are transformed once for a batch.  The choice must not depend on the batch, so it supposes one of 2.
constexpr double supposed_batch = 2.0;

// The direct algorithm packs weights too, which is little beside its products: but not where those are bf16 pairs.  A vector of
// weights takes so many slots if they come from memory.  (Measured, 3x3 512-512 at 7x7, two threads: 20.  There Winograd's
// algorithm is 6 % slower than bf16 pairs for one image, and 1.3 times as fast for eight.)
constexpr double packed_bf16_pairs = 24.0;

constexpr double product_slot = 1.06, direct_slot = 1.1;  // a slot's worth of each, edges and loads included

// Slots for a group: of the weights' transform, and of all else for one sample.
struct WinogradSlots {
    double weights, sample;
};

WinogradSlots winograd_slots(const Plan& plan, const WinogradPlan& w, int64_t lanes) {
    double places = 1, tiles = 1, source = 1;
    for (const WinogradAxis& a : w.axis) {
        places *= f(a.places(a.units));
        tiles *= f(a.tiles(a.units));
        source *= f(a.source_length(a.units));
    }
    const double points = f(w.points()), outputs = w.planes() ? f(w.axis[w.along_a].outputs * w.axis[w.along_b].outputs)
                                                              : f(w.axis[w.along_b].outputs);
    const double in = f(ceil_div(plan.source_channels, lanes)), out = f(ceil_div(plan.result_channels, lanes));
    const double terms = f(plan.source_channels) * out * f(w.outer_taps()) * points;
    const bool sums = plan.pass == Pass::weight_grad;
    const double of_result =
        sums ? points * source_point + outputs * copied_elem : points * result_point + outputs * written_elem;
    return {terms * weight_point, tiles * terms * product_slot +
                                      in * (places * points * source_point + source * copied_elem) +
                                      out * tiles * of_result};
}

double direct_slots(const Plan& plan, const IndexMap& map, int64_t lanes) {
    return f(map.pixels()) * f(map.taps()) * f(plan.source_channels) * f(plan.result_channels) / f(lanes) * direct_slot;
}

}  // namespace

std::string choose_winograd(Plan& plan, const KernelShapes& kernels, bool only_if_faster, int64_t at_once) {
    if (plan.maps.size() != 1) return "the input gradient has a stride, expected stride 1";
    const IndexMap& map = plan.maps[0].map;
    for (const AxisMap& axis : map.axis)
        if (axis.result_step != 1) return "the input gradient has a stride, expected stride 1";
    const int64_t lanes = kernels.shape[0].lanes;
    std::string why_not;
    double best = std::numeric_limits<double>::infinity();
    if (only_if_faster) {
        // Fewer channels leave vectors empty, or the transforms without products to pay for them; and small sums stay
        // exact on whole numbers.
        constexpr int64_t least_channels = 16;
        if (std::min(plan.source_channels, plan.result_channels) < least_channels) return "few channels";
        best = direct_slots(plan, map, lanes);
        if (best * 2 * f(lanes * plan.groups) < least_flops) return "little work";
        if (at_once > 1) {
            const double weights = f(map.taps() * plan.source_channels) * f(ceil_div(plan.result_channels, lanes));
            best = best / f(at_once) + weights * packed_bf16_pairs / supposed_batch;
        }
        best /= least_gain;
    }
    // The error of a few numbers scatters widely: a weight gradient of less than 16 kernels takes the tiles that round less,
    // to be within its bound.  (Measured, one kernel of 3x3: F(4, 3) exceeds it in a tenth of the cases, F(2, 3) never.)
    constexpr int64_t few_kernels = 16;
    const bool few = plan.pass == Pass::weight_grad && plan.source_channels * plan.result_channels < few_kernels;
    for (int size = 0; size < kernels::winograd_sizes; ++size) {
        if (few && kernels::winograd_outputs[size] > 2) continue;
        WinogradPlan candidate;
        const std::string reason = winograd_axes(map, size, candidate);
        if (!reason.empty()) {
            if (reason > why_not) why_not = reason;  // "the dilation", which other sizes do not come to, is last
            continue;
        }
        const WinogradSlots slots = winograd_slots(plan, candidate, lanes);
        const double batch = plan.pass == Pass::weight_grad ? f(std::max<int64_t>(plan.batch, 1)) : supposed_batch;
        if (slots.sample + slots.weights / batch >= best) continue;
        best = slots.sample + slots.weights / batch;
        plan.winograd = candidate;
        plan.weight_share = slots.weights / (slots.weights + slots.sample * f(plan.batch));
    }
    return plan.winograd.points() > 1 ? "" : why_not.empty() ? "slower" : why_not;
}

namespace {

// Blocks of packing: a channel's kernel is transformed as a whole, however many taps it has, and however far apart.
PatchBlocks whole_kernels(int64_t channels, const IndexMap& map) {
    const auto taps_of = [&](size_t a) { return static_cast<int64_t>(map.axis[a].taps.size()); };
    PatchBlocks blocks;
    blocks.channels = channels;
    blocks.taps = BoxSplit({1, taps_of(0), taps_of(1), taps_of(2)}, map.taps(), 1);
    blocks.channel_blocks = ceil_div(channels, std::max<int64_t>(1, patch_limit / map.taps()));
    blocks.channels_per_block = ceil_div(channels, blocks.channel_blocks);
    return blocks;
}

// More bytes of transformed weights than this are not found in an L3 that others use too: half of 32 MiB.
constexpr double weights_in_l3 = 16 << 20;

// Few tiles and large weights: transformed by all threads before, they would go to memory and come back.  So a task takes
// all tiles and some result channels, and transforms the weights that it alone reads, block by block, where they stay in L2.
// (Measured, 3x3 512-512 float32: 14x14 1.7 times as fast, 7x7 1.6 times, four images of 28x28 1.15 times; 256-256 at
// 14x14, whose transformed weights are 9 MiB: alike.)
bool transforms_in_tasks(double weight_bytes, int64_t tiles) {
    constexpr int64_t few_tiles = 256;  // V and M of more take 7 MiB and more of L3 a thread
    return weight_bytes > weights_in_l3 && tiles <= few_tiles;
}

// Tiles of a box: the transformed source and the products take 9/16 of L2.  But a block of weights passes by for each box:
// from L3 that is worth 32 tiles; 98, if they are so large that they come from memory.  (Measured, 3x3 float32: 64-64 at
// 56x56 is within 5 % from 28 tiles to 56, 6 % slower with 14; 512-512 at 28x28 15 % faster with 98 than with 28.)
int64_t tiles_of_box(const Plan& plan, int64_t bytes_of_channel, double weight_bytes) {
    constexpr int64_t from_l3 = 32, from_memory = 98;
    const int64_t in_l2 =
        plan.cache_bytes * 9 / 16 / (bytes_of_channel * (plan.winograd.source_block + plan.channel_block));
    return std::max(in_l2, weight_bytes > weights_in_l3 ? from_memory : from_l3);
}

}  // namespace

// Forward and input gradient: tasks are (group, box of tiles, block of result channels).
void plan_winograd_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    // Source and result channels of a block: 64 and 128 of float32.  A product of 64 terms costs 9 % more than a longer one
    // for its sums, which are loaded and stored; V and M stay the nearer for it.
    constexpr int64_t source_bytes = 256, result_bytes = 512;
    constexpr int64_t least_tiles = 16;  // fewer leave the register tile partly filled
    constexpr int64_t fewest_tiles = 4;  // of a thread that would have none
    WinogradPlan& w = plan.winograd;
    MapPlan& m = plan.maps[0];
    plan.feed = Feed::pixel_scalars;
    plan.tile = winograd_tile(plan, kernels);
    const TileShape& shape = kernels.shape[plan.tile.shape];
    const int64_t panel = panel_width(plan, shape, false), padded = round_up(plan.result_channels, panel);
    m.patches = whole_kernels(plan.source_channels, m.map);
    const int64_t most_source = std::max(shape.lanes, std::min(source_bytes / elem_bytes, most_terms / w.outer_taps()));
    w.source_block = round_up(ceil_div(plan.source_channels, ceil_div(plan.source_channels, most_source)), shape.lanes);
    plan.channel_block = round_up(ceil_div(padded, ceil_div(padded, result_bytes / elem_bytes)), panel);
    int64_t tiles = plan.batch, phases = 1;
    for (const WinogradAxis& a : w.axis) {
        tiles *= a.tiles(a.units);
        phases *= a.phases;
    }
    const double weight_bytes = f(w.points() * w.outer_taps() * elem_bytes) * f(plan.source_channels) * f(padded);
    // (Where there are fewer panels than threads, tasks have to share them.)
    const int64_t panels = padded / panel, threads = plan.tasks_wanted / tasks_of_thread;
    plan.packs_in_task = transforms_in_tasks(weight_bytes, tiles) && plan.groups * panels >= threads;
    if (plan.packs_in_task) plan.weight_share = 0;  // preparing would not help
    int64_t limit = plan.packs_in_task ? tiles : tiles_of_box(plan, w.points() * elem_bytes, weight_bytes);
    if (plan.parallel) {
        // First smaller boxes, down to what fills a register tile twice or so; then fewer channels, for each block of which
        // the source is transformed again; and only where threads would have nothing to do, the smallest boxes.  (Half of the
        // tasks that other ways want: transforms make these long anyway.)
        const int64_t wanted = plan.tasks_wanted / 2, all = tiles * plan.groups;
        const auto shrink = [&](int64_t tasks, int64_t least) {
            if (!plan.packs_in_task) limit = std::min(limit, std::max(ceil_div(all, tasks), least));
        };
        shrink(ceil_div(wanted, ceil_div(padded, plan.channel_block)), least_tiles);
        const int64_t boxes = plan.groups * ceil_div(tiles, limit);
        const int64_t blocks = std::min(ceil_div(wanted / (plan.packs_in_task ? 2 : 1), boxes), panels);
        plan.channel_block = std::min(plan.channel_block, round_up(ceil_div(padded, blocks), panel));
        shrink(ceil_div(threads, ceil_div(padded, plan.channel_block)), fewest_tiles);
    }
    m.pixels = BoxSplit({plan.batch, w.axis[0].units, w.axis[1].units, w.axis[2].units},
                        std::max<int64_t>(limit / phases, 1), shape.rows);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
    plan.tasks = plan.groups * m.pixels.count() * plan.channel_blocks;
    const int64_t of_panel = w.outer_taps() * w.source_block * panel + shape.lanes;
    m.weights_per_group = checked_mul(checked_mul(w.points() * panels, of_panel, "the transformed weights"),
                                      ceil_div(plan.source_channels, w.source_block), "the transformed weights");
    plan.packed_weight_elems = checked_mul(m.weights_per_group, plan.groups, "the transformed weights");
}

}  // namespace convpp
