// Carries a plan out.  execute.hpp says what comes in and goes out.
#include "api/execute.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "repair/finite.hpp"
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

// Sums that are added to, or rounded, only when they are whole: where the halo is added to them before they are
// rounded or go through an epilogue, sums of halves, and where results that are not finite are computed again but
// there is something in them already (`spoils`: factors that are not finite meet padding).
bool goes_apart(const Plan& plan, const Writing& writing, bool spoils) {
    if (plan.halo != nullptr && (writing.rounds || writing.epilogue)) return true;
    if (plan.pass == Pass::weight_grad && writing.rounds) return true;
    return !plan.empty() && writing.accumulate && (plan.again != nullptr || spoils);
}

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
    T* apart = nullptr;  // whole sums
    Flag* not_finite = nullptr;
    // Of the plan; then of a repair, or of what is computed again by another plan; then of the halo.
    std::byte* workspace = nullptr;

    // `whole`: the plan that this one is a part of, or the same.
    OnceMemory(Carver& carver, const Plan& plan, const Plan& whole, const CallThreads& threads, bool goes_apart) {
        apart = carver.take<T>(goes_apart ? result_elems(plan.problem, plan.pass) : 0);
        int64_t bytes = 0;
        for (const Plan* of : {&plan, &whole})
            if (of->halo != nullptr) bytes = std::max(bytes, halo_bytes(*of->halo, threads.halo));
        if (!plan.empty()) {
            const bool sums = plan.pass == Pass::weight_grad, again = plan.again != nullptr;
            not_finite = carver.take<Flag>(!again ? 0 : sums ? 1 : plan.batch());
            bytes = std::max(bytes, workspace_bytes(plan, threads.plan));
            const int64_t more = again ? measured<AgainMemory<T>>(*plan.again, threads_of(*plan.again, threads.plan))
                                       : repair_bytes(plan, threads.plan);
            bytes = std::max(bytes, more);
        }
        workspace = carver.take<std::byte>(bytes);
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
    if (repairs_all_sums(again, operands, threads, own.workspace)) return;
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
            entry<T>(*again.how)
                .run(again, whole.part(again.problem, plan.pass, n, false), {threads, own.workspace, nullptr});
    if (all) repair(again, operands, plan.batch(), threads, own.workspace);
}

// Whether a look at some of the factors says that all is going to be computed again.
template <class T>
bool soon_not_finite(const Plan& plan, const Operands<T>& operands) {
    if (plan.again == nullptr) return false;
    // Looking takes up to a hundredth of the time that it may save.  (Weights spoil all samples.)
    constexpr double flops_of_look = 4000;
    const auto most = static_cast<int64_t>(plan.problem.flops() / flops_of_look);
    const auto spoilt = [&](const Stored<T>& factor, int64_t elems) {
        return factor && !all_finite(factor, std::min(elems, most));
    };
    if (plan.pass != Pass::weight_grad) return spoilt(operands.w, plan.problem.w_elems());
    return spoilt(operands.dy, plan.problem.y_elems()) || spoilt(operands.x, plan.problem.x_elems());
}

// Whether weights that are not finite meet padding, which is looked at before anything is computed, or behind.
enum class Spoils { no, yes, seen_in_results };

// Large weights are looked at only if something in the results is not finite: weights that are not leave traces there,
// whatever they meet.  (Memory: a call of one sample would read such weights twice; measured, 10 % of 3x3 512-512 at
// stride 2 and 14x14.  An epilogue may hide the traces.)
template <class T>
Spoils look_at_weights(const Plan& plan, const Operands<T>& operands, const Writing& writing) {
    // (Prepared weights that are not finite are not used packed.)
    const bool looks = plan.pass != Pass::weight_grad || writing.accumulate;
    if (plan.empty() || !looks || plan.again != nullptr || operands.packed != nullptr) return Spoils::no;
    if (plan.pass != Pass::weight_grad && !writing.accumulate && !writing.epilogue && plan.reads_padding &&
        plan.problem.w_elems() > result_elems(plan.problem, plan.pass))
        return Spoils::seen_in_results;
    return needs_repair(plan, operands) ? Spoils::yes : Spoils::no;
}

// Sums into results that nothing has to be done to later.
template <class T>
void compute(const Plan& plan, const Operands<T>& operands, Spoils looked, const CallThreads& threads,
             const OnceMemory<T>& memory) {
    bool spoils = looked == Spoils::yes;
    if (plan.empty()) {
        if (!operands.accumulate) fill_results(plan, operands, threads.plan);
    } else {
        const int64_t flags = plan.again == nullptr ? 0 : plan.pass == Pass::weight_grad ? 1 : plan.batch();
        const bool skips = soon_not_finite(plan, operands);
        for (int64_t i = 0; i < flags; ++i) new (memory.not_finite + i) Flag(skips ? 1 : 0);
        if (plan.gaps == Gaps::filled_before && !operands.accumulate) fill_results(plan, operands, threads.plan);
        if (!skips) entry<T>(*plan.how).run(plan, operands, {threads.plan, memory.workspace, memory.not_finite});
        // (dw is looked at when it is computed, unless something was in it before.)
        if (plan.pass == Pass::weight_grad && plan.again == nullptr && !operands.accumulate)
            spoils = needs_repair(plan, operands, true);
        if (looked == Spoils::seen_in_results)
            spoils = !all_finite(operands.result.stored(), result_elems(plan.problem, plan.pass)) &&
                     needs_repair(plan, operands);
        if (plan.again != nullptr) compute_again(plan, operands, memory.not_finite, threads.plan, memory.workspace);
        else if (spoils) repair(plan, operands, plan.batch(), threads.plan, memory.workspace);
    }
}

