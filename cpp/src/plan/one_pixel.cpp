// Strides and channels of input gradients of one pixel.  one_pixel.hpp says what comes in and goes out.
#include "plan/one_pixel.hpp"

#include <algorithm>
#include <cstddef>

namespace convpp {

ConvProblem with_taps_apart(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    for (size_t a = 0; a < 3; ++a) {
        if (problem.output()[a] != 1) continue;
        const int64_t reach = g.dilation[a] * (g.kernel[a] - 1) + 1, padded = g.input[a] + g.pad_lo[a] + g.pad_hi[a];
        if (g.stride[a] < reach) g.stride[a] = std::max(reach, padded - reach + 1);  // that dy keeps its one pixel
    }
    return ConvProblem(g);
}

ConvProblem with_joined_pixels(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    // (Of several groups, only those with one channel of dy: what is decided for others in channels last, whether pairs
    // of channels are multiplied, would be decided otherwise for joined pixels.)
    if (g.layout != Layout::channels_first || (g.groups != 1 && g.groups != g.out_channels)) return problem;
    if (g.flip && problem.taps() > 1) return problem;
    for (size_t a = 0; a < 3; ++a)
        if (problem.output()[a] != 1 || g.kernel[a] != g.input[a] || g.pad_lo[a] != 0 || g.pad_hi[a] != 0 ||
            (g.dilation[a] != 1 && g.kernel[a] > 1))
            return problem;
    g.in_channels *= problem.taps();
    g.input = g.kernel = g.stride = g.dilation = {1, 1, 1};
    return ConvProblem(g);
}

}  // namespace convpp
