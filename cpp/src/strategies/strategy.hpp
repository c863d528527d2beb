// A strategy: one way of carrying out a pass.  Each is a folder beside this file, and a line of the table in list.cpp.
//
// In:  a Setting and a draft of the plan (operands, maps, blocks).   Out: whether it serves and how dear it would be;
// the rest of the plan; results.   Next: list.cpp (the table), then any folder, strategy.cpp first.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "plan/costs.hpp"
#include "plan/plan.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Whether a strategy can carry a plan out, and at what cost.
struct Fit {
    std::string refusal;  // why it cannot; empty: it can
    bool by_rule = false;  // it is taken whatever the others' estimates say
    Estimate estimate;  // its cost is in slots of a multiply-add unit (plan/costs.hpp)
    std::shared_ptr<StrategyPlan> own;  // what was found on the way

    static Fit refuse(std::string why) {
        Fit fit;
        fit.refusal = std::move(why);
        return fit;
    }
    bool serves() const { return refusal.empty(); }
};

// What a call lends to a strategy.
struct RunContext {
    int threads = 1;
    std::byte* workspace = nullptr;  // as many bytes as the plan says
    std::atomic<unsigned char>* not_finite = nullptr;  // Plan::again: a flag for each sample (weight_grad: one)
};

// A strategy's code for one type that is computed with.
template <class T>
struct Entry {
    void (*measure)(const Plan&, WorkspaceBytes&) = nullptr;
    // Packs or transforms the weights of a forward pass once for many calls, into packed_weight_elems(plan) elements
    // (and a cache line of slack); null, or prepares(plan) false: the plan reads them as they are.
    void (*prepare)(const Plan&, const Operands<T>&, const RunContext&, T* packed) = nullptr;
    // Writes all results (adds to them), but for those that the plan fills before, and what repair/ computes again.
    void (*run)(const Plan&, const Operands<T>&, const RunContext&) = nullptr;
};

struct Strategy {
    const char* name;  // as in the documentation
    const char* in_words;  // as explain says it
    Algorithm algorithm;  // of the public API, that it belongs to
    unsigned orders;  // of the sum that it can follow: bits of SumOrder

    Fit (*fit)(const Plan& draft, const Setting&);
    void (*plan)(Plan&, const Setting&, const Fit&);  // completes a draft
    bool (*prepares)(const Plan&);
    Box (*results)(const Plan&, const MapPlan&, const Box&);  // of a map, that a box of a task stands for
    std::string (*describe)(const Plan&);  // null: as a direct product

    Entry<float> float32;
    Entry<double> float64;
};

constexpr unsigned order_bit(SumOrder order) { return 1U << static_cast<unsigned>(order); }

template <class T>
const Entry<T>& entry(const Strategy& strategy) {
    if constexpr (sizeof(T) == sizeof(double)) return strategy.float64;
    else return strategy.float32;
}

// The table, in the order in which strategies by rule are asked and equals are decided (list.cpp).
struct StrategyList {
    const Strategy* const* first;
    const Strategy* const* last;
    const Strategy* const* begin() const { return first; }
    const Strategy* const* end() const { return last; }
};
StrategyList strategies();

// A way of carrying out plans that are made of other plans: chosen by no fit, and not in the table.
constexpr Strategy strategy_of_plans(const char* name, const char* in_words, std::string (*describe)(const Plan&),
                                     const Entry<float>& float32, const Entry<double>& float64) {
    return {name,    in_words, Algorithm::direct, 0,      nullptr, nullptr, [](const Plan&) { return false; },
            nullptr, describe, float32,           float64};
}

// Carries out a plan that has ClassParts (plan/class_parts.hpp).
const Strategy& parts_strategy();

// The same of a plan's pieces, and of a FoldPlan.
const Strategy& pieces_strategy();
const Strategy& fold_strategy();

}  // namespace convpp