template <class T>
void add_own_halo(const Plan& plan, const Operands<T>& operands, const CallThreads& threads,
                  const OnceMemory<T>& memory) {
    if (plan.halo != nullptr) add_halo(*plan.halo, operands, threads.halo, memory.workspace);
}

// The part of a plan's samples that sums are computed apart of at once.
const Plan& part_of(const Plan& plan) { return plan.part != nullptr ? *plan.part : plan; }

// Computes apart, some samples at a time.  (The last part may begin with samples of the one before.)
template <class T>
void compute_apart(const Plan& plan, const Operands<T>& operands, Spoils spoils, CallThreads threads,
                   std::byte* memory) {
    const Plan& part = part_of(plan);
    if (&part != &plan) threads.plan = part.empty() ? 1 : threads_of(part, threads.plan);
    Carver carver(memory);
    const OnceMemory<T> own(carver, part, plan, threads, true);
    // The halo is added last, as it is where nothing goes apart; but before sums are rounded, or their epilogue.
    const bool halo_last = operands.accumulate && operands.result.as == Storage::plain;
    const int64_t elems = result_elems(part.problem, plan.pass), batch = std::max<int64_t>(part.batch(), 1);
    const bool sums_pixels = plan.pass == Pass::weight_grad;
    const int64_t samples = sums_pixels ? 1 : plan.batch();
    for (int64_t lo = 0; lo < samples; lo += batch) {
        const int64_t first = sums_pixels ? 0 : std::min(lo, samples - batch);
        Operands<T> given = operands.of_samples(part.problem, plan.pass, first);
        if (&part != &plan) given.packed = nullptr;  // packed for the other plan
        Operands<T> sums = given;
        sums.result = Results<T>(own.apart);
        sums.accumulate = false;
        sums.epilogue = {};
        compute(part, sums, spoils, threads, own);
        if (!halo_last) add_own_halo(part, sums, threads, own);
        const int64_t from = (lo - first) * (elems / batch), size = elems - from;
        if (operands.accumulate) add_sums(part, own.apart + from, size, given.result + from, threads.plan);
        else
            apply_epilogue_to_all(part, own.apart + from, size, given.epilogue.from(from), given.result + from,
                                  threads.plan);
    }
    if (halo_last) add_own_halo(plan, operands, threads, own);
}

template <class T>
void execute_once(const Plan& plan, const Operands<T>& operands, const Writing& writing, const CallThreads& threads,
                  std::byte* memory) {
    const Spoils spoils = look_at_weights(plan, operands, writing);
    if (goes_apart(plan, writing, spoils == Spoils::yes)) return compute_apart(plan, operands, spoils, threads, memory);
    Carver carver(memory);
    const OnceMemory<T> own(carver, plan, plan, threads, false);
    compute(plan, operands, spoils, threads, own);
    add_own_halo(plan, operands, threads, own);
}

// What any operands may take.
template <class T>
int64_t bytes_of_once(const Plan& plan, const Writing& writing, const CallThreads& threads) {
    int64_t bytes = 0;
    if (!goes_apart(plan, writing, false)) bytes = measured<OnceMemory<T>>(plan, plan, threads, false);
    if (goes_apart(plan, writing, plan.reads_padding))
        bytes = std::max(bytes, measured<OnceMemory<T>>(part_of(plan), plan, threads, true));
    return round_up(bytes, cache_line);
}

template <class T>
int64_t bytes_of_call(const Plan& plan, const Writing& writing, const CallThreads& threads) {
    if (!plan.samples.shared_out) return bytes_of_once<T>(plan, writing, threads);
    return checked_mul(bytes_of_once<T>(plan, writing, {1, 1}), threads.plan, "the workspace");
}

}  // namespace

int64_t call_bytes(const Plan& plan, const Writing& writing, const CallThreads& threads) {
    return plan.dtype == DType::float64 ? bytes_of_call<double>(plan, writing, threads)
                                        : bytes_of_call<float>(plan, writing, threads);
}

// Each sample that has weights of its own is a convolution of its own, by the same plan.
template <class T>
void execute(const Plan& plan, const Operands<T>& operands, const Writing& writing, const CallThreads& threads,
             std::byte* memory) {
    if (plan.samples.count == 1) return execute_once(plan, operands, writing, threads, memory);
    const auto run = [&](int64_t n, const CallThreads& its_threads, std::byte* its_memory) {
        Operands<T> own = operands.part(plan.problem, plan.pass, n);
        if (operands.packed != nullptr) own.packed += n * packed_elems_of_sample(plan);
        execute_once(plan, own, writing, its_threads, its_memory);
    };
    if (!plan.samples.shared_out) {
        for (int64_t n = 0; n < plan.samples.count; ++n) run(n, threads, memory);
        return;
    }
    const int64_t each = bytes_of_once<T>(plan, writing, {1, 1});
    parallel_for(plan.samples.count, threads.plan,
                 [&](int64_t n, int thread) { run(n, {1, 1}, memory + thread * each); });
}

template void execute(const Plan&, const Operands<float>&, const Writing&, const CallThreads&, std::byte*);
template void execute(const Plan&, const Operands<double>&, const Writing&, const CallThreads&, std::byte*);

}  // namespace convpp
