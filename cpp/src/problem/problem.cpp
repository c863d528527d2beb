// Checks a Geometry and derives extents and sizes.  Trusts nobody: the Python package has validated already, and a C++
// program may not have.
#include "convpp/problem.hpp"

#include <string>

#include "problem/checked.hpp"
#include "problem/names.hpp"

namespace convpp {
namespace {

// No array of 2^60 elements exists; below it, sizes in bytes and sums of a few sizes stay within 64 bits.
constexpr int64_t largest_extent = int64_t(1) << 60;

// A direct sum over more taps would take hours; the plan holds a few words for each.
constexpr int64_t most_taps = int64_t(1) << 24;

std::string at_axis(const char* argument, int axis, int rank) {
    return std::string(argument) + " of axis " + std::to_string(axis - (3 - rank));
}

void check_range(int64_t value, int64_t lowest, const std::string& argument) {
    if (value < lowest || value > largest_extent)
        throw ShapeError(argument + " is " + std::to_string(value) + ", expected " + std::to_string(lowest) +
                         " or more and at most 2^60");
}

int64_t array_elems(std::initializer_list<int64_t> extents, const char* array) {
    int64_t total = 1;
    for (int64_t extent : extents)
        if (extent == 0) return 0;
    for (int64_t extent : extents) total = checked_mul(total, extent, array);
    if (total > largest_extent)
        throw ShapeError(std::string(array) + " is too large: " + std::to_string(total) + " elements, at most 2^60");
    return total;
}

}  // namespace

ConvProblem::ConvProblem(const Geometry& geometry) : geometry_(geometry) {
    const Geometry& g = geometry_;
    if (g.rank < 1 || g.rank > 3)
        throw ShapeError("rank is " + std::to_string(g.rank) + ", expected 1, 2 or 3 spatial axes");
    check_range(g.batch, 0, "batch");
    check_range(g.in_channels, 0, "in_channels");
    check_range(g.out_channels, 0, "out_channels");
    check_range(g.groups, 1, "groups");
    if (g.in_channels % g.groups != 0 || g.out_channels % g.groups != 0)
        throw ShapeError("groups is " + std::to_string(g.groups) + ", expected a divisor of in_channels (" +
                         std::to_string(g.in_channels) + ") and of out_channels (" + std::to_string(g.out_channels) +
                         ")");
    for (int axis = 0; axis < 3; ++axis) {
        const size_t a = static_cast<size_t>(axis);
        if (axis < 3 - g.rank) {
            if (g.input[a] != 1 || g.kernel[a] != 1 || g.stride[a] != 1 || g.dilation[a] != 1 || g.pad_lo[a] != 0 ||
                g.pad_hi[a] != 0)
                throw ShapeError("an axis beyond the rank (" + std::to_string(g.rank) +
                                 ") has an extent, stride, dilation or padding; expected 1, 1, 1 and 0");
            geometry_.boundary[a] = Boundary::zeros;
            continue;
        }
        check_range(g.input[a], 0, at_axis("input extent", axis, g.rank));
        check_range(g.kernel[a], 1, at_axis("kernel extent", axis, g.rank));
        check_range(g.stride[a], 1, at_axis("stride", axis, g.rank));
        check_range(g.dilation[a], 1, at_axis("dilation", axis, g.rank));
        check_range(g.pad_lo[a], -largest_extent, at_axis("padding", axis, g.rank));
        check_range(g.pad_hi[a], -largest_extent, at_axis("padding", axis, g.rank));
        const int64_t reach = checked_mul(g.dilation[a], g.kernel[a] - 1, "dilation * (kernel - 1)");
        const int64_t padded = g.input[a] + g.pad_lo[a] + g.pad_hi[a];
        if (padded < 0 || checked_add(reach, 1, "the dilated kernel") > padded)
            throw ShapeError("the kernel is longer than the padded input on axis " +
                             std::to_string(axis - (3 - g.rank)) + ": dilation * (kernel - 1) + 1 is " +
                             std::to_string(reach + 1) + ", input + padding is " + std::to_string(padded));
        output_[a] = (padded - reach - 1) / g.stride[a] + 1;
        if (g.boundary[a] != Boundary::zeros && g.input[a] == 0)
            throw ShapeError("the input extent of axis " + std::to_string(axis - (3 - g.rank)) +
                             " is 0, expected 1 or more for the boundary " + name(g.boundary[a]));
        const int64_t last = (output_[a] - 1) * g.stride[a] - g.pad_lo[a] + reach;
        if (g.pad_lo[a] <= 0 && last < g.input[a]) geometry_.boundary[a] = Boundary::zeros;
    }
    taps_ = array_elems({g.kernel[0], g.kernel[1], g.kernel[2]}, "the kernel");
    if (taps_ > most_taps)
        throw ShapeError("the kernel is too large: " + std::to_string(taps_) + " elements, expected at most 2^24");
    x_elems_ = array_elems({g.batch, g.in_channels, g.input[0], g.input[1], g.input[2]}, "x");
    y_elems_ = array_elems({g.batch, g.out_channels, output_[0], output_[1], output_[2]}, "y");
    w_elems_ = array_elems({g.per_sample ? g.batch : 1, g.out_channels, g.in_channels / g.groups, taps_}, "w");
}

double ConvProblem::flops() const noexcept {
    return 2.0 * static_cast<double>(y_elems_) * static_cast<double>(geometry_.in_channels / geometry_.groups) *
           static_cast<double>(taps_);
}

const char* name(Pass pass) noexcept { return name_in({"forward", "input_grad", "weight_grad"}, pass); }

const char* name(DType dtype) noexcept { return name_in({"float32", "float64", "bfloat16", "float16"}, dtype); }

const char* name(Layout layout) noexcept { return name_in({"channels_first", "channels_last"}, layout); }

const char* name(Boundary boundary) noexcept {
    return name_in({"zeros", "reflect", "replicate", "circular", "symmetric"}, boundary);
}

}  // namespace convpp
