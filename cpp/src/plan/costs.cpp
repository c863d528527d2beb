// The common parts of the estimates.  costs.hpp says what each is.
#include "plan/costs.hpp"

namespace convpp::costs {

double packed_slots(int64_t rows, int64_t vectors) { return f(std::max({rows * vectors, rows + vectors, int64_t(6)})); }

double indirect_slots(int64_t rows, int64_t vectors) {
    return std::max(f(rows * vectors) * (1.0 + 0.17 / f(vectors * vectors)), 6.0);
}

double row_slots(int64_t rows, int64_t vectors) {
    return f(std::max({rows * vectors, rows + 2 * vectors, int64_t(6)})) / f(vectors);
}

bool rows_are_better_flat(const Plan& plan, int64_t lanes) {
    return std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) {
        const AxisMap& row = m.map.axis[2];
        if (m.patches.taps.count() > 1) return false;
        // Channels last: for the sake of what the classes share.  (With channels that fill a vector, pixels are better
        // read one by one: measured, 17 channels at stride 3 are 1.1 times as fast.)
        if (plan.result.axis[2] > 1) return plan.maps.size() > 1 && !plan.cut && plan.tasks.channels < lanes;
        return row.result_step > 1 || (row.count < 3 * lanes && row.count % lanes != 0);
    });
}

double read_elems(const Plan& plan, const MapPlan& m) {
    double elems = f(plan.batch());
    for (const AxisMap& axis : m.map.axis) {
        const Span offsets = axis.taps.offsets(0, axis.taps.size());
        elems *= f((axis.count - 1) * axis.source_step + offsets.hi - offsets.lo + 1);
    }
    return elems;
}

double filled_vectors(const Plan& plan, const MapPlan& m, int64_t lanes) {
    if (plan.gaps != Gaps::filled_before || plan.channels_last() || plan.maps.size() != 1) return 0.0;
    double elems = f(plan.tasks.channels) * f(pixels_of_map(plan, m));
    for (const AxisMap& axis : m.map.axis) elems *= f(axis.result_step);
    return elems / f(lanes);
}

double split_vectors(const MapPlan& m, double vectors) {
    double rows = 0;
    if (std::any_of(m.map.axis.begin(), m.map.axis.end(), [](const AxisMap& axis) { return axis.source_step > 1; }))
        rows = f(m.map.axis[0].phases() * m.map.axis[1].phases());
    return rows * vectors;
}

double row_panels(const Plan& plan, const TileShape& shape, double terms) {
    if (plan.weights.result_channel == 1) return 0.0;  // copied as they are
    const int64_t channels = plan.tasks.channels, squares = ceil_div(shape.rows, shape.lanes);
    const double more = f(ceil_div(channels, shape.rows) * squares) - f(ceil_div(channels, shape.lanes));
    return weight_vector * terms * std::max(more, 0.0);
}

const MapPlan& heaviest_map(const Plan& plan) {
    const auto work = [](const MapPlan& m) { return f(m.map.pixels()) * f(m.map.taps()); };
    return *std::max_element(plan.maps.begin(), plan.maps.end(),
                             [&](const MapPlan& a, const MapPlan& b) { return work(a) < work(b); });
}

}  // namespace convpp::costs
