// Products of several residue classes at once.
//
// In:  a draft of the plan.   Out: JointPlans, and FlatPlan, what this strategy alone decides.
// Next: strategy.cpp, product.hpp.   problem/index_map.hpp says why the taps of the classes coincide.
#pragma once

#include <vector>

#include "plan/plan.hpp"

namespace convpp {

// The product that some maps are computed by.  A row of it is a result channel of one of the maps, the maps' rows
// follow each other.
struct JointPlan : MapPlan {
    using MapPlan::MapPlan;

    std::vector<Extents> shifts;         // of each map
    int64_t panels = 0, panel_rows = 0;  // the last panel may have fewer

    // Of each tap, a bit for each row of the panel whose map has the tap.
    const unsigned char* active(int64_t panel) const {
        return active_.data() + (alike_ ? (panel + 1 < panels ? 0 : 1) : panel) * map.taps();
    }
    // Panels of rows of these maps, as large as `most_rows` allows.  False: they would be too many to be told apart.
    bool make_panels(const std::vector<const IndexMap*>& of_rows, int64_t channels, int64_t most_rows);
    int64_t bytes() const;  // of memory

private:
    bool alike_ = false;  // all panels, but for the last one: the first and the last stand for them
    std::vector<unsigned char> active_;  // [panel][tap]
};

// Residue classes that one product may compute, at most: strides of 16 in a plane.  They share the staged source; more
// are several products, each of whole rows or planes of classes.
inline constexpr size_t most_joint = 256;

struct FlatPlan : StrategyPlan {
    std::vector<JointPlan> joints;  // the products, in the order of the maps
    std::vector<size_t> joint_of;   // each map's

    int64_t bytes() const override;
    const JointPlan& joint(const Plan& plan, const MapPlan& m) const {
        return joints[joint_of[static_cast<size_t>(&m - plan.maps.data())]];
    }
};

// The maps of a plan as rows of one product, or of as few as hold them; or each as one where they cannot be joined.
// Panels have `most_rows` at most.
std::vector<JointPlan> join_maps(const Plan& plan, int64_t most_rows);

}  // namespace convpp
