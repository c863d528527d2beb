// Callers and helpers: how work is handed out, and how both wait.  team.hpp says why.
#include "machine/team.hpp"

#include <algorithm>
#include <chrono>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace convpp {
namespace {

using Clock = std::chrono::steady_clock;

// A helper that finds no work looks on for so long before it sleeps.  Waking one takes 20 to 40 us (Zen 4, virtual: a
// helper that looks on brings a job of 200 us down to 109 us, one that sleeps to 129 to 138 us), and calls that follow
// each other are some tens of us apart.
constexpr auto helper_spins = std::chrono::microseconds(100);
// A caller for so long, until the last helper has left.  A helper that is still at a task then may have lost its core
// to another process: the caller's own core is free for it once the caller sleeps.  (20, 60 and 200 us measure alike.)
constexpr auto caller_spins = std::chrono::microseconds(60);

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

// The core that this thread is on; -1 if the system does not say.
int current_core() {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}

// The cores that a helper may run on: asleep, all of them but its last caller's.  Some systems wake a thread on the
// core of whoever wakes it, though others are idle (virtual ones do, where a halted core counts as lost to another
// guest), and leave it there for milliseconds.
class HelperCores {
public:
#ifdef __linux__
    HelperCores() { known_ = sched_getaffinity(0, sizeof all_, &all_) == 0 && CPU_COUNT(&all_) > 1; }
    void leave_out(int core) {
        if (!known_ || core < 0) return;
        cpu_set_t others = all_;
        CPU_CLR(core, &others);
        sched_setaffinity(0, sizeof others, &others);
    }
    // So that the system may move a helper that has a task to wherever it is served first.
    void take_all() {
        if (known_) sched_setaffinity(0, sizeof all_, &all_);
    }
    // Off a core that it shares with its caller.  False if it was on another one.
    bool part_from(int core) {
        if (!known_ || core != current_core()) return false;
        leave_out(core);
        take_all();
        return true;
    }

private:
    cpu_set_t all_;
    bool known_;
#else
    void leave_out(int) {}
    void take_all() {}
    bool part_from(int) { return false; }
#endif
};

// Parts of Slot::state.
constexpr uint64_t holder = 1;            // a helper that may hold a task
constexpr uint64_t joined = 1 << 16;      // a helper that came, whether it is still there or not
constexpr uint64_t allowed = uint64_t(1) << 32;  // a helper that may come
constexpr uint64_t is_open = uint64_t(1) << 48, taken = uint64_t(1) << 49;
constexpr uint64_t count_of(uint64_t state, uint64_t part) { return state / part & 0xffff; }

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
#if defined(__unix__) || defined(__APPLE__)
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
        if (slot_ != nullptr) Team::close(*slot_, !done);
        team_.callers_.fetch_sub(1, std::memory_order_relaxed);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // The first task that nobody has taken.
    std::atomic<int64_t>& next() { return slot_ != nullptr ? slot_->next : own_next_; }
    bool done = false;

private:
    Team& team_;
    const uint64_t forks_ = Team::forks();
    Slot* slot_ = nullptr;
    std::atomic<int64_t> own_next_{0};
};

void Team::run(const Job& job, int threads) {
    if (borrows()) return run_borrowed(job, std::min(threads, most_threads()));
    Team& team = get();
    if (threads > team.asked_for_.load(std::memory_order_relaxed) + 1) team.make_helpers(threads - 1);
    Call call(team, job, threads);
    std::atomic<int64_t>& next = call.next();
    for (int64_t lo = 0; (lo = next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;)
        job.run(job.context, lo, std::min(lo + job.several, job.tasks), 0, {});
    call.done = true;
}

// Puts a job into a free slot and wakes helpers.  Null if there is none.
Team::Slot* Team::open(const Job& job, int helpers) {
    for (Slot& slot : slots_) {
        uint64_t is_free = 0;
        if (slot.state.load(std::memory_order_relaxed) != 0 ||
            !slot.state.compare_exchange_strong(is_free, taken, std::memory_order_acquire))
            continue;
        slot.job = job;
        slot.given_up.yes.store(false, std::memory_order_relaxed);
        slot.next.store(0, std::memory_order_relaxed);
        core_of_caller_.store(current_core(), std::memory_order_relaxed);
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
void Team::close(Slot& slot, bool given_up) {
    if (given_up) {
        slot.given_up.yes.store(true, std::memory_order_relaxed);
        slot.next.store(slot.job.tasks, std::memory_order_relaxed);
    }
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
        job.run(job.context, lo, std::min(lo + job.several, job.tasks), thread, best->given_up);
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
    HelperCores cores;
    for (;;) {
        const uint32_t seen = opened_.count();
        if (cores.part_from(core_of_caller_.load(std::memory_order_relaxed)) || help_one()) continue;
        spinners_.fetch_add(1, std::memory_order_relaxed);
        const bool changed = spin_until([&] { return opened_.count() != seen; }, helper_spins);
        spinners_.fetch_sub(1, std::memory_order_relaxed);
        if (changed) continue;
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        cores.leave_out(core_of_caller_.load(std::memory_order_relaxed));
        opened_.wait(seen);
        cores.take_all();
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
}

}  // namespace convpp
