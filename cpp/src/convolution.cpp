// The door of the core: checks the arrays, takes the workspace, runs the planned algorithm.
#include "convpp/convolution.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "algorithms/boundary.hpp"
#include "algorithms/frame.hpp"
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
    ConvProblem whole;  // the problem, but for an input gradient, whose x has zeros around it
    ConvProblem part;   // that the plan is for: all of it, or a sample
    DType dtype;
    Plan plan;
    Frame frame;  // what such a gradient receives from outside x

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
    if (dtype == DType::float64) measure(double());
    else measure(float());
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

constexpr int64_t elems_of_filling_task = 1 << 16;  // takes longer than waking a thread

// Every result is its bias, or zero (finished): where sums have no terms.
template <class T>
void fill(const ConvProblem& problem, const Plan& plan, const Stored<T>& bias, const Epilogue<T>& epilogue,
          const Results<T>& result, int threads) {
    const Geometry& g = problem.geometry();
    if (plan.pass == Pass::weight_grad) {
        std::fill_n(result.plain(), problem.w_elems(), T(0));
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
            if (bias && !last) std::fill_n(sums, piece, bias[i % channels]);
            for (int64_t j = 0; j < row; j += piece) {
                const int64_t count = std::min(piece, row - j), at = i * row + j;
                for (int64_t c = 0; bias && last && c < count; ++c) sums[c] = bias[j + c];
                finish_rows(kernel, sums, count, epilogue.from(at).residual, result + at, count, 1, count,
                            epilogue.activation);
            }
        }
    });
}

// Adds to results, or rounds to them; not before all has been computed.
template <class T>
void finish_all(const Plan& plan, const T* sums, int64_t size, const Stored<T>& add_to, const Results<T>& result,
                int threads, const Activation& activation = {}) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const int64_t tasks = size / elems_of_filling_task + 1;
    parallel_for(tasks, threads, [&](int64_t task, int) {
        const int64_t lo = size * task / tasks, count = size * (task + 1) / tasks - lo;
        finish_rows(kernel, sums + lo, count, add_to ? add_to + lo : add_to, result + lo, count, 1, count, activation);
    });
}

// The definition, finished.
template <class T>
void run_reference(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays,
                   const Epilogue<T>& epilogue, const Results<T>& result, bool accumulate, int threads) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    reference::run<T>(problem, plan.pass, arrays, threads, [&](int64_t at, T sum) {
        if (accumulate) sum += result[at];
        finish_rows(kernel, &sum, 1, epilogue.from(at).residual, result + at, 1, 1, 1, epilogue.activation);
    });
}

template <class T>
void run_direct(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays,
                const Epilogue<T>& epilogue, const Results<T>& result, const T* packed, bool accumulate, int threads,
                std::byte* memory) {
    const Workspace workspace(workspace_bytes(plan, threads), memory);
    if (plan.pass == Pass::weight_grad) {
        run_weight_grad<T>(plan, {arrays.dy, arrays.x, result.plain(), accumulate}, threads, workspace.data());
        return;
    }
    if (plan.fill_result && !accumulate) fill(problem, plan, arrays.bias, epilogue, result, threads);
    const bool forward = plan.pass == Pass::forward;
    run_implicit_gemm<T>(plan,
                         {forward ? arrays.x : arrays.dy, arrays.w, packed, arrays.bias, result, accumulate, epilogue},
                         threads, workspace.data());
}

// Of a pass, in their order; the weights as they were prepared, or null.
template <class T>
struct Operands {
    Stored<T> first, second, bias;
    const T* packed = nullptr;
    Epilogue<T> epilogue;
};

template <class T>
bool needs_repair(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays) {
    return plan.pass == Pass::weight_grad ? sums_need_repair<T>(problem, plan, arrays.dy)
                                          : products_need_repair(plan, arrays.w, problem.w_elems());
}

// The operands of a pass as the definition names them.
template <class T>
reference::Arrays<T> arrays_of(Pass pass, const Operands<T>& operands) {
    const Stored<T>&first = operands.first, &second = operands.second, &bias = operands.bias;
    switch (pass) {
        case Pass::forward: return {first, second, {}, bias};
        case Pass::input_grad: return {{}, second, first, bias};
        case Pass::weight_grad: return {second, {}, first, bias};
    }
    return {};
}

// `memory`: the workspace, or null to take one.
template <class T>
void execute(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
             bool accumulate, int threads, std::byte* memory = nullptr);

