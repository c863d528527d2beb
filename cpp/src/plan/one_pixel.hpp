// Input gradients whose dy has one pixel along an axis, as what they are: products without padding.
//
// In:  a ConvProblem.   Out: one with the same x, w and dy as memory, and the same terms of dx.
// Next: setting.cpp, which plans that one instead.
//
// Along an axis where dy has one pixel, each element of dx meets one tap at most.  As a convolution at unit stride, all
// taps but that one would read padding.  But with one pixel the stride does not matter: at one beyond the kernel's
// reach, each tap is a residue class of its own, of one pixel.  (Patches are embedded so, and transposed convolutions
// begin so.)
#pragma once

#include "convpp/problem.hpp"

namespace convpp {

// With strides that keep the taps apart.
ConvProblem with_taps_apart(const ConvProblem& problem);

// Where the kernel also covers all of x, which lies in memory as the weights do (channels first): a 1x1 convolution of
// images of one pixel, whose channels are the elements of x.  Else the problem itself.
ConvProblem with_joined_pixels(const ConvProblem& problem);

}  // namespace convpp
