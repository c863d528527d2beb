// Padding never makes a NaN.
//
// The fast paths read padding as zeros, and 0 * Inf is NaN where the plain sum has no term at all.  This can only
// happen if a factor that meets padding is not finite: a weight (forward, input_grad) or dy at a border (weight_grad).
// That is looked for in each padded pass; the results it touches are then computed again by their definition.
//
// In:  the problem, its plan and arrays.   Out: whether to repair, and the repaired results.
#pragma once

#include "strategies/products.hpp"
#include "strategies/reference/reference.hpp"
#include "plan/plan.hpp"

namespace convpp {

// Forward and input_grad: depends on the weights alone, so a sample's bits do not depend on its batch.
template <class T>
bool products_need_repair(const Plan& plan, const Stored<T>& weights, int64_t count);

template <class T>
void repair_products(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays,
                     const Epilogue<T>& epilogue, const Results<T>& result, int threads);

// `dw`: the sums, if they are computed already (and nothing else was in them): looking at them is often cheaper.
template <class T>
bool sums_need_repair(const ConvProblem& problem, const Plan& plan, const Stored<T>& dy, const T* dw = nullptr);

template <class T>
void repair_sums(const ConvProblem& problem, const Plan& plan, const reference::Arrays<T>& arrays, T* dw, int threads);

}  // namespace convpp
