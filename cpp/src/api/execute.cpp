// Carries a plan out.  execute.hpp says what comes in and goes out.
#include "api/execute.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "repair/halo.hpp"
#include "repair/nonfinite.hpp"
#include "result/fill.hpp"
#include "strategies/strategy.hpp"

namespace convpp {

int64_t packed_elems_of_sample(const Plan& plan) {
    return checked_add(packed_weight_elems(plan), cache_line, "the packed weights");
}

namespace {

using Flag = std::atomic<unsigned char>;

// What computing again by a direct plan takes.
template <class T>
struct AgainMemory {
    T* packed = nullptr;  // weights, for all samples
    std::byte* workspace = nullptr;

    AgainMemory(Carver& carver, const Plan& plan, int threads) {
        packed = carver.take<T>(plan.pass == Pass::weight_grad ? 0 : packed_elems_of_sample(plan));
        workspace = carver.take<std::byte>(std::max(workspace_bytes(plan, threads), repair_bytes(plan, threads)));
    }
};

// What carrying a plan out once takes, laid out; with a measuring carver, counted.
template <class T>
struct OnceMemory {
    T* apart = nullptr;  // all results, where they are added only when they are whole
    Flag* not_finite = nullptr;
    std::byte* workspace = nullptr;  // of the plan; then of a repair, or of what is computed again by another plan

    OnceMemory(Carver& carver, const Plan& plan, int threads, bool accumulate) {
        if (plan.empty()) return;
        const bool sums = plan.pass == Pass::weight_grad, again = plan.again != nullptr;
        const bool whole = accumulate && (again || plan.reads_padding);
        apart = carver.take<T>(whole ? result_elems(plan.problem, plan.pass) : 0);
        not_finite = carver.take<Flag>(!again ? 0 : sums ? 1 : plan.batch());
        int64_t bytes = workspace_bytes(plan, threads);
        if (again) bytes = std::max(bytes, measured<AgainMemory<T>>(*plan.again, threads_of(*plan.again, threads)));
        else bytes = std::max(bytes, repair_bytes(plan, threads));
        workspace = carver.take<std::byte>(bytes);
    }
};

// The memory of all samples, and of whole results before their epilogue.
template <class T>
struct CallMemory {
    T* whole = nullptr;
    int64_t each = 0;  // bytes of a sample's
    std::byte* rest = nullptr;  // of samples, then of the halo

