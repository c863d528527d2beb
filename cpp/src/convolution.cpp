// The door of the core: checks the arrays, takes the workspace, runs the planned algorithm.
#include "convpp/convolution.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "algorithms/boundary.hpp"
#include "algorithms/implicit_gemm.hpp"
#include "algorithms/parallel.hpp"
#include "algorithms/reference.hpp"
#include "algorithms/weight_grad.hpp"
#include "algorithms/winograd_product.hpp"
#include "algorithms/winograd_sum.hpp"
#include "checked.hpp"
#include "convpp/error.hpp"
#include "dispatch.hpp"
#include "plan.hpp"
#include "runtime_state.hpp"
#include "spread.hpp"
#include "workspace.hpp"

namespace convpp {

struct Convolution::Implementation {
    ConvProblem problem;
    ConvProblem part;  // that the plan is for
    DType dtype;
    Plan plan;

    int threads(int requested) const {
        const int usable = usable_threads(requested);
        if (plan.shares_samples)
            return problem.flops() > serial_flops ? static_cast<int>(std::min<int64_t>(usable, plan.samples)) : 1;
        if (plan.algorithm == Algorithm::reference) return usable;
        return plan.parallel ? static_cast<int>(std::min<int64_t>(usable, plan.tasks)) : 1;
    }
};

namespace {

Plan planned(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads) {
    Plan plan = make_plan(problem, pass, dtype, algorithm, isa, threads);
    if (plan.empty) return plan;
    const auto measure = [&](auto measured) {
        using T = decltype(measured);
        const bool winograd = plan.algorithm == Algorithm::winograd;
        if (winograd && pass == Pass::weight_grad) measure_winograd_sum<T>(plan);
        else if (winograd) measure_winograd_product<T>(plan);
        else if (plan.algorithm == Algorithm::direct && pass == Pass::weight_grad) measure_weight_grad<T>(plan);
        else if (plan.algorithm == Algorithm::direct) measure_implicit_gemm<T>(plan);
    };
    if (dtype == DType::float32) measure(float());
    else measure(double());
    return plan;
}

int64_t workspace_bytes(const Plan& plan, int threads) {
    constexpr const char* what = "the workspace";
    if (plan.shares_samples) return checked_mul(threads, checked_add(plan.shared_bytes, plan.thread_bytes, what), what);
    return checked_add(plan.shared_bytes, checked_mul(threads, plan.thread_bytes, what), what);
}

template <class T>
void check_view(const View<T>& view, int64_t expected, const char* argument) {
    if (view.size != expected)
        throw ShapeError(std::string(argument) + " has " + std::to_string(view.size) + " elements, expected " +
                         std::to_string(expected));
    if (expected > 0 && view.data == nullptr)
        throw std::invalid_argument(std::string(argument) + " is null, expected " + std::to_string(expected) +
                                    " elements");
}

template <class T>
void check_type(DType planned) {
    const DType given = sizeof(T) == sizeof(float) ? DType::float32 : DType::float64;
    if (planned != given)
        throw DTypeError(std::string("the arrays are ") + name(given) + ", expected " + name(planned) +
                         ", which this was planned for");
}

template <class T>
void check_epilogue(Pass pass, const Epilogue<T>& epilogue, bool accumulate) {
    if (epilogue.none()) return;
    const char* const argument = epilogue.residual != nullptr ? "add" : "activation";
    if (pass == Pass::weight_grad)
        throw std::invalid_argument(std::string(argument) + " is given, expected none: a weight gradient has none");
    if (accumulate)
        throw std::invalid_argument(std::string(argument) + " is given, expected none together with accumulate");
}

constexpr int64_t elems_of_filling_task = 1 << 16;  // takes longer than waking a thread

// Every result is its bias, or zero (finished): where sums have no terms.
template <class T>
void fill(const ConvProblem& problem, const Plan& plan, const T* bias, const Epilogue<T>& epilogue, T* result,
          int threads) {
    const Geometry& g = problem.geometry();
    if (plan.pass == Pass::weight_grad) {
        std::fill_n(result, problem.w_elems(), T(0));
        return;
    }
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const bool forward = plan.pass == Pass::forward;
    const int64_t channels = forward ? g.out_channels : g.in_channels;
    const int64_t elems = forward ? problem.y_elems() : problem.x_elems();
    const bool last = g.layout == Layout::channels_last;
    // Results of one pixel, or of one channel's plane.
    const int64_t row = last ? channels : elems == 0 ? 0 : elems / g.batch / channels;
    const int64_t rows = row == 0 ? 0 : elems / row, tasks = elems / elems_of_filling_task + 1;
    parallel_for(tasks, threads, [&](int64_t task, int) {
        constexpr int64_t piece = 256;  // in L1
        T sums[piece] = {};
        for (int64_t i = rows * task / tasks; i < rows * (task + 1) / tasks; ++i) {
            if (bias != nullptr && !last) std::fill_n(sums, piece, bias[i % channels]);
            for (int64_t j = 0; j < row; j += piece) {
                const int64_t count = std::min(piece, row - j), at = i * row + j;
                kernel.finish_rows(bias != nullptr && last ? bias + j : sums, count, epilogue.from(at).residual,
                                   result + at, count, 1, count, epilogue.activation);
            }
        }
    });
}

// Whole sums become results.
template <class T>
void finish_all(const Plan& plan, const Epilogue<T>& epilogue, View<T> sums, int threads) {
    if (epilogue.none()) return;
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const int64_t tasks = sums.size / elems_of_filling_task + 1;
    parallel_for(tasks, threads, [&](int64_t task, int) {
        const int64_t lo = sums.size * task / tasks, count = sums.size * (task + 1) / tasks - lo;
        kernel.finish_rows(sums.data + lo, count, epilogue.from(lo).residual, sums.data + lo, count, 1, count,
                           epilogue.activation);
    });
}

template <class T>
void run_direct(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays,
                const Epilogue<T>& epilogue, T* result, const T* packed, bool accumulate, int threads,
                std::byte* memory) {
    const Workspace workspace(workspace_bytes(plan, threads), memory);
    if (plan.pass == Pass::weight_grad) {
        run_weight_grad<T>(plan, {arrays.dy, problem.y_elems(), arrays.x, problem.x_elems(), result, accumulate},
                           threads, workspace.data());
        return;
    }
    if (plan.fill_result && !accumulate) fill(problem, plan, arrays.bias, epilogue, result, threads);
    const bool forward = plan.pass == Pass::forward;
    run_implicit_gemm<T>(plan,
                         {forward ? arrays.x : arrays.dy, forward ? problem.x_elems() : problem.y_elems(), arrays.w,
                          problem.w_elems(), packed, arrays.bias, result, accumulate, epilogue},
                         threads, workspace.data());
}

template <class T>
bool needs_repair(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays) {
    return plan.pass == Pass::weight_grad ? sums_need_repair<T>(problem, plan, arrays.dy)
                                          : products_need_repair(plan, arrays.w, problem.w_elems());
}

// The operands of a pass as the definition names them.
template <class T>
reference::Arrays<T> arrays_of(Pass pass, View<const T> first, View<const T> second, View<const T> bias) {
    switch (pass) {
        case Pass::forward: return {first.data, second.data, nullptr, bias.data};
        case Pass::input_grad: return {nullptr, second.data, first.data, bias.data};
        case Pass::weight_grad: return {second.data, nullptr, first.data, bias.data};
    }
    return {};
}

// `memory`: the workspace, or null to take one.
template <class T>
void execute(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second, const T* packed,
             View<const T> bias, const Epilogue<T>& epilogue, View<T> result, bool accumulate, int threads,
             std::byte* memory);

template <class T>
void add_all(View<const T> from, T* to, int threads) {
    const int64_t tasks = from.size / elems_of_filling_task + 1;
    parallel_for(tasks, threads, [&](int64_t task, int) {
        for (int64_t i = from.size * task / tasks; i < from.size * (task + 1) / tasks; ++i) to[i] += from.data[i];
    });
}

// Computes again, by the direct algorithm, what has been written already: so it must not fail.  Plain loops take no memory.
template <class T>
void compute_again(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second,
                   View<const T> bias, const Epilogue<T>& epilogue, View<T> result, int threads) {
    const DType dtype = sizeof(T) == sizeof(float) ? DType::float32 : DType::float64;
    try {
        const Plan direct = planned(problem, plan.pass, dtype, Algorithm::direct, plan.isa, threads);
        execute<T>(problem, direct, first, second, nullptr, bias, epilogue, result, false, threads, nullptr);
    } catch (const std::bad_alloc&) {
        const reference::Arrays<T> arrays = arrays_of(plan.pass, first, second, bias);
        reference::run(problem, plan.pass, arrays, result.data, false, threads);
        finish_all(plan, epilogue, result, threads);
    }
}

// A sample is computed again if not all of its results are finite: a NaN or Inf spoils the whole tile that it is in, and
// transforms overflow where plain sums do not.
template <class T>
void repair_samples(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second,
                    View<const T> bias, const Epilogue<T>& epilogue, T* result,
                    const std::vector<std::atomic<unsigned char>>& spoiled, int threads) {
    Geometry g = problem.geometry();
    const int64_t batch = std::exchange(g.batch, 1), source = first.size / batch;
    const int64_t results = (plan.pass == Pass::forward ? problem.y_elems() : problem.x_elems()) / batch;
    const ConvProblem sample(g);
    for (int64_t n = 0; n < batch; ++n)
        if (spoiled[static_cast<size_t>(n)].load(std::memory_order_relaxed) != 0)
            compute_again<T>(sample, plan, {first.data + n * source, source}, second, bias, epilogue.from(n * results),
                             {result + n * results, results}, threads);
}

// All of dw is computed again if not all of it is finite.
template <class T>
void run_winograd_gradient(const ConvProblem& problem, const Plan& plan, View<const T> dy, View<const T> x, View<T> dw,
                           bool accumulate, int threads, std::byte* memory) {
    std::vector<T> apart(accumulate ? static_cast<size_t>(dw.size) : 0);  // what is added must be whole first
    const View<T> to{accumulate ? apart.data() : dw.data, dw.size};
    bool finite = false;
    {
        const Workspace workspace(workspace_bytes(plan, threads), memory);
        const SumOperands<T> operands{dy.data, dy.size, x.data, x.size, to.data, false};
        finite = run_winograd_sum<T>(plan, operands, threads, workspace.data());
    }
    if (!finite) compute_again<T>(problem, plan, dy, x, {}, {}, to, threads);
    if (accumulate) add_all<T>({to.data, to.size}, dw.data, threads);
}

template <class T>
void run_winograd(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second,
                  const T* packed, View<const T> bias, const Epilogue<T>& epilogue, View<T> result, bool accumulate,
                  int threads, std::byte* memory) {
    std::vector<T> apart(accumulate ? static_cast<size_t>(result.size) : 0);  // what is added must be whole first
    T* const to = accumulate ? apart.data() : result.data;
    std::vector<std::atomic<unsigned char>> spoiled(static_cast<size_t>(problem.geometry().batch));
    {
        const Workspace workspace(workspace_bytes(plan, threads), memory);
        run_winograd_product<T>(
            plan, {first.data, first.size, second.data, second.size, packed, bias.data, to, false, epilogue}, threads,
            workspace.data(), spoiled.data());
    }
    repair_samples<T>(problem, plan, first, second, bias, epilogue, to, spoiled, threads);
    if (accumulate) add_all<T>({to, result.size}, result.data, threads);
}

template <class T>
void check_operands(const ConvProblem& problem, Pass pass, View<const T> first, View<const T> second, const T* packed,
                    View<const T> bias, const Epilogue<T>& epilogue, View<T> result, bool accumulate) {
    const Geometry& g = problem.geometry();
    const bool forward = pass == Pass::forward, weights = pass == Pass::weight_grad;
    check_view(first, forward ? problem.x_elems() : problem.y_elems(), forward ? "x" : "dy");
    if (packed == nullptr) check_view(second, weights ? problem.x_elems() : problem.w_elems(), weights ? "x" : "w");
    check_view(result,
               forward   ? problem.y_elems()
               : weights ? problem.w_elems()
                         : problem.x_elems(),
               forward   ? "y"
               : weights ? "dw"
                         : "dx");
    if (bias.data != nullptr || bias.size != 0) {
        if (weights) throw std::invalid_argument("bias is given, expected none: a weight gradient has no bias");
        if (accumulate) throw std::invalid_argument("bias is given, expected none together with accumulate");
        check_view(bias, forward ? g.out_channels : g.in_channels, "bias");
    }
    check_epilogue(pass, epilogue, accumulate);
}

template <class T>
void execute(const ConvProblem& problem, const Plan& plan, View<const T> first, View<const T> second, const T* packed,
             View<const T> bias, const Epilogue<T>& epilogue, View<T> result, bool accumulate, int threads,
             std::byte* memory) {
    const bool weights = plan.pass == Pass::weight_grad;
    const reference::Arrays<T> arrays = arrays_of(plan.pass, first, second, bias);
    if (plan.empty) {
        if (!accumulate) fill(problem, plan, bias.data, epilogue, result.data, threads);
        return;
    }
    if (plan.algorithm == Algorithm::reference) {
        reference::run(problem, plan.pass, arrays, result.data, accumulate, threads);
        finish_all(plan, epilogue, result, threads);
        return;
    }
    if (plan.algorithm == Algorithm::winograd) {
        if (weights) run_winograd_gradient<T>(problem, plan, first, second, result, accumulate, threads, memory);
        else run_winograd<T>(problem, plan, first, second, packed, bias, epilogue, result, accumulate, threads, memory);
        return;
    }
    if (weights && !accumulate) {
        run_direct<T>(problem, plan, arrays, {}, result.data, nullptr, false, threads, memory);
        if (sums_need_repair(problem, plan, arrays.dy, result.data))
            repair_sums(problem, plan, arrays, result.data, threads);
        return;
    }
    // Prepared weights that are not finite are not used packed: `packed` is null for them.
    if (packed != nullptr || !needs_repair(problem, plan, arrays)) {
        run_direct<T>(problem, plan, arrays, epilogue, result.data, packed, accumulate, threads, memory);
        return;
    }
    std::vector<T> apart(accumulate ? static_cast<size_t>(result.size) : 0);  // what is added must be whole first
    T* const to = accumulate ? apart.data() : result.data;
    run_direct<T>(problem, plan, arrays, epilogue, to, nullptr, false, threads, memory);
    if (weights) repair_sums(problem, plan, arrays, to, threads);
    else repair_products(problem, plan, arrays, epilogue, to, threads);
    for (size_t i = 0; i < apart.size(); ++i) result.data[i] += apart[i];
}

constexpr const char* packed_weights = "the packed weights";

// A sample's share of the packed weights of all.
int64_t packed_elems_of_sample(const Plan& plan) {
    return checked_add(plan.packed_weight_elems, cache_line, packed_weights);
}

// Weights for each sample: each is a convolution of its own, by the same plan.  The workspace is taken before anything is
// written, and serves one sample after the other.
template <class T>
void execute_samples(const ConvProblem& sample, const Plan& plan, View<const T> first, View<const T> second,
                     const T* packed, View<const T> bias, const Epilogue<T>& epilogue, View<T> result, bool accumulate,
                     int threads) {
    if (plan.samples == 0) return;
    const Workspace workspace(workspace_bytes(plan, threads));
    const auto part = [&](auto view, int64_t n) {
        view.size /= plan.samples;
        if (view.data != nullptr) view.data += n * view.size;
        return view;
    };
    const auto run = [&](int64_t n, int64_t thread, int its_threads) {
        const View<const T> a = part(first, n), b = part(second, n);
        const View<T> to = part(result, n);
        const Epilogue<T> own_epilogue = epilogue.from(n * to.size);
        const T* const own_packed = packed != nullptr ? packed + n * packed_elems_of_sample(plan) : nullptr;
        std::byte* const memory = workspace.data() + thread * (plan.shared_bytes + plan.thread_bytes);
        try {
            execute<T>(sample, plan, a, b, own_packed, bias, own_epilogue, to, accumulate, its_threads, memory);
        } catch (const std::bad_alloc&) {  // other samples are written already; plain loops take no memory
            reference::run(sample, plan.pass, arrays_of(plan.pass, a, b, bias), to.data, accumulate, its_threads);
            finish_all(plan, own_epilogue, to, its_threads);
        }
    };
    if (plan.shares_samples) parallel_for(plan.samples, threads, [&](int64_t n, int thread) { run(n, thread, 1); });
    else
        for (int64_t n = 0; n < plan.samples; ++n) run(n, 0, threads);
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
    implementation_ = std::make_shared<const Implementation>(Implementation{
        problem, planned_part(problem), dtype, planned(problem, pass, dtype, algorithm, active_isa(), num_threads())});
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
    summary.workspace_bytes = workspace_bytes(plan, summary.threads);
    summary.workspace_bytes_per_thread = plan.thread_bytes + (plan.shares_samples ? plan.shared_bytes : 0);
    return summary;
}

std::vector<double> Convolution::task_flops(int threads) const {
    if (threads == 0) return convpp::task_flops(implementation_->plan);
    check_threads(threads);
    const Plan& plan = implementation_->plan;
    return convpp::task_flops(make_plan(problem(), plan.pass, dtype(), plan.algorithm, plan.isa, threads));
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

template <class T>
PreparedWeights Convolution::prepare_typed(View<const T> w, int threads) const {
    check_type<T>(dtype());
    const Plan& plan = implementation_->plan;
    if (plan.pass != Pass::forward)
        throw std::invalid_argument(std::string("the pass is ") + name(plan.pass) +
                                    ", expected forward to prepare weights for");
    check_view(w, problem().w_elems(), "w");
    auto prepared = std::make_shared<PreparedWeights::Implementation>();
    prepared->made_for = implementation_;
    const bool winograd = !plan.empty && plan.algorithm == Algorithm::winograd;
    const bool packs = winograd ? !plan.packs_in_task
                                : !(plan.empty || plan.algorithm == Algorithm::reference ||
                                    products_need_repair(plan, w.data, w.size));
    if (!packs || winograd) {
        prepared->plain = AlignedBlock(w.size * static_cast<int64_t>(sizeof(T)));
        std::copy_n(w.data, w.size, reinterpret_cast<T*>(prepared->plain.data()));
    }
    if (packs) {
        const int64_t each = packed_elems_of_sample(plan);
        prepared->packed =
            AlignedBlock(checked_mul(checked_mul(plan.samples, each, packed_weights), sizeof(T), packed_weights));
        const int count = plan.shares_samples ? 1 : implementation_->threads(threads);
        const Workspace workspace(workspace_bytes(plan, count));
        ProductOperands<T> operands;
        operands.weight_elems = implementation_->part.w_elems();
        for (int64_t n = 0; n < plan.samples; ++n) {
            operands.weights = w.data + n * operands.weight_elems;
            T* const to = reinterpret_cast<T*>(prepared->packed.data()) + n * each;
            if (winograd) transform_product_weights(plan, operands, count, workspace.data(), to);
            else pack_product_weights(plan, operands, count, workspace.data(), to);
        }
    }
    prepared->bytes = prepared->packed.bytes() + prepared->plain.bytes();
    return PreparedWeights(std::move(prepared));
}

template <class T>
void Convolution::execute_typed(View<const T> first, View<const T> second, const T* packed, View<const T> bias,
                                View<T> result, const Execution& how, View<const T> residual) const {
    check_type<T>(dtype());
    if (residual.data != nullptr || residual.size != 0) check_view(residual, result.size, "add");
    const Plan& plan = implementation_->plan;
    const Epilogue<T> epilogue{residual.data, how.activation};
    check_operands<T>(problem(), plan.pass, first, second, packed, bias, epilogue, result, how.accumulate);
    const int threads = implementation_->threads(how.threads);
    const ConvProblem& part = implementation_->part;
    if (plan.samples == 1)
        convpp::execute<T>(part, plan, first, second, packed, bias, epilogue, result, how.accumulate, threads, nullptr);
    else execute_samples<T>(part, plan, first, second, packed, bias, epilogue, result, how.accumulate, threads);
}

template <class T>
void Convolution::execute_prepared(View<const T> x, const PreparedWeights& w, View<const T> bias, View<T> y,
                                   const Execution& how, View<const T> residual) const {
    const PreparedWeights::Implementation& prepared = *w.implementation_;
    if (prepared.made_for != implementation_)
        throw std::invalid_argument("w was prepared by another Convolution, expected weights prepared by this one");
    const View<const T> plain{reinterpret_cast<const T*>(prepared.plain.data()),
                              prepared.plain.bytes() > 0 ? problem().w_elems() : 0};
    execute_typed<T>(x, plain, reinterpret_cast<const T*>(prepared.packed.data()), bias, y, how, residual);
}

void Convolution::execute(View<const float> first, View<const float> second, View<const float> bias, View<float> result,
                          const Execution& how, View<const float> residual) const {
    execute_typed<float>(first, second, nullptr, bias, result, how, residual);
}

void Convolution::execute(View<const double> first, View<const double> second, View<const double> bias,
                          View<double> result, const Execution& how, View<const double> residual) const {
    execute_typed<double>(first, second, nullptr, bias, result, how, residual);
}

PreparedWeights Convolution::prepare(View<const float> w, int threads) const {
    return prepare_typed<float>(w, threads);
}

PreparedWeights Convolution::prepare(View<const double> w, int threads) const {
    return prepare_typed<double>(w, threads);
}

void Convolution::execute(View<const float> x, const PreparedWeights& w, View<const float> bias, View<float> y,
                          const Execution& how, View<const float> residual) const {
    execute_prepared<float>(x, w, bias, y, how, residual);
}

void Convolution::execute(View<const double> x, const PreparedWeights& w, View<const double> bias, View<double> y,
                          const Execution& how, View<const double> residual) const {
    execute_prepared<double>(x, w, bias, y, how, residual);
}

}  // namespace convpp