int64_t result_elems(const ConvProblem& problem, Pass pass) {
    return pass == Pass::forward ? problem.y_elems() : pass == Pass::input_grad ? problem.x_elems() : problem.w_elems();
}

// compute(where) computes whole results: where they belong, or, if they are added there, apart first.
template <class T, class Compute>
void compute_apart(const ConvProblem& problem, const Plan& plan, const Results<T>& result, bool accumulate, int threads,
                   const Compute& compute) {
    if (!accumulate) return compute(result);
    const int64_t size = result_elems(problem, plan.pass);
    std::vector<T> apart(static_cast<size_t>(size));
    compute(Results<T>(apart.data()));
    Stored<T> before = result.stored();
    before.end = (result + size).at;
    finish_all(plan, apart.data(), size, before, result, threads);
}

// Computes again, by the direct algorithm, what has been written already: so it must not fail.  Plain loops take no memory.
template <class T>
void compute_again(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                   int threads) {
    try {
        const Plan direct = planned(problem, plan.pass, plan.dtype, Algorithm::direct, plan.isa, threads);
        execute<T>(problem, direct, operands, result, false, threads);
    } catch (const std::bad_alloc&) {
        run_reference(problem, plan, arrays_of(plan.pass, operands), operands.epilogue, result, false, threads);
    }
}

// A sample is computed again if not all of its results are finite: a NaN or Inf spoils the whole tile that it is in, and
// transforms overflow where plain sums do not.
template <class T>
void repair_samples(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                    const std::vector<std::atomic<unsigned char>>& spoiled, int threads) {
    Geometry g = problem.geometry();
    const int64_t batch = std::exchange(g.batch, 1), source = operands.first.elems() / batch;
    const int64_t results = result_elems(problem, plan.pass) / batch;
    const ConvProblem sample(g);
    for (int64_t n = 0; n < batch; ++n)
        if (spoiled[static_cast<size_t>(n)].load(std::memory_order_relaxed) != 0)
            compute_again<T>(sample, plan,
                             {operands.first + n * source, operands.second, operands.bias, nullptr,
                              operands.epilogue.from(n * results)},
                             result + n * results, threads);
}

// All of dw is computed again if not all of it is finite.
template <class T>
void run_winograd_gradient(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands,
                           const Results<T>& dw, int threads, std::byte* memory) {
    bool finite = false;
    {
        const Workspace workspace(workspace_bytes(plan, threads), memory);
        const SumOperands<T> sum{operands.first, operands.second, dw.plain(), false};
        finite = run_winograd_sum<T>(plan, sum, threads, workspace.data());
    }
    if (!finite) compute_again<T>(problem, plan, operands, dw, threads);
}

