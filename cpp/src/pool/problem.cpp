// Checks a PoolGeometry and derives extents and sizes.  Trusts nobody, as problem/problem.cpp.
#include <string>

#include "convpp/pool.hpp"
#include "problem/checked.hpp"

namespace convpp {
namespace {

constexpr int64_t largest_extent = int64_t(1) << 60, most_taps = int64_t(1) << 24;

void check_range(int64_t value, int64_t lowest, const std::string& argument) {
    if (value < lowest || value > largest_extent)
        throw ShapeError(argument + " is " + std::to_string(value) + ", expected " + std::to_string(lowest) +
                         " or more and at most 2^60");
}

int64_t array_elems(const PoolGeometry& g, const Extents& spatial, const char* array) {
    int64_t total = checked_mul(checked_mul(spatial[0], spatial[1], array), spatial[2], array);
    if (g.batch == 0 || g.channels == 0) return 0;
    total = checked_mul(checked_mul(total, g.channels, array), g.batch, array);
    if (total > largest_extent)
        throw ShapeError(std::string(array) + " is too large: " + std::to_string(total) + " elements, at most 2^60");
    return total;
}

// Windows along one axis.
int64_t output_extent(const PoolGeometry& g, size_t a, const std::string& axis) {
    check_range(g.input[a], 1, "input extent" + axis);
    check_range(g.kernel[a], 1, "kernel extent" + axis);
    check_range(g.stride[a], 1, "stride" + axis);
    check_range(g.dilation[a], 1, "dilation" + axis);
    for (const int64_t pad : {g.pad_lo[a], g.pad_hi[a]}) {
        check_range(pad, 0, "padding" + axis);
        if (pad > g.kernel[a] / 2)
            throw ShapeError("padding" + axis + " is " + std::to_string(pad) +
                             ", expected at most half of the kernel extent: " + std::to_string(g.kernel[a] / 2));
    }
    const int64_t reach = checked_mul(g.dilation[a], g.kernel[a] - 1, "dilation * (kernel - 1)");
    const int64_t padded = g.input[a] + g.pad_lo[a] + g.pad_hi[a];  // 2^60 and a kernel at most, or more than a kernel
    const int64_t steps = padded - checked_add(reach, 1, "the dilated kernel");
    int64_t output = floor_div(steps + (g.ceil_mode ? g.stride[a] - 1 : 0), g.stride[a]) + 1;
    if (g.ceil_mode && output > 1 && (output - 1) * g.stride[a] >= g.input[a] + g.pad_lo[a]) --output;
    if (output < 1)
        throw ShapeError("the output would have no pixels" + axis + ": dilation * (kernel - 1) + 1 is " +
                         std::to_string(reach + 1) + ", input + padding is " + std::to_string(padded));
    return output;
}

}  // namespace

PoolProblem::PoolProblem(const PoolGeometry& geometry) : geometry_(geometry) {
    const PoolGeometry& g = geometry_;
    if (g.rank < 1 || g.rank > 3)
        throw ShapeError("rank is " + std::to_string(g.rank) + ", expected 1, 2 or 3 spatial axes");
    check_range(g.batch, 0, "batch");
    check_range(g.channels, 0, "channels");
    for (size_t a = 0; a < 3; ++a) {
        const int axis = static_cast<int>(a) - (3 - g.rank);
        if (axis >= 0) {
            output_[a] = output_extent(g, a, " of axis " + std::to_string(axis));
        } else if (g.input[a] != 1 || g.kernel[a] != 1 || g.stride[a] != 1 || g.dilation[a] != 1 || g.pad_lo[a] != 0 ||
                   g.pad_hi[a] != 0) {
            throw ShapeError("an axis beyond the rank (" + std::to_string(g.rank) +
                             ") has an extent, stride, dilation or padding; expected 1, 1, 1 and 0");
        }
    }
    const int64_t taps = checked_mul(checked_mul(g.kernel[0], g.kernel[1], "the kernel"), g.kernel[2], "the kernel");
    if (taps > most_taps)
        throw ShapeError("the kernel is too large: " + std::to_string(taps) + " elements, expected at most 2^24");
    x_elems_ = array_elems(g, g.input, "x");
    y_elems_ = array_elems(g, output_, "y");
}

}  // namespace convpp
