// Tasks of weight_grad: (group, block of result channels, block of patches, chunk of pixels).
#include <algorithm>
#include <cstdlib>

#include "plan_parts.hpp"

namespace convpp {
namespace {

// weight_grad: the pixels that a tile sums between loading and storing its accumulators.
constexpr int64_t sum_pixels = 256;
const int64_t sum_channels_bytes = getenv("SC")?atoi(getenv("SC")):1024;  // 256 x 256 float32 of packed dy: 256 KiB of L2

// Partial sums of weight_grad's chunks, together.
constexpr int64_t partial_bytes_most = int64_t(32) << 20;

}  // namespace

// Weight gradient: tasks are (group, block of out channels, block of patches, chunk of pixels).
void plan_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    MapPlan& m = plan.maps[0];
    if (plan.feed == Feed::channel_vectors) {
        block_channel_vectors(plan, kernels, elem_bytes);
    } else {
        // Boxes of rows are large, but there are enough of them for chunks that are alike.
        const int64_t rows = std::min(chunk_pixels_of_rows(plan, m, elem_bytes),
                                      std::max(ceil_div(m.map.pixels() * plan.batch, chunks_wanted), sum_pixels));
        const bool staged = plan.feed == Feed::packed_pixels || plan.tile.pixels_are_columns;
        const int64_t sum_channels=sum_channels_bytes/elem_bytes;
        const int64_t channel_panel = panel_width(plan, kernels.shape[plan.tile.family], false);
        const int64_t blocks = ceil_div(plan.result_channels, round_up(sum_channels, channel_panel));
        plan.channel_block = round_up(ceil_div(plan.result_channels, blocks), channel_panel);
        static const int64_t box_bytes = (getenv("SB")?atoi(getenv("SB")):512)*1024, least=getenv("SL")?atoi(getenv("SL")):256, most=getenv("SM")?atoi(getenv("SM")):800;
        const int64_t sum_pixels = std::clamp(box_bytes/elem_bytes/(plan.channel_block+m.patches.channels_per_block*m.map.source_elems_of_pixel()),least,most);
        const int64_t summed =
            std::min(sum_pixels, (staged ? staged_pixels_most : copied_pixels_most)(plan, m, elem_bytes));
        const int64_t products = plan.groups * ceil_div(plan.result_channels, plan.channel_block) * m.patches.count();
        m.pixels = split_pixels(plan, m.map, plan.feed == Feed::pixel_vectors ? rows : summed, 1, plan.parallel ? ceil_div(chunks_wanted, products) : 1);
        // Rows shorter than a vector are read beyond their end, which only staged ones allow.
        if (plan.feed == Feed::pixel_vectors) m.in_place &= m.pixels.shortest_row() >= kernels.shape[0].lanes;
    }
    const int64_t patch_panel = panel_width(plan, kernels.shape[plan.tile.family], true);
    const auto count_products = [&] {
        plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
        return plan.groups * plan.channel_blocks * m.patches.count();
    };
    int64_t products = count_products();
    if (plan.parallel) {
        const int64_t sums = products * plan.channel_block * round_up(m.patches.largest(), patch_panel);
        const int64_t affordable = partial_bytes_most / std::max<int64_t>(sums * elem_bytes, 1);
        plan.chunks = std::max<int64_t>(1, std::min({ceil_div(chunks_wanted, products), m.pixels.count(), affordable}));
        // More tasks than chunks make: smaller products, first of fewer result channels, then of fewer pairs.
        const int64_t panel = plan.feed == Feed::channel_vectors
                                  ? kernels.shape[0].lanes
                                  : panel_width(plan, kernels.shape[plan.tile.family], false);
        const int64_t most = partial_bytes_most / elem_bytes;
        while (products * plan.chunks < plan.tasks_wanted && (plan.chunks == 1 || 2 * sums * plan.chunks <= most)) {
            if (plan.channel_block > panel) {
                plan.channel_block = round_up(plan.channel_block / 2, panel);
            } else if (m.patches.channels_per_block > 1 && plan.feed != Feed::channel_vectors) {
                m.patches.channels_per_block = ceil_div(m.patches.channels_per_block, 2);
                m.patches.channel_blocks = ceil_div(m.patches.channels, m.patches.channels_per_block);
            } else {
                break;
            }
            products = count_products();
        }
    }
    // One chunk needs no memory of its own: its sums live in the workspace of the thread that makes them.
    if (plan.chunks > 1)
        plan.partial_elems = products * plan.channel_block * round_up(m.patches.largest(), patch_panel) * plan.chunks;
    plan.tasks = products * plan.chunks;
}

}  // namespace convpp
