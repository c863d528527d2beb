// Planes are computed as if each was one long row, and all residue classes of an input gradient as rows of one product.
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.   Next: joint.hpp (the products), product.hpp.
#include <memory>
#include <utility>

#include "plan/product_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/flat/joint.hpp"
#include "strategies/flat/product.hpp"

namespace convpp {
namespace {

using namespace costs;

// Slots that a vector of all rows of a joint product takes for one source channel.
double joint_slots(const KernelShapes& kernels, const JointPlan& joint) {
    const auto slots_of = [&](int64_t panel) {
        double slots = 0;
        for (int64_t tap = 0; tap < joint.map.taps(); ++tap) {
            int64_t rows = 0;
            for (int64_t r = 0; r < joint.panel_rows; ++r) rows += joint.active(panel)[tap] >> r & 1;
            if (rows > 0) slots += row_slots(rows, kernels.row_tile_vectors[joint.panel_rows - 1]);
        }
        return slots;
    };
    if (joint.shifts.size() == 1)  // panels are alike, but for the last one
        return f(joint.panels - 1) * slots_of(0) + slots_of(joint.panels - 1);
    double slots = 0, of_panel = 0;
    for (int64_t panel = 0; panel < joint.panels; ++panel) {
        if (panel == 0 || !same_steps(joint, panel)) of_panel = slots_of(panel);
        slots += of_panel;
    }
    return slots;
}

// Planes are computed from end to end, for all maps that share them, and results are moved once more.
Estimate product_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m,
                          const std::vector<JointPlan>& joints) {
    const TileShape& shape = kernels.shape[0];
    double cost = 0;
    for (const JointPlan& joint : joints) {
        const std::array<AxisMap, 3>& axis = joint.map.axis;
        const int64_t pitch = axis[2].count + axis[2].taps.size() - 1;
        const int64_t planes = plan.batch() * axis[0].count;
        const int64_t channels = plan.tasks.channels * static_cast<int64_t>(joint.shifts.size());
        const double vectors = f(planes * ceil_div(axis[1].count * pitch, shape.lanes));
        cost += f(plan.source.channels) * joint_slots(kernels, joint) * vectors;
        cost += copied_vector * f(channels) * (vectors + f(planes * axis[1].count));
        cost += row_panels(plan, shape, f(plan.source.channels) * f(joint.map.taps()));
        if (plan.result.axis[2] > 1) cost += strided_store * f(channels) * f(plan.batch() * joint.map.pixels());
        if (plan.source.strides.channel == 1 && plan.source.channels > 1)
            cost += transposed_vector * f(plan.source.channels) * vectors;
        else cost += strided_vector * f(plan.source.channels) * split_vectors(m, vectors);
    }
    cost += filled_vector * filled_vectors(plan, m, shape.lanes);
    double work = 0;  // of all maps: the others' estimates are of this one
    for (const MapPlan& each : plan.maps) work += f(each.map.pixels()) * f(each.map.taps());
    cost *= f(m.map.pixels()) * f(m.map.taps()) / work;
    return {{0, true, shape.rows, shape.vectors * shape.lanes}, cost};
}

Fit fit(const Plan& draft, const Setting& setting) {
    if (draft.pass == Pass::weight_grad) return Fit::refuse("a weight gradient, which sums over its rows");
    if (!rows_are_better_flat(draft, setting.kernels.shape[0].lanes))
        return Fit::refuse("rows are long and consecutive: better read as they are");
    auto flat = std::make_shared<FlatPlan>();
    flat->joints = join_maps(draft, setting.kernels.shape[0].rows);
    Fit fit;
    fit.estimate = product_estimate(draft, setting.kernels, heaviest_map(draft), flat->joints);
    fit.own = std::move(flat);
    return fit;
}

// Most pixels of a task that computes all classes: what it stages of a block of channels and its flat results take the
// chunk's share of the L2; with many rows, whose weights all pass by for each box, the flat results take more of it.
int64_t joint_pixels(const Plan& plan, const Setting& setting, const JointPlan& joint) {
    constexpr int64_t pixels_most = 8192, pixels_of_many_rows = 160;
    const auto classes = static_cast<int64_t>(joint.shifts.size());
    const int64_t rows = classes * plan.tasks.channels, each = joint.patches.channels_per_block + rows;
    const int64_t of_many = std::min(pixels_of_many_rows, setting.cache_bytes * 5 / 8 / (rows * setting.elem_bytes));
    return classes *
           std::clamp(std::max(chunk_bytes(setting) / (each * setting.elem_bytes), of_many), least_pixels, pixels_most);
}

// The boxes of flat rows are those of their products.
void split_joints(Plan& plan, FlatPlan& flat, int64_t pixels_most, int64_t lanes) {
    size_t leader = 0;
    for (size_t j = 0; j < flat.joints.size(); ++j) {
        JointPlan& joint = flat.joints[j];
        const size_t classes = joint.shifts.size();
        const int64_t most = std::max<int64_t>(pixels_most / static_cast<int64_t>(classes), 1);
        joint.boxes = split_pixels(plan, joint.map, most, lanes);
        for (size_t c = 0; c < classes; ++c) {
            MapPlan& m = plan.maps[leader + c];
            m.boxes = joint.boxes;
            m.classes = c == 0 ? static_cast<int64_t>(classes) : 0;
            m.shift = joint.shifts[c];
            flat.joint_of.push_back(j);
        }
        leader += classes;
    }
}

void plan(Plan& plan, const Setting& setting, const Fit& fit) {
    auto flat = std::make_shared<FlatPlan>(static_cast<const FlatPlan&>(*fit.own));
    const bool joins = flat->joints.size() < plan.maps.size();
    const int64_t most =
        joins ? joint_pixels(plan, setting, flat->joints.front()) : staged_row_pixels_most(plan, setting);
    const Cut cut = cut_for_threads(plan, setting, most, !joins);  // the rows of one product are not cut
    plan.weight_share = share_of_packing(plan);
    split_joints(plan, *flat, std::max<int64_t>(cut.pixels, 1), waste_unit(plan, setting));
    count_tasks(plan, setting, cut.splits);
    for (const JointPlan& joint : flat->joints) plan.packing.panels = std::max(plan.packing.panels, joint.panels);
    place_weights(plan, setting, [&](const MapPlan& m) { return m.classes > 0 ? &flat->joint(plan, m) : nullptr; });
    buffer_results(plan);
    plan.own = std::move(flat);
}

constexpr Strategy make_strategy() {
    Strategy strategy =
        direct_strategy<FlatProduct, NoSums>("flat", "vectors of pixels", order_bit(SumOrder::sequential), &fit, &plan);
    strategy.describe = [](const Plan& plan) {
        const size_t products = own<FlatPlan>(plan).joints.size();
        return describe_direct(plan, products < plan.maps.size() ? static_cast<int64_t>(products) : 0);
    };
    return strategy;
}

}  // namespace

extern const Strategy flat_strategy;
const Strategy flat_strategy = make_strategy();

}  // namespace convpp
