// Input gradients whose residue classes are too many for a plan: part by part, each by the plan of its kind.
//
// In:  a Plan with ClassParts.   Out: the results of all parts, which share no pixel.   Next: plan/class_parts.hpp.
//
// It is no choice among others, so no line of the table: whatever strategies the parts' plans have chosen compute them.
// Threads take whole parts.
#include <algorithm>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "plan/class_parts.hpp"
#include "strategies/parts/operands.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

template <class T>
void run(const Plan& plan, const Operands<T>& operands, const RunContext& context) {
    parallel_for(plan.parts->count(), context.threads, [&](int64_t index, int thread) {
        const ClassParts::Part part = plan.parts->part(index);
        if (part.plan.empty()) return;
        const Operands<T> own = operands_of(part, plan, operands);
        entry<T>(*part.plan.how).run(part.plan, own, {1, context.workspace + thread * plan.memory.of_thread, nullptr});
    });
}

void measure(const Plan& plan, WorkspaceBytes& bytes) {
    for (const Plan& of_kind : plan.parts->plans)
        bytes.of_thread = std::max(bytes.of_thread, workspace_bytes(of_kind, 1));
    bytes.of_thread = round_up(bytes.of_thread, cache_line);
}

std::string describe(const Plan& plan) {
    const auto largest = std::max_element(plan.parts->plans.begin(), plan.parts->plans.end(),
                                          [](const Plan& a, const Plan& b) { return a.maps.size() < b.maps.size(); });
    return std::to_string(plan.parts->count()) + " parts of up to " + std::to_string(largest->maps.size()) +
           " residue classes, each by one of " + std::to_string(plan.parts->plans.size()) + " plans; the largest by " +
           (largest->empty() ? "none" : std::string(largest->how->name) + ": " + describe_blocking(*largest));
}

const Strategy by_parts = strategy_of_plans("parts", "residue classes in parts", &describe,
                                            {&measure, nullptr, &run<float>}, {&measure, nullptr, &run<double>});

}  // namespace

const Strategy& parts_strategy() { return by_parts; }

}  // namespace convpp
