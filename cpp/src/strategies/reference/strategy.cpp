// Plain loops: the definition, which is taken only when it is asked for.
//
// In:  a Setting.   Out: its line of the table.   Next: reference.hpp, the equations.
#include "machine/dispatch.hpp"
#include "strategies/reference/reference.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

Fit fit(const Plan&, const Setting& setting) {
    if (setting.algorithm != Algorithm::reference) return Fit::refuse("plain loops, taken only when they are asked for");
    Fit fit;
    fit.by_rule = true;
    return fit;
}

template <class T>
void run(const Plan& plan, const PassOperands<T>& operands, const RunContext& context) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const auto arrays = reference::arrays_of(plan.pass, operands);
    reference::run<T>(plan.problem, plan.pass, arrays, context.threads, [&](int64_t at, T sum) {
        if (operands.accumulate) sum += operands.result[at];
        apply_epilogue(kernel, &sum, 1, operands.epilogue.from(at).residual, operands.result + at, 1, 1, 1,
                       operands.epilogue.activation);
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
