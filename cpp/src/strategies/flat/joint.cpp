// Residue classes as rows of one product.  joint.hpp says what comes in and goes out.
#include "strategies/flat/joint.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "problem/checked.hpp"

namespace convpp {
namespace {

bool can_join(const Plan& plan) {
    if (plan.maps.size() > most_joint) return false;
    const IndexMap& front = plan.maps.front().map;
    return std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) {
        for (size_t a = 0; a < 3; ++a)  // rows of some may have been joined
            if (m.map.axis[a].source_extent != front.axis[a].source_extent) return false;
        return true;
    });
}

// Nothing, if the maps' pixels lie apart, or their taps are not summed in one block of them (rows_are_better_flat sees
// to that for each alone).
std::optional<JointPlan> joint_plan(const Plan& plan, size_t first, size_t count, int64_t most_rows) {
    std::vector<const IndexMap*> classes;
    for (size_t m = first; m < first + count; ++m) classes.push_back(&plan.maps[m].map);
    JointMap map = joint_map(classes);
    if (!map.overlap) return {};  // there would be boxes with pixels of none
    JointPlan joint(std::move(map.map));
    joint.shifts = std::move(map.shift);
    joint.patches = make_patch_blocks(plan.source.channels, joint.map);
    if (joint.patches.taps.count() > 1) return {};
    const int64_t rows = static_cast<int64_t>(count) * plan.tasks.channels;
    joint.panels = ceil_div(rows, most_rows);
    joint.panel_rows = count == 1 ? most_rows : ceil_div(rows, joint.panels);  // alike, so that none is too small
    joint.panels = ceil_div(rows, joint.panel_rows);
    const int64_t taps = joint.map.taps();
    joint.active.assign(static_cast<size_t>(joint.panels * taps), 0);
    for (int64_t row = 0; row < rows; ++row) {
        unsigned char* active = joint.active.data() + row / joint.panel_rows * taps;
        const auto bit = static_cast<unsigned char>(1 << row % joint.panel_rows);
        const IndexMap& own = *classes[static_cast<size_t>(row / plan.tasks.channels)];
        for (size_t d = 0; d < joint.map.axis[0].taps.size(); ++d)
            for (size_t h = 0; h < joint.map.axis[1].taps.size(); ++h)
                for (size_t w = 0; w < joint.map.axis[2].taps.size(); ++w, ++active)
                    if (d < own.axis[0].taps.size() && h < own.axis[1].taps.size() && w < own.axis[2].taps.size())
                        *active |= bit;
    }
    return joint;
}

}  // namespace

std::vector<JointPlan> join_maps(const Plan& plan, int64_t most_rows) {
    std::vector<JointPlan> joints;
    if (can_join(plan))
        if (std::optional<JointPlan> joint = joint_plan(plan, 0, plan.maps.size(), most_rows)) {
            joints.push_back(std::move(*joint));
            return joints;
        }
    for (size_t m = 0; m < plan.maps.size(); ++m) joints.push_back(*joint_plan(plan, m, 1, most_rows));
    return joints;
}

}  // namespace convpp
