// The three passes as plain loops.  reference.hpp has their equations.
#include "strategies/reference/reference.hpp"

#include "machine/parallel.hpp"
#include "problem/index_map.hpp"

namespace convpp::reference {
namespace {

int64_t offset(const TensorStrides& strides, int64_t n, int64_t channel, const Extents& at) {
    return n * strides.batch + channel * strides.channel + at[0] * strides.axis[0] + at[1] * strides.axis[1] +
           at[2] * strides.axis[2];
}

// Offset of weight tap r (as the sum counts it) of out channel k and channel c of its group; flip rotates the kernel.
int64_t weight_offset(const ConvProblem& problem, int64_t n, int64_t k, int64_t c, const Extents& r) {
    const Geometry& g = problem.geometry();
    int64_t at = ((g.per_sample ? n * g.out_channels : 0) + k) * (g.in_channels / g.groups) + c;
    for (size_t a = 0; a < 3; ++a) at = at * g.kernel[a] + (g.flip ? g.kernel[a] - 1 - r[a] : r[a]);
    return at;
}

// body(index) for every index of a box of three extents, in order.
template <class Body>
void for_each(const Extents& extents, const Body& body) {
    Extents at{0, 0, 0};
    for (at[0] = 0; at[0] < extents[0]; ++at[0])
        for (at[1] = 0; at[1] < extents[1]; ++at[1])
            for (at[2] = 0; at[2] < extents[2]; ++at[2]) body(at);
}

// The element of x that output p meets at tap r; false if it is in the padding.
bool input_of(const ConvProblem& problem, const Extents& p, const Extents& r, Extents& h) {
    const Geometry& g = problem.geometry();
    for (size_t a = 0; a < 3; ++a) {
        const int64_t at = p[a] * g.stride[a] - g.pad_lo[a] + r[a] * g.dilation[a];
        h[a] = border_element(g.boundary[a], at, g.input[a]);
        if (h[a] < 0) return false;
    }
    return true;
}

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
void for_each_position(const ConvProblem& problem, const Extents& h, const Body& body) {
    const Geometry& g = problem.geometry();
    Extents lo = h, count{1, 1, 1};
    for (size_t a = 0; a < 3; ++a) {
        if (g.boundary[a] == Boundary::zeros) continue;
        lo[a] = -g.pad_lo[a];
        count[a] = (problem.output()[a] - 1) * g.stride[a] + (g.kernel[a] - 1) * g.dilation[a] + 1;
    }
    for_each(count, [&](const Extents& i) {
        Extents at{};
        for (size_t a = 0; a < 3; ++a) {
            at[a] = lo[a] + i[a];
            if (border_element(g.boundary[a], at[a], g.input[a]) != h[a]) return;
        }
        body(at);
    });
}

TensorStrides strides_of_x(const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    return tensor_strides(g.layout, g.in_channels, g.input);
}

TensorStrides strides_of_y(const ConvProblem& problem) {
    return tensor_strides(problem.geometry().layout, problem.geometry().out_channels, problem.output());
}

}  // namespace

template <class T>
T forward_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n, int64_t k, const Extents& p) {
    const Geometry& g = problem.geometry();
    const TensorStrides x = strides_of_x(problem);
    const int64_t in = g.in_channels / g.groups, first = k / (g.out_channels / g.groups) * in;
    T sum = arrays.bias ? arrays.bias[k] : T(0);
    Extents h{};
    for (int64_t c = 0; c < in; ++c)
        for_each(g.kernel, [&](const Extents& r) {
            if (input_of(problem, p, r, h))
                sum += arrays.x[offset(x, n, first + c, h)] * arrays.w[weight_offset(problem, n, k, c, r)];
        });
    return sum;
}

template <class T>
T input_grad_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n, int64_t c, const Extents& h) {
    const Geometry& g = problem.geometry();
    const TensorStrides y = strides_of_y(problem);
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups, first = c / in * out;
    T sum = arrays.bias ? arrays.bias[c] : T(0);
    Extents p{};
    for_each_position(problem, h, [&](const Extents& at) {
        for (int64_t k = first; k < first + out; ++k)
            for_each(g.kernel, [&](const Extents& r) {
                if (output_of(problem, at, r, p))
                    sum += arrays.dy[offset(y, n, k, p)] * arrays.w[weight_offset(problem, n, k, c % in, r)];
            });
    });
    return sum;
}

template <class T>
T weight_grad_at(const ConvProblem& problem, const Arrays<T>& arrays, int64_t n_lo, int64_t n_hi, int64_t k, int64_t c,
                 const Extents& r) {
    const Geometry& g = problem.geometry();
    const TensorStrides x = strides_of_x(problem), y = strides_of_y(problem);
    const int64_t in = g.in_channels / g.groups, channel = k / (g.out_channels / g.groups) * in + c;
    T sum = T(0);
    Extents h{};
    for (int64_t n = n_lo; n < n_hi; ++n)
        for_each(problem.output(), [&](const Extents& p) {
            if (input_of(problem, p, r, h)) sum += arrays.dy[offset(y, n, k, p)] * arrays.x[offset(x, n, channel, h)];
        });
    return sum;
}

template <class T>
void run(const ConvProblem& problem, Pass pass, const Arrays<T>& arrays, int threads,
         const std::function<void(int64_t, T)>& put) {
    const Geometry& g = problem.geometry();
    if (pass == Pass::weight_grad) {
        const int64_t sets = g.per_sample ? g.batch : 1, in = g.in_channels / g.groups;
        parallel_for(sets * g.out_channels, threads, [&](int64_t task, int) {
            const int64_t n = task / g.out_channels, k = task % g.out_channels;
            for (int64_t c = 0; c < in; ++c)
                for_each(g.kernel, [&](const Extents& r) {
                    put(weight_offset(problem, n, k, c, r),
                        weight_grad_at(problem, arrays, g.per_sample ? n : 0, g.per_sample ? n + 1 : g.batch, k, c, r));
                });
        });
        return;
    }
    const bool forward = pass == Pass::forward;
    const int64_t channels = forward ? g.out_channels : g.in_channels;
    const TensorStrides strides = forward ? strides_of_y(problem) : strides_of_x(problem);
    parallel_for(g.batch * channels, threads, [&](int64_t task, int) {
        const int64_t n = task / channels, channel = task % channels;
        for_each(forward ? problem.output() : g.input, [&](const Extents& at) {
            put(offset(strides, n, channel, at),
                forward ? forward_at(problem, arrays, n, channel, at) : input_grad_at(problem, arrays, n, channel, at));
        });
    });
}

template float forward_at(const ConvProblem&, const Arrays<float>&, int64_t, int64_t, const Extents&);
template double forward_at(const ConvProblem&, const Arrays<double>&, int64_t, int64_t, const Extents&);
template float input_grad_at(const ConvProblem&, const Arrays<float>&, int64_t, int64_t, const Extents&);
template double input_grad_at(const ConvProblem&, const Arrays<double>&, int64_t, int64_t, const Extents&);
template float weight_grad_at(const ConvProblem&, const Arrays<float>&, int64_t, int64_t, int64_t, int64_t,
                              const Extents&);
template double weight_grad_at(const ConvProblem&, const Arrays<double>&, int64_t, int64_t, int64_t, int64_t,
                               const Extents&);
template void run(const ConvProblem&, Pass, const Arrays<float>&, int, const std::function<void(int64_t, float)>&);
template void run(const ConvProblem&, Pass, const Arrays<double>&, int, const std::function<void(int64_t, double)>&);

}  // namespace convpp::reference
