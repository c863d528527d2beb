// Weight gradient by Winograd's algorithm: blocks of channels, boxes of tiles, chunks.   plan.hpp says what comes in and
// goes out; algorithms/winograd_sum.cpp is the loops.
//
// Boxes and chunks come from the shapes alone, and so do the bits of dw.  Smaller blocks of channels, for more tasks, change
// none: each sum stays one chain over the tiles of its chunk.
#include <algorithm>

#include "plan/plan_parts.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {
namespace {

// Bytes of a block's source channels, and of its filters: 128 of float32.  Blocks of 64 transform x and dy twice as often
// where there are more: 512-512 at 7x7 and 14x14 lose 25 and 7 %, though S of 128x128 (2.3 MiB) lies in L3.
constexpr int64_t block_bytes = 512;

// Tiles of a box: the depth of a product, between loading and storing S.  64 lose 2 to 4 %, and of 128 V and W are too
// large for 256 channels at 14x14 (10 % lost).
constexpr int64_t box_tiles = 96;

// Tiles of a chunk, at least.  The sums of each chunk are transformed and added: 128-128 at 112x112 gains 10 % by chunks
// of 392 tiles in place of 196.
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

void plan_winograd_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    WinogradPlan& w = plan.winograd;
    MapPlan& m = plan.maps[0];
    plan.feed = Feed::pixel_scalars;
    const auto taps = [&](size_t a) { return static_cast<int64_t>(m.map.axis[a].taps.size()); };
    m.patches.channels = plan.source_channels;
    m.patches.taps = BoxSplit({1, taps(0), taps(1), taps(2)}, m.map.taps(), 1);
    const int64_t lanes = kernels.shape[0].lanes, bytes = w.points() * elem_bytes;
    w.source_block = block_of(plan.source_channels, block_bytes / elem_bytes, lanes);
    plan.channel_block = block_of(plan.result_channels, block_bytes / elem_bytes, lanes);
    const auto halve = [&](int64_t& block) { block = round_up(block / 2, lanes); };
    const auto halve_larger = [&] { halve(w.source_block > plan.channel_block ? w.source_block : plan.channel_block); };
    const auto larger_block = [&] { return std::max(w.source_block, plan.channel_block); };
    while (larger_block() > lanes && w.outer_taps() > most_sum_bytes / (bytes * w.source_block * plan.channel_block))
        halve_larger();
    const auto products = [&] {
        m.patches.channels_per_block = std::min(w.source_block, plan.source_channels);
        m.patches.channel_blocks = ceil_div(plan.source_channels, w.source_block);
        plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
        return plan.groups * plan.channel_blocks * m.patches.count();
    };
    int64_t tiles = plan.batch, limit = box_tiles;
    for (const WinogradAxis& axis : w.axis) {
        tiles *= axis.tiles(axis.units);
        limit = std::max<int64_t>(1, limit / axis.phases);
    }
    // A power of two, so that threads share them evenly.
    while (plan.parallel && plan.chunks * products() < plan.chunks_wanted &&
           plan.chunks * 2 * least_chunk_tiles <= tiles)
        plan.chunks *= 2;
    const auto too_large = [&] {
        m.pixels = BoxSplit({plan.batch, w.axis[0].units, w.axis[1].units, w.axis[2].units}, limit, 1, plan.chunks);
        return places_of(w, m.pixels.box(0)) > most_source_bytes / (bytes * w.source_block);
    };
    while (too_large() && (limit > 1 || w.source_block > lanes)) {
        if (limit > 1) limit /= 2;
        else halve(w.source_block);
    }
    plan.chunks = std::min(plan.chunks, m.pixels.count());
    while (plan.parallel && products() * plan.chunks < plan.tasks_wanted / tasks_of_wanted && larger_block() > lanes)
        halve_larger();
    const int index = filling_shape(kernels, plan.channel_block / lanes);
    const TileShape& shape = kernels.shape[index];
    plan.tile = {index, false, shape.rows, shape.vectors * shape.lanes, 0};
    plan.tasks = products() * plan.chunks;
}

}  // namespace convpp
