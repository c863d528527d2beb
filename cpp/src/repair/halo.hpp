// The input gradient of what is read outside x, where its boundary is not zeros: the adjoint of the fold.
//
// In:  a ConvProblem whose axes have boundaries (weights for each sample: of one sample), dy, w, a dx that holds the gradient of x with zeros around it.
// Out: dx, with what its elements receive from the positions outside that were folded to them.
//
// The positions that are read outside x are a frame around it.  It is cut into slabs: in front of and behind x along each
// axis, within x along the axes before it, with all that is read along the axes after it.  The gradient of a slab is an
// input gradient like any other, of an x that is the slab: it is computed, for some samples at a time, into a block of
// memory of bounded size, and then added to dx through the fold.  Slabs, and the positions of each, come in a fixed order,
// for each sample on its own: so bits depend neither on threads nor on the batch.
//
// Next: convolution.cpp, which computes the inner part first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/plan.hpp"
#include "source/stored.hpp"

namespace convpp {

// The inner part's problem: the same x, with zeros around it.
ConvProblem with_zeros_around(const ConvProblem& problem);

// A part of the frame.
struct Slab {
    Extents lo{0, 0, 0}, extent{0, 0, 0};  // positions of the extended x
    int64_t samples = 0;  // that are computed at once
    ConvProblem problem;  // of so many samples: its x is the slab
    Plan plan;
    std::vector<Plan> last;  // of the samples left over, if there are any
};

class Halo {
public:
    Halo() = default;  // where nothing is read outside
    Halo(const ConvProblem& problem, DType dtype, Isa isa, int threads);

    bool empty() const { return slabs_.empty(); }
    int64_t workspace_bytes(int threads) const;

    // Adds to dx.  Takes no memory but the workspace.
    template <class T>
    void add(const Stored<T>& dy, const Stored<T>& w, T* dx, int threads, std::byte* workspace) const;

private:
    std::vector<ConvProblem> problem_;  // one, or none where nothing is read outside
    std::vector<Slab> slabs_;
    int64_t gradient_bytes_ = 0, column_bytes_ = 0;  // of the largest slab
};

}  // namespace convpp
