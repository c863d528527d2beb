// The machine's peak of multiply-adds, to judge the kernels by.
#include <algorithm>
#include <chrono>
#include <vector>

#include "algorithms/parallel.hpp"
#include "convpp/runtime.hpp"
#include "dispatch.hpp"
#include "runtime_state.hpp"

namespace convpp {
namespace {

template <class T>
double measure(int threads) {
    const auto& kernel = kernel_table<T>(active_isa());
    constexpr int64_t steps = 100000;  // about a millisecond a task
    const int64_t tasks = int64_t(threads) * 32;
    std::vector<T> sinks(static_cast<size_t>(tasks));
    double best = 0;
    for (int repetition = 0; repetition < 8; ++repetition) {
        std::vector<int64_t> flops(static_cast<size_t>(tasks));
        const auto start = std::chrono::steady_clock::now();
        parallel_for(tasks, threads, [&](int64_t task, int) {
            const size_t i = static_cast<size_t>(task);
            flops[i] = kernel.multiply_add_rounds(steps, &sinks[i]);
        });
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, static_cast<double>(flops[0] * steps * tasks) / seconds.count() / 1e9);
    }
    return best;
}

}  // namespace

double measure_peak(DType dtype, int threads) {
    threads = usable_threads(threads);
    return dtype == DType::float32 ? measure<float>(threads) : measure<double>(threads);
}

}  // namespace convpp
