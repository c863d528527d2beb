// The estimates of estimates.hpp.  Each counts the tile's work and what must happen before and after it.
#include "plan/estimates.hpp"

#include <algorithm>
#include <limits>

#include "problem/checked.hpp"
#include "plan/plan_parts.hpp"

namespace convpp {
namespace {

constexpr double packed_row = 7.0;  // a packed vector (or part of one) of pixels, most of them in short runs
constexpr double strided_store = 2.0;  // an element that is stored on its own
constexpr double filled_vector = 20.0;  // of results that are filled in, go to memory, and come back to be written
constexpr double copied_vector = 2.5;  // of a row that is copied with its padding
constexpr double strided_vector = 30.0;  // of a row that is split into phases: its lines come from far, half used
constexpr double transposed_vector = 7.0;  // a load, log2(lanes) shuffles, a store

double f(int64_t n) { return static_cast<double>(n); }

// Slots that `rows x columns` results take for one step of the contraction, tile by tile.
template <class Slots>
double tile_cost(const TileShape& shape, int64_t rows, int64_t columns, const Slots& slots) {
    const auto of = [&](int64_t r, int64_t v) { return r == 0 || v == 0 ? 0.0 : slots(r, v); };
    const int64_t vectors = ceil_div(columns, shape.lanes);
    const int64_t full_rows = rows / shape.rows, rest_rows = rows % shape.rows;
    const int64_t full_vectors = vectors / shape.vectors, rest_vectors = vectors % shape.vectors;
    return f(full_rows) * f(full_vectors) * of(shape.rows, shape.vectors) +
           f(full_vectors) * of(rest_rows, shape.vectors) + f(full_rows) * of(shape.rows, rest_vectors) +
           of(rest_rows, rest_vectors);
}

// Packed tiles: full ones are bound by multiply-adds, small ones by loads (one for each row and vector) or by the
// latency of the sum.
double packed_slots(int64_t rows, int64_t vectors) { return f(std::max({rows * vectors, rows + vectors, int64_t(6)})); }

// Indirect tiles load a pointer more for each row.  Measured: 8x3 and 7x4 reach 99 % of the packed tile, 14x2 95 %, 14x1
// 85 %.
double indirect_slots(int64_t rows, int64_t vectors) {
    return std::max(f(rows * vectors) * (1.0 + 0.17 / f(vectors * vectors)), 6.0);
}

int64_t pixels_of_map(const Plan& plan, const MapPlan& m) { return m.map.pixels() * plan.batch; }
int64_t terms_of(const MapPlan& m) { return m.map.taps() * m.patches.channels; }
int64_t rows_of(const Plan& plan, const MapPlan& m) { return plan.batch * m.map.axis[0].count * m.map.axis[1].count; }
bool together(const Plan& plan, const MapPlan& m) { return m.map.axis[2].result_step * plan.result.axis[2] == 1; }

// The cheapest family and orientation; equals are decided by the weights' panels, the less filled up the better.
template <class Cost>
TileChoice cheapest(const KernelShapes& kernels, int64_t channels, std::initializer_list<bool> orientations,
                    const Cost& cost_of) {
    constexpr double filled_up = 0.002;  // more than remainders of pixels make up
    TileChoice best;
    best.cost = std::numeric_limits<double>::infinity();
    for (int index = 0; index < kernels::tile_shapes; ++index) {
        const TileShape& shape = kernels.shape[index];
        for (const bool pixels_are_columns : orientations) {
            const int64_t width = pixels_are_columns ? shape.rows : shape.vectors * shape.lanes;
            const double waste = f(round_up(channels, width)) / f(channels) - 1.0;
            const double cost = cost_of(shape, pixels_are_columns) * (1.0 + filled_up * waste);
            if (cost < best.cost) best = {index, pixels_are_columns, shape.rows, shape.vectors * shape.lanes, cost};
        }
    }
    return best;
}

// Elements of the source that a map's taps read, padding included, of all samples and one channel; each at least once.
double read_elems(const Plan& plan, const MapPlan& m) {
    double elems = f(plan.batch);
    for (const AxisMap& axis : m.map.axis) {
        const auto [lo, hi] = std::minmax_element(axis.taps.begin(), axis.taps.end(),
                                                  [](const Tap& s, const Tap& t) { return s.offset < t.offset; });
        elems *= f((axis.count - 1) * axis.source_step + hi->offset - lo->offset + 1);
    }
    return elems;
}

// Vectors of results that are filled in before: a stride beyond the kernel's reach leaves most of them without terms.
// (Single pixels write those with their own, unless they are too many for a task.)
double filled_vectors(const Plan& plan, const MapPlan& m, int64_t lanes) {
    if (!plan.fill_result || plan.channels_last || plan.maps.size() != 1) return 0.0;
    double elems = f(plan.result_channels) * f(pixels_of_map(plan, m));
    for (const AxisMap& axis : m.map.axis) elems *= f(axis.result_step);
    return elems / f(lanes);
}

// Staging splits a source with strides into phases: the vectors of pixels of all rows of a channel that it walks through.
double split_vectors(const MapPlan& m, double vectors) {
    double rows = 0;
    if (std::any_of(m.map.axis.begin(), m.map.axis.end(), [](const AxisMap& axis) { return axis.source_step > 1; }))
        rows = f(static_cast<int64_t>(m.map.axis[0].phases.size() * m.map.axis[1].phases.size()));
    return rows * vectors;
}

}  // namespace

TileChoice packed_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const int64_t channels = plan.result_channels, pixels = pixels_of_map(plan, m);
    const bool last = plan.source.channel == 1 && m.patches.channels > 1;  // then the source is transposed first
    return cheapest(kernels, plan.result_channels, {true, false}, [&](const TileShape& shape, bool pixels_are_columns) {
        const int64_t rows = pixels_are_columns ? channels : pixels;
        const int64_t columns = pixels_are_columns ? pixels : channels;
        // Each row of pixels ends with a vector that is partly filled.
        const int64_t packed =
            rows_of(plan, m) + (pixels_are_columns ? ceil_div(pixels, shape.lanes) : ceil_div(pixels, shape.rows));
        const bool contiguous = pixels_are_columns ? together(plan, m) : plan.result.channel == 1;
        const bool ragged = columns % shape.lanes != 0 && columns < shape.lanes * shape.vectors;
        // Few pixels are packed again for each block of result channels.
        const double again = std::clamp(6000.0 / f(pixels), 1.0, std::max(1.0, f(channels) / 64.0));
        double cost = f(terms_of(m)) * (tile_cost(shape, rows, columns, packed_slots) + packed_row * again * f(packed));
        if (last) cost += transposed_vector * read_elems(plan, m) * f(m.patches.channels) / f(shape.lanes);
        else cost += strided_vector * f(m.patches.channels) * split_vectors(m, f(pixels) / f(shape.lanes));
        cost += filled_vector * filled_vectors(plan, m, shape.lanes);
        if (!contiguous || ragged) cost += strided_store * f(rows) * f(columns) * f(2 * m.patches.count() - 1);
        return cost;
    });
}

