// Vectors run along the channels of several groups, where each group is a few of them: depthwise and grouped layers.
//
// In:  a draft of the plan.   Out: whether the rule applies; boxes and tasks.
// Next: product.hpp (forward, input_grad), grad.hpp (weight_grad).
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "plan/sum_tasks.hpp"
#include "strategies/channels/grad.hpp"
#include "strategies/channels/product.hpp"
#include "strategies/direct.hpp"

namespace convpp {

extern const Strategy phases_strategy;

namespace {

// What is read of a pixel at once (16 cache lines: long enough for memory to stream), while the padded copy of a task
// takes 3/8 of L2.
constexpr int64_t channel_run_bytes = 1024;

bool one_box_of_taps(const MapPlan& m) { return m.patches.taps.count() == 1; }

// Whether groups have the channels that the kernels are made for.
bool has_kernel(int64_t source, int64_t result, int64_t lanes) {
    return source == result && channel_kernel(source) >= 0 && source <= lanes;
}

// Whether vectors of gathered channels go through the groups.  (Measured, channels last, float32, against pixels one by
// one or rows, which walk through the array for each group: 32 groups of 1 to 5 channels on either side take 0.2 to 0.7
// of the time, groups of 5 and 5 channels 1.3 to 1.7 times as long.)
bool gathers(const Plan& draft, int64_t lanes) {
    const int64_t source = draft.source.channels, result = draft.tasks.channels;
    const auto has_border = [](const MapPlan& m) { return m.map.has_border(); };
    return draft.channels_last() && source * result <= lanes && 2 * std::max(source, result) <= lanes &&
           std::none_of(draft.maps.begin(), draft.maps.end(), has_border);
}

// By rule: vectors go through several groups at once, if results and source have the same few channels in each.
// channels_first planes are worth transposing for depthwise layers (measured: 1 to 2 times as fast as their rows, for
// planes of 7x7 to 112x112), not for groups of 4 channels.
Fit fit(const Plan& draft, const Setting& setting) {
    const int64_t channels = draft.tasks.channels, groups = draft.tasks.groups, lanes = setting.kernels.shape[0].lanes;
    if (groups == 1) return Fit::refuse("there is one group, expected several");
    if (!has_kernel(draft.source.channels, channels, lanes) && !gathers(draft, lanes))
        return Fit::refuse("groups have other channels than 1, 2, 4 or 8 on both sides, or more than a vector holds");
    if (!draft.channels_last()) {
        if (channels != 1) return Fit::refuse("groups of several channels in channels first, expected depthwise");
        // With fewer groups than half a vector, most of what is transposed would be nothing.
        if (groups < lanes / 2) return Fit::refuse("fewer groups than half a vector");
        // (Measured, 257 and 1024 taps, 4 of 8 and 8 of 16 lanes: rows take 0.6 of the time.)
        if (groups < lanes && phases_strategy.fit(draft, setting).serves())
            return Fit::refuse("long filters along rows, and fewer groups than a vector: better phases");
        if (draft.maps.size() > 1 && !std::all_of(draft.maps.begin(), draft.maps.end(), one_box_of_taps))
            return Fit::refuse("taps of a residue class far apart, expected one block of them");
    }
    Fit fit;
    fit.by_rule = true;
    fit.estimate = {{0, false, kernels::most_channel_pixels, lanes}, 0.0};
    return fit;
}

// Pixels of a row so far apart, or apart with taps so far apart, that what lies between them would be most of a copy,
// or fill a cache: such rows are read pixel by pixel.
bool reads_far_apart(const AxisMap& row) {
    constexpr int64_t far_apart = 4096, mostly_gaps = 64;
    const Span offsets = row.taps.offsets(0, row.taps.size());
    return row.source_step > 1 &&
           (offsets.hi - offsets.lo > far_apart || row.source_step > mostly_gaps * row.taps.size());
}

// Whether some residue classes read near each other, so that one copy serves them all.
bool read_together(const Plan& plan, size_t leader, int64_t classes) {
    constexpr int64_t near = 64;  // beyond what one of them reads for a pixel
    for (size_t a = 0; a < 3; ++a) {
        Span all = plan.maps[leader].map.axis[a].taps.offsets(0, 1);
        int64_t reach = 0;
        for (int64_t i = 0; i < classes; ++i) {
            const AxisMap& axis = plan.maps[leader + static_cast<size_t>(i)].map.axis[a];
            const Span own = axis.taps.offsets(0, axis.taps.size());
            all = {std::min(all.lo, own.lo), std::max(all.hi, own.hi)};
            reach = std::max(reach, own.hi - own.lo + axis.count);
        }
        if (all.hi - all.lo > reach + near) return false;
    }
    return true;
}

// Whether each map's pixels can be read where they lie: neighbouring taps at stride 1 or 2, whose sum is one run.
bool reads_in_place(const Plan& plan) {
    const auto slides = [](const AxisMap& axis) {
        return axis.source_step <= kernels::slide_strides &&
               (axis.taps.size() == 1 || std::abs(axis.taps.apart()) == 1);
    };
    const auto fits = [&](const MapPlan& m) {
        const std::array<AxisMap, 3>& axis = m.map.axis;
        return axis[0].taps.size() == 1 && axis[0].reads_inside() && slides(axis[1]) && slides(axis[2]) &&
               !m.map.has_border() && one_box_of_taps(m) && patch_block(m.patches, 0).run >= m.map.taps();
    };
    const auto reads = [&](const MapPlan& m) { return !plan.converts() || copies_pixels(plan, m.map); };
    return plan.channels_last() && plan.pass != Pass::weight_grad &&
           std::all_of(plan.maps.begin(), plan.maps.end(), reads) && !own<ChannelsPlan>(plan).gathers &&
           own<ChannelsPlan>(plan).group.source == 1 && std::all_of(plan.maps.begin(), plan.maps.end(), fits);
}

// Channels of a task whose pixels are read in place: all, unless the rows that are known at a time would fill the L2.
// (Measured, 1536 channels at 24x24, copied: 4.0 ms with all of them, 4.8 to 6.5 with half, 7.0 with 128.)
int64_t channels_in_place(const Plan& plan, const Setting& setting, int64_t padded) {
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const int64_t lanes = setting.kernels.shape[0].lanes, run = channel_run_bytes / setting.elem_bytes;
    const int64_t pixels = known_rows(axis[1]) * known_columns(axis[2], axis[2].count);
    const int64_t most = setting.cache_bytes * 3 / 4 / setting.elem_bytes / pixels;
    const int64_t blocks = ceil_div(padded, std::max(most, run));
    return round_up(ceil_div(padded, blocks), lanes);
}

// Channels and pixels of a task: the padded copy of both stays in L2.  channels_first takes one vector of channels.
void block(Plan& plan, const Setting& setting, int64_t copies) {
    Tasks& tasks = plan.tasks;
    const int64_t lanes = setting.kernels.shape[0].lanes, padded = round_up(tasks.channels, lanes);
    const bool first = !plan.channels_last(), sums = plan.pass == Pass::weight_grad;
    tasks.channel_block = first ? lanes : std::min(padded, round_up(channel_run_bytes / setting.elem_bytes, lanes));
    int64_t copied = 1;  // elements of a channel for each pixel
    for (const MapPlan& m : plan.maps) copied = std::max(copied, m.map.source_elems_of_pixel());
    copied *= copies;
    const int64_t pixels = all_pixels(plan);
    const bool in_place = reads_in_place(plan);
    if (in_place) {
        for (MapPlan& m : plan.maps) m.in_place = true;
        tasks.channel_block = channels_in_place(plan, setting, padded);
        copied = 1;
    }
    int64_t limit =
        std::max<int64_t>(1, setting.cache_bytes * 3 / 8 / (tasks.channel_block * setting.elem_bytes) / copied);
    if (in_place) {  // some rows, or as much of one as stays in L2 with all that are known
        const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
        const int64_t of_row = setting.cache_bytes / setting.elem_bytes / (tasks.channel_block * known_rows(axis[1]));
        limit = axis[2].count <= of_row ? std::max(limit, 8 * axis[2].count) : std::max<int64_t>(of_row, 1);
    }
    if (std::any_of(plan.maps.begin(), plan.maps.end(),
                    [](const MapPlan& m) { return reads_far_apart(m.map.axis[2]); }))
        limit = 1;
    if (tasks.parallel) {
        // (The weight gradient's chunks are made of boxes.)
        const int64_t wanted = sums ? setting.chunks_wanted : setting.tasks_wanted;
        // First fewer pixels, as long as their rows are worth the borders that are copied with them.
        limit = std::min(limit, std::max(ceil_div(pixels * ceil_div(padded, tasks.channel_block), wanted),
                                         4 * plan.maps[0].map.axis[2].count));
        while (tasks.channel_block > 2 * lanes &&
               ceil_div(pixels, limit) * ceil_div(padded, tasks.channel_block) < wanted)
            tasks.channel_block = round_up(tasks.channel_block / 2, lanes);
    }
    const bool one_box = std::all_of(plan.maps.begin(), plan.maps.end(), one_box_of_taps);
    const auto together = [&](size_t leader) -> int64_t {
        const int64_t classes = one_box ? classes_together(plan, leader, true) : 1;
        return read_together(plan, leader, classes) ? classes : 1;
    };
    if (first && one_box && read_together(plan, 0, static_cast<int64_t>(plan.maps.size()))) write_gaps(plan);
    split_maps(plan, limit, 1, together);
    if (!first || sums) return;
    // Several vectors a task share what is found out about its pixels.
    const int64_t vectors = box_count(plan) * padded / lanes / (group_tasks_factor * setting.tasks_wanted);
    tasks.channel_block = lanes * std::clamp<int64_t>(vectors, 1, 16);
}

// Tasks are (residue classes, box of pixels, some vectors of channels).
void plan_products(Plan& plan, const Setting& setting, const ChannelsPlan& channels) {
    constexpr const char* what = "the packed weights";
    block(plan, setting, channels.copies());
    const int64_t padded = round_up(plan.tasks.channels, setting.kernels.shape[0].lanes);
    int64_t packed = 0;
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks.count;
        if (m.classes > 0) plan.tasks.count += m.boxes.count() * plan.tasks.channel_blocks();
        m.weights_at = packed;
        m.weights_per_group = checked_mul(padded, m.map.taps() * channels.group.source, what);
        packed = checked_add(packed, m.weights_per_group, what);
    }
    buffer_results(plan);
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    auto channels = std::make_shared<ChannelsPlan>();
    channels->group = {plan.source.channels, plan.tasks.channels};
    channels->gathers = !has_kernel(plan.source.channels, plan.tasks.channels, setting.kernels.shape[0].lanes);
    plan.weight_share = share_of_packing(plan);
    plan.tasks.channels *= plan.tasks.groups;  // tasks run through all groups
    plan.tasks.groups = 1;
    for (MapPlan& m : plan.maps) {
        // Blocks are of taps alone; the order of the sum is the same.
        m.patches.channels_per_block = channels->group.source;
        m.patches.channel_blocks = 1;
    }
    const int64_t copies = channels->copies();
    plan.own = std::move(channels);
    if (plan.pass == Pass::weight_grad) {
        block(plan, setting, copies);
        chunk_sums(plan, setting, setting.kernels.shape[0].lanes, false);
    } else {
        plan_products(plan, setting, own<ChannelsPlan>(plan));
    }
}

}  // namespace

extern const Strategy channels_strategy;
const Strategy channels_strategy = direct_strategy<ChannelProducts, ChannelSums>(
    "channels", "vectors of channels", order_bit(SumOrder::sequential), &fit, &plan);

}  // namespace convpp
