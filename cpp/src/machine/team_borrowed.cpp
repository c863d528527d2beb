// Jobs by the OpenMP threads of the caller, in place of the team's helpers: for programs that have such threads anyway.
//
// PyTorch's threads spin for some milliseconds behind each of its operators, and a helper that wakes meanwhile shares a
// core with one of them.  Where both have the same OpenMP library, the threads that spin are had for the asking.
// (Training MobileNet v2 on two cores: a step takes 379 ms with helpers, 287 ms in PyTorch alone.)  The price is that
// of every OpenMP region: a caller waits for all of its threads, also for one that another process keeps from its core;
// and a child that is forked off in the middle of a call (by a signal's handler) waits for threads that it has not got.
//
// In:  a job, a number of threads.   Out: each task done once.   Next: team.hpp, team.cpp.
#include <algorithm>
#include <atomic>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "convpp/runtime.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

// One more than the number of forks when they were borrowed; 0: they are not.  (OpenMP's threads are not there in a
// forked child, where a region would wait for them for ever.)
std::atomic<uint64_t> borrowed_at{0};

}  // namespace

void borrow_openmp_threads(bool borrowed) {
    borrowed_at.store(borrowed && has_openmp() ? Team::forks() + 1 : 0, std::memory_order_relaxed);
}

bool Team::borrows() { return borrowed_at.load(std::memory_order_relaxed) == forks() + 1; }

#ifdef _OPENMP

void Team::run_borrowed(const Job& job, int threads) {
    std::atomic<int64_t> next{0};
    GivenUp given_up;
    std::exception_ptr error;  // of the caller's own thread: others do not throw
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num();
        try {
            for (int64_t lo = 0; (lo = next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;)
                job.run(job.context, lo, std::min(lo + job.several, job.tasks), thread, given_up);
        } catch (...) {
            error = std::current_exception();
            given_up.yes.store(true, std::memory_order_relaxed);
            next.store(job.tasks, std::memory_order_relaxed);
        }
    }
    if (error) std::rethrow_exception(error);
}

#else

void Team::run_borrowed(const Job&, int) {}

#endif

}  // namespace convpp
