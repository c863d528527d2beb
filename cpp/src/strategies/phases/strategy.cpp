// Signals and their filters: rows of one channel, split into phases that a tile's rows share.
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.   Next: product.hpp.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "plan/product_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/phases/product.hpp"

namespace convpp {
namespace {

using namespace costs;

// A step's weight, which each task stores.  (Between strategies it does not count: what others pack takes longer, and is
// in no estimate.)
constexpr double stored_step = 1.0;

constexpr int64_t task_pixels = 4096;  // they and what a block of taps reads are some 64 KiB of float32

// Rows whose taps read neighbouring elements.
bool reads_rows(const IndexMap& map) {
    const std::array<AxisMap, 3>& axis = map.axis;
    for (size_t a = 0; a < 3; ++a)
        if (axis[a].result_step != 1 || (a < 2 && axis[a].taps.size() != 1)) return false;
    return axis[2].source_step == 1 && axis[2].taps.size() > 1 && std::llabs(axis[2].taps.apart()) == 1;
}

const char* refusal(const Plan& draft, const KernelShapes& kernels) {
    constexpr int64_t least_taps = 16;
    if (draft.pass != Pass::forward) return "a gradient, expected a forward pass";
    if (draft.tasks.channels != 1 || draft.source.channels != 1)
        return "groups of several channels, expected one channel to one";
    for (const MapPlan& m : draft.maps) {
        if (m.map.has_border()) return "a padding mode, expected zeros";
        if (!reads_rows(m.map)) return "taps do not follow each other along a row, expected stride 1, dilation 1";
        if (m.map.taps() < least_taps) return "few taps";
        if (PhaseRow(m.map.axis[2].count, RowTiles(kernels)).phases == 1) return "rows of a vector or less";
    }
    return nullptr;
}

// Slots of a part of a row: of each block of taps its weights and the tiles' steps; what is read, copied and split;
// the sums, joined.
double part_cost(const Plan& plan, const MapPlan& m, int64_t pixels, const RowTiles& tiles, double of_weights) {
    constexpr double moved_vector = 2.0;
    const PhaseRow row(pixels, tiles);
    const int64_t taps = m.patches.largest(), runs = ceil_div(taps, run_of_phases(m));
    const double levels = row.phases == 8 ? 3 : row.phases == 4 ? 2 : row.phases == 2 ? 1 : 0;
    const double steps = f(taps + runs * (row.phases - 1)),
                 moved = f(row.phases * row.pitch(taps_at_once(m), tiles.lanes));
    return f(m.patches.count()) * steps * (row.slots + of_weights) +
           moved_vector * (1 + levels) * moved / f(tiles.lanes) * f(ceil_div(m.map.taps(), taps_at_once(m))) +
           moved_vector * levels * f(row.sums(tiles.lanes)) / f(tiles.lanes) +
           (plan.result.axis[2] != 1 ? strided_store * f(pixels) : 0.0);
}

// The parts that a row is cut into, for threads that take whole ones: those with which they are done first.
int64_t parts_of_row(const Plan& plan, const MapPlan& m, const Setting& setting) {
    const RowTiles tiles(setting.kernels);
    const int64_t pixels = m.map.axis[2].count, rows = rows_of(plan, m) * plan.tasks.groups;
    const int64_t threads = plan.tasks.parallel ? threads_planned_for(setting) : 1;
    const int64_t least = std::max(ceil_div(pixels, task_pixels), ceil_div(threads, rows));
    int64_t best = least;
    double time = std::numeric_limits<double>::infinity();
    for (int64_t parts = least; parts <= std::min(2 * least, pixels); ++parts) {
        const double of_parts =
            f(ceil_div(parts * rows, threads)) * part_cost(plan, m, ceil_div(pixels, parts), tiles, stored_step);
        if (of_parts >= time) continue;
        time = of_parts;
        best = parts;
    }
    return best;
}

Fit fit(const Plan& draft, const Setting& setting) {
    if (const char* const why = refusal(draft, setting.kernels)) return Fit::refuse(why);
    const TileShape& shape = setting.kernels.shape[0];
    Fit fit;
    const MapPlan& m = heaviest_map(draft);
    const int64_t pixels = m.map.axis[2].count, parts = ceil_div(pixels, task_pixels);
    const double of_row = f(parts) * part_cost(draft, m, ceil_div(pixels, parts), RowTiles(setting.kernels), 0.0);
    fit.estimate = {{0, true, shape.rows, shape.vectors * shape.lanes}, of_row * f(rows_of(draft, m))};
    return fit;
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    plan.packing.by_tasks = true;  // each its own weights
    const MapPlan& m = heaviest_map(plan);
    const int64_t parts = parts_of_row(plan, m, setting), row = m.map.axis[2].count;
    int64_t pixels = ceil_div(row, parts);
    if (parts == 1)
        pixels =
            plan.tasks.parallel ? ceil_div(all_pixels(plan) * plan.tasks.groups, setting.tasks_wanted) : task_pixels;
    split_maps(plan, std::clamp(pixels, parts == 1 ? row : 1, task_pixels), 1, alone);
    count_tasks(plan, setting, 1);
    buffer_results(plan);
}

constexpr Strategy make_strategy() {
    Strategy strategy = direct_strategy<PhasesProduct, NoSums>("phases", "phases of rows",
                                                               order_bit(SumOrder::sequential), &fit, &plan);
    strategy.prepares = [](const Plan&) { return false; };
    return strategy;
}

}  // namespace

extern const Strategy phases_strategy;
const Strategy phases_strategy = make_strategy();

}  // namespace convpp
