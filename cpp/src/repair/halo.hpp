// The input gradient of what is read outside x: the adjoint of the fold.
//
// In:  a HaloPlan, dy, w, a dx that holds the gradient of x with zeros around it.
// Out: dx, with what its elements receive from the positions outside that were folded to them.
// Next: plan/halo.hpp (the slabs), api/execute.cpp, which computes the inner part first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/halo.hpp"
#include "strategies/operands.hpp"

namespace convpp {

int64_t halo_bytes(const HaloPlan& halo, int threads);

// Adds to dx.  Takes no memory but the workspace.
template <class T>
void add_halo(const HaloPlan& halo, const Operands<T>& operands, int threads, std::byte* workspace);

}  // namespace convpp
