// Blocks and tasks of Winograd's algorithm.   axes.hpp and plan/plan.hpp say what comes in and goes out.
//
// Forward, input gradient: (group, box of tiles, block of result channels).  Weight gradient: blocks of channels, boxes
// of tiles, chunks.  There, boxes and chunks come from the shapes alone, and so do the bits of dw.  Smaller blocks of
// channels, for more tasks, change none: each sum stays one chain over the tiles of its chunk.
#include <algorithm>

#include "plan/product_tasks.hpp"
#include "problem/checked.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {
namespace {

constexpr int64_t most_terms = 576;  // of a product's contraction, taps times channels: two blocks of patch_limit

double f(int64_t n) { return static_cast<double>(n); }

TileChoice tile_of_shape(const KernelShapes& kernels, int index) {
    const TileShape& shape = kernels.shape[index];
    return {index, false, shape.rows, shape.vectors * shape.lanes};
}

// A channel's kernel is transformed as a whole, however many taps it has, and however far apart.
void block_kernels(const Plan& plan, MapPlan& m, int64_t channels_per_block) {
    const auto taps = [&](size_t a) { return m.map.axis[a].taps.size(); };
    m.patches.channels = plan.source.channels;
    m.patches.taps = BoxSplit({1, taps(0), taps(1), taps(2)}, m.map.taps(), 1);
    m.patches.channels_per_block = std::min(channels_per_block, plan.source.channels);
    m.patches.channel_blocks = ceil_div(plan.source.channels, channels_per_block);
}

// Boxes of so many units at most.
BoxSplit split_units(const Plan& plan, const WinogradPlan& w, int64_t limit, int64_t lanes, int64_t chunks = 1) {
    return BoxSplit({plan.batch(), w.axis[0].units, w.axis[1].units, w.axis[2].units}, limit, lanes, chunks);
}

// The shape whose panels the result channels fill up the least.
int least_waste(const KernelShapes& kernels, int64_t channels) {
    const auto wasted = [&](int index) {
        return round_up(channels, kernels.shape[index].vectors * kernels.shape[index].lanes) - channels;
    };
    return wasted(2) <= wasted(0) ? 2 : 0;
}

// More bytes of transformed weights than this are not found in an L3 that others use too: half of 32 MiB.
constexpr double weights_in_l3 = 16 << 20;

// Few tiles and large weights: transformed by all threads before, they would go to memory and come back.  So a task
// takes all tiles and some result channels, and transforms the weights that it alone reads, block by block, where they
// stay in L2. (Measured, 3x3 512-512 float32: 14x14 1.7 times as fast, 7x7 1.6 times, four images of 28x28 1.15 times;
// 256-256 at 14x14, whose transformed weights are 9 MiB: alike.)
bool transforms_in_tasks(double weight_bytes, int64_t tiles) {
    constexpr int64_t few_tiles = 256;  // V and M of more take 7 MiB and more of L3 a thread
    return weight_bytes > weights_in_l3 && tiles <= few_tiles;
}

// Tiles of a box: the transformed source and the products take 9/16 of L2.  But a block of weights passes by for each
// box: from L3 that is worth 32 tiles; 98, if they are so large that they come from memory.  (Measured, 3x3 float32:
// 64-64 at 56x56 is within 5 % from 28 tiles to 56, 6 % slower with 14; 512-512 at 28x28 15 % faster with 98 than with
// 28.)
int64_t tiles_of_box(const Plan& plan, const WinogradPlan& w, const Setting& setting, double weight_bytes) {
    constexpr int64_t from_l3 = 32, from_memory = 98;
    const int64_t in_l2 =
        setting.cache_bytes * 9 / 16 / (w.points() * setting.elem_bytes * (w.source_block + plan.tasks.channel_block));
    return std::max(in_l2, weight_bytes > weights_in_l3 ? from_memory : from_l3);
}

// Of the weight gradient.

// Bytes of a block's source channels, and of its filters: 128 of float32.  Blocks of 64 transform x and dy twice as
// often where there are more: 512-512 at 7x7 and 14x14 lose 25 and 7 %, though S of 128x128 (2.3 MiB) lies in L3.
constexpr int64_t block_bytes = 512;

// Tiles of a box: the depth of a product, between loading and storing S.  64 lose 2 to 4 %, and of 128 V and W are too
// large for 256 channels at 14x14 (10 % lost).
constexpr int64_t box_tiles = 96;

// Tiles of a chunk, at least.  The sums of each chunk are transformed and added: 128-128 at 112x112 gains 10 % by
// chunks of 392 tiles in place of 196.
constexpr int64_t least_chunk_tiles = 256;

// S of all points and outer taps, and V of a box: kernels with many outer taps, or taps far apart, have smaller blocks.
constexpr int64_t most_sum_bytes = int64_t(4) << 20, most_source_bytes = int64_t(8) << 20;

// Tasks that blocks are cut for: two for each thread.  More would transform x and dy more often than that evens out.
constexpr int64_t tasks_of_wanted = 4;

// Channels in blocks of nearly equal size, of whole vectors.
int64_t block_of(int64_t channels, int64_t most, int64_t lanes) {
    const int64_t vectors = ceil_div(channels, lanes), blocks = ceil_div(vectors, std::max<int64_t>(most / lanes, 1));
    return ceil_div(vectors, blocks) * lanes;
}

// The shape whose panels the filters' vectors fill.
int filling_shape(const KernelShapes& kernels, int64_t vectors) {
    const auto fill = [&](int index) { return vectors % kernels.shape[index].vectors == 0; };
    if (kernels.shape[2].vectors == 4 && fill(2)) return 2;
    return !fill(0) && fill(1) ? 1 : 0;
}

int64_t places_of(const WinogradPlan& plan, const Box& box) {
    int64_t places = box.extent(0);
    for (size_t a = 0; a < 3; ++a)
        places = checked_mul(places, plan.axis[a].places(box.extent(a + 1)), "the transformed input");
    return places;
}

}  // namespace

