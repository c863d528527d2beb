// A plan from beginning to end:
//
//   draft: operands, index maps                      Plan(setting)
//   the order of the sum, which decides bits         pairs_are_faster, choose_transformed: y and dx by one sample
//   the strategy, among those of that order          choose: rules first, then the least estimate
//   blocks, tasks, buffers                           the strategy's plan()
//   memory, and the plans that a call may need later complete; make_plan.cpp
//
// plan.hpp says what comes in and goes out.
#include <algorithm>
#include <stdexcept>

#include "plan/class_parts.hpp"
#include "plan/halo.hpp"
#include "plan/less_padding.hpp"
#include "plan/one_pixel.hpp"
#include "plan/plan.hpp"
#include "plan/select.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

// The source as pairs of channels, two bfloat16 each.
void read_pairs(Plan& plan) {
    plan.order = SumOrder::pairs;
    plan.source.channels /= 2;
    TensorStrides& strides = plan.source.strides;
    if (strides.channel == 1) {  // they lie together, and are read like float32
        strides.batch /= 2;
        for (int64_t& step : strides.axis) step = std::max<int64_t>(step / 2, 1);
    } else {
        strides.channel *= 2;
    }
    find_blocks(plan);
}

// Whether a strategy serves whose sums are of lanes: it says so of any batch and layout, or of none.
bool sums_lanes(const Plan& plan, const Setting& setting) {
    if (plan.any_extent) return false;
    const auto serves = [&](const Strategy* strategy) {
        return (strategy->orders & order_bit(SumOrder::lanes)) != 0 && strategy->algorithm == plan.algorithm &&
               strategy->fit(plan, setting).serves();
    };
    return std::any_of(strategies().begin(), strategies().end(), serves);
}

// The direct order of the sums, and its blocks.
void order_sums(Plan& plan, const Setting& setting, bool pairs) {
    if (pairs) return read_pairs(plan);
    find_blocks(plan);
    if (sums_lanes(plan, setting)) plan.order = SumOrder::lanes;
}

struct Choice {
    const Strategy* strategy = nullptr;
    Fit fit;
};

// Among the strategies of the draft's order.
Choice choose(const Plan& draft, const Setting& setting) {
    Choice best;
    for (const Strategy* const strategy : strategies()) {
        if ((strategy->orders & order_bit(draft.order)) == 0 || strategy->algorithm != draft.algorithm) continue;
        Fit fit = strategy->fit(draft, setting);
        if (!fit.serves()) continue;
        if (fit.by_rule) return {strategy, std::move(fit)};
        if (best.strategy == nullptr || fit.estimate.cost < best.fit.estimate.cost) best = {strategy, std::move(fit)};
    }
    return best;
}

// A sample of any extents: some tiles wide and high, and steps beyond which nothing is nearer in memory.
constexpr int64_t sample_pixels = 64, sample_channels = 32, most_step = 64;

// The channels of a group that are summed.
int64_t summed_channels(const Geometry& g, Pass pass) {
    return (pass == Pass::forward ? g.in_channels : g.out_channels) / g.groups;
}

// Whether 64 bits count the elements of such a sample, whatever its pass.
bool has_sample(const Geometry& g, Pass pass) {
    int64_t elems = saturated_mul(sample_channels, summed_channels(g, pass));
    for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a)
        elems = saturated_mul(elems, most_step * (g.kernel[a] - 1 + sample_pixels));
    return elems < int64_t(1) << 58;  // with room for what plans add
}

// One sample in channels first, or last: what a choice may depend on where bits must depend on neither batch nor
// layout.  Where they must not depend on extents either (a block of a result has some of its pixels, groups and channels),
// a sample of so many pixels, and one group with so many result channels.
Setting one_sample(const Setting& setting, Layout layout) {
    Setting sample = setting;
    Geometry g = setting.problem.geometry();
    g.layout = layout;
    g.batch = 1;
    if (setting.any_extent) {
        for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) {
            g.pad_lo[a] = g.pad_hi[a] = 0;
            g.stride[a] = std::min(g.stride[a], most_step);
            g.dilation[a] = std::min(g.dilation[a], most_step);
            g.input[a] = g.dilation[a] * (g.kernel[a] - 1) + g.stride[a] * (sample_pixels - 1) + 1;
        }
        const int64_t summed = summed_channels(g, setting.pass);
        g.in_channels = setting.pass == Pass::forward ? summed : sample_channels;
        g.out_channels = setting.pass == Pass::forward ? sample_channels : summed;
        g.groups = 1;
        constexpr int64_t most_classes = 4;  // of an axis: there may be thousands
        if (setting.pass == Pass::input_grad) sample.classes = all_classes(ConvProblem(g));
        for (Span& classes : sample.classes) classes.hi = std::min(classes.hi, most_classes);
    }
    sample.problem = ConvProblem(g);
    sample.within.reset();
    if (setting.pass == Pass::input_grad && layout == Layout::channels_first && !setting.any_extent) {
        const ConvProblem joined = with_joined_pixels(sample.problem);
        if (joined.geometry().in_channels != g.in_channels) sample.classes = all_classes(joined);
        sample.problem = joined;
    }
    return sample;
}

