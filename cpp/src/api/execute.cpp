// Carries out a planned pass.  execute.hpp says what comes in and goes out.
#include "api/execute.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "repair/nonfinite.hpp"
#include "machine/parallel.hpp"
#include "strategies/reference/reference.hpp"
#include "strategies/sums.hpp"
#include "strategies/winograd/product.hpp"
#include "strategies/winograd/grad.hpp"
#include "problem/checked.hpp"
#include "machine/dispatch.hpp"
#include "machine/workspace.hpp"

namespace convpp {

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

int64_t packed_elems_of_sample(const Plan& plan) {
    return checked_add(plan.packed_weight_elems, cache_line, "the packed weights");
}

namespace {

constexpr int64_t elems_of_filling_task = 1 << 16;  // takes longer than waking a thread

}  // namespace

template <class T>
void apply_epilogue_to_all(const Plan& plan, const T* sums, int64_t size, const Stored<T>& add_to, const Results<T>& result,
                int threads, const Activation& activation) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const int64_t tasks = size / elems_of_filling_task + 1;
    parallel_for(tasks, threads, [&](int64_t task, int) {
        const int64_t lo = size * task / tasks, count = size * (task + 1) / tasks - lo;
        apply_epilogue(kernel, sums + lo, count, add_to ? add_to + lo : add_to, result + lo, count, 1, count, activation);
    });
}

namespace {

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
                apply_epilogue(kernel, sums, count, epilogue.from(at).residual, result + at, count, 1, count,
                            epilogue.activation);
            }
        }
    });
}

// The definition, finished.
template <class T>
void run_reference(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays,
                   const Epilogue<T>& epilogue, const Results<T>& result, bool accumulate, int threads) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    reference::run<T>(problem, plan.pass, arrays, threads, [&](int64_t at, T sum) {
        if (accumulate) sum += result[at];
        apply_epilogue(kernel, &sum, 1, epilogue.from(at).residual, result + at, 1, 1, 1, epilogue.activation);
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
    apply_epilogue_to_all(plan, apart.data(), size, before, result, threads);
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

}  // namespace

template <class T>
void execute_samples(const ConvProblem& sample, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                     bool accumulate, int threads) {
    if (plan.samples == 1) return execute(sample, plan, operands, result, accumulate, threads);
    if (plan.samples == 0) return;
    const Workspace workspace(workspace_bytes(plan, threads));
    const int64_t first = plan.pass == Pass::forward ? sample.x_elems() : sample.y_elems();
    const int64_t second = plan.pass == Pass::weight_grad ? sample.x_elems() : sample.w_elems();
    const int64_t results = result_elems(sample, plan.pass);
    std::atomic<bool> failed{false};
    const auto run = [&](int64_t n, int64_t thread, int its_threads) {
        Operands<T> own = operands;
        own.first += n * first;
        if (own.second) own.second += n * second;
        own.epilogue = operands.epilogue.from(n * results);
        if (operands.packed != nullptr) own.packed += n * packed_elems_of_sample(plan);
        std::byte* const memory = workspace.data() + thread * (plan.shared_bytes + plan.thread_bytes);
        const Results<T> to = result + n * results;
        try {
            execute(sample, plan, own, to, accumulate, its_threads, memory);
        } catch (const std::bad_alloc&) {  // other samples are written already; plain loops take no memory
            if (!operands.second) return failed.store(true);  // (prepared weights: there are no plain ones)
            run_reference(sample, plan, arrays_of(plan.pass, own), own.epilogue, to, accumulate, its_threads);
        }
    };
    if (plan.shares_samples) parallel_for(plan.samples, threads, [&](int64_t n, int thread) { run(n, thread, 1); });
    else
        for (int64_t n = 0; n < plan.samples; ++n) run(n, 0, threads);
    if (failed) throw std::bad_alloc();
}

template <class T>
void execute_with_halo(const ConvProblem& sample, const Plan& plan, const Halo& halo, const Operands<T>& operands,
                        const Results<T>& dx, bool accumulate, int threads, int halo_threads) {
    const int64_t bytes = halo.workspace_bytes(halo_threads);
    AlignedBlock reserved = Workspace::reserve(bytes);
    execute_samples<T>(sample, plan, operands, dx, accumulate, threads);
    const Workspace workspace(std::move(reserved), bytes);
    for (int64_t n = 0; n < plan.samples; ++n)
        halo.add(operands.first + n * sample.y_elems(), operands.second + n * sample.w_elems(),
                  dx.plain() + n * sample.x_elems(), halo_threads, workspace.data());
}

template void execute_samples(const ConvProblem&, const Plan&, const Operands<float>&, const Results<float>&, bool,
                              int);
template void execute_with_halo(const ConvProblem&, const Plan&, const Halo&, const Operands<float>&,
                                 const Results<float>&, bool, int, int);
template void apply_epilogue_to_all(const Plan&, const float*, int64_t, const Stored<float>&, const Results<float>&, int,
                         const Activation&);
template void execute_samples(const ConvProblem&, const Plan&, const Operands<double>&, const Results<double>&, bool,
                              int);
template void execute_with_halo(const ConvProblem&, const Plan&, const Halo&, const Operands<double>&,
                                 const Results<double>&, bool, int, int);
template void apply_epilogue_to_all(const Plan&, const double*, int64_t, const Stored<double>&, const Results<double>&, int,
                         const Activation&);

}  // namespace convpp
