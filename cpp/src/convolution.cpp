// The door of the core: checks the arrays, takes the workspace, runs the planned algorithm.
#include "convpp/convolution.hpp"

#include <algorithm>
#include <vector>

#include "algorithms/boundary.hpp"
#include "algorithms/implicit_gemm.hpp"
#include "algorithms/parallel.hpp"
#include "algorithms/reference.hpp"
#include "algorithms/weight_grad.hpp"
#include "convpp/error.hpp"
#include "plan.hpp"
#include "runtime_state.hpp"
#include "workspace.hpp"

namespace convpp {

struct Convolution::Implementation {
    ConvProblem problem;
    DType dtype;
    Plan plan;

    int threads(int requested) const {
        const int usable = usable_threads(requested);
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
        throw std::invalid_argument(std::string(argument) + " is null, expected " + std::to_string(expected) + " elements");
}

// Every result is its bias, or zero: where sums have no terms.
template <class T>
void fill(const ConvProblem& problem, const Plan& plan, const T* bias, T* result) {
    const Geometry& g = problem.geometry();
    if (plan.pass == Pass::weight_grad) {
        std::fill_n(result, problem.w_elems(), T(0));
        return;
    }
    const bool forward = plan.pass == Pass::forward;
    const int64_t channels = forward ? g.out_channels : g.in_channels;
    const int64_t elems = forward ? problem.y_elems() : problem.x_elems();
    if (elems == 0 || bias == nullptr) {
        std::fill_n(result, elems, T(0));
    } else if (g.layout == Layout::channels_last) {
        for (T* at = result; at != result + elems; at += channels) std::copy_n(bias, channels, at);
    } else {
        const int64_t pixels = elems / g.batch / channels;
        for (int64_t plane = 0; plane < g.batch * channels; ++plane)
            std::fill_n(result + plane * pixels, pixels, bias[plane % channels]);
    }
}

template <class T>
void run_direct(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays, T* result,
                bool accumulate, int threads) {
    const Workspace workspace(plan.shared_bytes + threads * plan.thread_bytes);
    if (plan.pass == Pass::weight_grad) {
        run_weight_grad<T>(plan, {arrays.dy, problem.y_elems(), arrays.x, problem.x_elems(), result, accumulate}, threads,
                           workspace.data());
        return;
    }
    if (plan.fill_result && !accumulate) fill(problem, plan, arrays.bias, result);
    const bool forward = plan.pass == Pass::forward;
    run_implicit_gemm<T>(plan,
                         {forward ? arrays.x : arrays.dy, forward ? problem.x_elems() : problem.y_elems(), arrays.w,
                          problem.w_elems(), arrays.bias, result, accumulate},
                         threads, workspace.data());
}

template <class T>
bool needs_repair(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays) {
    return plan.pass == Pass::weight_grad ? sums_need_repair(problem, plan, arrays.dy)
                                          : products_need_repair(plan, arrays.w, problem.w_elems());
}

template <class T>
void execute(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second, View<const T> bias,
             View<T> result, bool accumulate, int threads) {
    const Geometry& g = problem.geometry();
    const bool forward = plan.pass == Pass::forward, weights = plan.pass == Pass::weight_grad;
    check_view(first, forward ? problem.x_elems() : problem.y_elems(), forward ? "x" : "dy");
    check_view(second, weights ? problem.x_elems() : problem.w_elems(), weights ? "x" : "w");
    check_view(result,
               forward   ? problem.y_elems()
               : weights ? problem.w_elems()
                         : problem.x_elems(),
               forward   ? "y"
               : weights ? "dw"
                         : "dx");
    if (bias.data != nullptr) {
        if (weights) throw std::invalid_argument("bias is given, expected none: a weight gradient has no bias");
        if (accumulate) throw std::invalid_argument("bias is given, expected none together with accumulate");
        check_view(bias, forward ? g.out_channels : g.in_channels, "bias");
    }
    const reference::Arrays<T> arrays{forward ? first.data : weights ? second.data : nullptr,
                                      weights ? nullptr : second.data, forward ? nullptr : first.data, bias.data};
    if (plan.empty) {
        if (!accumulate) fill(problem, plan, bias.data, result.data);
        return;
    }
    if (plan.algorithm == Algorithm::reference) {
        reference::run(problem, plan.pass, arrays, result.data, accumulate, threads);
        return;
    }
    if (!needs_repair(problem, plan, arrays)) {
        run_direct(problem, plan, arrays, result.data, accumulate, threads);
        return;
    }
    std::vector<T> apart(accumulate ? static_cast<size_t>(result.size) : 0);  // what is added must be whole first
    T* const to = accumulate ? apart.data() : result.data;
    run_direct(problem, plan, arrays, to, false, threads);
    if (weights) repair_sums(problem, plan, arrays, to, threads);
    else repair_products(problem, plan, arrays, to, threads);
    for (size_t i = 0; i < apart.size(); ++i) result.data[i] += apart[i];
}

}  // namespace

const char* name(Algorithm algorithm) noexcept {
    switch (algorithm) {
        case Algorithm::automatic: return "auto";
        case Algorithm::direct: return "direct";
        case Algorithm::reference: return "reference";
    }
    return "?";
}

Convolution::Convolution(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm) {
    Plan plan = make_plan(problem, pass, dtype, algorithm, active_isa());
    if (!plan.empty && plan.algorithm == Algorithm::direct) {
        const bool sums = pass == Pass::weight_grad;
        if (dtype == DType::float32) sums ? measure_weight_grad<float>(plan) : measure_implicit_gemm<float>(plan);
        else sums ? measure_weight_grad<double>(plan) : measure_implicit_gemm<double>(plan);
    }
    implementation_ = std::make_unique<const Implementation>(Implementation{problem, dtype, std::move(plan)});
}

Convolution::~Convolution() = default;
Convolution::Convolution(Convolution&&) noexcept = default;
Convolution& Convolution::operator=(Convolution&&) noexcept = default;

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
    summary.tasks = plan.tasks;
    summary.workspace_bytes = plan.shared_bytes + summary.threads * plan.thread_bytes;
    return summary;
}

void Convolution::execute(View<const float> first, View<const float> second, View<const float> bias, View<float> result,
                          const Execution& how) const {
    if (dtype() != DType::float32) throw DTypeError("the arrays are float32, expected float64, which this was planned for");
    convpp::execute(problem(), implementation_->plan, first, second, bias, result, how.accumulate,
                    implementation_->threads(how.threads));
}

void Convolution::execute(View<const double> first, View<const double> second, View<const double> bias,
                          View<double> result, const Execution& how) const {
    if (dtype() != DType::float64) throw DTypeError("the arrays are float64, expected float32, which this was planned for");
    convpp::execute(problem(), implementation_->plan, first, second, bias, result, how.accumulate,
                    implementation_->threads(how.threads));
}

}  // namespace convpp
