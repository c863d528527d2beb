// Rows of pixels that several rows of results read: depthwise kernels three columns wide, at stride 1, channels first.
//
// In:  a draft of the plan.   Out: whether the rule applies; boxes and tasks.
// Next: strip.hpp, product.hpp (forward, input_grad), grad.hpp (weight_grad).
#include <cstdlib>

#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/sliding/grad.hpp"
#include "strategies/sliding/product.hpp"

namespace convpp {

extern const Strategy sliding_strategy;

namespace {

constexpr int64_t task_pixels = 16384;  // source and results of a task are 128 KiB of float32

// The taps of an axis read neighbouring source elements, not far from the result's own, and nothing is skipped.
// Results are about as many as source elements: what vectors read beyond a row's ends is bounded.
bool slides(const AxisMap& axis) {
    if (std::llabs(axis.count - axis.source_extent) > 2 * slide_reach) return false;
    if (axis.taps.size() > 1 && std::llabs(axis.taps.apart()) != 1) return false;
    const Span offsets = axis.taps.offsets(0, axis.taps.size());
    if (offsets.lo < -slide_reach || offsets.hi > slide_reach) return false;
    return axis.source_step == 1 && axis.result_step == 1;
}

// Whether another strategy would be taken by rule: rows slide unless much of each vector would be empty and that one's
// would not.  (Measured against vectors of channels, float32: forward 1.3 to 1.7 times as fast for planes of 28x28 to
// 112x112, 1.1 times for 14x14, 0.6 times for 7x7; weight gradient 1.25 to 1.3 times and 1.0 times.)
bool another_by_rule(const Plan& draft, const Setting& setting) {
    for (const Strategy* const other : strategies())
        if (other != &sliding_strategy && other->algorithm == Algorithm::direct && other->fit(draft, setting).by_rule)
            return true;
    return false;
}

Fit fit(const Plan& draft, const Setting& setting) {
    constexpr int64_t most_columns = 8192, most_lines = 8;  // what a task may have to copy is bounded by them
    if (draft.channels_last()) return Fit::refuse("channels last, expected channels first");
    if (draft.tasks.channels != 1 || draft.source.channels != 1)
        return Fit::refuse("groups of several channels, expected depthwise");
    if (draft.maps.size() != 1) return Fit::refuse("the input gradient has a stride, expected stride 1");
    const IndexMap& map = draft.maps[0].map;
    if (map.has_border())
        return Fit::refuse("a padding mode, expected zeros: columns outside are blanked as they are loaded");
    const std::array<AxisMap, 3>& axis = map.axis;
    const bool depth_alone = axis[0].taps.size() == 1 && axis[0].taps.offset(0) == 0 && axis[0].reads_inside();
    if (!depth_alone || !slides(axis[0]) || !slides(axis[1]) || !slides(axis[2]) || axis[1].count <= 1)
        return Fit::refuse("rows do not follow each other, expected stride and dilation 1, and several of them");
    const int64_t columns = axis[2].count, lanes = setting.kernels.shape[0].lanes;
    if (axis[2].taps.size() != kernels::strip_taps || axis[1].taps.size() > most_lines || columns > most_columns ||
        draft.source.strides.axis[1] > most_columns)
        return Fit::refuse("the kernel is not three columns wide, or it or the rows are too long");
    const bool filled = 4 * columns >= 3 * round_up(columns, lanes);
    if (!filled && another_by_rule(draft, setting)) return Fit::refuse("rows leave much of their vectors empty");
    Fit fit;
    fit.by_rule = true;
    fit.estimate = {{0, true, kernels::slide_rows[0], lanes}, 0.0};
    return fit;
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    plan.weight_share = share_of_packing(plan);
    if (plan.pass == Pass::weight_grad) {
        block_sum_channels(plan, setting);
        split_sums(plan, setting, chunk_pixels_of_rows(setting, plan.maps[0]));
        chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
        return;
    }
    const Cut cut = cut_for_threads(plan, setting, task_pixels);
    split_maps(plan, cut.pixels, waste_unit(plan, setting), alone);
    count_tasks(plan, setting, cut.splits);
    place_weights(plan, setting);
    buffer_results(plan);
}

}  // namespace

const Strategy sliding_strategy = direct_strategy<SlidingProduct, SlidingSums>(
    "sliding", "rows that slide", order_bit(SumOrder::sequential), &fit, &plan);

}  // namespace convpp
