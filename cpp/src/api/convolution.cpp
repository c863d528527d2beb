// The entry point of the core: plans a pass, checks the arrays of each call, prepares weights.
//
// In:  the public API.   Out: checked operands for execute.cpp, which carries the plan out.   Next: plan/select.cpp,
// execute.hpp.
#include "convpp/convolution.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "api/check_view.hpp"
#include "api/execute.hpp"
#include "machine/interrupt.hpp"
#include "machine/runtime_state.hpp"
#include "machine/workspace.hpp"
#include "plan/halo.hpp"
#include "plan/plan.hpp"
#include "plan/tasks.hpp"
#include "problem/checked.hpp"
#include "problem/names.hpp"
#include "repair/finite.hpp"
#include "strategies/strategy.hpp"

namespace convpp {

struct Convolution::Implementation {
    ConvProblem problem;
    DType dtype;
    Plan plan;

    CallThreads threads(int requested) const {
        const int usable = usable_threads(requested);
        if (plan.samples.shared_out) {
            const auto samples = static_cast<int>(std::min<int64_t>(usable, plan.samples.count));
            return {problem.flops() > serial_flops ? samples : 1, usable};
        }
        return {threads_of(plan, usable), usable};
    }
};

namespace {

template <class S>
constexpr DType dtype_of = DType::float32;
template <>
constexpr DType dtype_of<double> = DType::float64;
template <>
constexpr DType dtype_of<bfloat16> = DType::bfloat16;
template <>
constexpr DType dtype_of<float16> = DType::float16;

template <class S>
void check_type(DType planned) {
    const DType given = dtype_of<S>;
    if (planned != given)
        throw DTypeError(std::string("the arrays are ") + name(given) + ", expected " + name(planned) +
                         ", which this was planned for");
}

}  // namespace

const char* name(Algorithm algorithm) noexcept {
    return name_in({"auto", "direct", "winograd", "fft", "reference", "stream"}, algorithm);
}

Convolution::Convolution(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm)
    : implementation_(std::make_shared<const Implementation>(
          Implementation{problem, dtype, make_plan(problem, pass, dtype, algorithm, active_isa(), num_threads())})) {}

const ConvProblem& Convolution::problem() const noexcept { return implementation_->problem; }
Pass Convolution::pass() const noexcept { return implementation_->plan.pass; }
DType Convolution::dtype() const noexcept { return implementation_->dtype; }

Summary Convolution::summary(int threads) const {
    const Plan& plan = implementation_->plan;
    const CallThreads of_call = implementation_->threads(threads);
    const bool sums = plan.pass == Pass::weight_grad, shared_out = plan.samples.shared_out;
    Summary summary;
    summary.algorithm = name(plan.algorithm);
    summary.strategy = plan.empty() ? "none" : plan.how->name;
    summary.op = name(plan.pass);
    summary.isa = name(plan.isa);
    summary.dtype = name(dtype());
    summary.blocking = describe_blocking(plan);
    summary.threads = of_call.plan;
    summary.flops = problem().flops();
    summary.tasks = shared_out ? plan.samples.count : plan.tasks.count * plan.samples.count;
    summary.parallel = shared_out ? problem().flops() > serial_flops : plan.tasks.parallel;
    summary.weight_share = plan.pass == Pass::forward ? plan.weight_share : 0;
    for (const bool epilogue : {false, true})
        if (!epilogue || !sums)
            summary.workspace_bytes = std::max(
                summary.workspace_bytes,
                call_bytes(plan, {!epilogue && plan.pass != Pass::forward, epilogue, plan.converts()}, of_call));
    summary.workspace_bytes_per_thread = plan.memory.of_thread + (shared_out ? plan.memory.shared : 0);
    return summary;
}

int64_t Convolution::plan_bytes() const noexcept {
    return static_cast<int64_t>(sizeof(Implementation) - sizeof(Plan)) + convpp::plan_bytes(implementation_->plan);
}

std::vector<Candidate> Convolution::candidates() const {
    const Plan& plan = implementation_->plan;
    return convpp::candidates(plan, problem(), num_threads());
}

std::vector<double> Convolution::task_flops(int threads) const {
    if (threads == 0) return convpp::task_flops(implementation_->plan);
    check_threads(threads);
    const Plan& plan = implementation_->plan;
    return convpp::task_flops(make_plan(problem(), plan.pass, dtype(), plan.algorithm, plan.isa, threads));
}

namespace {

// As users give them; the weights as they were prepared, or null.
template <class S>
struct Arrays {
    View<const S> first, second, bias, residual;
    const Computed<S>* packed;
};

// What is given serves y and dx alone, and only where they are overwritten.
void check_overwrites(const char* given, const char* has, Pass pass, bool accumulate) {
    if (pass != Pass::weight_grad && !accumulate) return;
    const std::string why =
        pass == Pass::weight_grad ? std::string(": a weight gradient has ") + has : " together with accumulate";
    throw std::invalid_argument(std::string(given) + " is given, expected none" + why);
}

template <class S, class R>
void check_arrays(const ConvProblem& problem, Pass pass, const Arrays<S>& arrays, const View<R>& result,
                  bool accumulate) {
    const bool forward = pass == Pass::forward, sums = pass == Pass::weight_grad;
    if (arrays.residual.data != nullptr || arrays.residual.size != 0) check_view(arrays.residual, result.size, "add");
    check_view(arrays.first, forward ? problem.x_elems() : problem.y_elems(), forward ? "x" : "dy");
    if (arrays.packed == nullptr)
        check_view(arrays.second, sums ? problem.x_elems() : problem.w_elems(), sums ? "x" : "w");
    check_view(result, result_elems(problem, pass), forward ? "y" : sums ? "dw" : "dx");
    if (arrays.bias.data != nullptr || arrays.bias.size != 0) {
        check_overwrites("bias", "no bias", pass, accumulate);
        check_view(arrays.bias, result_channels(problem.geometry(), pass), "bias");
    }
}

// Checks the arrays, takes all memory that the call needs, and carries the plan out.
template <class S, class R, class Implementation>
void execute_checked(const Implementation& own, const Arrays<S>& arrays, const View<R>& result, const Execution& how) {
    using T = Computed<S>;
    const Plan& plan = own.plan;
    check_type<S>(own.dtype);
    check_arrays(own.problem, plan.pass, arrays, result, how.accumulate);
    const CallThreads threads = own.threads(how.threads);
    Operands<T> operands;
    const Stored<T> first{arrays.first.data, arrays.first.size}, second{arrays.second.data, arrays.second.size};
    (plan.pass == Pass::forward ? operands.x : operands.dy) = first;
    (plan.pass == Pass::weight_grad ? operands.x : operands.w) = second;
    operands.bias = {arrays.bias.data, arrays.bias.size};
    operands.packed = arrays.packed;
    operands.result = Results<T>(result.data);
    operands.accumulate = how.accumulate;
    operands.epilogue = {{arrays.residual.data, arrays.residual.size}, how.activation};
    if (!operands.epilogue.none())
        check_overwrites(operands.epilogue.residual ? "add" : "activation", "none", plan.pass, how.accumulate);
    const Writing writing{how.accumulate, !operands.epilogue.none(), operands.result.as != Storage::plain};
    const Workspace workspace(call_bytes(plan, writing, threads));
    const AskBetweenTasks asking(how.interrupted);
    execute(plan, operands, writing, threads, workspace.data());
}

}  // namespace

struct PreparedWeights::Implementation {
    std::shared_ptr<const Convolution::Implementation> made_for;
    int64_t bytes = 0;
    // One of the two: the packed weights, or a plain copy where the plan does not read packed ones or where weights
    // that are not finite meet padding.  Both, where results that are not finite are computed again from the plain
    // ones.
    AlignedBlock packed, plain;
};

PreparedWeights::PreparedWeights(std::shared_ptr<const Implementation> implementation)
    : implementation_(std::move(implementation)) {}

int64_t PreparedWeights::bytes() const noexcept { return implementation_->bytes; }

template <class S>
PreparedWeights Convolution::prepare(View<const S> w, int threads) const {
    using T = Computed<S>;
    check_type<S>(dtype());
    const Plan& plan = implementation_->plan;
    if (plan.pass != Pass::forward)
        throw std::invalid_argument(std::string("the pass is ") + name(plan.pass) +
                                    ", expected forward to prepare weights for");
    check_view(w, problem().w_elems(), "w");
    auto prepared = std::make_shared<PreparedWeights::Implementation>();
    prepared->made_for = implementation_;
    const Stored<T> weights(w.data, w.size);
    const bool again = plan.again != nullptr;
    const bool packs =
        !plan.empty() && plan.how->prepares(plan) && (again || !plan.reads_padding || all_finite(weights, w.size));
    if (!packs || again) {
        prepared->plain = AlignedBlock(w.size * static_cast<int64_t>(sizeof(S)));
        std::copy_n(w.data, w.size, reinterpret_cast<S*>(prepared->plain.data()));
    }
    if (packs) {
        const int64_t each = packed_elems_of_sample(plan);
        constexpr const char* what = "the packed weights";
        prepared->packed = AlignedBlock(checked_mul(checked_mul(plan.samples.count, each, what), sizeof(T), what));
        const int count = plan.samples.shared_out ? 1 : implementation_->threads(threads).plan;
        const Workspace workspace(workspace_bytes(plan, count));
        Operands<T> operands;
        for (int64_t n = 0; n < plan.samples.count; ++n) {
            operands.w = weights + n * plan.problem.w_elems();
            entry<T>(*plan.how).prepare(plan, operands, {count, workspace.data(), nullptr},
                                        reinterpret_cast<T*>(prepared->packed.data()) + n * each);
        }
    }
    prepared->bytes = prepared->packed.bytes() + prepared->plain.bytes();
    return PreparedWeights(std::move(prepared));
}

template <class S, class R>
void Convolution::execute(View<const S> first, View<const Given<S>> second, View<const Given<S>> bias,
                          View<Given<R>> result, const Execution& how, View<const Given<S>> residual) const {
    execute_checked<S, R>(*implementation_, {first, second, bias, residual, nullptr}, result, how);
}

template <class S, class R>
void Convolution::execute(View<const S> x, const PreparedWeights& w, View<const Given<S>> bias, View<Given<R>> y,
                          const Execution& how, View<const Given<S>> residual) const {
    const PreparedWeights::Implementation& prepared = *w.implementation_;
    if (prepared.made_for != implementation_)
        throw std::invalid_argument("w was prepared by another Convolution, expected weights prepared by this one");
    const View<const S> plain{reinterpret_cast<const S*>(prepared.plain.data()),
                              prepared.plain.bytes() > 0 ? problem().w_elems() : 0};
    const auto* const packed = reinterpret_cast<const Computed<S>*>(prepared.packed.data());
    execute_checked<S, R>(*implementation_, {x, plain, bias, residual, packed}, y, how);
}

// Every type of operands, with every type of results that it may have.
template void Convolution::execute<float, float>(View<const float>, View<const float>, View<const float>, View<float>,
                                                 const Execution&, View<const float>) const;
template void Convolution::execute<float, float>(View<const float>, const PreparedWeights&, View<const float>,
                                                 View<float>, const Execution&, View<const float>) const;
template void Convolution::execute<double, double>(View<const double>, View<const double>, View<const double>,
                                                   View<double>, const Execution&, View<const double>) const;
template void Convolution::execute<double, double>(View<const double>, const PreparedWeights&, View<const double>,
                                                   View<double>, const Execution&, View<const double>) const;
template void Convolution::execute<bfloat16, bfloat16>(View<const bfloat16>, View<const bfloat16>, View<const bfloat16>,
                                                       View<bfloat16>, const Execution&, View<const bfloat16>) const;
template void Convolution::execute<bfloat16, bfloat16>(View<const bfloat16>, const PreparedWeights&,
                                                       View<const bfloat16>, View<bfloat16>, const Execution&,
                                                       View<const bfloat16>) const;
template void Convolution::execute<float16, float16>(View<const float16>, View<const float16>, View<const float16>,
                                                     View<float16>, const Execution&, View<const float16>) const;
template void Convolution::execute<float16, float16>(View<const float16>, const PreparedWeights&, View<const float16>,
                                                     View<float16>, const Execution&, View<const float16>) const;
template void Convolution::execute<bfloat16, float>(View<const bfloat16>, View<const bfloat16>, View<const bfloat16>,
                                                    View<float>, const Execution&, View<const bfloat16>) const;
template void Convolution::execute<bfloat16, float>(View<const bfloat16>, const PreparedWeights&, View<const bfloat16>,
                                                    View<float>, const Execution&, View<const bfloat16>) const;
template void Convolution::execute<float16, float>(View<const float16>, View<const float16>, View<const float16>,
                                                   View<float>, const Execution&, View<const float16>) const;
template void Convolution::execute<float16, float>(View<const float16>, const PreparedWeights&, View<const float16>,
                                                   View<float>, const Execution&, View<const float16>) const;
template PreparedWeights Convolution::prepare(View<const float>, int) const;
template PreparedWeights Convolution::prepare(View<const double>, int) const;
template PreparedWeights Convolution::prepare(View<const bfloat16>, int) const;
template PreparedWeights Convolution::prepare(View<const float16>, int) const;

}  // namespace convpp