// Pairs are added in another order than single channels.
bool pairs_are_faster(const Setting& setting, const Plan& plan) {
    if (!setting.kernels.bf16_pairs || plan.pass == Pass::weight_grad || plan.source.channels % 2 != 0) return false;
    if (setting.any_extent && !has_sample(setting.problem.geometry(), setting.pass)) return false;
    const Setting last = one_sample(setting, Layout::channels_last),
                  first = one_sample(setting, Layout::channels_first);
    Plan by_rule(last), sample(first);
    by_rule.algorithm = sample.algorithm = Algorithm::direct;
    find_blocks(by_rule);
    find_blocks(sample);
    if (choose(by_rule, last).fit.by_rule || sums_lanes(by_rule, last)) return false;
    const Choice single = choose(sample, first);
    if (single.fit.by_rule) return false;
    read_pairs(sample);
    return choose(sample, first).fit.estimate.cost < single.fit.estimate.cost;
}

// What a strategy would cost for one sample in channels first.
double cost_of_sample(const Strategy& strategy, const Plan& draft, const Setting& setting) {
    const Setting sample = one_sample(setting, Layout::channels_first);
    Plan plan(sample);
    plan.order = draft.order;
    return strategy.fit(plan, sample).estimate.cost;
}

// Whether a strategy of another order than the direct ones is asked for, or is better; of several, the one that costs a
// sample the least.
Choice choose_transformed(const Plan& draft, const Setting& setting) {
    std::string refusal;
    Choice best;
    for (const Strategy* const strategy : strategies()) {
        if ((strategy->orders & order_bit(SumOrder::transformed)) == 0) continue;
        if (setting.algorithm != Algorithm::automatic && setting.algorithm != strategy->algorithm) continue;
        Fit fit = strategy->fit(draft, setting);
        if (!fit.serves()) refusal = fit.refusal;
        else if (best.strategy == nullptr ||
                 cost_of_sample(*strategy, draft, setting) < cost_of_sample(*best.strategy, draft, setting))
            best = {strategy, std::move(fit)};
    }
    if (best.strategy != nullptr) return best;
    if (setting.algorithm != Algorithm::automatic && !refusal.empty())
        throw std::invalid_argument(std::string("algorithm is '") + name(setting.algorithm) +
                                    "', which does not serve this geometry: " + refusal);
    return {};
}

// For what is not finite in the results: of one sample, or of all of dw, by a direct order of the sum.
std::shared_ptr<const Plan> plan_again(const Setting& setting) {
    Geometry g = setting.problem.geometry();
    if (setting.pass != Pass::weight_grad) g.batch = 1;
    return std::make_shared<const Plan>(
        make_plan(ConvProblem(g), setting.pass, setting.dtype, Algorithm::direct, setting.isa, setting.threads));
}

void complete(Plan& plan, const Setting& setting, const Choice& choice) {
    plan.how = choice.strategy;
    plan.algorithm = choice.strategy->algorithm;
    plan.own = choice.fit.own;
    plan.tile = choice.fit.estimate.tile;
    choice.strategy->plan(plan, setting, choice.fit);
    if (plan.order == SumOrder::transformed) plan.again = plan_again(setting);
    measure_memory(plan);
}

}  // namespace

double read_flops(const Plan& plan) {
    double terms = 0;
    for (const MapPlan& m : plan.maps) terms += static_cast<double>(m.map.pixels()) * static_cast<double>(m.map.taps());
    return 2 * terms * static_cast<double>(plan.batch() * plan.tasks.groups) *
           static_cast<double>(plan.tasks.channels) * static_cast<double>(plan.source.channels);
}

void find_blocks(Plan& plan) {
    for (MapPlan& m : plan.maps) m.patches = blocks_of(plan, m.map);
}

