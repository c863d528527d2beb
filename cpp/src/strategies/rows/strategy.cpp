// Vectors of neighbouring pixels of a row are read where they lie, and nothing is packed but the weights.
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.
// Next: product.hpp (rows that tiles write themselves), flat_product.hpp (planes as if each was one long row), grad.hpp.
#include <utility>

#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/rows/flat_product.hpp"
#include "strategies/rows/grad.hpp"
#include "strategies/rows/joint.hpp"
#include "strategies/rows/product.hpp"

namespace convpp {
namespace {

using namespace costs;

// Whether rows are better computed as one, flat: they are short, not consecutive in the result, or of classes that share
// them.
bool computes_flat_rows(const Plan& plan, int64_t lanes) {
    return std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) {
        const AxisMap& row = m.map.axis[2];
        if (m.patches.taps.count() > 1) return false;
        // Channels last: for the sake of what the classes share.  (With channels that fill a vector, pixels are better
        // read one by one: measured, 17 channels at stride 3 are 1.1 times as fast.)
        if (plan.result.axis[2] > 1) return plan.maps.size() > 1 && plan.tasks.channels < lanes;
        return row.result_step > 1 || (row.count < 3 * lanes && row.count % lanes != 0);
    });
}

// A load of a vector that crosses a cache line takes two slots.
double row_slots(int64_t rows, int64_t vectors) {
    return f(std::max({rows * vectors, rows + 2 * vectors, int64_t(6)})) / f(vectors);
}

// Slots that a vector of all rows of a joint product takes for one source channel.
double joint_slots(const KernelShapes& kernels, const JointPlan& joint) {
    double slots = 0;
    for (size_t i = 0; i < joint.active.size(); ++i) {
        int64_t rows = 0;
        for (int64_t r = 0; r < joint.panel_rows; ++r) rows += joint.active[i] >> r & 1;
        if (rows > 0) slots += row_slots(rows, kernels.row_tile_vectors[joint.panel_rows - 1]);
    }
    return slots;
}

// Planes are computed from end to end, for all maps that share them, and results are moved once more.
Estimate flat_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m,
                       const std::vector<JointPlan>& joints) {
    const TileShape& shape = kernels.shape[0];
    double cost = 0;
    for (const JointPlan& joint : joints) {
        const std::array<AxisMap, 3>& axis = joint.map.axis;
        const int64_t pitch = axis[2].count + static_cast<int64_t>(axis[2].taps.size()) - 1;
        const int64_t planes = plan.batch() * axis[0].count;
        const int64_t channels = plan.tasks.channels * static_cast<int64_t>(joint.shifts.size());
        const double vectors = f(planes * ceil_div(axis[1].count * pitch, shape.lanes));
        cost += f(plan.source.channels) * joint_slots(kernels, joint) * vectors;
        cost += copied_vector * f(channels) * (vectors + f(planes * axis[1].count));
        if (plan.result.axis[2] > 1) cost += strided_store * f(channels * plan.batch() * joint.map.pixels());
        if (plan.source.strides.channel == 1 && plan.source.channels > 1)
            cost += transposed_vector * f(plan.source.channels) * vectors;
        else cost += strided_vector * f(plan.source.channels) * split_vectors(m, vectors);
    }
    cost += filled_vector * filled_vectors(plan, m, shape.lanes);
    double work = 0;  // of all maps: the others' estimates are of this one
    for (const MapPlan& each : plan.maps) work += f(each.map.pixels() * each.map.taps());
    cost *= f(m.map.pixels() * m.map.taps()) / work;
    return {{0, true, shape.rows, shape.vectors * shape.lanes}, cost};
}

// Nothing is packed, but loads of vectors cross cache lines, and a row's last vector may be partly filled.
Estimate row_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    const TileShape& shape = kernels.shape[0];
    const int64_t channels = plan.tasks.channels;
    const int64_t length = m.map.axis[2].count;
    const auto slots = [&](int64_t rows) { return row_slots(rows, kernels.row_tile_vectors[rows - 1]); };
    const int64_t full = channels / shape.rows, rest = channels % shape.rows;
    const double of_vector = f(full) * slots(shape.rows) + (rest > 0 ? slots(rest) : 0.0);
    const double vectors = f(rows_of(plan, m) * ceil_div(length, shape.lanes));
    double cost = f(terms_of(m)) * of_vector * vectors + filled_vector * filled_vectors(plan, m, shape.lanes);
    if (length < shape.lanes || !together(plan, m))
        cost += strided_store * vectors * f(channels * std::min(length, shape.lanes)) * f(2 * m.patches.count() - 1);
    if (plan.source.strides.channel == 1 && m.patches.channels > 1)
        cost += transposed_vector * read_elems(plan, m) * f(m.patches.channels) / f(shape.lanes);
    else cost += strided_vector * f(m.patches.channels) * split_vectors(m, vectors);
    if (plan.converts()) cost += copied_vector * f(m.patches.channels) * vectors;
    return {{0, true, shape.rows, shape.vectors * shape.lanes}, cost};
}

