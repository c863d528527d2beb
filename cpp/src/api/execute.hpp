// Carries a plan out: the strategy, what is computed again, samples with weights of their own, the halo.
//
// In:  a Plan, checked operands.   Out: the results.
// Next: strategies/strategy.hpp; repair/ (what is computed again, and the halo); result/fill.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/plan.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// How results are written, as far as memory depends on it.
struct Writing {
    bool accumulate = false;
    bool epilogue = false;  // there is a residual or an activation
    bool rounds = false;    // to half
};

// Threads of a plan's workspaces, and of its halo's.
struct CallThreads {
    int plan = 1, halo = 1;
};

// A sample's share of the packed weights of all.
int64_t packed_elems_of_sample(const Plan& plan);

// All memory that a call takes.
int64_t call_bytes(const Plan& plan, const Writing& writing, const CallThreads& threads);

// `memory`: as many bytes.  Takes no other, and so does not fail.
template <class T>
void execute(const Plan& plan, const Operands<T>& operands, const Writing& writing, const CallThreads& threads,
             std::byte* memory);

}  // namespace convpp
