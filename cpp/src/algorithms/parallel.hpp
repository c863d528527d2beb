// The only place with OpenMP.
//
// In:  a number of independent tasks and of threads.   Out: each task done once, by any thread.
// Which thread does a task changes nothing in the result: tasks are cut by the plan, from the shapes alone.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace convpp {

// task(index, thread) must not throw: memory is taken before the threads start.
template <class Task>
void parallel_for(int64_t tasks, int threads, const Task& task) {
#ifdef _OPENMP
    if (threads > 1 && tasks > 1) {
#pragma omp parallel num_threads(threads)
        {
            const int thread = omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
            for (int64_t i = 0; i < tasks; ++i) task(i, thread);
        }
        return;
    }
#else
    static_cast<void>(threads);
#endif
    for (int64_t i = 0; i < tasks; ++i) task(i, 0);
}

}  // namespace convpp
