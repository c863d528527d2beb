// Cut maps, pieces and folds, where they pay.  less_padding.hpp says what comes in and goes out.
#include "plan/less_padding.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "plan/costs.hpp"
#include "plan/cut_maps.hpp"
#include "plan/fold.hpp"
#include "plan/select.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

// What the products of a plan's maps cost, for so many samples.
CutCosts cut_costs(const Plan& plan, int64_t samples) {
    // Two microseconds for each group, or less for a vector of small ones' channels: tasks, where pixels lie, tiles that
    // are not full.  (Measured, 5x5 on 3x3: 8 groups of 16 channels; 384 of one.)
    constexpr double slots_of_group = 6000, slots_of_vector = 1000;
    constexpr int64_t small_group = 8, lanes = 16;  // whatever the set's: bits must not depend on it
    using costs::f;
    const double source = f(plan.source.channels), vectors = f(ceil_div(plan.tasks.channels, lanes));
    const bool sums = plan.pass == Pass::weight_grad;
    const bool small = plan.tasks.groups > 1 && std::max(plan.source.channels, plan.tasks.channels) <= small_group;
    return {f(samples), sums ? source : 0, vectors, (small ? slots_of_vector : slots_of_group) / (source * vectors)};
}

MapCut cut_of(const Plan& plan, int64_t samples) { return best_cut(plan.maps.front().map, cut_costs(plan, samples)); }

// Whether a plan has a single map, which may be cut.  (Slabs of a halo are small, and may be hundreds.)
bool may_be_cut(const Plan& plan, const Setting& setting) {
    return !setting.only_read && !setting.any_extent && plan.maps.size() == 1 && plan.gaps == Gaps::none &&
           plan.algorithm != Algorithm::reference && plan.reads_padding && plan.batch() > 0;
}

// Of the cost, that remains where the map is cut as one sample (dw: the batch) has it.
double share_when_cut(const Plan& plan, const Setting& setting) {
    if (!may_be_cut(plan, setting)) return 1;
    return cut_of(plan, plan.pass == Pass::weight_grad ? plan.batch() : 1).share;
}

// What folding costs of what else the maps' products would, for a small batch: neither the real one, nor the layout, may
// change bits.
double share_when_folded(const Plan& plan, const Setting& setting) {
    constexpr int64_t supposed_batch = 4;
    const bool may = plan.pass == Pass::input_grad && !setting.only_read && !setting.any_extent &&
                     !setting.some_classes && plan.batch() > 0;
    if (!may || !plan.reads_padding || plan.algorithm == Algorithm::reference) return 1;
    double maps = 0;
    for (const MapPlan& m : plan.maps)
        maps += costs::f(m.map.taps()) * (costs::f(m.map.pixels()) * supposed_batch + costs::weight_vector);
    return fold_cost(plan.problem, supposed_batch) / maps;
}

// Of folding, over cut maps.
constexpr double least_gain_of_fold = 1.3;

bool folds(const Plan& plan, const Setting& setting) {
    const double share = share_when_folded(plan, setting);
    return share * least_gain_of_fold < 1 && share * least_gain_of_fold < share_when_cut(plan, setting);
}

}  // namespace

double share_with_less_padding(const Plan& draft, const Setting& setting) {
    return std::min(share_when_cut(draft, setting), share_when_folded(draft, setting));
}

void cut_maps(Plan& plan, const Setting& setting) {
    if (plan.pass == Pass::weight_grad || plan.order == SumOrder::lanes || !may_be_cut(plan, setting)) return;
    const PatchBlocks& whole = plan.maps.front().patches;
    const bool same_runs = whole.taps.count() == 1 && whole.run_channels > 0;
    const MapCut cut = cut_of(plan, same_runs ? plan.batch() : 1);
    if (!cut.cuts()) return;
    const std::vector<IndexMap> maps = cut.maps(plan.maps.front().map);
    // Few taps may have gaps between them that all together had not: they would be copied by no strategy of pairs.
    if (std::any_of(maps.begin(), maps.end(), [](const IndexMap& map) { return map.reads_mostly_gaps(); })) return;
    plan.maps.clear();
    plan.cut = true;
    plan.one_tap_box = same_runs;
    if (!same_runs) plan.most_taps = 1;
    plan.reads_padding = false;
    for (const IndexMap& map : maps) {
        plan.maps.emplace_back(map);
        plan.most_taps = std::max(plan.most_taps, map.taps());
        plan.reads_padding |= map.reads_padding();
    }
    find_blocks(plan);
}

bool plan_pieces(Plan& plan, const Setting& setting) {
    if (plan.pass != Pass::weight_grad || !may_be_cut(plan, setting)) return false;
    const MapCut cut = cut_of(plan, plan.batch());
    if (!cut.cuts()) return false;
    std::vector<IndexMap> maps = cut.maps(plan.maps.front().map);
    Setting of_piece = setting;  // adding up chunks takes as long as their number, in each
    of_piece.chunks_wanted = ceil_div(setting.chunks_wanted, static_cast<int64_t>(maps.size()));
    for (IndexMap& map : maps) {
        Plan piece(of_piece);
        for (size_t a = 0; a < 3; ++a)
            piece.dy_from += std::exchange(map.axis[a].result_start, 0) * piece.result.axis[a];
        piece.maps.assign(1, MapPlan(map));
        piece.most_taps = map.taps();
        piece.reads_padding = map.reads_padding();
        piece.tasks.parallel = setting.parallel && read_flops(piece) > serial_flops;
        find_blocks(piece);
        complete_direct(piece, of_piece);
        plan.tasks.count += piece.tasks.count;
        plan.pieces.push_back(std::move(piece));
    }
    plan.how = &pieces_strategy();
    plan.algorithm = Algorithm::direct;
    measure_memory(plan);
    return true;
}

bool plan_fold(Plan& plan, const Setting& setting) {
    if (!folds(plan, setting)) return false;
    auto fold = std::make_shared<FoldPlan>(cut_fold(plan.problem));
    const Geometry& g = plan.problem.geometry();
    const int64_t of_group = g.in_channels / g.groups;
    for (const bool last_channels : {false, true})
        for (const bool last_samples : {false, true}) {
            const int64_t channels =
                last_channels ? of_group - (fold->channel_blocks - 1) * fold->channels : fold->channels;
            const int64_t samples = last_samples ? g.batch - (fold->sample_blocks - 1) * fold->samples : fold->samples;
            Setting products(folded_products(plan.problem, channels, samples), setting.pass, setting.dtype,
                             Algorithm::direct, setting.isa, 1, false);
            products.within = {plan.source.strides, plan.weights.source_channel};
            products.parallel = false;  // threads take whole tasks
            fold->plans.push_back(plan_pass(products));
        }
    plan.tasks.count = g.groups * fold->channel_blocks * fold->sample_blocks;
    plan.maps.clear();
    plan.gaps = Gaps::none;  // all of dx is written
    plan.reads_padding = false;
    plan.how = &fold_strategy();
    plan.algorithm = Algorithm::direct;
    plan.own = std::move(fold);
    measure_memory(plan);
    return true;
}

}  // namespace convpp
