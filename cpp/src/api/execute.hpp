// Carries out a planned pass: the algorithm, what it must compute again, samples with weights of their own, the frame.
//
// In:  a problem, its plan, checked operands.   Out: the results.
// Next: algorithms/implicit_gemm.hpp, algorithms/winograd_product.hpp and their namesakes for the weight gradient.
#pragma once

#include <cstdint>

#include "repair/halo.hpp"
#include "strategies/products.hpp"
#include "plan/plan.hpp"
#include "source/stored.hpp"

namespace convpp {

// Of a pass, in their order; the weights as they were prepared, or null.
template <class T>
struct Operands {
    Stored<T> first, second, bias;
    const T* packed = nullptr;
    Epilogue<T> epilogue;
};

// make_plan, and the bytes of its workspace.
Plan planned(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads);
int64_t workspace_bytes(const Plan& plan, int threads);

// A sample's share of the packed weights of all.
int64_t packed_elems_of_sample(const Plan& plan);

inline int64_t result_elems(const ConvProblem& problem, Pass pass) {
    return pass == Pass::forward ? problem.y_elems() : pass == Pass::input_grad ? problem.x_elems() : problem.w_elems();
}

// Weights for each sample: each is a convolution of its own, by the same plan, and `sample` its problem (else the problem).
// The workspace is taken before anything is written, and serves one sample after the other.
template <class T>
void execute_samples(const ConvProblem& sample, const Plan& plan, const Operands<T>& operands, const Results<T>& result,
                     bool accumulate, int threads);

// The same, and what x receives from outside.  The frame's memory is made sure of before the first result is written.
template <class T>
void execute_with_halo(const ConvProblem& sample, const Plan& plan, const Halo& halo, const Operands<T>& operands,
                        const Results<T>& dx, bool accumulate, int threads, int halo_threads);

// Rounds whole sums to results, or adds them there: result = activation(sums + add_to).
template <class T>
void apply_epilogue_to_all(const Plan& plan, const T* sums, int64_t size, const Stored<T>& add_to, const Results<T>& result,
                int threads, const Activation& activation = {});

}  // namespace convpp
