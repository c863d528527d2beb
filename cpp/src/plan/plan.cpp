// A plan from beginning to end; plan_parts.hpp lists the steps.  plan.hpp says what comes in and goes out.
#include "plan/plan.hpp"

#include <algorithm>
#include <stdexcept>

#include "machine/cache.hpp"
#include "plan/plan_parts.hpp"

namespace convpp {
namespace {

void describe_operands(Plan& plan, const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    const bool to_input = plan.pass == Pass::input_grad;
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups;
    plan.groups = g.groups;
    plan.batch = g.batch;
    plan.channels_last = g.layout == Layout::channels_last;
    plan.result_channels = to_input ? in : out;
    plan.source_channels = to_input ? out : in;
    const TensorStrides x = tensor_strides(g.layout, g.in_channels, g.input);
    const TensorStrides y = tensor_strides(g.layout, g.out_channels, problem.output());
    plan.source = to_input ? y : x;
    plan.result = plan.task_result = to_input ? x : y;
    plan.weight_group = in * out * problem.taps();
    const int64_t per_out = in * problem.taps(), per_in = problem.taps();
    plan.weight_result_channel = to_input ? per_in : per_out;
    plan.weight_source_channel = to_input ? per_out : per_in;
    plan.weight_axis = {g.kernel[1] * g.kernel[2], g.kernel[2], 1};
}

// Of the maps' pixels and taps alone.
double read_flops(const Plan& plan) {
    double terms = 0;
    for (const MapPlan& m : plan.maps) terms += static_cast<double>(m.map.pixels()) * static_cast<double>(m.map.taps());
    return 2 * terms * static_cast<double>(plan.batch * plan.groups) * static_cast<double>(plan.result_channels) *
           static_cast<double>(plan.source_channels);
}

// What the choice of bf16 pairs may depend on: one sample in channels first, so that bits depend on neither batch nor layout.
Plan sample_of(const Plan& plan, const ConvProblem& problem) {
    Geometry g = problem.geometry();
    g.layout = Layout::channels_first;
    Plan sample = plan;
    describe_operands(sample, ConvProblem(g));
    sample.batch = 1;
    return sample;
}

// How threads share `samples` problems of this size.  Whole samples cost no barriers, and what a thread packs stays in its
// own cache; but the last round should not leave threads idle for long, and large weights, packed or transformed, are
// better shared by all threads than brought for each (measured, 3x3 256-256 at 7x7: 1.15 times as fast; 64-64 at 28x28:
// 0.7 times).  The weight gradient's chunks (plan.parallel, chunks_wanted) must not depend on the threads.
void share_samples(Plan& plan, int64_t samples, const ConvProblem& sample, int64_t elem_bytes, int64_t threads) {
    constexpr int64_t large_weights = int64_t(1) << 20;  // bytes; four times as many when they are transformed
    plan.samples = samples;
    plan.parallel = sample.flops() > serial_flops;
    const int64_t rounds = ceil_div(samples, threads);
    const bool even = 8 * rounds * threads <= 9 * samples;
    const bool small = plan.pass == Pass::weight_grad || threads == 1 || sample.w_elems() <= large_weights / elem_bytes;
    plan.shares_samples = samples > 1 && (!plan.parallel || (even && small));
    plan.tasks_wanted = plan.shares_samples ? 1 : std::max(least_tasks_wanted, tasks_of_thread * threads);
    plan.chunks_wanted = ceil_div(usual_chunks_wanted, std::max<int64_t>(samples, 1));
    if (plan.shares_samples && plan.pass != Pass::weight_grad) plan.parallel = false;
}

}  // namespace

ConvProblem planned_part(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    if (!g.per_sample) return problem;
    g.per_sample = false;
    g.batch = std::min<int64_t>(g.batch, 1);
    return ConvProblem(g);
}

Plan make_plan(const ConvProblem& whole, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads,
               bool only_read) {
    const ConvProblem problem = planned_part(whole);
    const KernelShapes kernels = kernel_shapes(isa, dtype);
    const int64_t elem_bytes = dtype == DType::float64 ? 8 : 4;
    Plan plan;
    plan.pass = pass;
    plan.dtype = dtype;
    plan.algorithm = algorithm == Algorithm::automatic ? Algorithm::direct : algorithm;
    plan.isa = isa;
    plan.converts = dtype == DType::bfloat16 || dtype == DType::float16;
    // The weight gradient's chunks are made of boxes of pixels: its bits must not depend on the machine's caches.
    plan.cache_bytes = pass == Pass::weight_grad ? usual_cache_bytes : cache_bytes();
    share_samples(plan, whole.geometry().per_sample ? whole.geometry().batch : 1, problem, elem_bytes, threads);
    describe_operands(plan, problem);
    if (pass == Pass::input_grad) {
        InputGradMaps maps = input_grad_maps(problem, only_read);
        plan.fill_result = !maps.covers_input;
        for (IndexMap& map : maps.classes) plan.maps.emplace_back(joined_rows(std::move(map)));
        if (only_read) plan.parallel = read_flops(plan) > serial_flops;
    } else {
        plan.maps.emplace_back(joined_rows(forward_map(problem)));
    }
    for (const MapPlan& m : plan.maps) plan.reads_padding |= m.map.reads_padding();
    const int64_t results = pass == Pass::forward      ? problem.y_elems()
                            : pass == Pass::input_grad ? problem.x_elems()
                                                       : problem.w_elems();
    // (The plain loops need no maps, and may find terms beyond x where there are none inside.)
    plan.empty = problem.flops() == 0 || results == 0 || (plan.maps.empty() && algorithm != Algorithm::reference);
    const bool bf16_pairs = kernels.bf16_pairs && !plan.empty && algorithm != Algorithm::reference &&
                       bf16_pairs_are_faster(sample_of(plan, problem), kernels, elem_bytes);
    if (algorithm == Algorithm::automatic && !plan.empty && choose_winograd(plan, kernels, true, bf16_pairs ? 2 : 1).empty())
        plan.algorithm = Algorithm::winograd;
    if (algorithm == Algorithm::winograd && !plan.maps.empty()) {
        const std::string why_not = choose_winograd(plan, kernels, false);
        if (!why_not.empty())
            throw std::invalid_argument("algorithm is 'winograd', which does not serve this geometry: " + why_not);
    }
    if (plan.empty) plan.weight_share = 0;  // nothing is transformed
    if (plan.empty || plan.algorithm == Algorithm::reference) return plan;
    if (plan.algorithm == Algorithm::winograd) {
        if (pass == Pass::weight_grad) plan_winograd_sums(plan, kernels, elem_bytes);
        else plan_winograd_products(plan, kernels, elem_bytes);
        return plan;
    }
    if (bf16_pairs) use_bf16_pairs(plan);
    // The weight gradient copies a block's channels of each pixel; in channels_last, fewer than two cache lines of them
    // would take long (there, blocks are no part of the order of the sum).
    const int64_t least_channels = pass == Pass::weight_grad && plan.channels_last ? 32 : 1;
    for (MapPlan& m : plan.maps) m.patches = make_patch_blocks(plan.source_channels, m.map, least_channels);
    // Packing costs a vector of weights about what multiplying it with 6 pixels does (measured: 5 to 7).
    constexpr double packed_weight = 6.0;
    const int64_t at_once = plan.bf16_pairs ? 2 : 1;  // channels: multiplied, while packing takes as long
    plan.weight_share =
        packed_weight / (packed_weight + static_cast<double>(plan.maps[0].map.pixels() * plan.batch / at_once));
    choose_feed(plan, kernels, elem_bytes);
    if (pass == Pass::weight_grad) plan_sums(plan, kernels, elem_bytes);
    else plan_products(plan, kernels, elem_bytes);
    if (plan.converts && pass != Pass::weight_grad) buffer_results(plan);  // whole sums are rounded
    return plan;
}

namespace {

const char* name(Feed feed) {
    switch (feed) {
        case Feed::packed_pixels: return "pixels packed";
        case Feed::pixel_vectors: return "vectors of pixels";
        case Feed::pixel_scalars: return "pixels one by one";
        case Feed::channel_vectors: return "vectors of channels";
        case Feed::sliding_rows: return "rows that slide";
    }
    return "?";
}

}  // namespace

namespace {

std::string text(int64_t n) { return std::to_string(n); }

std::string describe_samples(const Plan& plan) {
    if (plan.samples == 1) return "";
    return "; " + text(plan.samples) + (plan.shares_samples ? " samples, shared out" : " samples, one after the other");
}

std::string describe_winograd(const Plan& plan) {
    const WinogradPlan& w = plan.winograd;
    const auto size = [&](int64_t n) { return w.planes() ? text(n) + "x" + text(n) : text(n); };
    const WinogradAxis& axis = w.axis[w.along_b];
    int64_t phases = 1;
    for (const WinogradAxis& a : w.axis) phases *= a.phases;
    const bool sums = plan.pass == Pass::weight_grad;
    return "F(" + size(axis.outputs) + ", " + size(axis.points - axis.outputs + 1) + "); " + text(w.points()) +
           " products of " + text(plan.tile.rows) + (sums ? " channels x " : " tiles x ") + text(plan.tile.columns) +
           (sums ? " filters; " : " channels; ") + text(plan.tasks) + " tasks of up to " + text(plan.channel_block) +
           " channels; boxes of up to " + text(plan.maps.front().pixels.largest() * phases) + " tiles; blocks of " +
           text(w.source_block) + " source channels" +
           (plan.packs_in_task ? "; tasks transform their own weights" : "") + describe_samples(plan);
}

}  // namespace

std::string describe_blocking(const Plan& plan) {
    if (plan.algorithm == Algorithm::reference) return "plain loops";
    if (plan.empty) return "nothing to sum";
    if (plan.algorithm == Algorithm::winograd) return describe_winograd(plan);
    const MapPlan& m = plan.maps.front();
    return std::string("tile ") + text(plan.tile.rows) + " " +
           (plan.tile.pixels_are_columns     ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           " x " + text(plan.tile.columns) + " " +
           (!plan.tile.pixels_are_columns    ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           "; " + text(plan.tasks) + " tasks of up to " + text(plan.channel_block) + " channels x " +
           text(m.pixels.largest()) + " pixels; " + text(m.patches.count()) + " blocks of up to " +
           text(m.patches.largest()) + " (channel, tap) pairs; " + text(static_cast<int64_t>(plan.maps.size())) +
           (plan.maps.size() == 1 ? " index map" : " residue classes") +
           (joins_classes(plan) ? " as one product; " : "; ") + name(plan.feed) +
           (plan.bf16_pairs ? ", two channels at once" : "") + (m.in_place ? ", read in place" : "") +
           describe_samples(plan);
}

}  // namespace convpp
