// The door of the core: plans a pass, checks the arrays of each call, prepares weights.  execute.cpp carries it out.
#include "convpp/convolution.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "repair/halo.hpp"
#include "strategies/winograd/product.hpp"
#include "repair/nonfinite.hpp"
#include "problem/checked.hpp"
#include "convpp/error.hpp"
#include "api/execute.hpp"
#include "plan/plan.hpp"
#include "machine/runtime_state.hpp"
#include "plan/spread.hpp"
#include "machine/workspace.hpp"

namespace convpp {

struct Convolution::Implementation {
    ConvProblem problem;
    ConvProblem whole;  // the problem, but for an input gradient, whose x has zeros around it
    ConvProblem part;   // that the plan is for: all of it, or a sample
    DType dtype;
    Plan plan;
    Halo halo;  // what such a gradient receives from outside x

    int threads(int requested) const {
        const int usable = usable_threads(requested);
        if (plan.shares_samples)
            return problem.flops() > serial_flops ? static_cast<int>(std::min<int64_t>(usable, plan.samples)) : 1;
        if (plan.algorithm == Algorithm::reference) return usable;
        return plan.parallel ? static_cast<int>(std::min<int64_t>(usable, plan.tasks)) : 1;
    }
};

namespace {

template <class T>
void check_view(const View<T>& view, int64_t expected, const char* argument) {
    if (view.size != expected)
        throw ShapeError(std::string(argument) + " has " + std::to_string(view.size) + " elements, expected " +
                         std::to_string(expected));
    if (expected > 0 && view.data == nullptr)
        throw std::invalid_argument(std::string(argument) + " is null, expected " + std::to_string(expected) +
                                    " elements");
}

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

template <class T>
void check_epilogue(Pass pass, const Epilogue<T>& epilogue, bool accumulate) {
    if (epilogue.none()) return;
    const char* const argument = epilogue.residual ? "add" : "activation";
    if (pass == Pass::weight_grad)
        throw std::invalid_argument(std::string(argument) + " is given, expected none: a weight gradient has none");
    if (accumulate)
        throw std::invalid_argument(std::string(argument) + " is given, expected none together with accumulate");
}

template <class S, class R>
void check_arrays(const ConvProblem& problem, Pass pass, View<const S> first, View<const S> second, bool prepared,
                  View<const S> bias, View<R> result, bool accumulate) {
    const Geometry& g = problem.geometry();
    const bool forward = pass == Pass::forward, weights = pass == Pass::weight_grad;
    check_view(first, forward ? problem.x_elems() : problem.y_elems(), forward ? "x" : "dy");
    if (!prepared) check_view(second, weights ? problem.x_elems() : problem.w_elems(), weights ? "x" : "w");
    check_view(result, result_elems(problem, pass), forward ? "y" : weights ? "dw" : "dx");
    if (bias.data != nullptr || bias.size != 0) {
        if (weights) throw std::invalid_argument("bias is given, expected none: a weight gradient has no bias");
        if (accumulate) throw std::invalid_argument("bias is given, expected none together with accumulate");
        check_view(bias, forward ? g.out_channels : g.in_channels, "bias");
    }
}

}  // namespace

const char* name(Algorithm algorithm) noexcept {
    switch (algorithm) {
        case Algorithm::automatic: return "auto";
        case Algorithm::direct: return "direct";
        case Algorithm::winograd: return "winograd";
        case Algorithm::reference: return "reference";
    }
    return "?";
}

Convolution::Convolution(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm) {
    const bool apart = pass == Pass::input_grad && algorithm != Algorithm::reference;
    const ConvProblem whole = apart ? with_zeros_around(problem) : problem;
    const int threads = num_threads();
    implementation_ = std::make_shared<const Implementation>(Implementation{
        problem, whole, planned_part(whole), dtype, planned(whole, pass, dtype, algorithm, active_isa(), threads),
        apart ? Halo(planned_part(problem), dtype, active_isa(), threads) : Halo()});
}

const ConvProblem& Convolution::problem() const noexcept { return implementation_->problem; }
Pass Convolution::pass() const noexcept { return implementation_->plan.pass; }
DType Convolution::dtype() const noexcept { return implementation_->dtype; }

Summary Convolution::summary(int threads) const {
    const Plan& plan = implementation_->plan;
    Summary summary;
    summary.algorithm = name(plan.algorithm);
    summary.op = name(plan.pass);
    summary.isa = name(plan.isa);
    summary.dtype = name(dtype());
    summary.blocking = describe_blocking(plan);
    summary.threads = implementation_->threads(threads);
    summary.flops = problem().flops();
    summary.tasks = plan.shares_samples ? plan.samples : plan.tasks * plan.samples;
    summary.parallel = plan.shares_samples ? problem().flops() > serial_flops : plan.parallel;
    summary.weight_share = plan.pass == Pass::forward ? plan.weight_share : 0;
    summary.workspace_bytes = std::max(workspace_bytes(plan, summary.threads),
                                       implementation_->halo.workspace_bytes(usable_threads(threads)));
    summary.workspace_bytes_per_thread = plan.thread_bytes + (plan.shares_samples ? plan.shared_bytes : 0);
    return summary;
}

std::vector<double> Convolution::task_flops(int threads) const {
    if (threads == 0) return convpp::task_flops(implementation_->plan);
    check_threads(threads);
    const Plan& plan = implementation_->plan;
    return convpp::task_flops(make_plan(implementation_->whole, plan.pass, dtype(), plan.algorithm, plan.isa, threads));
}

struct PreparedWeights::Implementation {
    std::shared_ptr<const Convolution::Implementation> made_for;
    int64_t bytes = 0;
    // One of the two: the packed weights, or a plain copy where the plan does not read packed ones (reference,
    // nothing to sum) or where weights that are not finite meet padding.  Winograd's algorithm has both, since samples that
    // are not finite are computed again from the plain ones; but where tasks transform their own weights, only those:
    // reading four times as many from memory takes longer (measured, 3x3 512-512: by 5 to 10 % of the call).
    AlignedBlock packed, plain;
};

PreparedWeights::PreparedWeights(std::shared_ptr<const Implementation> implementation)
    : implementation_(std::move(implementation)) {}

int64_t PreparedWeights::bytes() const noexcept { return implementation_->bytes; }

template <class S>
PreparedWeights Convolution::prepare_typed(View<const S> w, int threads) const {
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
    const bool winograd = !plan.empty && plan.algorithm == Algorithm::winograd;
    const bool packs = winograd ? !plan.packs_in_task
                                : !(plan.empty || plan.algorithm == Algorithm::reference ||
                                    products_need_repair(plan, weights, w.size));
    if (!packs || winograd) {
        prepared->plain = AlignedBlock(w.size * static_cast<int64_t>(sizeof(S)));
        std::copy_n(w.data, w.size, reinterpret_cast<S*>(prepared->plain.data()));
    }
    if (packs) {
        const int64_t each = packed_elems_of_sample(plan);
        constexpr const char* what = "the packed weights";
        prepared->packed = AlignedBlock(checked_mul(checked_mul(plan.samples, each, what), sizeof(T), what));
        const int count = plan.shares_samples ? 1 : implementation_->threads(threads);
        const Workspace workspace(workspace_bytes(plan, count));
        ProductOperands<T> operands;
        for (int64_t n = 0; n < plan.samples; ++n) {
            operands.weights = weights + n * implementation_->part.w_elems();
            T* const to = reinterpret_cast<T*>(prepared->packed.data()) + n * each;
            if (winograd) transform_product_weights(plan, operands, count, workspace.data(), to);
            else pack_product_weights(plan, operands, count, workspace.data(), to);
        }
    }
    prepared->bytes = prepared->packed.bytes() + prepared->plain.bytes();
    return PreparedWeights(std::move(prepared));
}

template <class S, class T, class R>
void Convolution::execute_typed(View<const S> first, View<const S> second, const T* packed, View<const S> bias,
                                View<R> result, const Execution& how, View<const S> residual) const {
    check_type<S>(dtype());
    const Plan& plan = implementation_->plan;
    if (residual.data != nullptr || residual.size != 0) check_view(residual, result.size, "add");
    const Implementation& own = *implementation_;
    check_arrays(own.problem, plan.pass, first, second, packed != nullptr, bias, result, how.accumulate);
    const int threads = own.threads(how.threads);
    Operands<T> operands{{first.data, first.size},
                         {second.data, second.size},
                         {bias.data, bias.size},
                         packed,
                         {{residual.data, residual.size}, how.activation}};
    check_epilogue(plan.pass, operands.epilogue, how.accumulate);
    const auto run = [&](const Results<T>& sums, bool accumulate) {
        if (own.halo.empty()) execute_samples<T>(own.part, plan, operands, sums, accumulate, threads);
        else
            execute_with_halo(own.part, plan, own.halo, operands, sums, accumulate, threads,
                               usable_threads(how.threads));
    };
    const Results<T> to(result.data);
    const bool rounds = to.as != Storage::plain;
    if (own.halo.empty() ? !rounds || plan.pass != Pass::weight_grad : !rounds && operands.epilogue.none())
        return run(to, how.accumulate);
    // Sums of halves are whole before they are rounded, and those that a frame is added to before they are finished.
    const AlignedBlock whole(result.size * static_cast<int64_t>(sizeof(T)));
    const Results<T> sums(reinterpret_cast<T*>(whole.data()));
    const Epilogue<T> epilogue = std::exchange(operands.epilogue, {});
    run(sums, false);
    Stored<T> added = epilogue.residual;
    if (how.accumulate) added = {result.data, result.size};
    apply_epilogue_to_all(plan, sums.plain(), result.size, added, to, threads, epilogue.activation);
}

template <class S, class R>
void Convolution::execute_prepared(View<const S> x, const PreparedWeights& w, View<const S> bias, View<R> y,
                                   const Execution& how, View<const S> residual) const {
    const PreparedWeights::Implementation& prepared = *w.implementation_;
    if (prepared.made_for != implementation_)
        throw std::invalid_argument("w was prepared by another Convolution, expected weights prepared by this one");
    const View<const S> plain{reinterpret_cast<const S*>(prepared.plain.data()),
                              prepared.plain.bytes() > 0 ? problem().w_elems() : 0};
    execute_typed(x, plain, reinterpret_cast<const Computed<S>*>(prepared.packed.data()), bias, y, how, residual);
}

void Convolution::execute(View<const float> first, View<const float> second, View<const float> bias, View<float> result,
                          const Execution& how, View<const float> residual) const {
    execute_typed(first, second, static_cast<const Computed<float>*>(nullptr), bias, result, how, residual);
}

void Convolution::execute(View<const double> first, View<const double> second, View<const double> bias,
                          View<double> result, const Execution& how, View<const double> residual) const {
    execute_typed(first, second, static_cast<const Computed<double>*>(nullptr), bias, result, how, residual);
}

void Convolution::execute(View<const bfloat16> first, View<const bfloat16> second, View<const bfloat16> bias,
                          View<bfloat16> result, const Execution& how, View<const bfloat16> residual) const {
    execute_typed(first, second, static_cast<const Computed<bfloat16>*>(nullptr), bias, result, how, residual);
}

void Convolution::execute(View<const float16> first, View<const float16> second, View<const float16> bias,
                          View<float16> result, const Execution& how, View<const float16> residual) const {
    execute_typed(first, second, static_cast<const Computed<float16>*>(nullptr), bias, result, how, residual);
}

void Convolution::execute(View<const bfloat16> first, View<const bfloat16> second, View<const bfloat16> bias,
                          View<float> result, const Execution& how, View<const bfloat16> residual) const {
    execute_typed(first, second, static_cast<const Computed<bfloat16>*>(nullptr), bias, result, how, residual);
}

void Convolution::execute(View<const float16> first, View<const float16> second, View<const float16> bias,
                          View<float> result, const Execution& how, View<const float16> residual) const {
    execute_typed(first, second, static_cast<const Computed<float16>*>(nullptr), bias, result, how, residual);
}

PreparedWeights Convolution::prepare(View<const float> w, int threads) const { return prepare_typed(w, threads); }

PreparedWeights Convolution::prepare(View<const double> w, int threads) const { return prepare_typed(w, threads); }

PreparedWeights Convolution::prepare(View<const bfloat16> w, int threads) const { return prepare_typed(w, threads); }

PreparedWeights Convolution::prepare(View<const float16> w, int threads) const { return prepare_typed(w, threads); }

void Convolution::execute(View<const float> x, const PreparedWeights& w, View<const float> bias, View<float> y,
                          const Execution& how, View<const float> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const double> x, const PreparedWeights& w, View<const double> bias, View<double> y,
                          const Execution& how, View<const double> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const bfloat16> x, const PreparedWeights& w, View<const bfloat16> bias, View<bfloat16> y,
                          const Execution& how, View<const bfloat16> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const float16> x, const PreparedWeights& w, View<const float16> bias, View<float16> y,
                          const Execution& how, View<const float16> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const bfloat16> x, const PreparedWeights& w, View<const bfloat16> bias, View<float> y,
                          const Execution& how, View<const bfloat16> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const float16> x, const PreparedWeights& w, View<const float16> bias, View<float> y,
                          const Execution& how, View<const float16> residual) const {
    execute_prepared(x, w, bias, y, how, residual);
}

}  // namespace convpp