// Dot products of rows of dy and of x, which both lie in memory as the vectors want them.
Estimate sum_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    // The rows of a chunk stream from L2, but for taps that read the same ones again; vectors cross cache lines.
    const double load = m.map.taps() >= 9 ? 2.65 : 3.5;
    constexpr double ragged_vector = 4.0;  // more of them, to blank the lanes of one that is partly filled
    const TileShape& shape = kernels.shape[0];
    const int64_t length = m.map.axis[2].count, lanes = shape.lanes;
    const int64_t columns = terms_of(m), channels = plan.tasks.channels;
    const double loads =
        f(channels) * f(ceil_div(columns, kernels.dot_columns)) + f(columns) * f(ceil_div(channels, kernels.dot_rows));
    const double of_vector = std::max({f(channels) * f(columns), load * loads, 6.0});
    const double ragged = length % lanes != 0 ? ragged_vector * loads : 0.0;
    const double cost = f(rows_of(plan, m)) * (f(ceil_div(length, lanes)) * of_vector + ragged);
    return {{0, true, shape.rows, shape.vectors * lanes}, cost};
}

Fit fit(const Plan& draft, const Setting& setting) {
    const KernelShapes& kernels = setting.kernels;
    const MapPlan& m = heaviest_map(draft);
    auto rows = std::make_shared<RowsPlan>();
    Fit fit;
    if (draft.pass == Pass::weight_grad) {
        // (Operands that are converted lie in place for nobody but a packer: dot products read dy where it lies.)
        if (draft.converts()) return Fit::refuse("operands are stored in half, expected as they are computed with");
        if (draft.result.axis[2] != 1) return Fit::refuse("pixels of dy lie apart, expected channels first");
        fit.estimate = sum_estimate(draft, kernels, m);
    } else if (computes_flat_rows(draft, kernels.shape[0].lanes)) {
        rows->joints = join_maps(draft, kernels.shape[0].rows);
        fit.estimate = flat_estimate(draft, kernels, m, rows->joints);
    } else {
        fit.estimate = row_estimate(draft, kernels, m);
    }
    // 3/64 of the L2, 48 KiB of 1 MiB, leave room for the weights, the results, and the next vectors, which are asked for
    // meanwhile.  (Measured with 1x1 layers, planes of 28x28 to 112x112: 24 to 48 KiB are alike, but for one tile of 128
    // channels at a time; 96 KiB cost 2 to 5 %.)
    rows->chunk_bytes = setting.cache_bytes * 3 / 64;
    fit.own = std::move(rows);
    return fit;
}

// Most pixels of a task that computes all classes: what it stages of a block of channels and its flat results take the
// chunk's share of the L2; with many rows, whose weights all pass by for each box, the flat results take more of it.
int64_t joint_pixels(const Plan& plan, const Setting& setting, const JointPlan& joint) {
    constexpr int64_t pixels_most = 8192, pixels_of_many_rows = 160;
    const auto classes = static_cast<int64_t>(joint.shifts.size());
    const int64_t rows = classes * plan.tasks.channels, each = joint.patches.channels_per_block + rows;
    const int64_t of_many = std::min(pixels_of_many_rows, setting.cache_bytes * 5 / 8 / (rows * setting.elem_bytes));
    return classes * std::clamp(std::max(chunk_bytes(setting) / (each * setting.elem_bytes), of_many), least_pixels,
                                pixels_most);
}

// Rows in place: what a chunk of vectors reads is asked for during the one before it (row_product.hpp), so boxes need not
// fit in a cache.  The source of a box is 8 to 32 chunks: the first of them, which nobody asked for, should be a small part.
// (Few channels: where a box's pixels lie should not take more memory.)
Cut cut_in_place(const Plan& plan, const Setting& setting, int64_t bytes_of_chunk) {
    constexpr int64_t pixels_most = 8192;
    const int64_t chunk = bytes_of_chunk / (plan.maps[0].patches.channels_per_block * setting.elem_bytes);
    const int64_t least = std::clamp(8 * chunk, least_pixels, pixels_most);
    Cut cut{std::clamp(32 * chunk, least_pixels, pixels_most), 1};
    if (!plan.tasks.parallel) return cut;
    // First smaller boxes; then the channels are split, which reads the source again.
    const int64_t all = all_pixels(plan) * plan.tasks.groups, wanted = setting.tasks_wanted;
    cut.pixels = std::min(cut.pixels, std::max(ceil_div(all, wanted), least));
    cut.splits = std::clamp(ceil_div(wanted, ceil_div(all, cut.pixels)), int64_t(1),
                            std::max<int64_t>(padded_channels(plan, setting) / channels_worth_a_task, 1));
    cut.pixels = std::min(cut.pixels, std::max(ceil_div(all * cut.splits, wanted),
                                               4 * panel_width(plan, tile_shape(plan, setting), true)));
    return cut;
}

