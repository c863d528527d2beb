// Residue classes as rows of one product.  joint.hpp says what comes in and goes out.
#include "strategies/flat/joint.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "problem/checked.hpp"

namespace convpp {
namespace {

// Maps from `first` on that one product computes: all, or those of some planes of classes, or of some rows or a part of
// one, so many that the products are alike.  (Maps are one for each combination of the classes of the axes.)
size_t maps_of_product(const Plan& plan, size_t first) {
    const auto parts = [](size_t count, size_t of) { return (count + of - 1) / of; };
    size_t all = plan.maps.size();
    for (size_t axes = 1; axes <= 3 && all > most_joint; ++axes) {
        size_t unit = 1;
        const auto same = [&](size_t a) {
            return plan.maps[unit].map.axis[a].result_start == plan.maps[0].map.axis[a].result_start;
        };
        while (axes < 3 && unit < all && same(0) && (axes < 2 || same(1))) ++unit;
        if (unit <= most_joint) {
            const size_t units = all / unit, products = parts(units, most_joint / unit);
            return std::min(unit * parts(units, products), all - first % all);
        }
        all = unit;
    }
    return all;
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
    joint.patches = blocks_of(plan, joint.map);
    // Classes have their runs' ends in common where these are channels'.
    if (joint.patches.taps.count() > 1 || (count > 1 && joint.patches.run_channels == 0)) return {};
    if (!joint.make_panels(classes, plan.tasks.channels, most_rows)) return {};
    return joint;
}

}  // namespace

bool JointPlan::make_panels(const std::vector<const IndexMap*>& of_rows, int64_t channels, int64_t most_rows) {
    constexpr int64_t most_active = int64_t(1) << 14;  // bytes
    const auto count = static_cast<int64_t>(of_rows.size());
    const int64_t rows = count * channels, taps = map.taps();
    panels = ceil_div(rows, most_rows);
    panel_rows = count == 1 ? most_rows : ceil_div(rows, panels);  // alike, so that none is too small
    panels = ceil_div(rows, panel_rows);
    alike_ = count == 1;
    if (!alike_ && panels > most_active / taps) return false;
    const auto bits = [](int64_t number) { return static_cast<unsigned char>((1 << number) - 1); };
    if (alike_) {
        active_.assign(static_cast<size_t>(2 * taps), bits(panel_rows));
        const auto of_last_panel = active_.begin() + static_cast<std::ptrdiff_t>(taps);
        std::fill(of_last_panel, active_.end(), bits(rows - (panels - 1) * panel_rows));
        return true;
    }
    active_.assign(static_cast<size_t>(panels * taps), 0);
    const auto class_of = [&](int64_t row) { return std::min(row, rows - 1) / channels; };
    int64_t before = -1;  // the class of all rows of the panel before
    for (int64_t panel = 0; panel < panels; ++panel) {
        unsigned char* const active = active_.data() + panel * taps;
        const int64_t first = panel * panel_rows, last = first + panel_rows - 1;
        const int64_t only = last < rows && class_of(first) == class_of(last) ? class_of(first) : -1;
        if (only >= 0 && only == before) {
            std::copy_n(active - taps, taps, active);
            continue;
        }
        before = only;
        for (int64_t row = first; row < std::min(first + panel_rows, rows); ++row) {
            unsigned char* here = active;
            const auto bit = static_cast<unsigned char>(1 << (row - first));
            const std::array<AxisMap, 3>& own = of_rows[static_cast<size_t>(class_of(row))]->axis;
            for (int64_t d = 0; d < map.axis[0].taps.size(); ++d)
                for (int64_t h = 0; h < map.axis[1].taps.size(); ++h)
                    for (int64_t w = 0; w < map.axis[2].taps.size(); ++w, ++here)
                        if (d < own[0].taps.size() && h < own[1].taps.size() && w < own[2].taps.size()) *here |= bit;
        }
    }
    return true;
}

int64_t JointPlan::bytes() const {
    return static_cast<int64_t>(sizeof(JointPlan) + shifts.capacity() * sizeof(Extents) + active_.capacity());
}

int64_t FlatPlan::bytes() const {
    int64_t bytes = static_cast<int64_t>(sizeof(FlatPlan) + joint_of.capacity() * sizeof(size_t));
    for (const JointPlan& joint : joints) bytes += joint.bytes();
    return bytes;
}

std::vector<JointPlan> join_maps(const Plan& plan, int64_t most_rows) {
    std::vector<JointPlan> joints;
    bool joins = !plan.cut;  // as rows of one product, parts of a map would be multiplied at each other's pixels
    for (size_t m = 0; joins && m < plan.maps.size();) {
        std::optional<JointPlan> joint = joint_plan(plan, m, maps_of_product(plan, m), most_rows);
        joins = joint.has_value();
        if (!joins) break;
        m += joint->shifts.size();
        joints.push_back(std::move(*joint));
    }
    if (joins) return joints;
    joints.clear();
    for (size_t m = 0; m < plan.maps.size(); ++m) joints.push_back(*joint_plan(plan, m, 1, most_rows));
    return joints;
}

}  // namespace convpp
