// Fewer multiplications: tiles of results from products of transformed tiles (Winograd 1980; Lavin and Gray 2015).
//
// In:  a draft of the plan.   Out: whether it serves and is faster; its axes; tasks.
// Next: axes.hpp, tasks.cpp, then product.hpp (forward, input_grad) and grad.hpp (weight_grad).
#include <algorithm>
#include <limits>
#include <memory>

#include "plan/costs.hpp"
#include "strategies/direct.hpp"
#include "strategies/winograd/grad.hpp"
#include "strategies/winograd/product.hpp"

namespace convpp {
namespace {

using costs::f;

constexpr double least_flops = 1.5e6;  // of a sample: with less, a call is over before transforms pay
constexpr double least_gain = 1.1;     // that the estimate promises, before Winograd's algorithm is chosen

// What transforms cost, in slots of a multiply-add unit, for a vector of channels: each point of the source, the
// results and the weights (arithmetic and stores); each element copied on the way in, and put into order on the way out
// beyond what the direct algorithm does.  (Measured by profile, 3x3 64-64 at 56x56 and 512-512 at 14x14, AVX-512.)
constexpr double source_point = 5.5, result_point = 3.0, weight_point = 8.0, copied_elem = 12.0, written_elem = 4.0;

// Weights are transformed once for a batch.  The choice must not depend on the batch, so it supposes one of 2.
constexpr double supposed_batch = 2.0;

// The direct algorithm packs weights too, which is little beside its products: but not where those are bf16 pairs.  A
// vector of weights takes so many slots if they come from memory.  (Measured, 3x3 512-512 at 7x7, two threads: 20.
// There Winograd's algorithm is 6 % slower than bf16 pairs for one image, and 1.3 times as fast for eight.)
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
    const double points = f(w.points()), outputs = f(w.outputs());
    const double in = f(ceil_div(plan.source.channels, lanes)), out = f(ceil_div(plan.tasks.channels, lanes));
    const double terms = f(plan.source.channels) * out * f(w.outer_taps()) * points;
    const bool sums = plan.pass == Pass::weight_grad;
    const double of_result =
        sums ? points * source_point + outputs * copied_elem : points * result_point + outputs * written_elem;
    return {terms * weight_point, tiles * terms * product_slot +
                                      in * (places * points * source_point + source * copied_elem) +
                                      out * tiles * of_result};
}

// The cost of the direct algorithm that has to be beaten, for one sample and group; or why that is never tried.
Fit to_beat(const Plan& plan, const IndexMap& map, int64_t lanes) {
    // Fewer channels leave vectors empty, or the transforms without products to pay for them; and small sums stay exact
    // on whole numbers.
    constexpr int64_t least_channels = 16;
    if (std::min(plan.source.channels, plan.tasks.channels) < least_channels)
        return Fit::refuse("fewer than 16 channels a group");
    double direct = f(map.pixels()) * f(map.taps()) * f(plan.source.channels) * f(plan.tasks.channels) / f(lanes);
    direct *= direct_slot * plan.cut_share;
    if (direct * 2 * f(lanes * plan.tasks.groups) < least_flops)
        return Fit::refuse("too little work for transforms to pay");
    if (plan.order == SumOrder::pairs) {
        // In whole vectors of channels, as their one strategy has them.  (Measured, 36 channels at 28x28: 1.4 times as
        // slow as Winograd's algorithm.)
        const double weights = f(map.taps() * plan.source.channels) * f(ceil_div(plan.tasks.channels, lanes));
        direct = weights * (f(map.pixels()) * direct_slot / 2 + packed_bf16_pairs / supposed_batch);
    }
    Fit fit;
    fit.estimate.cost = direct / least_gain;
    return fit;
}

// Whether most of what is copied for a tile and its neighbours is read by none of them, and more than caches hold.
// (Taps that are not transformed may lie far apart, or results that are not; so do the elements of a tile where a
// dilation is longer than the axis.)
bool copies_gaps(const WinogradPlan& w) {
    constexpr double most_for_each = 128, most_vectors = 1 << 16;
    double copied = 1, for_each = 1;
    for (const WinogradAxis& axis : w.axis) {
        const int64_t units = std::min<int64_t>(axis.units, 2);
        const double one = f(axis.source_length(1)), some = f(axis.source_length(units));
        const double read = f(axis.transformed ? axis.points * axis.phases : axis.taps);
        copied *= some;
        for_each *= std::max(one / read, some / (read * f(units)));
    }
    return for_each > most_for_each && copied > most_vectors;
}

// The choice depends on one sample (weight_grad: on the batch), never on threads or caches.
Fit fit(const Plan& draft, const Setting& setting) {
    const IndexMap& map = draft.maps[0].map;
    const auto strided = [](const AxisMap& axis) { return axis.result_step != 1; };
    if (draft.maps.size() != 1 || std::any_of(map.axis.begin(), map.axis.end(), strided))
        return Fit::refuse("the input gradient has a stride, expected stride 1");
    const int64_t lanes = setting.kernels.shape[0].lanes;
    double best = std::numeric_limits<double>::infinity();
    if (setting.algorithm == Algorithm::automatic) {
        const Fit direct = to_beat(draft, map, lanes);
        if (!direct.serves()) return direct;
        best = direct.estimate.cost;
    }
    // The error of a few numbers scatters widely: a weight gradient of less than 16 kernels takes the tiles that round
    // less, to be within its bound.  (Measured, one kernel of 3x3: F(4, 3) exceeds it in a tenth of the cases, F(2, 3)
    // never.)
    constexpr int64_t few_kernels = 16;
    const bool sums = draft.pass == Pass::weight_grad;
    const bool few = sums && draft.source.channels * draft.tasks.channels < few_kernels;
    Fit fit;
    std::string why_not;
    for (int size = 0; size < kernels::winograd_sizes; ++size) {
        if (few && kernels::winograd_outputs[size] > 2) continue;
        auto candidate = std::make_shared<WinogradPlan>();
        const std::string reason = winograd_axes(map, size, *candidate);
        if (!reason.empty()) {
            if (reason > why_not) why_not = reason;  // "the dilation", which other sizes do not come to, is last
            continue;
        }
        if (copies_gaps(*candidate)) {
            why_not =
                "the taps are so far apart that most of what would be copied lies between them, expected closer ones";
            continue;
        }
        const WinogradSlots slots = winograd_slots(draft, *candidate, lanes);
        const double batch = sums ? f(std::max<int64_t>(draft.batch(), 1)) : supposed_batch;
        if (slots.sample + slots.weights / batch >= best) continue;
        best = slots.sample + slots.weights / batch;
        candidate->weight_share = slots.weights / (slots.weights + slots.sample * f(draft.batch()));
        fit.estimate.cost = slots.sample * f(draft.batch()) + slots.weights;
        fit.own = std::move(candidate);
    }
    if (fit.own == nullptr) return Fit::refuse(why_not.empty() ? "slower" : why_not);
    return fit;
}

void plan(Plan& plan, const Setting& setting, const Fit& fit) {
    auto own = std::make_shared<WinogradPlan>(static_cast<const WinogradPlan&>(*fit.own));
    if (plan.pass == Pass::weight_grad) plan_winograd_sums(plan, *own, setting);
    else plan_winograd_products(plan, *own, setting);
    plan.own = std::move(own);
}

std::string describe(const Plan& plan) {
    const auto text = [](int64_t n) { return std::to_string(n); };
    const WinogradPlan& w = own<WinogradPlan>(plan);
    const auto size = [&](int64_t n) { return w.planes() ? text(n) + "x" + text(n) : text(n); };
    const WinogradAxis& axis = w.axis[w.along_b];
    const bool sums = plan.pass == Pass::weight_grad;
    return "F(" + size(axis.outputs) + ", " + size(axis.points - axis.outputs + 1) + "); " + text(w.points()) +
           " products of " + text(plan.tile.rows) + (sums ? " channels x " : " tiles x ") + text(plan.tile.columns) +
           (sums ? " filters; " : " channels; ") + text(plan.tasks.count) + " tasks of up to " +
           text(plan.tasks.channel_block) + " channels; boxes of up to " +
           text(plan.maps.front().boxes.largest() * w.phases()) + " tiles; blocks of " + text(w.source_block) +
           " source channels" + (plan.packing.by_tasks ? "; tasks transform their own weights" : "");
}

}  // namespace

extern const Strategy winograd_strategy;
const Strategy winograd_strategy{
    "winograd",
    "Winograd's algorithm",
    Algorithm::winograd,
    order_bit(SumOrder::transformed),
    &fit,
    &plan,
    // Where tasks transform their own weights, reading four times as many from memory takes longer (measured, 3x3
    // 512-512: by 5 to 10 % of the call).
    [](const Plan& plan) { return !plan.packing.by_tasks; },
    &results_of,
    &describe,
    direct_entry<float, WinogradProducts, WinogradSums>(),
    direct_entry<double, WinogradProducts, WinogradSums>(),
};

}  // namespace convpp