bool computes_flat_rows(const Plan& plan, int64_t lanes) {
    return std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) {
        const AxisMap& row = m.map.axis[2];
        if (m.patches.taps.count() > 1) return false;
        // Channels last: for the sake of what the classes share.  (With channels that fill a vector, pixels are better
        // read one by one: measured, 17 channels at stride 3 are 1.1 times as fast.)
        if (plan.result.axis[2] > 1) return plan.maps.size() > 1 && plan.result_channels < lanes;
        return row.result_step > 1 || (row.count < 3 * lanes && row.count % lanes != 0);
    });
}

namespace {

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
TileChoice flat_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const TileShape& shape = kernels.shape[0];
    double cost = 0;
    for (const JointPlan& joint : join_maps(plan, shape.rows)) {
        const std::array<AxisMap, 3>& axis = joint.map.axis;
        const int64_t pitch = axis[2].count + static_cast<int64_t>(axis[2].taps.size()) - 1;
        const int64_t planes = plan.batch * axis[0].count;
        const int64_t channels = plan.result_channels * static_cast<int64_t>(joint.shift.size());
        const double vectors = f(planes * ceil_div(axis[1].count * pitch, shape.lanes));
        cost += f(plan.source_channels) * joint_slots(kernels, joint) * vectors;
        cost += copied_vector * f(channels) * (vectors + f(planes * axis[1].count));
        if (plan.result.axis[2] > 1) cost += strided_store * f(channels * plan.batch * joint.map.pixels());
        if (plan.source.channel == 1 && plan.source_channels > 1)
            cost += transposed_vector * f(plan.source_channels) * vectors;
        else cost += strided_vector * f(plan.source_channels) * split_vectors(m, vectors);
    }
    cost += filled_vector * filled_vectors(plan, m, shape.lanes);
    double work = 0;  // of all maps: the others' estimates are of this one
    for (const MapPlan& each : plan.maps) work += f(each.map.pixels() * each.map.taps());
    cost *= f(m.map.pixels() * m.map.taps()) / work;
    return {0, true, shape.rows, shape.vectors * shape.lanes, cost};
}

}  // namespace

