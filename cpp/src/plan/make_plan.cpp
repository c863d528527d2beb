// Plans of whole problems: of all residue classes, of the halo around an input gradient, of some samples at a time.
//
// In:  a problem, the pass, and how it is to be carried out.   Out: a Plan, complete.   Next: select.cpp.
#include <algorithm>
#include <stdexcept>

#include "plan/class_parts.hpp"
#include "plan/halo.hpp"
#include "plan/plan.hpp"
#include "plan/select.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

// Whether an input gradient has more residue classes than are planned one by one.
bool has_many_classes(const Setting& setting) {
    return setting.pass == Pass::input_grad && class_count(setting.problem) > most_planned_classes;
}

// So many residue classes that they are planned in parts, kind by kind.
Plan plan_parts(const Setting& setting, std::shared_ptr<ClassParts> parts) {
    Setting of_part = setting;
    of_part.parallel = false;  // threads take whole parts
    of_part.some_classes = true;  // gaps are filled before all parts
    for (const Span& depth : parts->kinds[0])
        for (const Span& height : parts->kinds[1])
            for (const Span& width : parts->kinds[2]) {
                of_part.classes = {depth, height, width};
                parts->plans.push_back(plan_pass(of_part));
            }
    of_part.classes = {};
    Plan plan(of_part);
    plan.gaps = Gaps::filled_before;
    plan.how = &parts_strategy();
    plan.algorithm = Algorithm::direct;
    for (const Plan& of_kind : parts->plans) plan.reads_padding |= of_kind.reads_padding;
    plan.tasks.count = parts->count();
    plan.tasks.parallel = setting.parallel;
    plan.parts = std::move(parts);
    measure_memory(plan);
    return plan;
}

// The plan of a setting, in parts if need be.
Plan plan_whole(Setting setting) {
    if (!has_many_classes(setting)) return plan_pass(setting);
    const bool computes = setting.problem.flops() != 0 && setting.problem.x_elems() != 0;
    if (computes && setting.algorithm != Algorithm::reference) {
        std::shared_ptr<ClassParts> parts = cut_classes(setting.problem);
        const int64_t classes = class_count(setting.problem);
        if (parts != nullptr && parts->count() > 0) return plan_parts(setting, std::move(parts));
        if (parts == nullptr && classes <= most_unlike_classes) return plan_pass(setting);
        if (parts == nullptr)
            throw ShapeError("the stride is too large for this dilation: the input gradient has " +
                             std::to_string(classes) + " residue classes, which are not alike, expected at most " +
                             std::to_string(most_unlike_classes));
    }
    setting.classes = {};  // nobody reads the maps
    return plan_pass(setting);
}

Plan plan_all(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads,
              bool only_read) {
    if (pass != Pass::input_grad || algorithm == Algorithm::reference)
        return plan_whole(Setting(problem, pass, dtype, algorithm, isa, threads, only_read));
    // The gradient of an x with zeros around it, and what is read outside x.
    Plan plan = plan_whole(Setting(with_zeros_around(problem), pass, dtype, algorithm, isa, threads, only_read));
    if (!only_read) plan.halo = plan_halo(planned_part(problem), dtype, algorithm, isa, threads);
    return plan;
}

// Samples whose sums may be computed apart at once; 0: all.
int64_t samples_apart(const Plan& plan) {
    constexpr int64_t most_bytes = int64_t(4) << 20;  // but one sample at least
    if (plan.pass == Pass::weight_grad || plan.batch() < 2 || plan.algorithm == Algorithm::reference) return 0;
    if (plan.again == nullptr && plan.halo == nullptr && !plan.reads_padding) return 0;
    const int64_t elems = result_elems(plan.problem, plan.pass) / plan.batch();
    const int64_t samples = most_bytes / (plan.dtype == DType::float64 ? 8 : 4) / std::max<int64_t>(elems, 1);
    return samples >= plan.batch() ? 0 : std::max<int64_t>(samples, 1);
}

}  // namespace

Plan make_plan(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads,
               bool only_read) {
    Plan plan = plan_all(problem, pass, dtype, algorithm, isa, threads, only_read);
    const int64_t samples = only_read ? 0 : samples_apart(plan);
    if (samples > 0) {
        Geometry some = problem.geometry();
        some.batch = samples;
        plan.part = std::make_shared<const Plan>(plan_all(
            ConvProblem(some), pass, dtype, plan.any_extent ? algorithm : plan.algorithm, isa, threads, only_read));
    }
    return plan;
}

}  // namespace convpp
