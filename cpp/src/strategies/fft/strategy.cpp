// Products of spectra: convolutions by the fast Fourier transform (Cooley and Tukey 1965; overlap-save, Stockham 1966;
// long kernels in parts of equal length, Kulp 1988).
//
// In:  a draft of the plan.   Out: whether it serves and is faster; lengths of transforms; boxes of tiles.
// Next: axes.hpp, then tiles.hpp, product.hpp (forward, input_grad) and grad.hpp (weight_grad).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "plan/class_parts.hpp"
#include "plan/costs.hpp"
#include "strategies/fft/grad.hpp"

namespace convpp {
namespace {

using costs::f;

// That the estimate promises before it is chosen, over whatever else would be: whole numbers are exact by the direct
// algorithm alone.
constexpr double least_gain = 1.25;

// Slots of the direct algorithm for one that the arithmetic takes: many filters; two or three; one, whose tiles are bound
// by loads.  (Measured: 0.95 to 1.05; 1.03 to 1.3; 1.25 to 2.)
double direct_slot(int64_t filters) { return filters >= 4 ? 1.0 : filters > 1 ? 1.15 : 1.4; }

// Bytes of a box's spectra, at most; and of all of a call's, if that leaves a box as many as the last of them: a larger
// workspace is not kept for the next call, and clearing its pages takes as long as filling them.
constexpr int64_t most_box_bytes = int64_t(24) << 20, least_box_bytes = int64_t(8) << 20,
                  most_call_bytes = int64_t(58) << 20;

FourierSize size_of(const Plan& plan, const Setting& setting) {
    return {plan.source.channels,           plan.tasks.channels, plan.tasks.groups,
            setting.kernels.shape[0].lanes, setting.elem_bytes,  plan.pass == Pass::weight_grad};
}

// The direct algorithm's cost for a sample and a group.
double direct_cost(const Plan& plan, int64_t lanes) {
    double terms = 0;
    for (const MapPlan& m : plan.maps) terms += f(m.map.pixels()) * f(m.map.taps());
    const double pairs = f(plan.source.channels) * f(plan.tasks.channels);
    return plan.cut_share * terms * pairs / f(lanes) * direct_slot(plan.tasks.channels) /
           (plan.order == SumOrder::pairs ? 2 : 1);
}

// The choice depends on one sample, never on threads, caches or the layout.
Fit fit(const Plan& draft, const Setting& setting) {
    const bool chosen = setting.algorithm == Algorithm::automatic;
    const FourierSize size = size_of(draft, setting);
    double best = direct_cost(draft, size.lanes) / least_gain;
    auto own = std::make_shared<FourierPlan>();
    FourierCost cost;
    // Kernels of a few taps are never served faster; to look for lengths would take longer than many a call.
    constexpr int64_t least_taps = 16;
    int64_t taps = 0;
    for (const MapPlan& m : draft.maps) taps = std::max(taps, m.map.taps());
    if (chosen && taps < least_taps) return Fit::refuse("fewer than 16 taps");
    // (The cost of a call alone, 6e4 slots, is more than what 1e5 multiply-adds take: it saves looking for lengths.)
    if (chosen && best * f(size.lanes) * f(size.groups) < 1e5)
        return Fit::refuse("too little work for transforms to pay");
    // (More are planned in parts, whose results nobody looks at; or one by one, which would take much memory.)
    if (setting.some_classes || static_cast<int64_t>(draft.maps.size()) > most_planned_classes)
        return Fit::refuse("residue classes are too many, expected " + std::to_string(most_planned_classes) +
                           " at most");
    FourierLengths lengths(size);
    for (const MapPlan& map : draft.maps) {
        FourierMap m;
        FourierCost of_map;
        const std::string why = lengths.choose(map.map, f(draft.batch()), m, of_map);
        if (!why.empty()) return Fit::refuse(why);
        cost.sample += of_map.sample;
        cost.weights += of_map.weights;
        if (chosen && cost.sample + cost.weights >= best) return Fit::refuse("slower");
        own->maps.push_back(m);
    }
    const double batch = f(std::max<int64_t>(draft.batch(), 1));
    own->weight_share = cost.weights / (cost.weights + cost.sample * batch);
    Fit fit;
    fit.estimate.cost = (cost.sample * batch + cost.weights) * (chosen ? least_gain : 1);
    fit.own = std::move(own);
    return fit;
}

// Of its spectra, of all channels of a group.
int64_t bytes_of_item(const Plan& plan, const FourierMap& m, const Setting& setting) {
    return 2 * m.points * setting.elem_bytes * (m.source_channels + plan.tasks.channels);
}

void cut_boxes(const Plan& plan, FourierMap& m, const Setting& setting) {
    const int64_t lanes = setting.kernels.shape[0].lanes, groups = plan.tasks.groups, batch = plan.batch();
    const int64_t items = checked_mul(m.items(), batch, "the tiles");
    const bool alone = meets_alone(plan, m);
    if (alone) {
        // Vectors along groups, where that leaves fewer lanes empty.  In channels last they lie together, too, which saves
        // transposes: an estimate, not measured, as is that they cost as much more in channels first.
        constexpr double together = 1.3;
        const double by_items = f(ceil_div(items, lanes)) * f(groups),
                     by_groups = f(items) * f(ceil_div(groups, lanes));
        m.lanes_are_groups = plan.tasks.channels == 1 && groups > 1 &&
                             by_groups < by_items * (plan.channels_last() ? together : 1 / together);
        m.box_items = m.lanes_are_groups ? 1 : lanes;
    } else {
        m.sums_by_channels = plan.pass == Pass::weight_grad && along_channels(m.source_channels, lanes);
        const int64_t bytes = bytes_of_item(plan, m, setting);
        const int64_t others =
            setting.elem_bytes * (plan.pass == Pass::weight_grad ? FourierSumLayout(plan, m, lanes).chunk
                                                                 : FourierWeights(plan, m, lanes).elems);
        const int64_t box_bytes = std::clamp(most_call_bytes - others, least_box_bytes, most_box_bytes);
        const int64_t in_l2 = setting.cache_bytes / 2 / bytes, most = std::max<int64_t>(box_bytes / bytes, 1);
        // Half of L2, or more: where weights are many, they come from memory for each box, at a few bytes a cycle, which
        // eight vectors of tiles outweigh; where the kernel has parts, a box's halo is transformed again, at most an
        // eighth then.  (By these formulas, not measured.)
        const int64_t wanted = std::max({in_l2, 8 * m.halo(), m.terms() > 16 ? 8 * lanes : lanes});
        m.box_items = std::min(round_up(std::max(std::min(wanted, most), lanes), lanes), round_up(items, lanes));
    }
    m.boxes = ceil_div(items, m.box_items);
    if (plan.pass == Pass::weight_grad && alone) {
        // From the shapes alone: they decide bits.
        constexpr int64_t most_chunks = 16, least_boxes = 4;
        const int64_t pairs = m.lanes_are_groups ? ceil_div(groups, lanes) : groups;
        while (m.chunks < most_chunks && m.chunks * pairs < 2 * most_chunks && m.chunks * 2 * least_boxes <= m.boxes)
            m.chunks *= 2;
    }
}

void plan(Plan& plan, const Setting& setting, const Fit& fit) {
    auto own = std::make_shared<FourierPlan>();
    const FourierPlan& found = static_cast<const FourierPlan&>(*fit.own);
    own->maps = found.maps;
    own->weight_share = found.weight_share;
    const bool is_double = setting.dtype == DType::float64;
    // Residue classes whose transforms are as long share their factors.
    const auto same_lengths = [](const FourierMap& a, const FourierMap& b) {
        return a.axis[0].length == b.axis[0].length && a.axis[1].length == b.axis[1].length &&
               a.axis[2].length == b.axis[2].length;
    };
    std::vector<const FourierMap*> of_tables;
    for (FourierMap& m : own->maps) {
        const auto same = std::find_if(of_tables.begin(), of_tables.end(),
                                       [&](const FourierMap* of) { return same_lengths(*of, m); });
        m.tables = static_cast<size_t>(same - of_tables.begin());
        if (same == of_tables.end()) of_tables.push_back(&m);
    }
    own->float32 = std::vector<FourierTables<float>>(is_double ? 0 : of_tables.size());
    own->float64 = std::vector<FourierTables<double>>(is_double ? of_tables.size() : 0);
    for (size_t i = 0; i < of_tables.size(); ++i) {
        if (is_double) own->float64[i].make(of_tables[i]->axis);
        else own->float32[i].make(of_tables[i]->axis);
    }
    int64_t weights = 0, boxes = 0, box_bytes = 0;
    for (size_t i = 0; i < own->maps.size(); ++i) {
        FourierMap& m = own->maps[i];
        cut_boxes(plan, m, setting);
        if (!meets_alone(plan, m))
            box_bytes = std::max(box_bytes, saturated_mul(bytes_of_item(plan, m, setting), m.box_items + m.halo()));
        if (plan.pass == Pass::weight_grad) {
            boxes = plan.tasks.groups;
            continue;
        }
        m.weights_at = weights;
        plan.maps[i].weights_at = weights;
        const int64_t elems = FourierWeights(plan, m, setting.kernels.shape[0].lanes).elems;
        plan.maps[i].weights_per_group = ceil_div(elems, plan.tasks.groups);
        weights = checked_add(weights, plan.maps[i].weights_per_group * plan.tasks.groups, "the transformed weights");
        boxes = std::max(boxes, m.boxes * plan.tasks.groups);
    }
    // With few boxes for each thread they share each; or with large ones, which all threads' memory would not hold.
    constexpr int64_t rounds = 4;
    own->boxes_of_threads = plan.tasks.parallel && boxes >= rounds * setting.threads && box_bytes <= 2 * most_box_bytes;
    plan.weight_share = plan.pass == Pass::forward ? own->weight_share : 0;
    plan.own = std::move(own);
}

// What a result is off by, relative to the largest ones of its tile: errors of the passes, which are as many as halvings,
// are independent.  (Measured, normal numbers: 0.8 to 1.3 times that, L2 norms; benchmarks/accuracy_kernels.py.)
double predicted_error(const Plan& plan, const FourierMap& m) {
    const double unit = plan.dtype == DType::float64 ? 0x1p-53 : 0x1p-24;
    return unit * std::sqrt(std::log2(f(std::max<int64_t>(m.elems(), 2))));
}

std::string describe(const Plan& plan) {
    const auto text = [](int64_t n) { return std::to_string(n); };
    const FourierMap& m = fourier_of(plan).maps.front();
    const auto by_axes = [&](const auto& of) {
        std::string all;
        for (size_t a = 0; a < 3; ++a)
            if (m.axis[a].length > 1 || a == 2) all += (all.empty() ? "" : "x") + text(of(m.axis[a]));
        return all;
    };
    char error[16];
    std::snprintf(error, sizeof error, "%.1e", predicted_error(plan, m));
    return "transforms of " + by_axes([](const FourierAxis& a) { return a.length; }) + "; tiles of " +
           by_axes([](const FourierAxis& a) { return a.hop; }) + " results, " + text(m.items() * plan.batch()) +
           " of each channel; " +
           (m.parts() > 1 ? "kernels in " + by_axes([](const FourierAxis& a) { return a.parts; }) + " parts; " : "") +
           (m.phases() > 1 ? text(m.phases()) + " phases of taps; " : "") + text(m.boxes) + " boxes of up to " +
           text(m.box_items) + " tiles; vectors along " +
           (m.lanes_are_groups || m.sums_by_channels ? "channels" : "tiles") + "; relative error about " + error;
}

template <class T>
constexpr Entry<T> fourier_entry() {
    return {[](const Plan& plan, WorkspaceBytes& bytes) {
                const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
                bytes.shared = plan.pass == Pass::weight_grad ? measured<FourierSumShared<T>>(plan, kernel)
                                                              : measured<FourierShared<T>>(plan, kernel);
                bytes.of_thread = buffer_bytes<FourierBuffers<T>>(plan, kernel);
            },
            &prepare_fourier<T>,
            [](const Plan& plan, const Operands<T>& operands, const RunContext& run) {
                if (plan.pass == Pass::weight_grad) run_fourier_sums(plan, operands, run);
                else run_fourier_products(plan, operands, run);
            }};
}

}  // namespace

extern const Strategy fft_strategy;
const Strategy fft_strategy{
    "fft",
    "products of spectra",
    Algorithm::fft,
    order_bit(SumOrder::transformed),
    &fit,
    &plan,
    [](const Plan&) { return true; },
    [](const Plan&, const MapPlan&, const Box& box) { return box; },
    &describe,
    fourier_entry<float>(),
    fourier_entry<double>(),
};

}  // namespace convpp
