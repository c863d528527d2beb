// Vectors of neighbouring pixels of a row are read where they lie, and nothing is packed but the weights.
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.
// Next: product.hpp (forward, input_grad), grad.hpp.   strategies/flat/ is for rows that are short, or not consecutive.
#include <memory>
#include <utility>

#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/rows/grad.hpp"
#include "strategies/rows/product.hpp"

namespace convpp {
namespace {

using namespace costs;

// Nothing is packed, but loads of vectors cross cache lines, and a row's last vector may be partly filled.
Estimate product_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    const TileShape& shape = kernels.shape[0];
    const int64_t channels = plan.tasks.channels;
    const int64_t length = m.map.axis[2].count;
    const auto slots = [&](int64_t rows) { return row_slots(rows, kernels.row_tile_vectors[rows - 1]); };
    const int64_t full = channels / shape.rows, rest = channels % shape.rows;
    const double of_vector = f(full) * slots(shape.rows) + (rest > 0 ? slots(rest) : 0.0);
    const double vectors = f(rows_of(plan, m)) * f(ceil_div(length, shape.lanes));
    double cost = f(terms_of(m)) * of_vector * vectors + filled_vector * filled_vectors(plan, m, shape.lanes);
    if (length < shape.lanes || !together(plan, m))
        cost += strided_store * vectors * f(channels * std::min(length, shape.lanes)) * f(2 * m.patches.count() - 1);
    if (plan.source.strides.channel == 1 && m.patches.channels > 1)
        cost += transposed_vector * read_elems(plan, m) * f(m.patches.channels) / f(shape.lanes);
    else cost += strided_vector * f(m.patches.channels) * split_vectors(m, vectors);
    if (plan.converts()) cost += copied_vector * f(m.patches.channels) * vectors;
    cost += row_panels(plan, shape, f(terms_of(m)));
    cost += added_vector * f(m.patches.count() - 1) * f(channels) * vectors;
    return {{0, true, shape.rows, shape.vectors * shape.lanes}, cost};
}

// Dot products of rows of dy and of x, which both lie in memory as the vectors want them.
Estimate sum_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    // The rows of a chunk stream from L2, but for taps that read the same ones again; vectors cross cache lines.
    const double load = m.map.taps() >= 9 ? 2.65 : 3.5;
    constexpr double converted_vector = 10.0;  // of halves
    constexpr double ragged_vector = 4.0;  // more of them, to blank the lanes of one that is partly filled
    const TileShape& shape = kernels.shape[0];
    const int64_t length = m.map.axis[2].count, lanes = shape.lanes;
    const int64_t columns = terms_of(m), channels = plan.tasks.channels;
    const double loads =
        f(channels) * f(ceil_div(columns, kernels.dot_columns)) + f(columns) * f(ceil_div(channels, kernels.dot_rows));
    const double of_vector = std::max({f(channels) * f(columns), load * loads, 6.0});
    const double ragged = length % lanes != 0 ? ragged_vector * loads : 0.0;
    double of_row = f(ceil_div(length, lanes)) * of_vector + ragged;
    if (plan.converts())  // dy for each block of pairs, x for each tap of the height at most
        of_row += converted_vector * f(ceil_div(length, lanes)) *
                  (f(channels) * f(m.patches.count()) + f(m.patches.channels));
    const double cost = f(rows_of(plan, m)) * of_row;
    return {{0, true, shape.rows, shape.vectors * lanes}, cost};
}

Fit fit(const Plan& draft, const Setting& setting) {
    const MapPlan& m = heaviest_map(draft);
    if (draft.pass != Pass::weight_grad) {
        if (rows_are_better_flat(draft, setting.kernels.shape[0].lanes))
            return Fit::refuse("rows are short or of residue classes: better flat");
        Fit fit;
        fit.estimate = product_estimate(draft, setting.kernels, m);
        return fit;
    }
    if (draft.result.axis[2] != 1) return Fit::refuse("pixels of dy lie apart, expected channels first");
    Fit fit;
    fit.estimate = sum_estimate(draft, setting.kernels, m);
    return fit;
}

// Rows in place: what a chunk of vectors reads is asked for during the one before it (row_product.hpp), so boxes need
// not fit in a cache.  The source of a box is 8 to 32 chunks: the first of them, which nobody asked for, should be a
// small part. (Few channels: where a box's pixels lie should not take more memory.)
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

void plan_products(Plan& plan, const Setting& setting) {
    // 3/64 of the L2, 48 KiB of 1 MiB, leave room for the weights, the results, and the next vectors, which are asked
    // for meanwhile.  (Measured with 1x1 layers, planes of 28x28 to 112x112: 24 to 48 KiB are alike, but for one tile
    // of 128 channels at a time; 96 KiB cost 2 to 5 %.)
    auto rows = std::make_shared<RowsPlan>();
    rows->chunk_bytes = setting.cache_bytes * 3 / 64;
    const Cut cut = plan.maps[0].in_place ? cut_in_place(plan, setting, rows->chunk_bytes)
                                          : cut_for_threads(plan, setting, staged_row_pixels_most(plan, setting));
    split_maps(plan, std::max<int64_t>(cut.pixels, 1), waste_unit(plan, setting), alone);
    // Rows shorter than a vector are read beyond their end, which only staged ones allow.
    for (MapPlan& m : plan.maps) m.in_place &= m.boxes.shortest_row() >= setting.kernels.shape[0].lanes;
    count_tasks(plan, setting, cut.splits);
    place_weights(plan, setting);
    buffer_results(plan);
    plan.own = std::move(rows);
}

void plan_sums(Plan& plan, const Setting& setting) {
    MapPlan& m = plan.maps[0];
    block_sum_channels(plan, setting);
    split_sums(plan, setting, chunk_pixels_of_rows(setting, m));
    m.in_place &= m.boxes.shortest_row() >= setting.kernels.shape[0].lanes;  // as above
    chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    plan.weight_share = share_of_packing(plan);
    for (MapPlan& m : plan.maps) m.in_place = vectors_in_place(plan, m.map) && !plan.converts();
    if (plan.pass == Pass::weight_grad) plan_sums(plan, setting);
    else plan_products(plan, setting);
}

}  // namespace

extern const Strategy rows_strategy;
const Strategy rows_strategy =
    direct_strategy<RowsProduct, RowsSums>("rows", "vectors of pixels", order_bit(SumOrder::sequential), &fit, &plan);

}  // namespace convpp
