// One convolution: what the user says (Geometry) and what has been checked (ConvProblem).
//
// In:  extents, strides, padding ... of a 1-, 2- or 3-D convolution.
// Out: an immutable description with the derived extents and element counts; every product is checked.
// Next: convolution.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace convpp {

// Depth, height, width.  A convolution of rank r uses the last r entries; the others are 1 (padding: 0).
using Extents = std::array<int64_t, 3>;

// The last two are stored, and computed with in float32 (half.hpp).
enum class DType { float32, float64, bfloat16, float16 };
enum class Pass { forward, input_grad, weight_grad };

// channels_first: x is (N, C, *spatial).  channels_last: (N, *spatial, C).  Weights are (K, C/groups, *kernel) in both.
enum class Layout { channels_first, channels_last };

// What a tap reads outside x, along an axis (NumPy's names: constant 0, reflect, edge, wrap, symmetric).  The axis goes
// on without end: reflected at its last elements, repeating its ends, repeating itself, or reflected beyond its last
// elements.
enum class Boundary { zeros, reflect, replicate, circular, symmetric };

struct Geometry {
    int rank = 2;
    int64_t batch = 1;         // N
    int64_t in_channels = 1;   // C
    int64_t out_channels = 1;  // K
    int64_t groups = 1;
    Extents input{1, 1, 1};
    Extents kernel{1, 1, 1};
    Extents stride{1, 1, 1};
    Extents dilation{1, 1, 1};
    Extents pad_lo{0, 0, 0};  // negative padding crops
    Extents pad_hi{0, 0, 0};
    bool flip = false;        // true: convolution with the kernel rotated by 180 degrees, as in signal processing
    bool per_sample = false;  // true: weights are (N, K, C/groups, *kernel), a set for each sample
    Layout layout = Layout::channels_first;
    // Of each axis.  Where it is not zeros, the axis must have elements; where an axis of zeros is left, nothing is
    // added.
    std::array<Boundary, 3> boundary{};
};

class ConvProblem {
public:
    // Throws ShapeError or std::invalid_argument if the geometry is not a convolution.
    explicit ConvProblem(const Geometry& geometry);

    // As given; but an axis that no tap leaves has zeros for its boundary, since all boundaries are then the same.
    const Geometry& geometry() const noexcept { return geometry_; }
    const Extents& output() const noexcept { return output_; }  // floor((in + lo + hi - dilation*(k-1) - 1)/stride) + 1
    int64_t taps() const noexcept { return taps_; }  // elements of one kernel

    int64_t x_elems() const noexcept { return x_elems_; }
    int64_t w_elems() const noexcept { return w_elems_; }
    int64_t y_elems() const noexcept { return y_elems_; }
    double flops() const noexcept;  // 2 * N * K * P*Q * C/groups * R*S; the same for each pass

private:
    Geometry geometry_;
    Extents output_{1, 1, 1};
    int64_t taps_ = 1;
    int64_t x_elems_ = 0, w_elems_ = 0, y_elems_ = 0;
};

const char* name(Pass pass) noexcept;
const char* name(DType dtype) noexcept;
const char* name(Layout layout) noexcept;
const char* name(Boundary boundary) noexcept;

}  // namespace convpp
