// Tasks of weight_grad: (group, block of result channels, block of patches, chunk of pixels).
#include <algorithm>

#include "plan/plan_parts.hpp"

namespace convpp {
namespace {

// Partial sums of weight_grad's chunks, together.
constexpr int64_t partial_bytes_most = int64_t(32) << 20;

// Pixels of a box, which a tile sums between loading and storing its accumulators.  Long boxes spare borders that are
// copied twice, and accumulators' loads; what they bring of x and dy shares L2 with what is asked for of the next one.
// Measured (float32, L2 of 1 MiB): 800 pixels in place of 256 gain 3x3 layers of 64 and 128 channels 3 to 5 % of the
// peak, 1x1 ones 4 to 8 %, and 1600 nothing more; in channels_last, where all of x and dy is brought, 1200 pixels of
// 320 and 384 channels lose 10 % against 400.
constexpr int64_t box_elems = 128 * 1024, least_box_pixels = 256, most_box_pixels = 800;

int64_t box_pixels(const Plan& plan, const MapPlan& m) {
    // Planes that tiles read where they lie stream through, and are not asked for.
    const bool x_streams = plan.feed == Feed::pixel_scalars && m.in_place && m.map.axis[2].source_step == 1 &&
                           !plan.channels_last && !plan.tile.pixels_are_columns;
    const bool dy_streams = plan.feed == Feed::pixel_scalars && !plan.channels_last && plan.tile.pixels_are_columns;
    const int64_t elems_of_pixel = (x_streams ? 0 : m.patches.channels_per_block * m.map.source_elems_of_pixel()) +
                                   (dy_streams ? 0 : plan.channel_block);
    return std::clamp(box_elems / elems_of_pixel, least_box_pixels, most_box_pixels);
}

}  // namespace

// Weight gradient: tasks are (group, block of out channels, block of patches, chunk of pixels).
void plan_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    MapPlan& m = plan.maps[0];
    const auto count_products = [&] {
        plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
        return plan.groups * plan.channel_blocks * m.patches.count();
    };
    if (plan.feed == Feed::channel_vectors) {
        block_channel_vectors(plan, kernels, elem_bytes);
    } else {
        const int64_t channel_panel = panel_width(plan, kernels.shape[plan.tile.shape], false);
        const int64_t blocks = ceil_div(plan.result_channels, round_up(sum_channels, channel_panel));
        plan.channel_block = round_up(ceil_div(plan.result_channels, blocks), channel_panel);
        const int64_t chunks = plan.parallel ? ceil_div(plan.chunks_wanted, count_products()) : 1;
        const bool staged = plan.feed == Feed::packed_pixels || plan.tile.pixels_are_columns;
        const bool in_rows = plan.feed == Feed::pixel_vectors || plan.feed == Feed::sliding_rows;
        const int64_t most = in_rows ? chunk_pixels_of_rows(plan, m, elem_bytes)
                                     : std::min(box_pixels(plan, m), (staged ? staged_pixels_most : copied_pixels_most)(
                                                                         plan, m, elem_bytes));
        // Boxes may be large, but there are enough of them for chunks that are alike.
        const int64_t of_chunk = std::max(ceil_div(m.map.pixels() * plan.batch, chunks), least_box_pixels);
        m.pixels = split_pixels(plan, m.map, std::min(most, of_chunk), 1, chunks);
        // Rows shorter than a vector are read beyond their end, which only staged ones allow.
        if (plan.feed == Feed::pixel_vectors) m.in_place &= m.pixels.shortest_row() >= kernels.shape[0].lanes;
    }
    const int64_t patch_panel = panel_width(plan, kernels.shape[plan.tile.shape], true);
    int64_t products = count_products();
    if (plan.parallel) {
        const int64_t sums = products * plan.channel_block * round_up(m.patches.largest(), patch_panel);
        const int64_t affordable = partial_bytes_most / std::max<int64_t>(sums * elem_bytes, 1);
        plan.chunks =
            std::max<int64_t>(1, std::min({ceil_div(plan.chunks_wanted, products), m.pixels.count(), affordable}));
        // More tasks than chunks make: smaller products, first of fewer result channels, then of fewer pairs.
        const int64_t panel = plan.feed == Feed::channel_vectors
                                  ? kernels.shape[0].lanes
                                  : panel_width(plan, kernels.shape[plan.tile.shape], false);
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