template <class T>
void run_winograd(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                  int threads, std::byte* memory) {
    std::vector<std::atomic<unsigned char>> spoiled(static_cast<size_t>(problem.geometry().batch));
    {
        const Workspace workspace(workspace_bytes(plan, threads), memory);
        const auto& [first, second, bias, packed, epilogue] = operands;
        run_winograd_product<T>(plan, {first, second, packed, bias, result, false, epilogue}, threads, workspace.data(),
                                spoiled.data());
    }
    repair_samples<T>(problem, plan, operands, result, spoiled, threads);
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

template <class T>
void execute(const ConvProblem& problem, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
             bool accumulate, int threads, std::byte* memory) {
    const bool weights = plan.pass == Pass::weight_grad;
    const reference::Arrays<T> arrays = arrays_of(plan.pass, operands);
    const Epilogue<T>& epilogue = operands.epilogue;
    if (plan.empty) {
        if (!accumulate) fill(problem, plan, operands.bias, epilogue, result, threads);
        return;
    }
    if (plan.algorithm == Algorithm::reference)
        return run_reference(problem, plan, arrays, epilogue, result, accumulate, threads);
    if (plan.algorithm == Algorithm::winograd) {
        compute_apart(problem, plan, result, accumulate, threads, [&](const Results<T>& to) {
            if (weights) run_winograd_gradient<T>(problem, plan, operands, to, threads, memory);
            else run_winograd<T>(problem, plan, operands, to, threads, memory);
        });
        return;
    }
    if (weights && !accumulate) {
        run_direct<T>(problem, plan, arrays, {}, result, nullptr, false, threads, memory);
        if (sums_need_repair(problem, plan, arrays.dy, result.plain()))
            repair_sums(problem, plan, arrays, result.plain(), threads);
        return;
    }
    // Prepared weights that are not finite are not used packed: `packed` is null for them.
    if (operands.packed != nullptr || !needs_repair(problem, plan, arrays)) {
        run_direct<T>(problem, plan, arrays, epilogue, result, operands.packed, accumulate, threads, memory);
        return;
    }
    compute_apart(problem, plan, result, accumulate, threads, [&](const Results<T>& to) {
        run_direct<T>(problem, plan, arrays, epilogue, to, nullptr, false, threads, memory);
        if (weights) repair_sums(problem, plan, arrays, to.plain(), threads);
        else repair_products(problem, plan, arrays, epilogue, to, threads);
    });
}

constexpr const char* packed_weights = "the packed weights";

// A sample's share of the packed weights of all.
int64_t packed_elems_of_sample(const Plan& plan) {
    return checked_add(plan.packed_weight_elems, cache_line, packed_weights);
}

// Weights for each sample: each is a convolution of its own, by the same plan.  The workspace is taken before anything is
// written, and serves one sample after the other.
template <class T>
void execute_samples(const ConvProblem& sample, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                     bool accumulate, int threads) {
    if (plan.samples == 1) return execute(sample, plan, operands, result, accumulate, threads);
    if (plan.samples == 0) return;
    const Workspace workspace(workspace_bytes(plan, threads));
    const int64_t first = plan.pass == Pass::forward ? sample.x_elems() : sample.y_elems();
    const int64_t second = plan.pass == Pass::weight_grad ? sample.x_elems() : sample.w_elems();
    const int64_t results = result_elems(sample, plan.pass);
    const auto run = [&](int64_t n, int64_t thread, int its_threads) {
        Operands<T> own = operands;
        own.first += n * first;
        own.second += n * second;
        own.epilogue = operands.epilogue.from(n * results);
        if (operands.packed != nullptr) own.packed += n * packed_elems_of_sample(plan);
        std::byte* const memory = workspace.data() + thread * (plan.shared_bytes + plan.thread_bytes);
        const Results<T> to = result + n * results;
        try {
            execute(sample, plan, own, to, accumulate, its_threads, memory);
        } catch (const std::bad_alloc&) {  // other samples are written already; plain loops take no memory
            run_reference(sample, plan, arrays_of(plan.pass, own), own.epilogue, to, accumulate, its_threads);
        }
    };
    if (plan.shares_samples) parallel_for(plan.samples, threads, [&](int64_t n, int thread) { run(n, thread, 1); });
    else
        for (int64_t n = 0; n < plan.samples; ++n) run(n, 0, threads);
}

// The frame's memory is made sure of before the first result is written.
template <class T>
void execute_with_frame(const ConvProblem& inner, const Plan& plan, const Frame& frame, const Operands<T>& operands,
                        const Results<T>& dx, bool accumulate, int threads, int frame_threads) {
    const int64_t bytes = frame.workspace_bytes(frame_threads);
    AlignedBlock reserved = Workspace::reserve(bytes);
    execute_samples<T>(inner, plan, operands, dx, accumulate, threads);
    const Workspace workspace(std::move(reserved), bytes);
    for (int64_t n = 0; n < plan.samples; ++n)
        frame.add(operands.first + n * inner.y_elems(), operands.second + n * inner.w_elems(),
                  dx.plain() + n * inner.x_elems(), frame_threads, workspace.data());
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
        apart ? Frame(planned_part(problem), dtype, active_isa(), threads) : Frame()});
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
                                       implementation_->frame.workspace_bytes(usable_threads(threads)));
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
        prepared->packed =
            AlignedBlock(checked_mul(checked_mul(plan.samples, each, packed_weights), sizeof(T), packed_weights));
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
        if (own.frame.empty()) execute_samples<T>(own.part, plan, operands, sums, accumulate, threads);
        else
            execute_with_frame(own.part, plan, own.frame, operands, sums, accumulate, threads,
                               usable_threads(how.threads));
    };
    const Results<T> to(result.data);
    const bool rounds = to.as != Storage::plain;
    if (own.frame.empty() ? !rounds || plan.pass != Pass::weight_grad : !rounds && operands.epilogue.none())
        return run(to, how.accumulate);
    // Sums of halves are whole before they are rounded, and those that a frame is added to before they are finished.
    const AlignedBlock whole(result.size * static_cast<int64_t>(sizeof(T)));
    const Results<T> sums(reinterpret_cast<T*>(whole.data()));
    const Epilogue<T> epilogue = std::exchange(operands.epilogue, {});
    run(sums, false);
    Stored<T> added = epilogue.residual;
    if (how.accumulate) added = {result.data, result.size};
    finish_all(plan, sums.plain(), result.size, added, to, threads, epilogue.activation);
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
