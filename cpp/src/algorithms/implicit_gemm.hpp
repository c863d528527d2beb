// Forward and input gradient: results = weights x patches of the source, as one blocked product.
//
// In:  a Plan, the operands.   Out: the result.   Start reading at the top of implicit_gemm.cpp.
#pragma once

#include "plan.hpp"

namespace convpp {

// What becomes of whole sums: activation(sum + residual).
template <class T>
struct Epilogue {
    const T* residual = nullptr;  // as many as results, or null
    Activation activation;

    bool none() const { return residual == nullptr && activation.kind == Activation::Kind::none; }
    // The same for results from `offset` on.
    Epilogue from(int64_t offset) const { return {residual != nullptr ? residual + offset : nullptr, activation}; }
};

template <class T>
struct ProductOperands {
    const T* source = nullptr;
    int64_t source_elems = 0;
    const T* weights = nullptr;
    int64_t weight_elems = 0;
    const T* packed = nullptr;  // the weights as pack_product_weights left them, or null: pack them first
    const T* bias = nullptr;  // of the result's channels, or null
    T* result = nullptr;
    bool accumulate = false;
    Epilogue<T> epilogue;
};

// Bytes of workspace: of all threads together, and of each.
template <class T>
void measure_implicit_gemm(Plan& plan);

// Packs the weights into plan.packed_weight_elems elements (and a cache line of slack).
template <class T>
void pack_product_weights(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace,
                          T* packed);

template <class T>
void run_implicit_gemm(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace);

}  // namespace convpp
