// What the sums of windows are divided by.
//
// In:  a box of windows, an Average.   Out: a divisor for each row, and one for each of its elements: their product
// counts.   Next: forward.cpp, backward.cpp.
#pragma once

#include <stdexcept>
#include <string>

#include "pool/windows.hpp"

namespace convpp::pool {

inline void check_average(const PoolProblem& problem) {
    for (const int64_t dilation : problem.geometry().dilation)
        if (dilation != 1)
            throw std::invalid_argument("dilation is " + std::to_string(dilation) + ", expected 1 for an average");
}

template <class T>
class Divisors {
public:
    Divisors(Carver& carver, const Planes& planes, const Extents& box, const Average* average, int64_t lanes)
        : planes_(planes), average_(average) {
        if (average == nullptr) return;
        rows_ = carver.take<T>(box[0] * box[1]);
        columns_ = carver.take<T>(box[2] * planes.unit + lanes);
    }
    void begin(const Box& windows) {
        const auto count = [&](size_t axis, int64_t window) {
            return planes_.axes[axis].elements(window, average_->count_include_pad);
        };
        const bool given = average_->divisor != 0;
        height_ = windows[1].count();
        T *row = rows_, *column = columns_;
        for (int64_t o = windows[0].lo; o < windows[0].hi; ++o)
            for (int64_t p = windows[1].lo; p < windows[1].hi; ++p)
                *row++ = static_cast<T>(given ? average_->divisor : count(0, o) * count(1, p));
        for (int64_t q = windows[2].lo; q < windows[2].hi; ++q)
            for (int64_t e = 0; e < planes_.unit; ++e) *column++ = given ? T(1) : static_cast<T>(count(2, q));
    }
    void use(int64_t depth, kernels::WindowLines<T>& lines) const {
        lines.row_divisor = rows_ + depth * height_;
        lines.divisor = columns_;
    }

private:
    const Planes& planes_;
    const Average* average_;
    int64_t height_ = 0;
    T *rows_ = nullptr, *columns_ = nullptr;
};

}  // namespace convpp::pool
