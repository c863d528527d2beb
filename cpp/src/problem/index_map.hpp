// Which source element meets which result pixel at which tap: the only place that knows.
//
// In:  a ConvProblem.   Out: IndexMaps.   Next: boxes.hpp, plan/plan.hpp.
//
// On every axis, the map is linear:  source index = u * source_step + tap.offset,  result index = result_start + u *
// result_step,  for the result pixels u = 0 .. count-1.
//
//   pass          source   result   source_step   result_step
//   forward       x        y        stride        1
//   input_grad    dy       dx       1             stride, one map for each residue class of the input pixel
//   weight_grad   x        (the forward map; its pixels are summed over)
//
// Where x goes on beyond its ends (Boundary), a source index outside stands for one inside (border_element).  Of the
// input gradient's source, dy, there is nothing beyond: what was read outside x is a pass of its own (plan/halo.hpp).
//
// The input gradient at stride s: dx[h] gathers dy[p] w[r] with p*s + r*dilation - lo = h, so only taps whose
// r*dilation is congruent to h + lo (mod s) take part.  Each residue class is a unit-stride convolution of dy with
// some of the taps; nothing is multiplied with inserted zeros.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "convpp/problem.hpp"
#include "problem/checked.hpp"

namespace convpp {

// The element of an axis of n > 0 elements that position `at` of its extension reads: itself from 0 to n - 1, else what
// the boundary folds it to; -1 for none.
int64_t border_element(Boundary boundary, int64_t at, int64_t n);

// Positions along an axis: [lo, hi).
struct Span {
    int64_t lo = 0, hi = 0;
    int64_t length() const { return hi > lo ? hi - lo : 0; }
    bool has(int64_t at) const { return at >= lo && at < hi; }
};

// What is read of an axis of x, from the first to the last position; it may begin in front of x and end behind it.
Span read_span(const ConvProblem& problem, size_t axis);

// A tap of one axis.  offset = shift * source_step + phases(phase): split into its phases (the residues modulo the
// step), the source is read at unit stride: element (phase, u + shift).
struct Tap {
    int64_t weight = 0;  // index along this axis of the kernel as the user stores it
    int64_t offset = 0;  // of the source element, relative to u * source_step
    int64_t shift = 0;
    int64_t phase = 0;
};

// The taps of an axis: as far apart in the stored kernel as in the source, each from the one before it.  So a few
// numbers describe them, however many there are.
class Taps {
public:
    Taps() = default;
    // Tap i is at weight + i * weight_step, which ascends: the order of the sum.
    Taps(int64_t count, int64_t weight, int64_t weight_step, int64_t offset, int64_t offset_step, int64_t source_step);

    int64_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    int64_t weight(int64_t i) const { return weight_ + i * weight_step_; }
    int64_t offset(int64_t i) const { return offset_ + i * offset_step_; }
    int64_t shift(int64_t i) const { return source_step_ == 1 ? offset(i) : floor_div(offset(i), source_step_); }
    int64_t apart() const { return offset_step_; }  // from a tap's offset to the next one's

    // Of the taps from `first` on, `count` of them: how many phases they have.  Tap first + i has phase i % phases.
    int64_t phases(int64_t count) const { return count < period_ ? count : period_; }
    // Of tap i's offset, modulo the step.
    int64_t residue(int64_t i) const { return offset(i) - shift(i) * source_step_; }

    Tap operator[](int64_t i) const { return {weight(i), offset(i), shift(i), period_ == 1 ? 0 : i % period_}; }
    Tap front() const { return (*this)[0]; }
    Tap back() const { return (*this)[count_ - 1]; }
    // Of some taps [lo, hi) of one at least, the least value and the largest one.
    Span offsets(int64_t lo, int64_t hi) const { return between(offset(lo), offset(hi - 1)); }
    Span shifts(int64_t lo, int64_t hi) const { return between(shift(lo), shift(hi - 1)); }

    Taps part(int64_t lo, int64_t hi) const;  // some of them
    Taps moved(int64_t shift) const;  // that read so many steps further on

private:
    static Span between(int64_t a, int64_t b) { return a < b ? Span{a, b} : Span{b, a}; }

    int64_t count_ = 0, weight_ = 0, weight_step_ = 1, offset_ = 0, offset_step_ = 1, source_step_ = 1;
    int64_t period_ = 1;  // taps so far apart have the same phase
};

struct AxisMap {
    int64_t count = 0;
    int64_t source_step = 1;
    int64_t source_extent = 0;
    int64_t result_start = 0;
    int64_t result_step = 1;
    Taps taps;
    Boundary boundary = Boundary::zeros;  // of the source, where a tap reads outside it

