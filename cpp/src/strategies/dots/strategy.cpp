// Samples of a single pixel, as squeeze-and-excitation has them: each result is the dot product of a sample with a row
// of weights.  Both lie in memory as they are needed, along the channels.
//
// In:  a draft of the plan.   Out: its estimate; samples and tasks.   Next: product.hpp.
//
// Any other order of the sum has to pack the weights, which takes longer than multiplying them with one pixel.
// (Measured, 1 thread, beside packed panels: 1632 to 68 channels 35 -> 14 us, 4103 to 373 392 -> 118.  From 64 samples
// on, of 2048 channels, panels would be 1.4 times as fast; but the order of a sum looks at one sample.)
#include <algorithm>
#include <string>

#include "plan/product_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/dots/product.hpp"

namespace convpp {
namespace {

using namespace costs;

// From here on a row is some vectors long on each machine, so that adding the lanes is a small part.  (Measured, AVX-512,
// 2 threads, one sample: 62 channels 1.8 times as fast as panels; eight samples: 61 channels 1.16, 54 channels 0.9.)
constexpr int64_t least_channels = 48;

// What the order of a sum depends on: neither the batch nor the layout.
Fit fit(const Plan& draft, const Setting& setting) {
    if (draft.pass != Pass::forward) return Fit::refuse("a gradient, whose weights do not lie along its sums");
    const MapPlan& m = draft.maps.front();
    const Geometry& g = draft.problem.geometry();
    const bool one_pixel = std::all_of(g.input.begin(), g.input.end(), [](int64_t extent) { return extent == 1; });
    if (!one_pixel || m.map.pixels() != 1 || m.map.taps() != 1 || !m.map.reads_inside())
        return Fit::refuse("pixels or taps, expected a single one of a sample");
    if (draft.source.channels < least_channels) return Fit::refuse("few channels: tiles fill more lanes");
    const TileShape& shape = setting.kernels.shape[0];
    Fit fit;
    fit.by_rule = true;
    fit.estimate = {{0, true, shape.rows, shape.vectors * shape.lanes},
                    f(draft.batch()) * f(draft.tasks.channels) * f(ceil_div(draft.source.channels, shape.lanes))};
    return fit;
}

// Samples of a task, and its weights, are each brought into a quarter of the L2 once; of rows too long for that, tiles
// take some at a time all the same.
void plan(Plan& plan, const Setting& setting, const Fit&) {
    constexpr int64_t least_rows = 32;  // of weights, for a task: some tiles
    constexpr int64_t fewest = 8;  // samples, or rows: two tiles
    const int64_t in_cache = setting.cache_bytes / 4 / (plan.source.channels * setting.elem_bytes);
    const int64_t most = std::max(in_cache, fewest);
    Cut cut{most, ceil_div(plan.tasks.channels, std::max(most, least_rows))};
    if (plan.tasks.parallel) {
        const int64_t boxes = plan.tasks.groups * ceil_div(plan.batch(), cut.pixels);
        cut.splits = std::max(
            cut.splits, std::min(ceil_div(setting.tasks_wanted, boxes), ceil_div(plan.tasks.channels, least_rows)));
    }
    plan.maps.front().in_place = true;
    plan.packing.by_tasks = true;  // nothing is packed before
    split_maps(plan, cut.pixels, 1, alone);
    count_tasks(plan, setting, cut.splits);
    buffer_results(plan);
    if (!plan.buffer.used()) return;
    // In any layout, the channels of a pixel lie together.
    const int64_t channels =
        (plan.tasks.group_block - 1) * plan.tasks.channels + std::min(plan.tasks.channel_block, plan.tasks.channels);
    plan.buffer.strides = {channels, 1, {1, 1, 1}};
    plan.buffer.elems = channels * plan.maps.front().boxes.largest();
}

constexpr Strategy make_strategy() {
    Strategy strategy =
        direct_strategy<DotProduct, NoSums>("dots", "dot products", order_bit(SumOrder::lanes), &fit, &plan);
    strategy.prepares = [](const Plan&) { return false; };
    strategy.describe = [](const Plan& plan) {
        return std::to_string(plan.tasks.count) + " tasks of up to " + std::to_string(plan.tasks.channel_block) +
               " channels x " + std::to_string(plan.maps.front().boxes.largest()) +
               " samples; dot products of rows that are read in place";
    };
    return strategy;
}

}  // namespace

extern const Strategy dots_strategy;
const Strategy dots_strategy = make_strategy();

}  // namespace convpp
