// The operands of one part of the residue classes: the result and the weights begin where the part's do.
//
// In:  a Plan with ClassParts, one of them, the operands of the call.   Out: what the part's own plan is carried out
// with.
// Next: plan/class_parts.hpp.
#pragma once

#include "plan/class_parts.hpp"
#include "strategies/operands.hpp"

namespace convpp {

template <class T>
Operands<T> operands_of(const ClassParts::Part& part, const Plan& plan, const Operands<T>& operands) {
    const auto offset = [](const Extents& at, const Extents& strides) {
        return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2];
    };
    const int64_t result_at = offset(part.result_at, plan.result.axis);
    Operands<T> own = operands;
    own.w += offset(part.weight_at, plan.weights.axis);
    own.result = operands.result + result_at;
    own.epilogue = operands.epilogue.from(result_at);
    return own;
}

}  // namespace convpp
