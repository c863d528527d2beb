// An input gradient of very many residue classes, in parts of some classes each, by plans that many parts share.
//
// In:  a ConvProblem.   Out: ClassParts, whose size is that of a few plans, however many classes there are.
// Next: select.cpp, which plans each kind of part; strategies/parts/strategy.cpp, which runs them.
//
// Along an axis, neighbouring classes (by their first taps) are alike but for where their pixels lie in x and their
// taps in the kernel: both are so much further on.  That changes at a few places alone: where a class has a tap or a
// pixel less, or first reads another element of dy.  So an axis is cut there, and into stretches of bounded length; of
// all stretches, a few kinds remain.  A part is a stretch of each axis, and its plan that of its kinds, for a result
// and weights that begin elsewhere.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "plan/plan.hpp"

namespace convpp {

// Classes that one plan holds, at most, unless they cannot be cut into parts that are alike: then so many, or there is
// no plan.  (Patches of 32x32 are 1024.  A plan takes 0.6 to 1.5 KiB for each.)
inline constexpr int64_t most_planned_classes = 1024, most_unlike_classes = 16384;

// Classes of all that is planned of one pass in pieces: kinds of parts, slabs of a halo.
inline constexpr int64_t most_classes_in_pieces = 6144;

// Neighbouring classes of an axis.
struct ClassStretch {
    int64_t kind = 0;       // of its axis
    int64_t result_at = 0;  // that its pixels lie further on than those of the first stretch of its kind
    int64_t weight_at = 0;  // and its taps, in the stored kernel
};

struct ClassParts {
    std::array<std::vector<ClassStretch>, 3> stretches;
    std::array<std::vector<Span>, 3> kinds;  // the first taps of the first stretch of each kind
    std::vector<Plan> plans;                 // for each kind of depth, height, width; some perhaps empty

    int64_t count() const { return size(stretches[0]) * size(stretches[1]) * size(stretches[2]); }

    struct Part {
        const Plan& plan;
        Extents result_at, weight_at;
    };
    Part part(int64_t index) const {
        Extents result_at{}, weight_at{};
        std::array<int64_t, 3> kind{};
        for (size_t a = 3; a-- > 0; index /= size(stretches[a])) {
            const ClassStretch& stretch = stretches[a][static_cast<size_t>(index % size(stretches[a]))];
            result_at[a] = stretch.result_at;
            weight_at[a] = stretch.weight_at;
            kind[a] = stretch.kind;
        }
        const int64_t plan = (kind[0] * size(kinds[1]) + kind[1]) * size(kinds[2]) + kind[2];
        return {plans[static_cast<size_t>(plan)], result_at, weight_at};
    }

private:
    template <class Item>
    static int64_t size(const std::vector<Item>& items) {
        return static_cast<int64_t>(items.size());
    }
};

// Classes, of which some may have no pixels.
int64_t class_count(const ConvProblem& problem);

// The parts, without their plans; null where too few classes are alike.
std::shared_ptr<ClassParts> cut_classes(const ConvProblem& problem);

// visit(map, where it begins in x) for all index maps of a plan.
template <class Visit>
void for_each_map(const Plan& plan, const Visit& visit) {
    for (const MapPlan& m : plan.maps) visit(m.map, Extents{0, 0, 0});
    if (plan.parts == nullptr) return;
    for (int64_t i = 0; i < plan.parts->count(); ++i) {
        const ClassParts::Part part = plan.parts->part(i);
        for (const MapPlan& m : part.plan.maps) visit(m.map, part.result_at);
    }
}

}  // namespace convpp