    int64_t phases() const { return taps.phases(taps.size()); }
    Span pixels_inside() const;  // whose taps all read inside the source
    bool reads_inside() const { return pixels_inside().length() == count; }
    bool reads_padding() const { return boundary == Boundary::zeros && !reads_inside(); }  // zeros, which add nothing
    bool has_border() const { return boundary != Boundary::zeros; }
};

struct IndexMap {
    std::array<AxisMap, 3> axis;

    int64_t taps() const;
    int64_t phases() const;
    int64_t pixels() const;  // of one sample
    // That neighbouring pixels are apart, on all axes: a copy that leaves nothing out takes so many for each pixel.
    int64_t source_elems_of_pixel() const;
    bool reads_mostly_gaps() const;  // between the taps: of strides beyond the kernel's reach
    bool reads_inside() const { return axis[0].reads_inside() && axis[1].reads_inside() && axis[2].reads_inside(); }
    bool reads_padding() const { return axis[0].reads_padding() || axis[1].reads_padding() || axis[2].reads_padding(); }
    bool has_border() const { return axis[0].has_border() || axis[1].has_border() || axis[2].has_border(); }
};

IndexMap forward_map(const ConvProblem& problem);

struct InputGradMaps {
    std::vector<IndexMap> classes;  // the residue classes that have pixels and taps
    bool covers_input = true;  // false: some input pixels are read by no output; their gradient is 0
};
// `only_read`: without the taps that read padding at all of a class's pixels (of a small part of a large padded x, most
// do).
InputGradMaps input_grad_maps(const ConvProblem& problem, bool only_read = false);

// Each class of an axis is named by its first tap; there are so many of each axis, some perhaps without pixels.
Extents class_counts(const ConvProblem& problem);

// Taps of the class that has the most.
int64_t most_class_taps(const ConvProblem& problem);

// The axis of the class of tap `first_tap` and of the taps whose offsets are as that one's, modulo the stride.  It may
// have no pixels, or no taps.
AxisMap class_axis(const ConvProblem& problem, size_t axis, int64_t first_tap, bool only_read = false);

// The maps of some classes, by their first taps along each axis; `covers_input`: all on their own.
using ClassSpans = std::array<Span, 3>;
ClassSpans all_classes(const ConvProblem& problem);
InputGradMaps input_grad_maps(const ConvProblem& problem, bool only_read, const ClassSpans& of_classes);

// What residue classes read together.  On each axis the taps of all classes are equally far apart, and a class has n or
// n + 1 of them.  So with the first taps of the classes laid upon each other, all others coincide: tap j of a class is
// tap j of the joint map, whose taps are those of the class that has the most.  Pixel u of a class is then pixel u +
// shift of the joint map, whose pixels are those of all classes.
struct JointMap {
    IndexMap map;  // where its results lie only the classes know
    std::vector<Extents> shift;  // of each class
    bool overlap = true;  // on each axis, the classes' pixels have some in common
};
JointMap joint_map(const std::vector<const IndexMap*>& classes);

// The same map with rows joined into one, where kernels are 1x1 and nothing is skipped or padded: the pixels of a plane
// lie together in the source and in the result.
IndexMap joined_rows(IndexMap map);

// Those of residue classes: all are joined alike, or none, since tasks compute classes together.
std::vector<IndexMap> joined_rows(std::vector<IndexMap> classes);

// Element strides of a tensor (N, C, *spatial) in either layout.
struct TensorStrides {
    int64_t batch = 0, channel = 0;
    Extents axis{0, 0, 0};

    int64_t offset(int64_t n, int64_t c, const Extents& at) const {
        return n * batch + c * channel + at[0] * axis[0] + at[1] * axis[1] + at[2] * axis[2];
    }
};
// Of samples without gaps whose pixels are `pixel` elements each.  What lies between channels is left to the caller.
// `what` names the tensor in the ShapeError of sizes that 64 bits do not hold.
TensorStrides dense_strides(int64_t pixel, const Extents& extents, const char* what);
TensorStrides tensor_strides(Layout layout, int64_t channels, const Extents& extents);
TensorStrides x_strides(const ConvProblem& problem);
TensorStrides y_strides(const ConvProblem& problem);

}  // namespace convpp
