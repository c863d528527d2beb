// What a convolution of whole numbers must give, by the definition and nothing of the library but its public extents.
//
// In:  a ConvProblem.   Out: whole operands, and the three results as exact integers.
// Next: trial.hpp, which holds each way of computing them to these.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cases.hpp"

namespace convpp::stress {

// The element of an axis that position `at` of its extension stands for, -1 for none; written from the names' meaning
// (NumPy's pad), one step at a time.
inline int64_t element_at(Boundary boundary, int64_t at, int64_t n) {
    if (at >= 0 && at < n) return at;
    switch (boundary) {
        case Boundary::zeros: return -1;
        case Boundary::replicate: return at < 0 ? 0 : n - 1;
        case Boundary::circular:
            while (at < 0) at += n;
            while (at >= n) at -= n;
            return at;
        case Boundary::reflect:
            if (n == 1) return 0;
            while (at < 0 || at >= n) at = at < 0 ? -at : 2 * (n - 1) - at;
            return at;
        case Boundary::symmetric:
            while (at < 0 || at >= n) at = at < 0 ? -at - 1 : 2 * n - 1 - at;
            return at;
    }
    return -1;
}

class Expected {
public:
    std::vector<int32_t> x, w, dy, y_bias, x_bias;
    std::vector<int32_t> y, dx, dw;  // plain sums

    Expected(const ConvProblem& problem, Random& random) : g_(problem.geometry()), out_(problem.output()) {
        const auto fill = [&](std::vector<int32_t>& values, int64_t count) {
            values.resize(static_cast<size_t>(count));
            for (int32_t& value : values) value = static_cast<int32_t>(random.integer(-3, 3));
        };
        fill(x, problem.x_elems());
        fill(w, problem.w_elems());
        fill(dy, problem.y_elems());
        fill(y_bias, g_.out_channels);
        fill(x_bias, g_.in_channels);
        y.resize(dy.size());
        dx.resize(x.size());
        dw.resize(w.size());
        find_reads(problem);
        const int64_t in = g_.in_channels / g_.groups, out = g_.out_channels / g_.groups;
        for (int64_t n = 0; n < g_.batch; ++n)
            for (int64_t k = 0; k < g_.out_channels; ++k)
                for (int64_t c = 0; c < in; ++c) {
                    const int64_t sample = g_.per_sample ? n : 0;
                    add_plane({n, k}, {n, k / out * in + c},
                              ((sample * g_.out_channels + k) * in + c) * problem.taps());
                }
    }

    const std::vector<int32_t>& first(Pass pass) const { return pass == Pass::forward ? x : dy; }
    const std::vector<int32_t>& second(Pass pass) const { return pass == Pass::weight_grad ? x : w; }
    const std::vector<int32_t>& bias(Pass pass) const { return pass == Pass::forward ? y_bias : x_bias; }
    const std::vector<int32_t>& sums(Pass pass) const {
        return pass == Pass::forward ? y : pass == Pass::input_grad ? dx : dw;
    }
    // The channel of an element of y or dx.
    int64_t channel(Pass pass, int64_t at) const {
        const Extents& e = pass == Pass::forward ? out_ : g_.input;
        const int64_t channels = pass == Pass::forward ? g_.out_channels : g_.in_channels;
        return g_.layout == Layout::channels_last ? at % channels : at / (e[0] * e[1] * e[2]) % channels;
    }

private:
    struct Plane {
        int64_t n, channel;
    };
    // An output position of an axis, a tap of it as it is stored, and the element of x that it reads.
    struct Read {
        int64_t p, r, h;
    };

    void find_reads(const ConvProblem& problem) {
        for (size_t a = 0; a < 3; ++a)
            for (int64_t p = 0; p < problem.output()[a]; ++p)
                for (int64_t r = 0; r < g_.kernel[a]; ++r) {
                    const int64_t at = p * g_.stride[a] - g_.pad_lo[a] + r * g_.dilation[a];
                    // (The core takes an axis that no tap leaves for one of zeros: no difference here.)
                    const int64_t h = element_at(g_.boundary[a], at, g_.input[a]);
                    if (h >= 0) reads_[a].push_back({p, g_.flip ? g_.kernel[a] - 1 - r : r, h});
                }
    }

    void add_plane(const Plane& of_y, const Plane& of_x, int64_t w_at) {
        const bool last = g_.layout == Layout::channels_last;
        const auto plane = [&](const Plane& at, int64_t channels, const Extents& e) {
            const int64_t pixels = e[0] * e[1] * e[2];
            return last ? at.n * pixels * channels + at.channel : (at.n * channels + at.channel) * pixels;
        };
        const int64_t y_step = last ? g_.out_channels : 1, x_step = last ? g_.in_channels : 1;
        const int64_t y_at = plane(of_y, g_.out_channels, out_), x_at = plane(of_x, g_.in_channels, g_.input);
        for (const Read& d : reads_[0])
            for (const Read& h : reads_[1]) {
                const int64_t y_row = (d.p * out_[1] + h.p) * out_[2], x_row = (d.h * g_.input[1] + h.h) * g_.input[2];
                const int64_t w_row = w_at + (d.r * g_.kernel[1] + h.r) * g_.kernel[2];
                for (const Read& v : reads_[2]) {
                    const auto yi = static_cast<size_t>(y_at + (y_row + v.p) * y_step);
                    const auto xi = static_cast<size_t>(x_at + (x_row + v.h) * x_step);
                    const auto wi = static_cast<size_t>(w_row + v.r);
                    y[yi] += x[xi] * w[wi];
                    dx[xi] += dy[yi] * w[wi];
                    dw[wi] += dy[yi] * x[xi];
                }
            }
    }

    Geometry g_;
    Extents out_;
    std::array<std::vector<Read>, 3> reads_;
};

}  // namespace convpp::stress
