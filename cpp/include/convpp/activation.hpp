// Activations: what a forward pass applies to its results before it writes them, and their derivatives.
//
// In:  sums z, element by element.   Out: y = activation(z); dz = dy * activation'(z).   Next: convolution.hpp.
//
//   relu        max(z, 0)
//   leaky_relu  z >= 0 ? z : slope * z
//   silu        z / (1 + exp(-z))                                       (also called swish)
//   gelu        z * (1 + erf(z / sqrt(2))) / 2                          (Hendrycks and Gimpel 2016, arXiv:1606.08415)
//   clip        min(max(z, lo), hi)                                     (relu6 is clip with 0 and 6)
//
// A NaN stays a NaN.  silu and gelu are within a few roundings of max(|y|, rounding * |z|).
#pragma once

#include <cstdint>

namespace convpp {

template <class T>
struct View;
struct Execution;

struct Activation {
    enum class Kind { none, relu, leaky_relu, silu, gelu, clip };
    Kind kind = Kind::none;
    double lo = 0;  // clip: from here; leaky_relu: the slope
    double hi = 0;  // clip: to here
};

const char* name(Activation::Kind kind) noexcept;

// Whether dz follows from y alone: relu, clip, and leaky_relu with a slope that is not negative.  silu and gelu need z.
bool derivative_needs_only_result(const Activation& activation) noexcept;

// y = activation(z).  y may be z.
template <class T>
void activate(View<const T> z, const Activation& activation, View<T> y, const Execution& how);

// dz = dy * activation'(z), where `value` is y if the derivative needs only that, and z otherwise.  At the corners of
// relu, leaky_relu and clip the derivative is that of the side towards which they are constant or flatter: 0, slope, 0.
// dz may be dy or value.
template <class T>
void activation_grad(View<const T> dy, View<const T> value, const Activation& activation, View<T> dz,
                     const Execution& how);

}  // namespace convpp
