// For tests that count allocations: the helpers of all calls are made before, since making them takes memory.
#pragma once

#include <chrono>
#include <thread>

#include "convpp/runtime.hpp"
#include "machine/parallel.hpp"

namespace convpp::test {

// Returns when there are helpers for calls with so many threads.  (Where the system refuses them, in half a minute.)
inline void make_whole_team(int threads) {
    num_threads();  // reads the environment
    parallel_for(threads, threads, [](int64_t, int) {});
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (Team::helpers() < threads - 1 && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace convpp::test
