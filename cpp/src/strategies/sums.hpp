// Weight gradient: dw = dy x patches of x, summed over the pixels of all samples.
//
// In:  a Plan, the operands.   Out: dw.   Start reading at run_weight_grad in weight_grad.cpp.
#pragma once

#include "plan/plan.hpp"
#include "source/stored.hpp"

namespace convpp {

template <class T>
struct SumOperands {
    Stored<T> dy, x;
    T* dw = nullptr;
    bool accumulate = false;
};

template <class T>
void measure_weight_grad(Plan& plan);

template <class T>
void run_weight_grad(const Plan& plan, const SumOperands<T>& operands, int threads, std::byte* workspace);

}  // namespace convpp
