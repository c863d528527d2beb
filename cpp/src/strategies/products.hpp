// Forward and input gradient: results = weights x patches of the source, as one blocked product.
//
// In:  a Plan, the operands.   Out: the result.   Start reading at the top of implicit_gemm.cpp.
#pragma once

#include "plan/plan.hpp"
#include "source/stored.hpp"

namespace convpp {

// What becomes of whole sums: activation(sum + residual).
template <class T>
struct Epilogue {
    Stored<T> residual;  // as many as results, or null
    Activation activation;

    bool none() const { return !residual && activation.kind == Activation::Kind::none; }
    // The same for results from `offset` on.
    Epilogue from(int64_t offset) const { return {residual ? residual + offset : residual, activation}; }
};

template <class T>
struct ProductOperands {
    Stored<T> source, weights;
    const T* packed = nullptr;  // the weights as pack_product_weights left them, or null: pack them first
    Stored<T> bias;  // of the result's channels, or null
    Results<T> result;
    bool accumulate = false;
    Epilogue<T> epilogue;
    T* sums = nullptr;  // where tasks compute: the result, or as if it was the whole of it (task_results.hpp)
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
