// Rows of pixels that several rows of results read: depthwise layers in channels first.
//
// In:  a draft of the plan.   Out: whether the rule applies; boxes and tasks.
// Next: strip.hpp, product.hpp (forward, input_grad), grad.hpp (weight_grad).
#include <cmath>
#include <cstdlib>

#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/sliding/grad.hpp"
#include "strategies/sliding/product.hpp"

namespace convpp {

extern const Strategy sliding_strategy;

namespace {

constexpr int64_t task_pixels = 16384;  // source and results of a task are 128 KiB of float32

// Planes of halves that are converted at once: they, and their sums, stay in L1, or nearly.
constexpr int64_t converted_pixels = 4096;

// Below, a second thread costs more than it saves (measured, 11 us: 3x3 384 at 7x7 16 us by either, 256 at 14x14 20
// beside 27 us).
constexpr double serial_cycles = 40000;

// The taps of an axis read neighbouring source elements, not far from the result's own, and none is skipped but those
// of a stride of 2 (whose tiles want taps in the order of the source's columns).  Results are about as many as source
// elements, or half as many: what vectors read beyond a row's ends is bounded.
bool slides(const AxisMap& axis, int64_t most_step, int64_t most_taps) {
    if (axis.source_step > most_step || axis.result_step != 1 || axis.taps.size() > most_taps) return false;
    if (std::llabs(axis.count * axis.source_step - axis.source_extent) > 2 * slide_reach) return false;
    if (axis.taps.size() > 1 && std::llabs(axis.taps.apart()) != 1) return false;
    const Span offsets = axis.taps.offsets(0, axis.taps.size());
    return offsets.lo >= -slide_reach && offsets.hi <= slide_reach;
}

// Whether another strategy would be taken by rule: rows slide unless much of each vector would be empty and that one's
// would not.  (Measured against vectors of channels, weight gradient: 1.25 to 1.3 times as fast for planes of 28x28 to
// 112x112, 1.0 times for 14x14.)
bool another_by_rule(const Plan& draft, const Setting& setting) {
    for (const Strategy* const other : strategies())
        if (other != &sliding_strategy && other->algorithm == Algorithm::direct && other->fit(draft, setting).by_rule)
            return true;
    return false;
}

const char* refusal(const Plan& draft, const Setting& setting) {
    constexpr int64_t most_columns = 16384, most_elems = 65536;  // what a task may have to copy is bounded by them
    if (draft.channels_last()) return "channels last, expected channels first";
    if (draft.tasks.channels != 1 || draft.source.channels != 1)
        return "groups of several channels, expected depthwise";
    if (draft.maps.size() != 1) return "the input gradient has a stride, expected stride 1";
    const IndexMap& map = draft.maps[0].map;
    if (map.has_border()) return "a padding mode, expected zeros: columns outside are blanked as they are loaded";
    const std::array<AxisMap, 3>& axis = map.axis;
    const bool sums = draft.pass == Pass::weight_grad;
    const int64_t most_step = sums ? 1 : kernels::slide_strides, lines = axis[1].taps.size();
    const bool depth_alone = axis[0].taps.size() == 1 && axis[0].taps.offset(0) == 0 && axis[0].reads_inside() &&
                             axis[0].source_step == 1 && axis[0].result_step == 1;
    if (!depth_alone || !slides(axis[1], most_step, sums ? 8 : kernels::most_slide_lines) ||
        !slides(axis[2], most_step, sums ? kernels::strip_taps : kernels::most_slide_columns) ||
        axis[1].source_step != axis[2].source_step || (axis[2].source_step > 1 && axis[2].taps.apart() < 0))
        return "rows do not follow each other, expected stride 1 or 2, dilation 1, and not too many taps";
    const int64_t columns = axis[2].count, lanes = setting.kernels.shape[0].lanes, row = slide_row(draft);
    if (columns > most_columns || row > most_columns || lines * row > most_elems) return "the rows are too long";
    if (draft.tasks.groups == 1 && axis[1].count <= 1) return "a single row";
    if (!sums) {
        const PatchBlocks& patches = draft.maps[0].patches;
        if (patches.count() != 1 || patch_block(patches, 0).run < map.taps()) return "the sum has several runs";
        return nullptr;
    }
    if (axis[1].count <= 1 || axis[2].taps.size() != kernels::strip_taps)
        return "the kernel is not three columns wide, or there is a single row";
    const bool filled = 4 * columns >= 3 * round_up(columns, lanes);
    return !filled && another_by_rule(draft, setting) ? "rows leave much of their vectors empty" : nullptr;
}

Fit fit(const Plan& draft, const Setting& setting) {
    if (const char* const why = refusal(draft, setting)) return Fit::refuse(why);
    Fit fit;
    fit.by_rule = true;
    fit.estimate = {{0, true, 1, setting.kernels.shape[0].lanes}, 0.0};
    return fit;
}

// Cycles that the products take on one core: of each row of a plane, its multiply-adds, of which a core does a vector
// in a cycle, loads and stores; and what a plane takes to begin with.  (Measured, Zen 4: 0.7 to 1.9 times as many.)
double slide_cycles(const Plan& plan, const Setting& setting) {
    constexpr double of_plane = 30, of_row = 6;
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const int64_t lanes = setting.kernels.shape[0].lanes, columns = axis[2].count;
    const double vectors = 2 * columns <= lanes ? 0.5 : static_cast<double>(ceil_div(columns, lanes));
    const double row = vectors * static_cast<double>(plan.maps[0].map.taps()) + of_row * std::ceil(vectors);
    return static_cast<double>(plan.batch() * plan.tasks.groups) * static_cast<double>(axis[0].count) *
           (of_plane + static_cast<double>(axis[1].count) * row);
}

// Tasks are some neighbouring planes of one sample, or some rows of one.
void plan_products(Plan& plan, const Setting& setting) {
    MapPlan& m = plan.maps[0];
    Tasks& tasks = plan.tasks;
    tasks.parallel = !plan.samples.shared_out && !setting.some_classes && slide_cycles(plan, setting) > serial_cycles;
    const Cut cut = cut_for_threads(plan, setting, std::min(task_pixels, m.map.pixels()));
    split_maps(plan, cut.pixels, waste_unit(plan, setting), alone);
    count_tasks(plan, setting, cut.splits);
    const int64_t most = std::max<int64_t>((plan.converts() ? converted_pixels : task_pixels) / m.boxes.largest(), 1);
    tasks.group_block = std::min(tasks.groups, most);
    if (tasks.parallel)
        tasks.group_block =
            std::clamp<int64_t>(tasks.groups * m.boxes.count() / setting.tasks_wanted, 1, tasks.group_block);
    tasks.count = ceil_div(tasks.groups, tasks.group_block) * m.boxes.count();
    plan.packing.by_tasks = true;  // not at all
    buffer_results(plan, true);
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    if (plan.pass != Pass::weight_grad) return plan_products(plan, setting);
    block_sum_channels(plan, setting);
    split_sums(plan, setting, chunk_pixels_of_rows(setting, plan.maps[0]));
    chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
}

constexpr Strategy make_strategy() {
    Strategy strategy = direct_strategy<SlidingProduct, SlidingSums>("sliding", "rows that slide",
                                                                     order_bit(SumOrder::sequential), &fit, &plan);
    strategy.prepares = [](const Plan&) { return false; };
    return strategy;
}

}  // namespace

const Strategy sliding_strategy = make_strategy();

}  // namespace convpp
