// Pooling: the largest or the mean element of each window, and the gradients with respect to x.
//
// In:  a PoolProblem, arrays.   Out: results, in memory of the caller.   Next: convolution.hpp (View, Execution).
//
//   max_pool             x        y, and where in its plane each one lies, if asked for
//   max_pool_input_grad  dy, x    dx: dy at the element that was taken
//   avg_pool             x        y
//   avg_pool_input_grad  dy       dx: dy divided by the count, at each element of the window
//
// A window of the output pixel p reads x at p*stride - lo + r*dilation for r < kernel, as far as that lies inside; what
// lies outside is never taken by a maximum, and counts as 0 in a sum.  Meanings are PyTorch's: of equal elements the first
// is taken, a NaN is larger than anything, and of some NaN the last is taken.  All arrays are contiguous; results must
// not overlap operands.
#pragma once

#include "convpp/convolution.hpp"

namespace convpp {

struct PoolGeometry {
    int rank = 2;
    int64_t batch = 1;  // N
    int64_t channels = 1;  // C
    Extents input{1, 1, 1};
    Extents kernel{1, 1, 1};
    Extents stride{1, 1, 1};
    Extents dilation{1, 1, 1};
    Extents pad_lo{0, 0, 0};  // 0 to kernel / 2
    Extents pad_hi{0, 0, 0};
    bool ceil_mode = false;  // true: a last window may reach beyond x and its padding, if it begins inside or in front
    Layout layout = Layout::channels_first;
};

class PoolProblem {
public:
    // Throws ShapeError or std::invalid_argument if the geometry is none of a pooling.
    explicit PoolProblem(const PoolGeometry& geometry);

    const PoolGeometry& geometry() const noexcept { return geometry_; }
    // floor((in + lo + hi - dilation*(kernel-1) - 1) / stride) + 1; in ceil_mode rounded up, without windows that would
    // begin behind x and the padding in front
    const Extents& output() const noexcept { return output_; }
    int64_t x_elems() const noexcept { return x_elems_; }
    int64_t y_elems() const noexcept { return y_elems_; }

private:
    PoolGeometry geometry_;
    Extents output_{1, 1, 1};
    int64_t x_elems_ = 0, y_elems_ = 0;
};

// What the sum of a window is divided by.
struct Average {
    // The window's elements inside x and its padding; false: those inside x alone.
    bool count_include_pad = true;
    int64_t divisor = 0;  // not 0: this in place of a count
};

// T is float, double, bfloat16 or float16; R that, or float for halves.  Of `how`, threads and interrupted count, and of
// gradients accumulate.  Throws ShapeError if a size does not fit, std::bad_alloc if there is no memory; the results
// are then untouched.

// `indices` (as many as y, or none): the place of each element of y in its plane of x, (d*H + h)*W + w; -1 where a window
// lies in padding alone, whose y is -Inf.
template <class T, class R>
void max_pool(const PoolProblem& problem, View<const T> x, View<R> y, View<int64_t> indices = {},
              const Execution& how = {});

template <class T, class R>
void max_pool_input_grad(const PoolProblem& problem, View<const T> dy, View<const T> x, View<R> dx,
                         const Execution& how = {});

template <class T, class R>
void avg_pool(const PoolProblem& problem, const Average& average, View<const T> x, View<R> y,
              const Execution& how = {});

template <class T, class R>
void avg_pool_input_grad(const PoolProblem& problem, const Average& average, View<const T> dy, View<R> dx,
                         const Execution& how = {});

}  // namespace convpp
