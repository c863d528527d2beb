// Padding never makes a NaN.
//
// The fast paths read padding as zeros, and 0 * Inf is NaN where the plain sum has no term at all.  This can only
// happen if a factor that meets padding is not finite: a weight (forward, input_grad) or dy at a border (weight_grad).
// That is looked for in each padded pass; the results it touches are then computed again by their definition.
//
// In:  a plan and the operands.   Out: whether to repair, and the repaired results.   Next: api/execute.cpp, which
// asks.
#pragma once

#include "plan/plan.hpp"
#include "strategies/operands.hpp"
#include "strategies/reference/reference.hpp"

namespace convpp {

template <class T>
bool all_finite(const Stored<T>& values, int64_t count);

// Whether factors that are not finite meet padding.  Of forward and input_grad, it depends on the weights alone, so a
// sample's bits do not depend on its batch.  `computed`: the sums of weight_grad are computed already (and nothing else
// was in them): looking at them is often cheaper than looking at dy.
template <class T>
bool needs_repair(const Plan& plan, const Operands<T>& operands, bool computed = false);

// `spoiled`: weight_grad's memory for a flag of each filter's tap.
template <class T>
void repair(const Plan& plan, const Operands<T>& operands, int threads, unsigned char* spoiled = nullptr);

inline int64_t spoiled_flags(const Plan& plan) { return plan.problem.geometry().out_channels * plan.problem.taps(); }

}  // namespace convpp
