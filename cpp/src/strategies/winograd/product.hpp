// Forward and input gradient by Winograd's algorithm.
//
// In:  a Plan, the operands.   Out: the result, and which samples of it are not finite.
// Start reading at the top of product.cpp.
#pragma once

#include "strategies/strategy.hpp"

namespace convpp {

template <class T>
void measure_winograd_product(const Plan& plan, WorkspaceBytes& bytes);

// Transforms the weights into packed_weight_elems(plan) elements (and a cache line of slack).
template <class T>
void transform_product_weights(const Plan& plan, const PassOperands<T>& operands, const RunContext& run, T* transformed);

// Sets the flag of a sample where one of its results is not finite.  Does not accumulate.
template <class T>
void run_winograd_product(const Plan& plan, const PassOperands<T>& operands, const RunContext& run);

}  // namespace convpp
