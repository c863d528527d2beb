// Jobs by the OpenMP threads of the caller, in place of the team's helpers: for programs that have such threads anyway.
//
// PyTorch's threads spin for some milliseconds behind each of its operators, and a helper that wakes meanwhile shares a
// core with one of them.  The threads that spin are had for the asking.  (Training MobileNet v2 on two cores: a step
// takes 379 ms with helpers, 287 ms in PyTorch alone.)  The price is that of every OpenMP region: a caller waits for all
// of its threads, also for one that another process keeps from its core; and a child that is forked off in the middle
// of a call (by a signal's handler) waits for threads that it has not got.
//
// The library itself is compiled and linked without OpenMP.  It is handed the function by which compiled code enters a
// region, of the very library that the program computes with.
//
// In:  a job, a number of threads.   Out: each task done once.   Next: team.hpp, team.cpp.
#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "convpp/runtime.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

// Where regions are entered, and one more than the number of forks when that was said; 0: nobody has.  (The threads are
// not there in a forked child, where a region would wait for them for ever.)
std::atomic<EnterRegion> enter_region{nullptr};
std::atomic<uint64_t> borrowed_at{0};

// What the threads of a region share.
struct Region {
    const Team::Job& job;
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<int64_t> next{0};
    std::atomic<int> others{0};  // threads that came, but for the caller
    Team::GivenUp given_up{};
    std::exception_ptr error{};  // of the caller: others do not throw

    void work() {
        const int thread =
            std::this_thread::get_id() == caller ? 0 : 1 + others.fetch_add(1, std::memory_order_relaxed);
        try {
            for (int64_t lo = 0; (lo = next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;)
                job.run(job.context, lo, std::min(lo + job.several, job.tasks), thread, given_up);
        } catch (...) {
            error = std::current_exception();
            given_up.yes.store(true, std::memory_order_relaxed);
            next.store(job.tasks, std::memory_order_relaxed);
        }
    }
};

}  // namespace

void borrow_threads(EnterRegion enter) {
    enter_region.store(enter, std::memory_order_relaxed);
    borrowed_at.store(enter != nullptr ? Team::forks() + 1 : 0, std::memory_order_release);
}

bool Team::borrows() { return borrowed_at.load(std::memory_order_acquire) == forks() + 1; }

void Team::run_borrowed(const Job& job, int threads) {
    Region region{job};
    const EnterRegion enter = enter_region.load(std::memory_order_relaxed);
    if (enter == nullptr) region.work();  // it was given back just now
    else enter([](void* shared) { static_cast<Region*>(shared)->work(); }, &region, static_cast<unsigned>(threads), 0);
    if (region.error) std::rethrow_exception(region.error);
}

}  // namespace convpp