// Nothing is packed, but loads of vectors cross cache lines, and a row's last vector may be partly filled.
TileChoice vector_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const TileShape& shape = kernels.shape[0];
    if (computes_flat_rows(plan, shape.lanes)) return flat_product(kernels, plan, m);
    const int64_t channels = plan.result_channels;
    const int64_t length = m.map.axis[2].count;
    const auto slots = [&](int64_t rows) { return row_slots(rows, kernels.row_tile_vectors[rows - 1]); };
    const int64_t full = channels / shape.rows, rest = channels % shape.rows;
    const double of_vector = f(full) * slots(shape.rows) + (rest > 0 ? slots(rest) : 0.0);
    const double vectors = f(rows_of(plan, m) * ceil_div(length, shape.lanes));
    double cost = f(terms_of(m)) * of_vector * vectors + filled_vector * filled_vectors(plan, m, shape.lanes);
    if (length < shape.lanes || !together(plan, m))
        cost += strided_store * vectors * f(channels * std::min(length, shape.lanes)) * f(2 * m.patches.count() - 1);
    if (plan.source.channel == 1 && m.patches.channels > 1)
        cost += transposed_vector * read_elems(plan, m) * f(m.patches.channels) / f(shape.lanes);
    else cost += strided_vector * f(m.patches.channels) * split_vectors(m, vectors);
    if (plan.converts) cost += copied_vector * f(m.patches.channels) * vectors;
    return {0, true, shape.rows, shape.vectors * shape.lanes, cost};
}

// Pixels are read one by one.  The source is copied with its padding at most, and channels_first results transposed.
TileChoice scalar_product(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const int64_t channels = plan.result_channels, pixels = pixels_of_map(plan, m);
    return cheapest(kernels, plan.result_channels, {false}, [&](const TileShape& shape, bool) {
        const double vectors = f(pixels) * f(ceil_div(channels, shape.lanes));
        double cost = f(terms_of(m)) * tile_cost(shape, pixels, channels, indirect_slots);
        cost += 3.0 * f(m.patches.count()) * vectors;  // accumulators are loaded and stored once a block
        if (!m.in_place) {
            const double rows = read_elems(plan, m) / f(std::max<int64_t>(1, m.map.axis[2].source_extent));
            cost += copied_vector * f(m.patches.channels) * (read_elems(plan, m) / f(shape.lanes) + rows);
        }
        if (plan.result.channel != 1) cost += transposed_vector * vectors;
        if (plan.result.channel == 1 && channels % shape.lanes != 0) cost += 3.0 * vectors;
        return cost;
    });
}

