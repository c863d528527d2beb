// The three passes as plain loops.  reference.hpp has their equations.
#include "strategies/reference/reference.hpp"

#include <algorithm>

#include "problem/boxes.hpp"
#include "problem/checked.hpp"

namespace convpp::reference {
namespace {

// The output that reads the extended x at h with tap r; false if there is none.
bool output_of(const ConvProblem& problem, const Extents& h, const Extents& r, Extents& p) {
    const Geometry& g = problem.geometry();
    for (size_t a = 0; a < 3; ++a) {
        const int64_t at = h[a] + g.pad_lo[a] - r[a] * g.dilation[a];
        if (at < 0 || at % g.stride[a] != 0 || at / g.stride[a] >= problem.output()[a]) return false;
        p[a] = at / g.stride[a];
    }
    return true;
}

// The first position from `at` on that an output reads along an axis; `none` if there is no other.  (Between those that
// are read may lie more than anyone waits for: strides and dilations are of any length.)
int64_t next_read(const ConvProblem& problem, size_t a, int64_t at, int64_t none) {
    const Geometry& g = problem.geometry();
    int64_t next = none;
    for (int64_t r = 0; r < g.kernel[a]; ++r) {
        const int64_t first = r * g.dilation[a] - g.pad_lo[a];  // what output 0 reads
        const int64_t p = std::max<int64_t>(0, ceil_div(at - first, g.stride[a]));
        if (p < problem.output()[a]) next = std::min(next, first + p * g.stride[a]);
    }
    return next;
}

// body(at) for every position of the extended x that is read and holds its element h, in order; from axis `a` on.
template <class Body>
void for_each_reader(const ConvProblem& problem, const Extents& h, const Body& body, Extents at = {}, size_t a = 0) {
    const Geometry& g = problem.geometry();
    if (a == 3) return body(at);
    if (g.boundary[a] == Boundary::zeros) {
        at[a] = h[a];
        return for_each_reader(problem, h, body, at, a + 1);
    }
    const Span read = read_span(problem, a);
    for (at[a] = read.lo; (at[a] = next_read(problem, a, at[a], read.hi)) < read.hi; ++at[a])
        if (border_element(g.boundary[a], at[a], g.input[a]) == h[a]) for_each_reader(problem, h, body, at, a + 1);
}

}  // namespace

int64_t weight_offset(const ConvProblem& problem, int64_t k, int64_t c, const Extents& r) {
    const Geometry& g = problem.geometry();
    int64_t at = k * (g.in_channels / g.groups) + c;
    for (size_t a = 0; a < 3; ++a) at = at * g.kernel[a] + (g.flip ? g.kernel[a] - 1 - r[a] : r[a]);
    return at;
}

bool input_of(const ConvProblem& problem, const Extents& p, const Extents& r, Extents& h) {
    const Geometry& g = problem.geometry();
    for (size_t a = 0; a < 3; ++a) {
        const int64_t at = p[a] * g.stride[a] - g.pad_lo[a] + r[a] * g.dilation[a];
        h[a] = border_element(g.boundary[a], at, g.input[a]);
        if (h[a] < 0) return false;
    }
    return true;
}

template <class T>
T forward_at(const ConvProblem& problem, const Operands<T>& operands, int64_t n, int64_t k, const Extents& p) {
    const Geometry& g = problem.geometry();
    const TensorStrides x = x_strides(problem);
    const int64_t in = g.in_channels / g.groups, first = k / (g.out_channels / g.groups) * in;
    T sum = operands.bias ? operands.bias[k] : T(0);
    Extents h{};
    for (int64_t c = 0; c < in; ++c)
        for_each_position(g.kernel, [&](const Extents& r) {
            if (input_of(problem, p, r, h))
                sum += operands.x[x.offset(n, first + c, h)] * operands.w[weight_offset(problem, k, c, r)];
        });
    return sum;
}

template <class T>
T input_grad_at(const ConvProblem& problem, const Operands<T>& operands, int64_t n, int64_t c, const Extents& h) {
    const Geometry& g = problem.geometry();
    const TensorStrides y = y_strides(problem);
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups, first = c / in * out;
    T sum = operands.bias ? operands.bias[c] : T(0);
    Extents p{};
    for_each_reader(problem, h, [&](const Extents& at) {
        for (int64_t k = first; k < first + out; ++k)
            for_each_position(g.kernel, [&](const Extents& r) {
                if (output_of(problem, at, r, p))
                    sum += operands.dy[y.offset(n, k, p)] * operands.w[weight_offset(problem, k, c % in, r)];
            });
    });
    return sum;
}

template <class T>
T weight_grad_at(const ConvProblem& problem, const Operands<T>& operands, int64_t k, int64_t c, const Extents& r) {
    const Geometry& g = problem.geometry();
    const TensorStrides x = x_strides(problem), y = y_strides(problem);
    const int64_t in = g.in_channels / g.groups, channel = k / (g.out_channels / g.groups) * in + c;
    T sum = T(0);
    Extents h{};
    for (int64_t n = 0; n < g.batch; ++n)
        for_each_position(problem.output(), [&](const Extents& p) {
            if (input_of(problem, p, r, h)) sum += operands.dy[y.offset(n, k, p)] * operands.x[x.offset(n, channel, h)];
        });
    return sum;
}

template float forward_at(const ConvProblem&, const Operands<float>&, int64_t, int64_t, const Extents&);
template double forward_at(const ConvProblem&, const Operands<double>&, int64_t, int64_t, const Extents&);
template float input_grad_at(const ConvProblem&, const Operands<float>&, int64_t, int64_t, const Extents&);
template double input_grad_at(const ConvProblem&, const Operands<double>&, int64_t, int64_t, const Extents&);
template float weight_grad_at(const ConvProblem&, const Operands<float>&, int64_t, int64_t, const Extents&);
template double weight_grad_at(const ConvProblem&, const Operands<double>&, int64_t, int64_t, const Extents&);
}  // namespace convpp::reference
