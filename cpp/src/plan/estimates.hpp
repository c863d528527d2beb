// What a way of feeding the tile would cost, so that the plan can choose.
//
// In:  the tile shapes, the operands and an index map with its blocks.   Out: costs, in slots of a multiply-add unit.
// They need not be right, only order the ways as measurements do.  (Feed::channel_vectors and Feed::sliding_rows are chosen by rules.)
// Next: feed.cpp.
#pragma once

#include "machine/dispatch.hpp"
#include "plan/plan.hpp"

namespace convpp {

// Forward and input gradient.  All are of one map; the plan has its operands described.
TileChoice packed_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);
TileChoice vector_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);
TileChoice scalar_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);

// Whether rows of pixels, read as vectors, are better computed as one (flat_task.hpp): they are short, not consecutive in
// the result, or of classes that share them.
bool computes_flat_rows(const Plan& plan, int64_t lanes);

// Weight gradient.
TileChoice packed_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);
TileChoice vector_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);
TileChoice scalar_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m);

}  // namespace convpp