TileChoice packed_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const int64_t channels = plan.result_channels, columns = terms_of(m);
    const double again = f(ceil_div(channels, sum_channels));
    return cheapest(kernels, plan.result_channels, {true, false}, [&](const TileShape& shape, bool pixels_are_columns) {
        const double multiply = pixels_are_columns ? tile_cost(shape, channels, columns, packed_slots)
                                                   : tile_cost(shape, columns, channels, packed_slots);
        // x is packed for each block of result channels, dy for each block of pairs; short runs take twice as long.
        const double pack =
            2 * transposed_vector *
            (again * f(ceil_div(columns, shape.lanes)) + f(m.patches.count()) * f(ceil_div(channels, shape.lanes)));
        return f(pixels_of_map(plan, m)) * (multiply + pack);
    });
}

// Dot products of rows of dy and of x, which both lie in memory as the vectors want them.
TileChoice vector_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    // The rows of a chunk stream from L2, but for taps that read the same ones again; vectors cross cache lines.
    const double load = m.map.taps() >= 9 ? 2.65 : 3.5;
    constexpr double ragged_vector = 4.0;  // more of them, to blank the lanes of one that is partly filled
    const TileShape& shape = kernels.shape[0];
    const int64_t length = m.map.axis[2].count, lanes = shape.lanes;
    const int64_t columns = terms_of(m), channels = plan.result_channels;
    const double loads =
        f(channels) * f(ceil_div(columns, kernels.dot_columns)) + f(columns) * f(ceil_div(channels, kernels.dot_rows));
    const double of_vector = std::max({f(channels) * f(columns), load * loads, 6.0});
    const double ragged = length % lanes != 0 ? ragged_vector * loads : 0.0;
    const double cost = f(rows_of(plan, m)) * (f(ceil_div(length, lanes)) * of_vector + ragged);
    return {0, true, shape.rows, shape.vectors * lanes,
            plan.result.axis[2] == 1 ? cost : std::numeric_limits<double>::infinity()};
}

// One side is packed, the other one's rows are read where they lie: pairs of x (then dy is packed, for each block of
// pairs), or channels of dy.
TileChoice scalar_sum(const KernelShapes& kernels, const Plan& plan, const MapPlan& m) {
    const int64_t channels = plan.result_channels, columns = terms_of(m), pixels = pixels_of_map(plan, m);
    const double rows = read_elems(plan, m) / f(std::max<int64_t>(1, m.map.axis[2].source_extent));
    const double again = f(ceil_div(channels, sum_channels));  // x is brought for each block of result channels
    return cheapest(kernels, plan.result_channels, {true, false}, [&](const TileShape& shape, bool packs_patches) {
        const bool copies = packs_patches ? packs_straight(plan, m.map) : plan.result.channel == 1;
        double cost = (copies ? copied_vector : transposed_vector + 3) * f(pixels) *
                      (packs_patches ? again * f(ceil_div(columns, shape.lanes))
                                     : f(ceil_div(channels, shape.lanes)) * f(m.patches.count()));
        cost += f(pixels) * (packs_patches ? tile_cost(shape, channels, columns, indirect_slots)
                                           : tile_cost(shape, columns, channels, indirect_slots));
        const bool in_place =
            packs_patches ? packs_straight(plan, m.map) || (m.in_place && vectors_together(plan, m.map)) : m.in_place;
        if (!in_place)
            cost += again * copied_vector * f(m.patches.channels) * (read_elems(plan, m) / f(shape.lanes) + rows);
        // The rows of dy would be read where they lie.
        return packs_patches && plan.converts ? std::numeric_limits<double>::infinity() : cost;
    });
}

}  // namespace convpp
