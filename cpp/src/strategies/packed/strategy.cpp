// Both operands are copied into panels that the tile reads from front to back: the classical product of matrices (Goto
// and van de Geijn 2008).
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.   Next: product.hpp (forward, input_grad), grad.hpp.
#include "plan/product_tasks.hpp"
#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/packed/grad.hpp"
#include "strategies/packed/product.hpp"

namespace convpp {
namespace {

using namespace costs;

bool in_place(const Plan& plan, const IndexMap& map) {
    return vectors_in_place(plan, map) || packs_straight(plan, map);
}

// Both panels pass through the L1, of which rows that are read where they lie leave more to the other side.  (Measured,
// 1x1 layers of 48 to 2048 channels: estimates without it were 2 to 9 % too low beside `indirect`.)
constexpr double panels = 1.05;

Estimate product_estimate(const Plan& plan, const Setting& setting, const MapPlan& m) {
    const KernelShapes& kernels = setting.kernels;
    const int64_t channels = plan.tasks.channels, pixels = pixels_of_map(plan, m);
    const bool last =
        plan.source.strides.channel == 1 && m.patches.channels > 1;  // then the source is transposed first
    // Long strides: what is staged of so few pixels fills the cache that panels of them are partly filled.
    const int64_t box = std::min(pixels, staged_pixels_most(setting, m));
    return cheapest(kernels, plan.tasks.channels, {true, false}, [&](const TileShape& shape, bool pixels_are_columns) {
        const int64_t rows = pixels_are_columns ? channels : pixels;
        const int64_t columns = pixels_are_columns ? pixels : channels;
        // Each row of pixels ends with a vector that is partly filled.
        const int64_t packed =
            rows_of(plan, m) + (pixels_are_columns ? ceil_div(pixels, shape.lanes) : ceil_div(pixels, shape.rows));
        const bool contiguous = pixels_are_columns ? together(plan, m) : plan.result.channel == 1;
        const bool ragged = columns % shape.lanes != 0 && columns < shape.lanes * shape.vectors;
        // Few pixels are packed again for each block of result channels.
        const double again = std::clamp(6000.0 / f(pixels), 1.0, std::max(1.0, f(channels) / 64.0));
        const double multiply = pixels_are_columns ? tile_cost(shape, channels, box, packed_slots)
                                                   : tile_cost(shape, box, channels, packed_slots);
        double cost = f(terms_of(m)) * (panels * f(pixels) / f(box) * multiply + packed_row * again * f(packed));
        cost += added_vector * f(m.patches.count() - 1) * f(rows) * f(ceil_div(columns, shape.lanes));
        if (pixels_are_columns) cost += row_panels(plan, shape, f(terms_of(m)));
        if (last) cost += transposed_vector * read_elems(plan, m) * f(m.patches.channels) / f(shape.lanes);
        else cost += strided_vector * f(m.patches.channels) * split_vectors(m, f(pixels) / f(shape.lanes));
        cost += filled_vector * filled_vectors(plan, m, shape.lanes);
        if (!contiguous || ragged) cost += strided_store * f(rows) * f(columns) * f(2 * m.patches.count() - 1);
        return cost;
    });
}

Estimate sum_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    const int64_t channels = plan.tasks.channels, columns = terms_of(m);
    const double again = f(ceil_div(channels, channels_of_sum));
    return cheapest(kernels, plan.tasks.channels, {true, false}, [&](const TileShape& shape, bool pixels_are_columns) {
        const double multiply = pixels_are_columns ? tile_cost(shape, channels, columns, packed_slots)
                                                   : tile_cost(shape, columns, channels, packed_slots);
        // x is packed for each block of result channels, dy for each block of pairs; short runs take twice as long.
        const double pack =
            2 * transposed_vector *
            (again * f(ceil_div(columns, shape.lanes)) + f(m.patches.count()) * f(ceil_div(channels, shape.lanes)));
        return f(pixels_of_map(plan, m)) * (multiply + pack);
    });
}

Fit fit(const Plan& draft, const Setting& setting) {
    MapPlan m = heaviest_map(draft);
    m.in_place = in_place(draft, m.map);
    Fit fit;
    fit.estimate =
        draft.pass == Pass::weight_grad ? sum_estimate(draft, setting.kernels, m) : product_estimate(draft, setting, m);
    return fit;
}

void plan_products(Plan& plan, const Setting& setting) {
    const Cut cut = cut_for_threads(plan, setting, packed_pixels_most(plan, setting));
    split_maps(plan, cut.pixels, waste_unit(plan, setting), alone);
    count_tasks(plan, setting, cut.splits);
    place_weights(plan, setting);
    buffer_results(plan);
}

void plan_sums(Plan& plan, const Setting& setting) {
    const MapPlan& m = plan.maps[0];
    block_sum_channels(plan, setting);
    split_sums(plan, setting, std::min(box_pixels(plan, m, {}), staged_pixels_most(setting, m)));
    chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    plan.weight_share = share_of_packing(plan);
    for (MapPlan& m : plan.maps) m.in_place = in_place(plan, m.map);
    if (plan.pass == Pass::weight_grad) plan_sums(plan, setting);
    else plan_products(plan, setting);
}

}  // namespace

extern const Strategy packed_strategy;
const Strategy packed_strategy =
    direct_strategy<PackedProduct, PackedSums>("packed", "pixels packed", order_bit(SumOrder::sequential), &fit, &plan);

}  // namespace convpp
