// What the tests of plans share: plans of the direct algorithm, walks over extents and boxes, and how often each
// strategy is chosen.
#pragma once

#include <array>
#include <map>
#include <string>

#include "geometries.hpp"
#include "plan/plan.hpp"
#include "problem/border.hpp"
#include "strategies/strategy.hpp"
#include "support.hpp"

namespace convpp::test {

using Extents4 = std::array<int64_t, 4>;

// body(index) for every index below some extents, in order.
template <class Body>
void for_each(const Extents& extents, const Body& body) {
    Extents at{};
    for (at[0] = 0; at[0] < extents[0]; ++at[0])
        for (at[1] = 0; at[1] < extents[1]; ++at[1])
            for (at[2] = 0; at[2] < extents[2]; ++at[2]) body(at);
}

// Of one sample and pair of channels: products of pixels and taps that both lie inside.
inline double useful_products(const ConvProblem& problem) {
    const IndexMap map = forward_map(problem);
    double all = 1;
    for (const AxisMap& axis : map.axis) {
        const BorderAxis border(axis);
        double sum = 0;
        for (int64_t u = 0; u < axis.count; ++u) sum += static_cast<double>(border.taps_of(u).length());
        all *= sum;
    }
    return all;
}

// Whether a plan leaves padding out (plan/less_padding.hpp).
inline bool leaves_padding_out(const Plan& plan) {
    return plan.cut || !plan.pieces.empty() || (!plan.empty() && plan.maps.empty() && plan.parts == nullptr);
}

// body(index) for every index of a box, in order.
template <class Body>
void for_each_of_box(const Box& box, const Body& body) {
    Extents4 at{};
    for (at[0] = box.lo[0]; at[0] < box.hi[0]; ++at[0])
        for (at[1] = box.lo[1]; at[1] < box.hi[1]; ++at[1])
            for (at[2] = box.lo[2]; at[2] < box.hi[2]; ++at[2])
                for (at[3] = box.lo[3]; at[3] < box.hi[3]; ++at[3]) body(at);
}

inline Extents4 next_in_order(Extents4 at, const Extents4& extents) {
    for (size_t a = 4; a-- > 0;) {
        if (++at[a] < extents[a]) break;
        if (a > 0) at[a] = 0;
    }
    return at;
}

// The boxes, one after the other, hold every index once and in lexicographic order; none is above the limit or above
// the first one.
inline bool split_is_right(const BoxSplit& split, const Extents4& extents, int64_t limit) {
    Extents4 next{0, 0, 0, 0};
    int64_t elems = 0;
    for (int64_t b = 0; b < split.count(); ++b) {
        const Box box = split.box(b);
        if (box.elems() < 1 || box.elems() > limit || box.elems() > split.largest()) return false;
        if (b == 0 && box.elems() != split.largest()) return false;
        elems += box.elems();
        bool in_order = true;
        for_each_of_box(box, [&](const Extents4& at) {
            in_order &= at == next;
            next = next_in_order(next, extents);
        });
        if (!in_order) return false;
    }
    return elems == extents[0] * extents[1] * extents[2] * extents[3] && split.extents() == extents;
}

// The direct algorithm's.  (The other one's: test_winograd_plan.cpp.)
inline Plan plan_of(const ConvProblem& problem, Pass pass, DType dtype = DType::float32) {
    return make_plan(problem, pass, dtype, Algorithm::direct, active_isa());
}

// The name of the strategy that carries a plan out; none where there is nothing to sum.
inline std::string strategy_of(const Plan& plan) { return plan.empty() ? "none" : plan.how->name; }

// How often each strategy is chosen.
struct StrategyCount {
    std::map<std::string, int> of;
    void add(const Plan& plan) {
        if (!plan.empty()) ++of[strategy_of(plan)];
    }
    size_t kinds() const { return of.size(); }
};

}  // namespace convpp::test