void measure_memory(Plan& plan) {
    if (plan.dtype == DType::float64) plan.how->float64.measure(plan, plan.memory);
    else plan.how->float32.measure(plan, plan.memory);
}

void complete_direct(Plan& plan, const Setting& setting) { complete(plan, setting, choose(plan, setting)); }

namespace {

// The setting with the narrow vectors' kernels.
Setting with_narrow_vectors(const Setting& setting) {
    Setting narrow = setting;
    narrow.kernels = kernel_shapes(setting.narrow->isa, setting.dtype);
    return narrow;
}

// Vectors of half the length leave fewer lanes empty where they run along few channels (36 on vectors of 16: 4 lanes of
// 40, not 12 of 48).  They round alike, and the order of a sum of y or dx knows nothing of them.  (Of dw, it does.  In
// channels_first, what transposes gain and lose makes up for it.)
bool may_be_narrow(const Plan& plan, const Setting& setting) {
    if (!setting.narrow || setting.some_classes || plan.pass == Pass::weight_grad || !plan.channels_last() ||
        plan.order != SumOrder::sequential)
        return false;
    const auto filled_up = [&](const KernelShapes& kernels) {
        return round_up(plan.tasks.channels, kernels.shape[0].lanes);
    };
    return filled_up(with_narrow_vectors(setting).kernels) < filled_up(setting.kernels);
}

// The best strategy, by narrow vectors along the channels where those promise to be better.
void complete_in_either_width(Plan& plan, const Setting& setting) {
    constexpr double least_gain = 1.15;
    const Choice wide = choose(plan, setting);
    if (may_be_narrow(plan, setting) && !wide.fit.by_rule) {
        const Setting narrow = with_narrow_vectors(setting);
        const Choice choice = choose(plan, narrow);
        const Estimate& estimate = choice.fit.estimate;
        if (!choice.fit.by_rule && !estimate.tile.pixels_are_columns &&
            estimate.cost * setting.narrow->cost * least_gain < wide.fit.estimate.cost) {
            plan.kernels = setting.narrow->isa;
            return complete(plan, narrow, choice);
        }
    }
    complete(plan, setting, wide);
}

}  // namespace

Plan plan_pass(const Setting& setting) {
    Plan plan(setting);
    plan.cut_share = share_with_less_padding(plan, setting);
    // (The plain loops need no maps, and may find terms beyond x where there are none inside.)
    const bool by_maps = plan.algorithm != Algorithm::reference;
    const bool empty = setting.problem.flops() == 0 || result_elems(setting.problem, setting.pass) == 0 ||
                       (plan.maps.empty() && by_maps);
    const bool pairs = !empty && by_maps && pairs_are_faster(setting, plan);
    if (!plan.maps.empty() && !(empty && setting.algorithm == Algorithm::automatic)) {
        plan.order = pairs ? SumOrder::pairs : SumOrder::sequential;  // what a transform has to beat
        const Choice transformed = choose_transformed(plan, setting);
        plan.order = SumOrder::sequential;
        if (transformed.strategy != nullptr && !empty) {
            plan.order = SumOrder::transformed;
            complete(plan, setting, transformed);
            return plan;
        }
    }
    if (empty) return plan;
    if (plan_fold(plan, setting)) return plan;
    order_sums(plan, setting, pairs);
    if (plan_pieces(plan, setting)) return plan;
    cut_maps(plan, setting);
    complete_in_either_width(plan, setting);
    return plan;
}

namespace {

// Why a strategy of another direct order is not asked.
std::string why_not(const Strategy& strategy, const Plan& direct, const Setting& setting) {
    if (direct.order == SumOrder::pairs) return "channels are multiplied in pairs, which it cannot";
    if (direct.order == SumOrder::lanes) return "sums are of lanes, which it has not";
    const std::string refusal = strategy.fit(direct, setting).refusal;
    return refusal.empty() ? "its order of the sum is not that of one sample" : refusal;  // of a part of a cut map
}

Candidate candidate_of(const Strategy& strategy, const Plan& draft, Setting setting, const Strategy* chosen) {
    // What was asked for need not be faster than others.
    setting.algorithm = &strategy == chosen ? strategy.algorithm : Algorithm::automatic;
    const Fit fit = strategy.fit(draft, setting);
    return {strategy.name, fit.serves() ? fit.estimate.cost : 0.0, fit.refusal, fit.by_rule, &strategy == chosen};
}

}  // namespace

