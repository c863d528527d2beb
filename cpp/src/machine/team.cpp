// Helpers: made, put to sleep, handed work.  team.hpp says how.
#include "machine/team.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if __has_include(<pthread.h>)
#include <pthread.h>

#include <csignal>
#define CONVPP_HAVE_PTHREAD 1
#endif
#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#include "machine/cores.hpp"
#include "machine/interrupt.hpp"

namespace convpp {
namespace {

using Clock = std::chrono::steady_clock;

// A helper that finds no work looks on for so long before it sleeps, a caller for helpers to leave.  Waking takes
// ...
constexpr auto helper_spins = std::chrono::microseconds(30);
constexpr auto caller_spins = std::chrono::microseconds(20);
constexpr auto between_tries = std::chrono::seconds(1);  // to make helpers

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Whether it came true within this time.
template <class True>
bool spin_until(const True& is_true, std::chrono::nanoseconds time) {
    const auto end = Clock::now() + time;
    do {
        for (int i = 0; i < 16; ++i) {
            if (is_true()) return true;
            relax();
        }
    } while (Clock::now() < end);
    return false;
}

// Parts of Slot::state.
constexpr uint64_t holder = 1;            // a helper that may hold a task
constexpr uint64_t joined = 1 << 16;      // a helper that came, whether it is still there or not
constexpr uint64_t allowed = uint64_t(1) << 32;  // a helper that may come
constexpr uint64_t is_open = uint64_t(1) << 48, taken = uint64_t(1) << 49;
constexpr uint64_t count_of(uint64_t state, uint64_t part) { return state / part & 0xffff; }

int64_t ticks() { return Clock::now().time_since_epoch().count(); }
constexpr int64_t ticks(Clock::duration duration) { return duration.count(); }

// More threads than this only wait for each other.
int most_threads() {
    static const int most = std::max(16, 2 * usable_cores());
    return most;
}

std::atomic<uint64_t> fork_count{0};

}  // namespace

int Team::helpers() { return get().helpers_.load(std::memory_order_relaxed); }
uint64_t Team::forks() { return fork_count.load(std::memory_order_relaxed); }

// In memory that is never given back: helpers use it until the process is gone.
alignas(Team) static std::byte memory_of_team[sizeof(Team)];

Team& Team::get() {
    static Team* const team = new (memory_of_team) Team;
    return *team;
}

// A child has none of its parent's threads, and no other callers.  (A fork waits until no helpers are being made.)
int Team::handle_forks() {
#ifdef CONVPP_HAVE_PTHREAD
    return pthread_atfork([] { get().making_.lock(); }, [] { get().making_.unlock(); },
                          [] {
                              fork_count.fetch_add(1, std::memory_order_relaxed);
                              new (&get()) Team;
                          });
#else
    return 0;
#endif
}

const int Team::handles_forks_ = Team::handle_forks();

// ---------------------------------------------------------------- callers

// A caller among the callers, with its job in a slot if helpers may come.  When it goes, nobody is at the job.
class Team::Call {
public:
    Call(Team& team, const Job& job, int threads) : team_(team) {
        // Callers share the threads that they ask for: where there are as many callers, each does its own job.
        const int others = team.callers_.fetch_add(1, std::memory_order_relaxed);
        const int helpers = std::min(threads, most_threads()) - 1 - others;
        if (helpers > 0) slot_ = team.open(job, helpers);
    }
    ~Call() {
        if (Team::forks() != forks_) return;  // a child has a new team
        if (slot_ != nullptr) Team::close(*slot_);
        team_.callers_.fetch_sub(1, std::memory_order_relaxed);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // The first task that nobody has taken.
    std::atomic<int64_t>& next() { return slot_ != nullptr ? slot_->next : own_next_; }

private:
    Team& team_;
    const uint64_t forks_ = Team::forks();
    Slot* slot_ = nullptr;
    std::atomic<int64_t> own_next_{0};
};

void Team::run(const Job& job, int threads) {
    Team& team = get();
    if (threads > team.asked_for_.load(std::memory_order_relaxed) + 1) team.make_helpers(threads - 1);
    Call call(team, job, threads);
    std::atomic<int64_t>& next = call.next();
    for (int64_t lo = 0; (lo = next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;) {
        if (lo > 0) give_up_if_interrupted();
        job.run(job.context, lo, std::min(lo + job.several, job.tasks), 0);
    }
}

// Puts a job into a free slot and wakes helpers.  Null if there is none.
Team::Slot* Team::open(const Job& job, int helpers) {
    for (Slot& slot : slots_) {
        uint64_t is_free = 0;
        if (slot.state.load(std::memory_order_relaxed) != 0 ||
            !slot.state.compare_exchange_strong(is_free, taken, std::memory_order_acquire))
            continue;
        slot.job = job;
        slot.next.store(0, std::memory_order_relaxed);
        slot.state.store(taken | is_open | static_cast<uint64_t>(helpers) * allowed, std::memory_order_seq_cst);
        opened_.change();
        // Those who spin find it by themselves.
        const int asleep = sleepers_.load(std::memory_order_seq_cst);
        const int wanted = helpers - spinners_.load(std::memory_order_relaxed);
        if (asleep > 0 && wanted > 0) opened_.wake(std::min(asleep, wanted));
        return &slot;
    }
    return nullptr;
}

// Waits for helpers that hold tasks, and frees the slot.
void Team::close(Slot& slot) {
    slot.next.store(slot.job.tasks, std::memory_order_relaxed);  // where the caller gives up, so do its helpers
    slot.state.fetch_and(~is_open, std::memory_order_acq_rel);
    const auto all_left = [&] { return count_of(slot.state.load(std::memory_order_seq_cst), holder) == 0; };
    if (!all_left() && !spin_until(all_left, caller_spins)) {
        slot.waited_for.store(true, std::memory_order_seq_cst);
        for (uint32_t seen = slot.left.count(); !all_left(); seen = slot.left.count()) slot.left.wait(seen);
        slot.waited_for.store(false, std::memory_order_relaxed);
    }
    slot.state.store(0, std::memory_order_release);
}

// ---------------------------------------------------------------- helpers

// Helps the job that has the fewest helpers until it has no more tasks.  False if no job wants help.
bool Team::help_one() {
    Slot* best = nullptr;
    uint64_t state = 0;
    for (Slot& slot : slots_) {
        const uint64_t now = slot.state.load(std::memory_order_acquire);
        const bool wanted = (now & is_open) != 0 && count_of(now, joined) < count_of(now, allowed);
        if (!wanted || (best != nullptr && count_of(now, joined) >= count_of(state, joined))) continue;
        best = &slot;
        state = now;
    }
    if (best == nullptr) return false;
    // The state says all that the decision depends on: if another job has come into the slot since, with the same
    // state, then that one is joined.
    if (!best->state.compare_exchange_strong(state, state + joined + holder, std::memory_order_acq_rel)) return true;
    const Job job = best->job;
    const int thread = static_cast<int>(count_of(state, joined)) + 1;
    for (int64_t lo = 0; (lo = best->next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;)
        job.run(job.context, lo, std::min(lo + job.several, job.tasks), thread);
    best->state.fetch_and(~is_open, std::memory_order_acq_rel);  // nobody need come any more
    best->state.fetch_sub(holder, std::memory_order_seq_cst);
    // (The slot may be another job's by now; then its caller is woken for nothing.)
    if (best->waited_for.load(std::memory_order_seq_cst)) {
        best->left.change();
        best->left.wake(1);
    }
    return true;
}

void Team::help_for_ever() {
    helpers_.fetch_add(1, std::memory_order_relaxed);
    for (;;) {
        const uint32_t seen = opened_.count();
        if (help_one()) continue;
        spinners_.fetch_add(1, std::memory_order_relaxed);
        const bool changed = spin_until([&] { return opened_.count() != seen; }, helper_spins);
        spinners_.fetch_sub(1, std::memory_order_relaxed);
        if (changed) continue;
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        opened_.wait(seen);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
}

// ---------------------------------------------------------------- the team is made

namespace {

// A thread inherits these from the one that happened to make it.  Signals are for the program's own threads, but for
// those that a fault in this very thread raises; and the cores are those of the process's first thread, whichever ones
// the caller has bound itself to.
void become_helper() {
#ifdef CONVPP_HAVE_PTHREAD
    sigset_t signals;
    sigfillset(&signals);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&signals, fault);
    pthread_sigmask(SIG_SETMASK, &signals, nullptr);
#endif
#ifdef __linux__
    cpu_set_t cores;
    if (sched_getaffinity(getpid(), sizeof cores, &cores) == 0) sched_setaffinity(0, sizeof cores, &cores);
#endif
}

#ifdef _OPENMP

// Returns when the system has stopped counting a thread that ended: somewhat later than joining it.
void wait_until_gone(long thread) {
#ifdef __linux__
    const std::string entry = "/proc/self/task/" + std::to_string(thread);
    for (int i = 0; i < 100 && access(entry.c_str(), F_OK) == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
#else
    static_cast<void>(thread);
#endif
}

// How many threads (at most `wanted`) this process can have beside those that it has.  An OpenMP library ends the
// process when it cannot create one, so this is found out with threads that do nothing.
int creatable_threads(int wanted) {
    Event ending;
    std::vector<long> ids(static_cast<size_t>(wanted), 0);
    std::vector<std::thread> threads;
    threads.reserve(ids.size());
    try {
        for (long& id : ids)
            threads.emplace_back([&ending, &id] {
#ifdef __linux__
                id = syscall(SYS_gettid);
#endif
                while (ending.count() == 0) ending.wait(0);
            });
    } catch (const std::system_error&) {  // so many, then
    }
    ending.change();
    ending.wake(-1);
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < threads.size(); ++i) wait_until_gone(ids[i]);
    return static_cast<int>(threads.size());
}

#endif

[[noreturn]] void sleep_for_ever() {
    static Event never;
    for (;;) never.wait(0);
}

}  // namespace

// Becomes helpers: so many, or as many as there can be.
void Team::run_helpers(int wanted) {
    become_helper();
    int made = 0;
    const auto count_missing = [&] {
        if (made == wanted) return;
        next_try_.store(ticks() + ticks(between_tries), std::memory_order_relaxed);
        asked_for_.fetch_sub(wanted - made, std::memory_order_relaxed);
    };
    try {
#ifdef _OPENMP
        made = creatable_threads(wanted);
        count_missing();
        if (made == 0) return;
        // The region's first thread stands for the callers, so that those places that OMP_PLACES gives to the others
        // are the helpers'.
#pragma omp parallel num_threads(made + 1)
        {
            if (omp_get_thread_num() == 0) sleep_for_ever();
            help_for_ever();
        }
#else
        for (; made + 1 < wanted; ++made) std::thread([this] { help_for_ever(); }).detach();
        ++made;
        help_for_ever();
#endif
    } catch (const std::exception&) {  // std::bad_alloc, std::system_error: there are fewer
        count_missing();
    }
}

void Team::make_helpers(int wanted) {
    const std::unique_lock<std::mutex> lock(making_, std::try_to_lock);
    const int missing = std::min(wanted, most_threads() - 1) - asked_for_.load(std::memory_order_relaxed);
    if (!lock || missing <= 0 || ticks() < next_try_.load(std::memory_order_relaxed)) return;
    asked_for_.fetch_add(missing, std::memory_order_relaxed);
    try {
        std::thread([this, missing] { run_helpers(missing); }).detach();
    } catch (const std::exception&) {  // std::bad_alloc, std::system_error: the caller does without
        asked_for_.fetch_sub(missing, std::memory_order_relaxed);
        next_try_.store(ticks() + ticks(between_tries), std::memory_order_relaxed);
    }
}