void plan_winograd_products(Plan& plan, WinogradPlan& w, const Setting& setting) {
    // Source and result channels of a block: 64 and 128 of float32.  A product of 64 terms costs 9 % more than a longer
    // one for its sums, which are loaded and stored; V and M stay the nearer for it.
    constexpr int64_t source_bytes = 256, result_bytes = 512;
    constexpr int64_t longest_vector = 64;  // bytes
    constexpr int64_t least_tiles = 16;  // fewer leave the register tile partly filled
    constexpr int64_t fewest_tiles = 4;  // of a thread that would have none
    MapPlan& m = plan.maps[0];
    const int64_t elem_bytes = setting.elem_bytes;
    plan.tile = tile_of_shape(setting.kernels, least_waste(setting.kernels, plan.tasks.channels));
    const int64_t tiles = plan.batch() * w.tiles(), threads = threads_planned_for(setting);
    // (Where there are fewer panels than threads, tasks have to share them.)
    const int64_t usual_panel = panel_width(plan, tile_shape(plan, setting), false);
    const int64_t usual_panels = ceil_div(plan.tasks.channels, usual_panel);
    plan.packing.by_tasks = transforms_in_tasks(f(w.points() * w.outer_taps() * elem_bytes) * f(plan.source.channels) *
                                                    f(usual_panels * usual_panel),
                                                tiles) &&
                            plan.tasks.groups * usual_panels >= threads;
    const bool shares = plan.tasks.parallel && plan.tasks.groups * usual_panels >= threads &&
                        (plan.packing.by_tasks || tiles <= least_tiles);
    const ChannelShare share = share_channels(plan, setting, result_bytes / elem_bytes, threads);
    if (shares) plan.tile = share.tile;
    const TileShape& shape = tile_shape(plan, setting);
    const int64_t panel = panel_width(plan, shape, false), padded = round_up(plan.tasks.channels, panel);
    const int64_t panels = padded / panel;
    const int64_t packed_blocks = ceil_div(plan.source.channels, std::max<int64_t>(1, patch_limit / m.map.taps()));
    block_kernels(plan, m, ceil_div(plan.source.channels, packed_blocks));
    // Each block is a sum of its own: it does not depend on the instruction set's vectors, but is made of the longest.
    const int64_t longest = longest_vector / elem_bytes;
    const int64_t most_source = std::max(longest, std::min(source_bytes / elem_bytes, most_terms / w.outer_taps()));
    w.source_block = round_up(ceil_div(plan.source.channels, ceil_div(plan.source.channels, most_source)), longest);
    plan.tasks.channel_block = round_up(ceil_div(padded, ceil_div(padded, result_bytes / elem_bytes)), panel);
    const double weight_bytes = f(w.points() * w.outer_taps() * elem_bytes) * f(plan.source.channels) * f(padded);
    plan.weight_share = plan.packing.by_tasks ? 0 : w.weight_share;  // preparing would not help
    int64_t limit = shares || plan.packing.by_tasks ? tiles : tiles_of_box(plan, w, setting, weight_bytes);
    if (shares) {
        plan.tasks.channel_block = share.panels * panel;
    } else if (plan.tasks.parallel) {
        // First smaller boxes, down to what fills a register tile twice or so; then fewer channels, for each block of
        // which the source is transformed again; and only where threads would have nothing to do, the smallest boxes.
        // (Half of the tasks that other ways want: transforms make these long anyway.)
        const int64_t wanted = setting.tasks_wanted / 2, all = tiles * plan.tasks.groups;
        const auto shrink = [&](int64_t tasks, int64_t least) {
            limit = std::min(limit, std::max(ceil_div(all, tasks), least));
        };
        shrink(ceil_div(wanted, ceil_div(padded, plan.tasks.channel_block)), least_tiles);
        const int64_t boxes = plan.tasks.groups * ceil_div(tiles, limit);
        const int64_t blocks = std::min(ceil_div(wanted, boxes), panels);
        plan.tasks.channel_block = std::min(plan.tasks.channel_block, round_up(ceil_div(padded, blocks), panel));
        shrink(ceil_div(threads, ceil_div(padded, plan.tasks.channel_block)), fewest_tiles);
    }
    m.boxes = split_units(plan, w, std::max<int64_t>(limit / w.phases(), 1), shape.rows);
    plan.tasks.count = plan.tasks.groups * m.boxes.count() * plan.tasks.channel_blocks();
    const int64_t of_panel = w.outer_taps() * w.source_block * panel + shape.lanes;
    m.weights_per_group = checked_mul(checked_mul(w.points() * panels, of_panel, "the transformed weights"),
                                      ceil_div(plan.source.channels, w.source_block), "the transformed weights");
    checked_mul(m.weights_per_group, plan.tasks.groups, "the transformed weights");
}

