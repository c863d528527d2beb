// Weight gradient by Winograd's algorithm: blocks, boxes of tiles and chunks.   plan.hpp says what comes in and goes out.
//
// Chunks and boxes come from the shapes alone, and so do the bits of dw.  Smaller blocks of channels change none.
#include <algorithm>
#include <cstdlib>

#include "plan_parts.hpp"
#include "winograd_plan.hpp"

namespace convpp {
namespace {

int64_t tuned(const char* name, int64_t value) {
    const char* const text = std::getenv(name);
    return text ? std::atoll(text) : value;
}

// Channels in blocks of nearly equal size, of whole vectors.
int64_t block_of(int64_t channels, int64_t most, int64_t lanes) {
    const int64_t vectors = ceil_div(channels, lanes), blocks = ceil_div(vectors, std::max<int64_t>(most / lanes, 1));
    return ceil_div(vectors, blocks) * lanes;
}

// The shape whose panels the filters' vectors fill best.
int best_family(const KernelShapes& kernels, int64_t vectors) {
    const auto fills = [&](int f) { return vectors % kernels.shape[f].vectors == 0; };
    if (kernels.shape[2].vectors == 4 && fills(2)) return 2;
    return fills(0) ? 0 : fills(1) ? 1 : 0;
}

}  // namespace

void plan_winograd_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    WinogradPlan& w = plan.winograd;
    MapPlan& m = plan.maps[0];
    plan.feed = Feed::pixel_scalars;
    plan.tile.pixels_are_columns = false;
    const int64_t lanes = kernels.shape[0].lanes;
    const auto of_axis = [&](size_t a) { return static_cast<int64_t>(m.map.axis[a].taps.size()); };
    m.patches.channels = plan.source_channels;
    m.patches.taps = BoxSplit({1, of_axis(0), of_axis(1), of_axis(2)}, m.map.taps(), 1);
    int64_t source_block = block_of(plan.source_channels, tuned("WS_C", 512) / elem_bytes, lanes);
    int64_t filter_block = block_of(plan.result_channels, tuned("WS_K", 512) / elem_bytes, lanes);
    // S: of all points and outer taps.
    constexpr int64_t most_bytes = int64_t(4) << 20;
    while (w.points() * w.outer_taps() * source_block * filter_block * elem_bytes > most_bytes &&
           std::max(source_block, filter_block) > lanes) {
        int64_t& larger = source_block > filter_block ? source_block : filter_block;
        larger = round_up(larger / 2, lanes);
    }
    const auto count_products = [&] {
        m.patches.channels_per_block = std::min(source_block, plan.source_channels);
        m.patches.channel_blocks = ceil_div(plan.source_channels, source_block);
        w.source_block = source_block;
        plan.channel_block = filter_block;
        plan.channel_blocks = ceil_div(plan.result_channels, filter_block);
        return plan.groups * plan.channel_blocks * m.patches.count();
    };
    int64_t products = count_products();
    int64_t tiles = plan.batch, limit = tuned("WS_T", 96);
    for (const WinogradAxis& axis : w.axis) {
        tiles *= axis.tiles(axis.units);
        limit = std::max<int64_t>(1, limit / axis.phases);
    }
    // A power of two, so that threads share them evenly.
    plan.chunks = 1;
    while (plan.parallel && plan.chunks * products < tuned("WS_CHUNKS", 16) &&
           plan.chunks * 2 * tuned("WS_CHUNK", 256) <= tiles)
        plan.chunks *= 2;
    m.pixels = BoxSplit({plan.batch, w.axis[0].units, w.axis[1].units, w.axis[2].units}, limit, 1, plan.chunks);
    plan.chunks = std::min(plan.chunks, m.pixels.count());
    const int64_t wanted = plan.tasks_wanted / tuned("WS_WANT", 4);
    while (plan.parallel && products * plan.chunks < wanted && std::max(source_block, filter_block) > 2 * lanes) {
        int64_t& larger = source_block > filter_block ? source_block : filter_block;
        larger = round_up(larger / 2, lanes);
        products = count_products();
    }
    plan.tile.family = static_cast<int>(tuned("WS_FAMILY", best_family(kernels, filter_block / lanes)));
    const TileShape& shape = kernels.shape[plan.tile.family];
    plan.tile.rows = shape.rows;
    plan.tile.columns = shape.vectors * shape.lanes;
    plan.tasks = products * plan.chunks;
}

}  // namespace convpp
