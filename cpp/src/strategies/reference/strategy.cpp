// Plain loops: the definition, which is taken only when it is asked for.
//
// In:  a Setting.   Out: its line of the table.   Next: reference.hpp, the equations.
#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "strategies/reference/reference.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

Fit fit(const Plan&, const Setting& setting) {
    if (setting.algorithm != Algorithm::reference)
        return Fit::refuse("plain loops, taken only when they are asked for");
    Fit fit;
    fit.by_rule = true;
    return fit;
}

template <class T>
void run(const Plan& plan, const Operands<T>& operands, const RunContext& context) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const ConvProblem& problem = plan.problem;
    const Geometry& g = problem.geometry();
    const auto put = [&](int64_t at, T sum) {
        if (operands.accumulate) sum += operands.result[at];
        apply_epilogue(kernel, operands.epilogue.from(at), {&sum, 1, 1, 1}, operands.result + at, 1);
    };
    if (plan.pass == Pass::weight_grad) {
        const int64_t in = g.in_channels / g.groups;
        parallel_for(g.out_channels * in, context.threads, [&](int64_t task, int) {
            const int64_t k = task / in, c = task % in;
            for_each_position(g.kernel, [&](const Extents& r) {
                put(reference::weight_offset(problem, k, c, r), reference::weight_grad_at(problem, operands, k, c, r));
            });
        });
        return;
    }
    // A task is a row: what takes long is given up (or shared out) in between.
    const Extents& extent = plan.pass == Pass::forward ? problem.output() : g.input;
    const int64_t channels = result_channels(g, plan.pass), rows = extent[0] * extent[1];
    parallel_for(g.batch * channels * rows, context.threads, [&](int64_t task, int) {
        const int64_t n = task / rows / channels, channel = task / rows % channels, row = task % rows;
        Extents at{row / extent[1], row % extent[1], 0};
        for (; at[2] < extent[2]; ++at[2])
            put(plan.result.offset(n, channel, at), reference::result_at(problem, plan.pass, operands, n, channel, at));
    });
}

template <class T>
constexpr Entry<T> entry_of() {
    return {[](const Plan&, WorkspaceBytes&) {}, nullptr, &run<T>};
}

}  // namespace

extern const Strategy reference_strategy;
const Strategy reference_strategy{
    "reference",
    "plain loops",
    Algorithm::reference,
    order_bit(SumOrder::sequential),
    &fit,
    [](Plan&, const Setting&, const Fit&) {},
    [](const Plan&) { return false; },
    [](const Plan&, const MapPlan&, const Box& box) { return box; },
    [](const Plan&) { return std::string("plain loops"); },
    entry_of<float>(),
    entry_of<double>(),
};

}  // namespace convpp
