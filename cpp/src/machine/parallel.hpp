// The only place that runs tasks on several threads.
//
// In:  a number of independent tasks and of threads.   Out: each task done once, by any thread.
// Which thread does a task changes nothing in the result, and neither does how the plan cut the work into tasks.
// Next: team.hpp (the threads).
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/interrupt.hpp"
#include "machine/team.hpp"

namespace convpp {

// task(index, thread) must not throw: memory is taken before the threads start.  Throws Interrupted, between two tasks
// of the calling thread; no other thread is at a task then.
template <class Task>
void parallel_for(int64_t tasks, int threads, const Task& task) {
    if (threads > 1 && tasks > 1) {
        const auto run = [](const void* context, int64_t lo, int64_t hi, int thread, const Team::GivenUp& given_up) {
            for (int64_t i = lo; i < hi && !given_up; ++i) {
                if (thread == 0 && i > 0) give_up_if_interrupted();
                (*static_cast<const Task*>(context))(i, thread);
            }
        };
        // Many tasks are handed out several at once, so that threads seldom meet at the counter.
        Team::run({run, &task, tasks, tasks / (int64_t(64) * threads) + 1}, threads);
        return;
    }
    for (int64_t i = 0; i < tasks; ++i) {
        if (i > 0) give_up_if_interrupted();
        task(i, 0);
    }
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
