// Pixels are read one by one where they lie, through a pointer for each row of the tile and offsets common to all of
// them; vectors run along the result channels (Dukhan 2019, The indirect convolution algorithm).
//
// In:  a draft of the plan.   Out: its estimate; boxes and tasks.   Next: product.hpp (forward, input_grad), grad.hpp.
#include "plan/sum_tasks.hpp"
#include "strategies/direct.hpp"
#include "strategies/indirect/grad.hpp"
#include "strategies/indirect/product.hpp"

namespace convpp {
namespace {

using namespace costs;

constexpr int64_t pixels_worth_a_task = 56;  // 8 tiles, each of them 2 % of the task
constexpr int64_t most_sum_channels = 512;  // result channels of a task, at most: their sums share the L2

// Elements that a pair's two channels are apart in the source; 0: they lie together, as one element.
int64_t partner_distance(const Plan& plan) {
    const int64_t channel = plan.source.strides.channel;
    return plan.order == SumOrder::pairs && channel != 1 ? channel / 2 : 0;
}

// Where taps of any pixel stay inside the source, pixels can be read one by one from anywhere, except that planes a
// multiple of many cache sets apart would push each other out, if there are more of them than an L1 has ways.
bool in_place(const Plan& plan, const IndexMap& map, int64_t elem_bytes) {
    if (plan.converts() && (plan.order != SumOrder::pairs || partner_distance(plan) != 0)) return false;
    constexpr int64_t few_sets_bytes = 2048;  // half of the 4 KiB after which an L1 of 64 sets begins again
    constexpr int64_t few_planes = 4;  // of 8 ways (measured, patches of 16x16, 3 channels of 384x384: 45 -> 30 ms)
    const int64_t channel = plan.source.strides.channel;
    const bool aliased =
        channel != 1 && plan.source.channels > few_planes && channel * elem_bytes % few_sets_bytes == 0;
    return map.reads_inside() && !aliased;
}

// Tiles of one vector serve where channels lie together.  (Measured, weight gradients of groups of 8 and 16 channels: in
// channels_first 0.8 times as fast as the others.)
bool tile_serves(const Plan& plan, const TileShape& shape) { return shape.vectors > 1 || plan.channels_last(); }

// Pixels are read one by one.  The source is copied with its padding at most, and channels_first results transposed.
Estimate product_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    const int64_t channels = plan.tasks.channels, pixels = pixels_of_map(plan, m);
    return cheapest(kernels, plan.tasks.channels, {false}, [&](const TileShape& shape, bool) {
        if (!tile_serves(plan, shape)) return std::numeric_limits<double>::infinity();
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

// One side is packed, the other one's rows are read where they lie: pairs of x (then dy is packed, for each block of
// pairs), or channels of dy.
Estimate sum_estimate(const Plan& plan, const KernelShapes& kernels, const MapPlan& m) {
    const int64_t channels = plan.tasks.channels, columns = terms_of(m), pixels = pixels_of_map(plan, m);
    const double rows = read_elems(plan, m) / f(std::max<int64_t>(1, m.map.axis[2].source_extent));
    const double again = f(ceil_div(channels, channels_of_sum));  // x is brought for each block of result channels
    return cheapest(kernels, plan.tasks.channels, {true, false}, [&](const TileShape& shape, bool packs_patches) {
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
        const bool serves = tile_serves(plan, shape) && !(packs_patches && plan.converts());
        return serves ? cost : std::numeric_limits<double>::infinity();
    });
}

Fit fit(const Plan& draft, const Setting& setting) {
    MapPlan m = heaviest_map(draft);
    m.in_place = in_place(draft, m.map, setting.elem_bytes);
    if (!m.in_place && m.map.reads_mostly_gaps())
        return Fit::refuse("most of what would be copied lies between the taps, expected a stride within their reach");
    Fit fit;
    fit.estimate = (draft.pass == Pass::weight_grad ? sum_estimate : product_estimate)(draft, setting.kernels, m);
    return fit;
}

// Few pixels and large weights: then a task takes all pixels and few channels, and packs the weights that it alone
// reads, block by block, where they stay in L2.  Packed by all threads before, they would go to memory and come back
// (measured: 2 to 3 % of 3x3 512-512 at 7x7 and 14x14, far more while others fill the L3).
bool all_pixels_in_a_task(const Plan& plan, const Setting& setting, int64_t pixels) {
    constexpr double large_weights = 1 << 18;  // elements: from here on they are not in L2 anyway
    const int64_t padded = padded_channels(plan, setting);
    const int64_t panels = padded / panel_width(plan, tile_shape(plan, setting), false);
    int64_t taps = 0, most = chunk_pixels_most;
    for (const MapPlan& m : plan.maps) {
        taps += m.map.taps();
        most = std::min(most, copied_pixels_most(setting, m));
    }
    const double weights = f(taps * plan.source.channels) * f(padded);
    return (plan.maps.size() == 1 || plan.cut) && (plan.tasks.parallel || plan.samples.shared_out) && pixels <= most &&
           weights >= large_weights && 2 * plan.tasks.groups * panels >= setting.tasks_wanted;
}

// Most pixels of a task: their sums, and the source that they read, stay in 7/16 of L2 while all blocks of patches are
// added.
int64_t pixels_most(const Plan& plan, const Setting& setting) {
    const int64_t channels = std::min(padded_channels(plan, setting), most_sum_channels);
    const int64_t sums = plan.result.channel == 1 ? 0 : channels;
    const int64_t each = sums + 2 * plan.maps[0].patches.channels_per_block;
    const int64_t most = std::min(chunk_pixels_most, copied_pixels_most(setting, plan.maps[0]));
    return std::max(std::min(chunk_bytes(setting) / (each * setting.elem_bytes), most), least_pixels);
}

// The tile and the panels of tasks of all pixels.  Each of them brings the source anew, block by block, so several
// panels are better than one, while a block's source, weights and sums stay in 7/16 of L2, and each thread has two
// tasks.  (Measured, 3x3 at stride 2 and 14x14, 2 threads, two panels in place of one: eight samples of 384-576 1.08
// times as fast, of 256-512 1.02, one of 512-512 1.03.)
ChannelShare share_all_pixels(const Plan& plan, const Setting& setting, int64_t pixels) {
    const int64_t threads = threads_planned_for(setting), pairs_per_block = plan.maps[0].patches.largest();
    const int64_t source = 2 * plan.maps[0].patches.channels_per_block * pixels;
    const int64_t in_cache = (chunk_bytes(setting) / setting.elem_bytes - source) / (pixels + pairs_per_block);
    const int64_t most = std::min(in_cache, plan.tasks.groups * plan.tasks.channels / (2 * threads));
    return share_channels(plan, setting, most, threads);
}

Cut cut(const Plan& plan, const Setting& setting) {
    const int64_t channel_panel = panel_width(plan, tile_shape(plan, setting), false);
    const int64_t padded = padded_channels(plan, setting), pixels = all_pixels(plan);
    Cut cut{pixels_most(plan, setting), ceil_div(padded, round_up(most_sum_channels, channel_panel))};
    if (!plan.tasks.parallel) return cut;
    // Weights stream from L3 once for each box of pixels, pixels are copied once for each block of channels: first some
    // blocks of channels, then smaller boxes, then the smallest blocks.
    const int64_t all = pixels * plan.tasks.groups;
    const auto split_channels = [&](int64_t least) {
        cut.splits = std::clamp(ceil_div(setting.tasks_wanted, ceil_div(all, cut.pixels)), cut.splits,
                                std::max<int64_t>(cut.splits, padded / least));
    };
    split_channels(2 * std::max(channel_panel, channels_worth_a_task));
    cut.pixels = std::min(cut.pixels, std::max(ceil_div(all * cut.splits, setting.tasks_wanted), pixels_worth_a_task));
    split_channels(std::max(channel_panel, channels_worth_a_task));
    // Smaller boxes only where threads would have nothing to do.
    const int64_t rows = plan.tile.rows, least = 2 * threads_planned_for(setting);
    if (ceil_div(all, cut.pixels) * cut.splits < least)
        cut.pixels = std::min(cut.pixels, round_up(ceil_div(all * cut.splits, least), rows));
    return cut;
}

void plan_products(Plan& plan, const Setting& setting) {
    // (Measured: the input gradient of 1x1 layers of stride 2, 256 to 1024 channels: 1.05 to 1.25 times as fast.)
    write_gaps(plan);
    const int64_t pixels = all_pixels(plan);
    plan.packing.by_tasks = all_pixels_in_a_task(plan, setting, pixels);
    int64_t panels = 1;
    if (plan.packing.by_tasks && plan.order != SumOrder::pairs) {
        const ChannelShare share = share_all_pixels(plan, setting, pixels);
        plan.tile = share.tile;
        panels = share.panels;
    }
    const int64_t of_tasks = panels * panel_width(plan, tile_shape(plan, setting), false);
    const Cut tasks = plan.packing.by_tasks ? Cut{pixels, ceil_div(plan.tasks.channels, of_tasks)} : cut(plan, setting);
    // In channels_first, the residue classes that share a row of the result belong to one task, which writes it as one.
    split_maps(plan, std::max<int64_t>(tasks.pixels, 1), waste_unit(plan, setting),
               [&](size_t leader) { return plan.channels_last() ? 1 : classes_together(plan, leader, false); });
    count_tasks(plan, setting, tasks.splits);
    place_weights(plan, setting);
    buffer_results(plan);
}

void plan_sums(Plan& plan, const Setting& setting) {
    const MapPlan& m = plan.maps[0];
    const bool packs_patches = plan.tile.pixels_are_columns, first = !plan.channels_last();
    block_sum_channels(plan, setting);
    const Streams streams{m.in_place && m.map.axis[2].source_step == 1 && first && !packs_patches,
                          first && packs_patches};
    int64_t most = packs_patches ? staged_pixels_most(setting, m) : copied_pixels_most(setting, m);
    // Rows between those of a single tap are not copied.
    if (!packs_patches && !m.in_place && m.map.taps() == 1) most *= m.map.axis[1].source_step;
    split_sums(plan, setting, std::min(box_pixels(plan, m, streams), most));
    chunk_sums(plan, setting, panel_width(plan, tile_shape(plan, setting), false));
}

void plan(Plan& plan, const Setting& setting, const Fit&) {
    const bool sums = plan.pass == Pass::weight_grad;
    plan.weight_share = share_of_packing(plan, plan.order == SumOrder::pairs ? 2 : 1);
    for (MapPlan& m : plan.maps)
        m.in_place = sums && plan.tile.pixels_are_columns ? vectors_in_place(plan, m.map) || packs_straight(plan, m.map)
                                                          : in_place(plan, m.map, setting.elem_bytes);
    if (sums) plan_sums(plan, setting);
    else plan_products(plan, setting);
}

// The source as pairs, where the plan reads them.
template <class T>
void run(const Plan& plan, const Operands<T>& operands, const RunContext& context) {
    if (plan.pass == Pass::weight_grad) return run_sums<T, IndirectSums<T>>(plan, operands, context);
    Operands<T> as_read = operands;
    if (plan.order == SumOrder::pairs)
        for (Stored<T>* const source : {&as_read.x, &as_read.dy})  // one is null
            *source = as_bf16_pairs(*source, partner_distance(plan));
    run_products<T, IndirectProducts<T>>(plan, as_read, context);
}

constexpr Strategy make_strategy() {
    Strategy strategy = direct_strategy<IndirectProducts, IndirectSums>(
        "indirect", "pixels one by one", order_bit(SumOrder::sequential) | order_bit(SumOrder::pairs), &fit, &plan);
    strategy.float32.run = &run<float>;
    strategy.float64.run = &run<double>;
    return strategy;
}

}  // namespace

extern const Strategy indirect_strategy;
const Strategy indirect_strategy = make_strategy();

}  // namespace convpp
