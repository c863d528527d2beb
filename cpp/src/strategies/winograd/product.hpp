// Forward and input gradient by Winograd's algorithm.
//
// In:  a Plan, the operands.   Out: the result, and which samples of it are not finite.
// Start reading at the top of winograd_product.cpp.
#pragma once

#include <atomic>

#include "strategies/products.hpp"

namespace convpp {

template <class T>
void measure_winograd_product(Plan& plan);

// Transforms the weights into plan.packed_weight_elems elements (and a cache line of slack).
template <class T>
void transform_product_weights(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace,
                               T* transformed);

// `spoiled`: of each sample (of the batch, or of the groups that have weights of their own): set where a result is not
// finite.  Does not accumulate.
template <class T>
void run_winograd_product(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace,
                          std::atomic<unsigned char>* spoiled);

}  // namespace convpp
