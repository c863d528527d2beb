// How a fuzzing program runs: its arguments, one process for each core, a watchdog, and what it says when it dies.
//
//     program [--seed S] [--first I] [--count N] [--workers W]
//
// Case i depends on the seed and on i alone: whatever is found is repeated by `--seed S --first i --count 1`.
// In:  the arguments, a function that tries one case.   Out: the exit status: 0 if every case of every worker was
// right.
// Next: fuzz_plans.cpp, fuzz_results.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace convpp::stress {

struct Arguments {
    uint64_t seed = 1;
    int64_t first = 0, count = 0;
    int workers = 1;
    int worker = -1;  // which one this process is
};

// A worker's share of the cases, in order.  try_case(i) returns "" or what is wrong with case i; `seconds_of_hang`: a
// case that takes longer ends the program.  Prints what is wrong, and ends after twenty such cases.
using TryCase = std::function<std::string(int64_t)>;
int try_all(const Arguments& arguments, double seconds_of_hang, const TryCase& try_case);

// Reads the arguments; without --worker, starts the workers as programs of their own (a forked child of a program that
// has computed is not what is tested here) and waits for them.  `work` is one worker.
int run_workers(int argc, char** argv, int64_t default_count, const std::function<int(const Arguments&)>& work);

}  // namespace convpp::stress