std::vector<Candidate> candidates(const Plan& plan, const ConvProblem& problem, int threads) {
    std::vector<Candidate> all;
    if (plan.empty() || plan.parts != nullptr) return all;
    const auto in_table = [&](const Strategy* strategy) { return strategy == plan.how; };
    // What leaves padding out is none of the others.
    if (std::none_of(strategies().begin(), strategies().end(), in_table))
        all.push_back({plan.how->name, 0.0, "", true, true});
    Setting setting(plan.pass == Pass::input_grad ? with_zeros_around(problem) : problem, plan.pass, plan.dtype,
                    Algorithm::automatic, plan.isa, threads, false);
    setting.problem = plan.problem;
    setting.any_extent = plan.any_extent;
    if (plan.pass == Pass::input_grad) setting.classes = all_classes(plan.problem);
    Plan draft(setting);
    draft.cut_share = share_with_less_padding(draft, setting);
    Plan direct = draft;
    order_sums(direct, setting, pairs_are_faster(setting, draft));
    cut_maps(direct, setting);
    for (const Strategy* const strategy : strategies()) {
        if ((strategy->orders & order_bit(SumOrder::transformed)) != 0) {
            Plan beaten = draft;
            beaten.order = direct.order;  // what a transform has to beat
            all.push_back(candidate_of(*strategy, beaten, setting, plan.how));
        } else if ((strategy->orders & order_bit(direct.order)) == 0 && strategy->algorithm == Algorithm::direct) {
            all.push_back({strategy->name, 0.0, why_not(*strategy, direct, setting), false, false});
        } else if (strategy == plan.how && plan.kernels != plan.isa) {
            all.push_back(candidate_of(*strategy, direct, with_narrow_vectors(setting), plan.how));
            all.back().cost *= setting.narrow->cost;
        } else {
            all.push_back(candidate_of(*strategy, direct, setting, plan.how));
        }
    }
    return all;
}

Plan::Plan(const Setting& setting)
    : problem(setting.problem),
      pass(setting.pass),
      dtype(setting.dtype),
      isa(setting.isa),
      kernels(setting.isa),
      algorithm(setting.algorithm == Algorithm::automatic ? Algorithm::direct : setting.algorithm),
      any_extent(setting.any_extent),
      samples{setting.samples, setting.shares_samples} {
    const Geometry& g = problem.geometry();
    const bool to_input = pass == Pass::input_grad;
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups;
    const TensorStrides x = x_strides(problem), y = y_strides(problem);
    source = {to_input ? out : in, to_input ? y : x};
    result = buffer.strides = to_input ? x : y;
    bias_elems = setting.bias_elems;
    tasks.groups = g.groups;
    tasks.channels = to_input ? in : out;
    tasks.parallel = setting.parallel;
    const int64_t per_out = saturated_mul(in, problem.taps()), per_in = problem.taps();
    weights = {saturated_mul(out, per_out), to_input ? per_in : per_out, to_input ? per_out : per_in, {}};
    weights.axis = {g.kernel[1] * g.kernel[2], g.kernel[2], 1};
    if (setting.within) {
        source.strides = setting.within->dy;
        weights.source_channel = setting.within->dy_channel;
    }
    if (to_input) {
        InputGradMaps of_classes = input_grad_maps(problem, setting.only_read, setting.classes);
        if (!of_classes.covers_input && !setting.some_classes) gaps = Gaps::filled_before;
        for (IndexMap& map : joined_rows(std::move(of_classes.classes))) maps.emplace_back(std::move(map));
        if (setting.only_read) tasks.parallel = read_flops(*this) > serial_flops;
    } else {
        maps.emplace_back(joined_rows(forward_map(problem)));
    }
    most_taps = to_input ? most_class_taps(problem) : problem.taps();
    for (const MapPlan& m : maps) reads_padding |= m.map.reads_padding();
}

PatchBlocks blocks_of(const Plan& plan, const IndexMap& map) {
    // Of y and dx, the channels of a small group are one block: vectors go through several such groups at once.  The
    // weight gradient copies a block's channels of each pixel; in channels_last, fewer than two cache lines of them
    // would take long (there, blocks are no part of the order of the sum).
    constexpr int64_t small_group = 8, two_lines = 32;
    const bool sums = plan.pass == Pass::weight_grad, small = !sums && plan.source.channels <= small_group;
    const int64_t least_channels = small ? small_group : sums && plan.channels_last() ? two_lines : 1;
    // Residue classes are summed alike, each by itself or several together.
    return make_patch_blocks(plan.source.channels, map,
                             {plan.most_taps, least_channels, !sums, plan.one_tap_box, plan.any_extent});
}

}  // namespace convpp
