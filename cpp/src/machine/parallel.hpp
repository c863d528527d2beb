// The only place that runs threads, by OpenMP.
//
// In:  a number of independent tasks and of threads.   Out: each task done once, by any thread.
// Which thread does a task changes nothing in the result, and neither does how the plan cut the work into tasks.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>

#include <atomic>
#include <thread>
#endif

namespace convpp {

// task(index, thread) must not throw: memory is taken before the threads start.
template <class Task>
void parallel_for(int64_t tasks, int threads, const Task& task) {
#ifdef _OPENMP
    if (threads > 1 && tasks > 1) {
        std::atomic<int64_t> next{0};
        // Many tasks are handed out several at once, so that threads seldom meet at the counter.
        const int64_t several = tasks / (int64_t(64) * threads) + 1;
        std::atomic<int> finished{0};
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num(), team = omp_get_num_threads();
            for (int64_t first = next.fetch_add(several, std::memory_order_relaxed); first < tasks;
                 first = next.fetch_add(several, std::memory_order_relaxed))
                for (int64_t i = first; i < tasks && i < first + several; ++i) task(i, thread);
            // The barrier at the end of the region spins.  Where other processes share the cores, it would spin through
            // its time slice for a thread that waits for this very core; so the core is offered until all are here.
            finished.fetch_add(1, std::memory_order_relaxed);
            while (finished.load(std::memory_order_relaxed) < team) std::this_thread::yield();
        }
        return;
    }
#else
    static_cast<void>(threads);
#endif
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
}

// part(lo, count) for parts of `items` that have `elems` elements in all, each part enough to take longer than waking a
// thread.
template <class Part>
void parallel_parts(int64_t items, int64_t elems, int threads, const Part& part) {
    constexpr int64_t elems_of_part = 1 << 16;
    const int64_t parts = elems / elems_of_part + 1;
    parallel_for(parts, threads, [&](int64_t index, int) {
        const int64_t lo = items * index / parts;
        part(lo, items * (index + 1) / parts - lo);
    });
}

}  // namespace convpp