void plan_winograd_sums(Plan& plan, WinogradPlan& w, const Setting& setting) {
    const KernelShapes& kernels = setting.kernels;
    const int64_t elem_bytes = setting.elem_bytes;
    MapPlan& m = plan.maps[0];
    const int64_t lanes = kernels.shape[0].lanes, bytes = w.points() * elem_bytes;
    w.source_block = block_of(plan.source.channels, block_bytes / elem_bytes, lanes);
    plan.tasks.channel_block = block_of(plan.tasks.channels, block_bytes / elem_bytes, lanes);
    const auto halve = [&](int64_t& block) { block = round_up(block / 2, lanes); };
    int64_t& filters = plan.tasks.channel_block;
    const auto larger = [&]() -> int64_t& { return w.source_block > filters ? w.source_block : filters; };
    while (larger() > lanes && w.outer_taps() > most_sum_bytes / (bytes * w.source_block * filters)) halve(larger());
    const auto products = [&] {
        block_kernels(plan, m, w.source_block);
        return plan.tasks.groups * plan.tasks.channel_blocks() * m.patches.count();
    };
    const int64_t tiles = plan.batch() * w.tiles();
    int64_t limit = std::max<int64_t>(box_tiles / w.phases(), 1);
    // A power of two, so that threads share them evenly.
    while (plan.tasks.parallel && plan.tasks.chunks * products() < setting.chunks_wanted &&
           plan.tasks.chunks * 2 * least_chunk_tiles <= tiles)
        plan.tasks.chunks *= 2;
    const auto too_large = [&] {
        m.boxes = split_units(plan, w, limit, 1, plan.tasks.chunks);
        return places_of(w, m.boxes.box(0)) > most_source_bytes / (bytes * w.source_block);
    };
    while (too_large() && (limit > 1 || w.source_block > lanes)) {
        if (limit > 1) limit /= 2;
        else halve(w.source_block);
    }
    plan.tasks.chunks = std::min(plan.tasks.chunks, m.boxes.count());
    while (plan.tasks.parallel && products() * plan.tasks.chunks < setting.tasks_wanted / tasks_of_wanted &&
           larger() > lanes)
        halve(larger());
    plan.tile = tile_of_shape(kernels, filling_shape(kernels, plan.tasks.channel_block / lanes));
    plan.tasks.count = products() * plan.tasks.chunks;
}

}  // namespace convpp
