// Weight gradient by Winograd's algorithm.
//
// In:  a Plan, the operands.   Out: dw, and whether all of it is finite.   Start reading at the top of winograd_sum.cpp.
#pragma once

#include "strategies/sums.hpp"

namespace convpp {

template <class T>
void measure_winograd_sum(Plan& plan);

// Does not accumulate: writes all of dw, whatever operands.accumulate says.  Returns false if not all of it is finite, or
// if what it is computed from was not: Winograd's sums mix what the definition keeps apart, so then dw is to be computed
// again, directly.
template <class T>
bool run_winograd_sum(const Plan& plan, const SumOperands<T>& operands, int threads, std::byte* workspace);

}  // namespace convpp