    CallMemory(Carver& carver, const Plan& plan, const Writing& writing, const CallThreads& threads) {
        // Sums of halves are whole before they are rounded, those that a halo is added to before their epilogue.
        // (Tasks round by themselves where nothing is added to their results later.)
        const bool halo = plan.halo != nullptr;
        const bool apart = halo ? writing.rounds || writing.epilogue : writing.rounds && plan.pass == Pass::weight_grad;
        constexpr const char* what = "the workspace";
        const int64_t results = checked_mul(plan.samples.count, result_elems(plan.problem, plan.pass), what);
        if (apart) whole = carver.take<T>(results);
        const bool shared_out = plan.samples.shared_out;
        each = measured<OnceMemory<T>>(plan, shared_out ? 1 : threads.plan, writing.accumulate && !apart);
        int64_t bytes = checked_mul(each, shared_out ? threads.plan : 1, what);
        if (halo) bytes = std::max(bytes, halo_bytes(*plan.halo, threads.halo));
        rest = carver.take<std::byte>(bytes);
    }
};

// Adds whole sums to results.
template <class T>
void add_sums(const Plan& plan, const T* sums, int64_t size, const Results<T>& result, int threads) {
    Stored<T> before = result.stored();
    before.end = (result + size).at;
    apply_epilogue_to_all(plan, sums, size, {before, {}}, result, threads);
}

// What is not finite is computed again by the plan made for that: a NaN or Inf spoils the whole tile that it is in, and
// transforms overflow where plain sums do not.  dw is computed again as a whole.
template <class T>
void sum_again(const Plan& again, const Operands<T>& operands, int threads, std::byte* memory) {
    Carver carver(memory);
    const AgainMemory<T> own(carver, again, threads);
    entry<T>(*again.how).run(again, operands, {threads, own.workspace, nullptr});
    if (needs_repair(again, operands, true)) repair(again, operands, 1, threads, own.workspace);
}

// The samples of y and dx that are not finite; or all, where weights that are not spoil all of them.
template <class T>
void compute_again(const Plan& plan, const Operands<T>& operands, const Flag* not_finite, int threads,
                   std::byte* memory) {
    const auto spoiled = [](const Flag& flag) { return flag.load(std::memory_order_relaxed) != 0; };
    if (std::none_of(not_finite, not_finite + (plan.pass == Pass::weight_grad ? 1 : plan.batch()), spoiled)) return;
    const Plan& again = *plan.again;
    threads = threads_of(again, threads);
    if (plan.pass == Pass::weight_grad) return sum_again(again, operands, threads, memory);
    Carver carver(memory);
    const AgainMemory<T> own(carver, again, threads);
    Operands<T> whole = operands;
    whole.packed = own.packed;
    entry<T>(*again.how).prepare(again, operands, {threads, own.workspace, nullptr}, own.packed);
    const bool all = needs_repair(again, operands);
    for (int64_t n = 0; n < plan.batch(); ++n)
        if (all || spoiled(not_finite[n]))
            entry<T>(*again.how).run(again, whole.part(again.problem, plan.pass, n, false),
                                     {threads, own.workspace, nullptr});
    if (all) repair(again, operands, plan.batch(), threads, own.workspace);
}

// `spoils`: factors that are not finite meet padding, and what they spoil is computed again.
template <class T>
void compute(const Plan& plan, const Operands<T>& operands, bool spoils, int threads, const OnceMemory<T>& memory) {
    const int64_t flags = plan.again == nullptr ? 0 : plan.pass == Pass::weight_grad ? 1 : plan.batch();
    for (int64_t i = 0; i < flags; ++i) new (memory.not_finite + i) Flag(0);
    if (plan.gaps == Gaps::filled_before && !operands.accumulate) fill_results(plan, operands, threads);
    entry<T>(*plan.how).run(plan, operands, {threads, memory.workspace, memory.not_finite});
    if (plan.again != nullptr) return compute_again(plan, operands, memory.not_finite, threads, memory.workspace);
    if (plan.pass == Pass::weight_grad) spoils = !operands.accumulate && needs_repair(plan, operands, true);
    if (spoils) repair(plan, operands, plan.batch(), threads, memory.workspace);
}

template <class T>
void execute_once(const Plan& plan, const Operands<T>& operands, int threads, std::byte* memory) {
    if (plan.empty()) {
        if (!operands.accumulate) fill_results(plan, operands, threads);
        return;
    }
    Carver carver(memory);
    const OnceMemory<T> own(carver, plan, threads, operands.accumulate);
    // (Prepared weights that are not finite are not used packed.  dw is looked at when it is computed, unless something
    // was in it before.)
    const bool looks = plan.pass != Pass::weight_grad || operands.accumulate;
    const bool spoils = looks && plan.again == nullptr && operands.packed == nullptr && needs_repair(plan, operands);
    if (!operands.accumulate || (plan.again == nullptr && !spoils))
        return compute(plan, operands, spoils, threads, own);
    Operands<T> apart = operands;
    apart.result = Results<T>(own.apart);
    apart.accumulate = false;
    compute(plan, apart, spoils, threads, own);
    add_sums(plan, own.apart, result_elems(plan.problem, plan.pass), operands.result, threads);
}

// Each sample is a convolution of its own, by the same plan.
template <class T>
void execute_samples(const Plan& plan, const Operands<T>& operands, int threads, const CallMemory<T>& memory) {
    if (plan.samples.count == 1) return execute_once(plan, operands, threads, memory.rest);
    const auto run = [&](int64_t n, int64_t thread, int its_threads) {
        Operands<T> own = operands.part(plan.problem, plan.pass, n);
        if (operands.packed != nullptr) own.packed += n * packed_elems_of_sample(plan);
        execute_once(plan, own, its_threads, memory.rest + thread * memory.each);
    };
    if (plan.samples.shared_out)
        parallel_for(plan.samples.count, threads, [&](int64_t n, int thread) { run(n, thread, 1); });
    else
        for (int64_t n = 0; n < plan.samples.count; ++n) run(n, 0, threads);
}

// All samples, and what x receives from outside.
template <class T>
void execute_all(const Plan& plan, const Operands<T>& operands, const CallThreads& threads,
                 const CallMemory<T>& memory) {
    execute_samples(plan, operands, threads.plan, memory);
    if (plan.halo == nullptr) return;
    for (int64_t n = 0; n < plan.samples.count; ++n)
        add_halo(*plan.halo, operands.part(plan.problem, plan.pass, n), threads.halo, memory.rest);
}

}  // namespace

int64_t call_bytes(const Plan& plan, const Writing& writing, const CallThreads& threads) {
    return plan.dtype == DType::float64 ? measured<CallMemory<double>>(plan, writing, threads)
                                        : measured<CallMemory<float>>(plan, writing, threads);
}

template <class T>
void execute(const Plan& plan, const Operands<T>& operands, const Writing& writing, const CallThreads& threads,
             std::byte* memory) {
    Carver carver(memory);
    const CallMemory<T> own(carver, plan, writing, threads);
    if (own.whole == nullptr) return execute_all(plan, operands, threads, own);
    Operands<T> whole = operands;
    whole.result = Results<T>(own.whole);
    whole.accumulate = false;
    whole.epilogue = {};
    execute_all(plan, whole, threads, own);
    const int64_t size = plan.samples.count * result_elems(plan.problem, plan.pass);
    if (operands.accumulate) add_sums(plan, own.whole, size, operands.result, threads.plan);
    else apply_epilogue_to_all(plan, own.whole, size, operands.epilogue, operands.result, threads.plan);
}

template void execute(const Plan&, const Operands<float>&, const Writing&, const CallThreads&, std::byte*);
template void execute(const Plan&, const Operands<double>&, const Writing&, const CallThreads&, std::byte*);

}  // namespace convpp
