// Threads and instruction sets of this process.
//
// Environment, read once at first use: CONVPP_NUM_THREADS (a positive integer) and CONVPP_MAX_ISA (the name of one of
// available_isas()).  A value that cannot be used is a std::invalid_argument that lists the valid ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "convpp/problem.hpp"

namespace convpp {

enum class Isa : int { scalar, avx2, avx512, neon };

const char* name(Isa isa) noexcept;
std::vector<Isa> available_isas();  // compiled in, and run by this CPU; in ascending order
Isa active_isa();                   // the best one that is available and allowed
void select_isa(const std::string& name);  // plans made from now on use it; throws if it is not available

// For tests and comparisons: whether plans made from now on multiply bfloat16 channels in pairs where the CPU can.
void allow_bf16_pairs(bool allowed);

int num_threads();           // threads a call may use
void set_num_threads(int n);  // n >= 1
// Calls from now on use the OpenMP threads of the thread that calls, and not helpers of the library's own: for programs
// whose other parts keep such threads busy (PyTorch).  They are had by that OpenMP library's GOMP_parallel (LLVM's and
// Intel's libraries have it, too); null: by nobody any more.  Children that such a process forks use helpers again.
using EnterRegion = void (*)(void (*body)(void*), void* argument, unsigned threads, unsigned flags);
void borrow_threads(EnterRegion enter);
bool borrows_threads() noexcept;
const char* version() noexcept;
std::string compiler();

// GFLOP/s of independent multiply-adds in registers with `threads` threads under the active ISA: the machine's peak.
double measure_peak(DType dtype, int threads);

// GB/s of a += b over a working set of `bytes` (all threads together), counting a and b read and a written: the
// bandwidth of the caches, or of the memory, that hold so much.
double measure_bandwidth(int64_t bytes, int threads);

}  // namespace convpp