// The boxes of flat rows are those of their products.
void split_joints(Plan& plan, RowsPlan& rows, int64_t pixels_most, int64_t lanes) {
    size_t leader = 0;
    for (size_t j = 0; j < rows.joints.size(); ++j) {
        JointPlan& joint = rows.joints[j];
        const size_t classes = joint.shifts.size();
        const int64_t most = std::max<int64_t>(pixels_most / static_cast<int64_t>(classes), 1);
        joint.boxes = split_pixels(plan, joint.map, most, lanes);
        for (size_t c = 0; c < classes; ++c) {
            MapPlan& m = plan.maps[leader + c];
            m.boxes = joint.boxes;
            m.classes = c == 0 ? static_cast<int64_t>(classes) : 0;
            m.shift = joint.shifts[c];
            rows.joint_of.push_back(j);
        }
        leader += classes;
    }
}

void plan_flat(Plan& plan, const Setting& setting, RowsPlan& rows) {
    const bool joins = rows.joints.size() < plan.maps.size();
    const int64_t most = joins ? joint_pixels(plan, setting, rows.joints.front())
                               : std::max(packed_pixels_most(plan, setting), chunk_pixels_of_rows(setting, plan.maps[0]));
    const Cut cut = cut_for_threads(plan, setting, most, !joins);  // the rows of one product are not cut
    split_joints(plan, rows, std::max<int64_t>(cut.pixels, 1), waste_unit(plan, setting));
    count_tasks(plan, setting, cut.splits);
    plan.packing.panels = rows.joints.front().panels;
    place_weights(plan, setting, [&](const MapPlan& m) { return m.classes > 0 ? &rows.joint(plan, m) : nullptr; });
}

void plan_products(Plan& plan, const Setting& setting, const RowsPlan& rows) {
    const Cut cut =
        plan.maps[0].in_place
            ? cut_in_place(plan, setting, rows.chunk_bytes)
            : cut_for_threads(plan, setting,
                              std::max(packed_pixels_most(plan, setting), chunk_pixels_of_rows(setting, plan.maps[0])));
    split_maps(plan, std::max<int64_t>(cut.pixels, 1), waste_unit(plan, setting), alone);
    // Rows shorter than a vector are read beyond their end, which only staged ones allow.
    for (MapPlan& m : plan.maps) m.in_place &= m.boxes.shortest_row() >= setting.kernels.shape[0].lanes;
    count_tasks(plan, setting, cut.splits);
    place_weights(plan, setting);
}

void plan_sums(Plan& plan, const Setting& setting) {
    MapPlan& m = plan.maps[0];
    block_sum_channels(plan, setting);
    split_sums(plan, setting, chunk_pixels_of_rows(setting, m));
    m.in_place &= m.boxes.shortest_row() >= setting.kernels.shape[0].lanes;  // as above
    chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
}

void plan(Plan& plan, const Setting& setting, const Fit& fit) {
    auto rows = std::make_shared<RowsPlan>(static_cast<const RowsPlan&>(*fit.own));
    plan.weight_share = share_of_packing(plan);
    // Flat rows are read beyond their end, which only staged ones allow.
    for (MapPlan& m : plan.maps) m.in_place = vectors_in_place(plan, m.map) && !plan.converts() && !rows->flat();
    if (plan.pass == Pass::weight_grad) plan_sums(plan, setting);
    else if (rows->flat()) plan_flat(plan, setting, *rows);
    else plan_products(plan, setting, *rows);
    if (plan.pass != Pass::weight_grad) buffer_halves(plan);
    plan.own = std::move(rows);
}

template <class T>
constexpr Entry<T> entry_of() {
    return {[](const Plan& plan, WorkspaceBytes& bytes) {
                if (plan.pass == Pass::weight_grad) measure_sums<T, RowsSums<T>>(plan, bytes);
                else if (own<RowsPlan>(plan).flat()) measure_products<T, FlatProducts<T>>(plan, bytes);
                else measure_products<T, RowProducts<T>>(plan, bytes);
            },
            [](const Plan& plan, const PassOperands<T>& operands, const RunContext& run, T* packed) {
                if (own<RowsPlan>(plan).flat()) prepare_products<T, FlatProducts<T>>(plan, operands, run, packed);
                else prepare_products<T, RowProducts<T>>(plan, operands, run, packed);
            },
            [](const Plan& plan, const PassOperands<T>& operands, const RunContext& run) {
                if (plan.pass == Pass::weight_grad) run_sums<T, RowsSums<T>>(plan, operands, run);
                else if (own<RowsPlan>(plan).flat()) run_products<T, FlatProducts<T>>(plan, operands, run);
                else run_products<T, RowProducts<T>>(plan, operands, run);
            }};
}

constexpr Strategy make_strategy() {
    Strategy strategy = direct_strategy<RowProducts, RowsSums>(
        "rows", "vectors of pixels", order_bit(SumOrder::sequential), &fit, &plan);
    strategy.describe = [](const Plan& plan) {
        const size_t products = own<RowsPlan>(plan).joints.size();
        return describe_direct(plan, products > 0 && products < plan.maps.size());
    };
    strategy.float32 = entry_of<float>();
    strategy.float64 = entry_of<double>();
    return strategy;
}

}  // namespace

extern const Strategy rows_strategy;
const Strategy rows_strategy = make_strategy();

}  // namespace convpp
