// One axis of a pooling: which windows read which elements.
//
// In:  a PoolProblem.   Out: positions, and ranges of windows, taps and elements.   Next: windows.hpp, spread.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "convpp/pool.hpp"
#include "pool/kernels/contract.hpp"
#include "problem/checked.hpp"

namespace convpp::pool {

// [lo, hi)
struct Span {
    int64_t lo = 0, hi = 0;
    int64_t count() const { return hi - lo; }
};

// Depth, height, width.
using Box = std::array<Span, 3>;

inline bool empty(const Box& box) { return box[0].count() == 0 || box[1].count() == 0 || box[2].count() == 0; }

struct Axis {
    int64_t in, taps, stride, dilation, pad, padded, out;  // padded: the end of the padding behind

    int64_t position(int64_t window) const { return window * stride - pad; }
    int64_t reach() const { return (taps - 1) * dilation; }  // from the first tap to the last

    // The taps of a window that lie inside.
    kernels::TapRange inside(int64_t window) const {
        const int64_t at = position(window), lo = at < 0 ? ceil_div(-at, dilation) : 0;
        const int64_t hi = at < in ? std::min(taps, (in - 1 - at) / dilation + 1) : 0;
        return {lo, std::max(lo, hi)};
    }
    // Of an average: the elements of a window (with the padding's), 1 at least.
    int64_t elements(int64_t window, bool with_padding) const {
        const int64_t at = position(window);
        const int64_t count =
            with_padding ? std::min(at + taps, padded) - at : std::min(at + taps, in) - std::max<int64_t>(at, 0);
        return std::max<int64_t>(count, 1);
    }
    // The windows that read one of these elements, at least.
    Span windows_of(Span elements) const {
        const int64_t lo = std::max<int64_t>(ceil_div(elements.lo + pad - reach(), stride), 0);
        const int64_t hi = std::min((elements.hi - 1 + pad) / stride + 1, out);
        return {lo, std::max(lo, hi)};
    }
    // All elements that these windows reach over, inside.
    Span elements_of(Span windows) const {
        const int64_t lo = std::max<int64_t>(position(windows.lo), 0);
        return {lo, std::max(lo, std::min(position(windows.hi - 1) + reach() + 1, in))};
    }
    // The largest counts of these for so many elements, or windows.
    int64_t most_windows(int64_t elements) const { return std::min((elements - 1 + reach()) / stride + 1, out); }
    int64_t most_elements(int64_t windows) const { return std::min((windows - 1) * stride + reach() + 1, in); }
    int64_t most_lines(int64_t windows) const { return saturated_mul(windows, std::min(taps, in)); }
};

inline std::array<Axis, 3> axes_of(const PoolProblem& problem) {
    const PoolGeometry& g = problem.geometry();
    std::array<Axis, 3> axes;
    for (size_t a = 0; a < 3; ++a)
        axes[a] = {g.input[a],         g.kernel[a], g.stride[a], g.dilation[a], g.pad_lo[a], g.input[a] + g.pad_hi[a],
                   problem.output()[a]};
    return axes;
}

}  // namespace convpp::pool
