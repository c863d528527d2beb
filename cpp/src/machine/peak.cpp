// The machine's peak of multiply-adds and its bandwidths, to judge the kernels by.
#include <algorithm>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "machine/parallel.hpp"
#include "problem/checked.hpp"
#include "convpp/runtime.hpp"
#include "machine/dispatch.hpp"
#include "machine/runtime_state.hpp"

namespace convpp {
namespace {

// The seconds that run() takes, at best.
template <class Run>
double fastest(int repetitions, const Run& run) {
    double best = std::numeric_limits<double>::infinity();
    for (int repetition = 0; repetition < repetitions; ++repetition) {
        const auto start = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::min(best, seconds.count());
    }
    return best;
}

template <class T>
double measure(int threads) {
    const auto& kernel = kernel_table<T>(active_isa());
    constexpr int64_t steps = 100000;  // about a millisecond a task
    const int64_t tasks = int64_t(threads) * 32;
    std::vector<T> sinks(static_cast<size_t>(tasks));
    std::vector<int64_t> flops(sinks.size());
    const double seconds = fastest(8, [&] {
        parallel_for(tasks, threads, [&](int64_t task, int) {
            const size_t i = static_cast<size_t>(task);
            flops[i] = kernel.multiply_add_rounds(steps, &sinks[i]);
        });
    });
    return static_cast<double>(flops[0] * steps * tasks) / seconds / 1e9;
}

}  // namespace

double measure_peak(DType dtype, int threads) {
    threads = usable_threads(threads);
    return dtype == DType::float64 ? measure<double>(threads) : measure<float>(threads);
}

// a += b over a working set of `bytes`, cut evenly among the threads, each pass of it reading a and b and writing a.
// The arrays are first written by the calling thread, as those of a caller are.
double measure_bandwidth(int64_t bytes, int threads) {
    if (bytes < 1) throw std::invalid_argument("bytes is " + std::to_string(bytes) + ", expected at least 1");
    threads = usable_threads(threads);
    const auto& kernel = kernel_table<float>(active_isa());
    constexpr int64_t elem_bytes = sizeof(float);
    constexpr int64_t pass_bytes = int64_t(64) << 20;  // of a thread: much longer than the threads take to start
    const int64_t slice = round_up(ceil_div(bytes, 2 * elem_bytes * threads), kernel.lanes);  // elements of a thread
    const int64_t rounds = ceil_div(pass_bytes, slice * 2 * elem_bytes);
    std::vector<float> a(static_cast<size_t>(slice * threads)), b(a.size());
    const double seconds = fastest(6, [&] {
        // By thread, not by task, so that each keeps its own slice in its caches.  Where one thread takes two tasks,
        // this repetition is slow, and another one is the best.
        parallel_for(threads, threads, [&](int64_t, int thread) {
            for (int64_t round = 0; round < rounds; ++round)
                kernel.add(b.data() + thread * slice, slice, a.data() + thread * slice);
        });
    });
    return static_cast<double>(3 * elem_bytes * slice * threads * rounds) / seconds / 1e9;
}

}  // namespace convpp
