// The definition of the three passes, element by element: plain loops that anyone can read.
//
// In:  a ConvProblem and contiguous arrays.   Out: one element, or all of them.
//
//   forward        y[n,k,p]  = bias[k] + sum over c, r   of  x[n,c, p*stride - lo + r*dilation] * w[k,c,r]
//   input_grad    dx[n,c,h]  = bias[c] + sum over k, p, r of dy[n,k,p] * w[k,c,r]   where p*stride - lo + r*dilation = h
//   weight_grad   dw[k,c,r]  =           sum over n, p   of dy[n,k,p] * x[n,c, p*stride - lo + r*dilation]
//
// Elements outside of x are not there at all: they add nothing, even to an infinite weight.  This is the oracle of
// every faster path, and it is `algorithm="reference"`.
#pragma once

#include <functional>

#include "convpp/problem.hpp"
#include "source/stored.hpp"
#include "strategies/operands.hpp"

namespace convpp::reference {

template <class T>
struct Arrays {
    Stored<T> x, w, dy, bias;
};

// The operands of a pass as the equations name them.
template <class T>
Arrays<T> arrays_of(Pass pass, const PassOperands<T>& operands) {
    const Stored<T>&first = operands.first, &second = operands.second, &bias = operands.bias;
    switch (pass) {
        case Pass::forward: return {first, second, {}, bias};
        case Pass::input_grad: return {{}, second, first, bias};
        case Pass::weight_grad: return {second, {}, first, bias};
    }
    return {};
}

template <class T>
T forward_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n, int64_t k, const Extents& p);

template <class T>
T input_grad_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n, int64_t c, const Extents& h);

// Summed over the samples [n_lo, n_hi); c is the channel within k's group.
template <class T>
T weight_grad_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n_lo, int64_t n_hi, int64_t k, int64_t c,
                 const Extents& r);

// The whole pass: put(where it is in y, dx or dw, sum) for each result.
template <class T>
void run(const ConvProblem& problem, Pass pass, const Arrays<T>& arrays, int threads,
         const std::function<void(int64_t, T)>& put);

}  // namespace convpp::reference
