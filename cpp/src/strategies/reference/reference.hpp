// The definition of the three passes, element by element: plain loops that anyone can read.
//
// In:  a ConvProblem without weights for each sample, contiguous arrays.   Out: one element.   Next: strategy.cpp, all
// of them.
//
//   forward        y[n,k,p]  = bias[k] + sum over c, r   of  x[n,c, p*stride - lo + r*dilation] * w[k,c,r]
//   input_grad    dx[n,c,h]  = bias[c] + sum over k, p, r of dy[n,k,p] * w[k,c,r], where p*stride - lo + r*dilation = h
//   weight_grad   dw[k,c,r]  =           sum over n, p   of dy[n,k,p] * x[n,c, p*stride - lo + r*dilation]
//
// Elements outside of x are not there at all: they add nothing, even to an infinite weight.  This is the oracle of
// every faster path, and it is `algorithm="reference"`.
#pragma once

#include "convpp/problem.hpp"
#include "strategies/operands.hpp"

namespace convpp::reference {

// Where w[k, c, r] is stored; c is the channel within k's group.  flip rotates the kernel.
int64_t weight_offset(const ConvProblem& problem, int64_t k, int64_t c, const Extents& r);

// The element of x that output p meets at tap r; false if it is in the padding.
bool input_of(const ConvProblem& problem, const Extents& p, const Extents& r, Extents& h);

template <class T>
T forward_at(const ConvProblem& problem, const Operands<T>& operands, int64_t n, int64_t k, const Extents& p);

template <class T>
T input_grad_at(const ConvProblem& problem, const Operands<T>& operands, int64_t n, int64_t c, const Extents& h);

// Of y or dx.
template <class T>
T result_at(const ConvProblem& problem, Pass pass, const Operands<T>& operands, int64_t n, int64_t channel,
            const Extents& at) {
    return pass == Pass::forward ? forward_at(problem, operands, n, channel, at)
                                 : input_grad_at(problem, operands, n, channel, at);
}

template <class T>
T weight_grad_at(const ConvProblem& problem, const Operands<T>& operands, int64_t k, int64_t c, const Extents& r);

}  // namespace convpp::reference
