// The three passes as plain loops.  reference.hpp has their equations.
#include "strategies/reference/reference.hpp"

#include "problem/boxes.hpp"

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

// body(at) for every position of the extended x that reads its element h, in order.
template <class Body>
void for_each_reader(const ConvProblem& problem, const Extents& h, const Body& body) {
    const Geometry& g = problem.geometry();
    Extents lo = h, count{1, 1, 1};
    for (size_t a = 0; a < 3; ++a) {
        if (g.boundary[a] == Boundary::zeros) continue;
        const Span read = read_span(problem, a);
        lo[a] = read.lo;
        count[a] = read.length();
    }
    for_each_position(count, [&](const Extents& i) {
        Extents at{};
        for (size_t a = 0; a < 3; ++a) {
            at[a] = lo[a] + i[a];
            if (border_element(g.boundary[a], at[a], g.input[a]) != h[a]) return;
        }
        body(at);
    });
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
