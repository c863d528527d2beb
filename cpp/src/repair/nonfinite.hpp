// Padding never makes a NaN.
//
// The fast paths read padding as zeros, and 0 * Inf is NaN where the plain sum has no term at all.  This can only
// happen if a factor that meets padding is not finite: a weight (forward, input_grad) or dy at a border (weight_grad).
// That is looked for in each padded pass; the results that it may have spoiled are then computed again without padding.
//
// In:  a plan and the operands.   Out: whether to repair, and the repaired results.
// Next: problem/border.hpp (which pixels and taps those are), products.hpp and sums.hpp, which compute them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan/plan.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Whether factors that are not finite meet padding.  Of forward and input_grad, it depends on the weights alone, so a
// sample's bits do not depend on its batch.  `computed`: the sums of weight_grad are computed already (and nothing else
// was in them): looking at them is often cheaper than looking at dy.
template <class T>
bool needs_repair(const Plan& plan, const Operands<T>& operands, bool computed = false);

// What a repair takes: it may lie where the plan's workspace was.
int64_t repair_bytes(const Plan& plan, int threads);

// `batch`: samples of y or dx, which may be more than the plan's.
template <class T>
void repair(const Plan& plan, const Operands<T>& operands, int64_t batch, int threads, std::byte* workspace);

// Of a weight gradient that has not been computed: where a repair would compute most of it again, it computes all of it,
// and the plan need not be carried out before.  Returns whether it did.
template <class T>
bool repairs_all_sums(const Plan& plan, const Operands<T>& operands, int threads, std::byte* workspace);

}  // namespace convpp
