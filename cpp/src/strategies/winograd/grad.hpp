// Weight gradient by Winograd's algorithm.
//
// In:  a Plan, the operands.   Out: dw, and whether all of it is finite.   Start reading at the top of grad.cpp.
#pragma once

#include "strategies/strategy.hpp"

namespace convpp {

template <class T>
void measure_winograd_sum(const Plan& plan, WorkspaceBytes& bytes);

// Does not accumulate: writes all of dw.  Sets the flag if not all of it is finite, or if what it is computed from was not:
// Winograd's sums mix what the definition keeps apart, so then dw is to be computed again, directly.
template <class T>
void run_winograd_sum(const Plan& plan, const PassOperands<T>& operands, const RunContext& run);

}  // namespace convpp
