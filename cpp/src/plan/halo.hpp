// The halo of an input gradient: what is read outside x, where its boundary is not zeros.
//
// In:  a ConvProblem whose axes have boundaries (weights for each sample: of one sample).
// Out: the problem with zeros around x; the plans of the slabs that the halo is cut into.   Next: repair/halo.cpp,
// which runs them.
//
// The positions that are read outside x are its halo.  It is cut into slabs: in front of and behind x along each
// axis, within x along the axes before it, with all that is read along the axes after it.  The gradient of a slab is an
// input gradient like any other, of an x that is the slab: it is computed, for some samples at a time, into a block of
// memory of bounded size, and then added to dx through the fold.  Slabs, and the positions of each, come in a fixed
// order, for each sample on its own: so bits depend neither on threads nor on the batch.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "plan/plan.hpp"

namespace convpp {

// The inner part's problem: the same x, with zeros around it.
ConvProblem with_zeros_around(const ConvProblem& problem);

// The positions of an axis of the extended x that may be read, in order.  Where a stride is beyond the kernel's reach,
// or a dilation beyond that of all pixels, most of what lies between the first one and the last is read by none, and
// they are numbered without it: position j is element first + j / inner * step + j % inner * inner_step.  The numbers
// are read by a convolution, too, whose stride and dilation leave nothing out.
struct HaloAxis {
    int64_t first = 0, inner = 1, step = 1, inner_step = 0;
    int64_t stride = 1, dilation = 1;
    int64_t count = 0;  // of positions
    Span inside;  // those that lie in x, or number all of them where nothing goes on beyond x

    int64_t at(int64_t position) const { return first + position / inner * step + position % inner * inner_step; }
};

// A part of the halo.
struct Slab {
    Extents lo{0, 0, 0}, extent{0, 0, 0};  // of each HaloAxis's positions
    int64_t sample_lo = 0, sample_hi = 0;
    Plan plan;  // of as many samples at once as divide these; its x is the slab
};

struct HaloPlan {
    ConvProblem problem;
    std::array<HaloAxis, 3> axis;
    std::vector<Slab> slabs;
    int64_t gradient_bytes = 0, column_bytes = 0;  // of the largest slab
};

// Null where nothing is read outside.  Throws ShapeError where stride and dilation scatter what is read so widely that
// the gradient of all positions between would fill memory.  By Algorithm::stream, each position has the bits that it has
// in any other problem that reads the same: then positions are numbered by what is common to stride and dilation alone,
// and taps that read padding are not left out.
std::shared_ptr<const HaloPlan> plan_halo(const ConvProblem& problem, DType dtype, Algorithm algorithm, Isa isa,
                                          int threads);

}  // namespace convpp
