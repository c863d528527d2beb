// The parts of sum_tasks.hpp, which says what they are.
#include "plan/sum_tasks.hpp"

#include <algorithm>
#include <limits>

#include "problem/checked.hpp"

namespace convpp {
namespace {

// Partial sums of weight_grad's chunks, together.
constexpr int64_t partial_bytes_most = int64_t(32) << 20;

// Long boxes spare borders that are copied twice, and accumulators' loads; what they bring of x and dy shares L2 with
// what is asked for of the next one.  Measured (float32, L2 of 1 MiB): 800 pixels in place of 256 gain 3x3 layers of 64
// and 128 channels 3 to 5 % of the peak, 1x1 ones 4 to 8 %, and 1600 nothing more; in channels_last, where all of x and
// dy is brought, 1200 pixels of 320 and 384 channels lose 10 % against 400.
constexpr int64_t box_elems = 128 * 1024, least_box_pixels = 256, most_box_pixels = 800;

int64_t products_of(const Plan& plan) {
    return plan.tasks.groups * plan.tasks.channel_blocks() * plan.maps[0].patches.count();
}

}  // namespace

int64_t box_pixels(const Plan& plan, const MapPlan& m, const Streams& streams) {
    const int64_t elems_of_pixel = (streams.x ? 0 : m.patches.channels_per_block * m.map.source_elems_of_pixel()) +
                                   (streams.dy ? 0 : plan.tasks.channel_block);
    return std::clamp(box_elems / elems_of_pixel, least_box_pixels, most_box_pixels);
}

void block_sum_channels(Plan& plan, const Setting& setting) {
    const int64_t channel_panel = panel_width(plan, tile_shape(plan, setting), false);
    const int64_t blocks = ceil_div(plan.tasks.channels, round_up(channels_of_sum, channel_panel));
    plan.tasks.channel_block = round_up(ceil_div(plan.tasks.channels, blocks), channel_panel);
}

void split_sums(Plan& plan, const Setting& setting, int64_t pixels_most) {
    MapPlan& m = plan.maps[0];
    const int64_t chunks = plan.tasks.parallel ? ceil_div(setting.chunks_wanted, products_of(plan)) : 1;
    const int64_t of_chunk = std::max(ceil_div(m.map.pixels() * plan.batch(), chunks), least_box_pixels);
    m.boxes = split_pixels(plan, m.map, std::min(pixels_most, of_chunk), 1, chunks);
}

int64_t sum_elems(const Plan& plan, int64_t patch_panel) {
    return plan.tasks.channel_block * round_up(plan.maps[0].patches.largest(), patch_panel);
}

void chunk_sums(Plan& plan, const Setting& setting, int64_t channel_panel, bool cuts_pairs) {
    MapPlan& m = plan.maps[0];
    Tasks& tasks = plan.tasks;
    int64_t products = products_of(plan);
    if (tasks.parallel) {
        const int64_t elems = sum_elems(plan, panel_width(plan, tile_shape(plan, setting), true));
        int64_t sums = 0;  // (more than 64 bits count are not affordable)
        if (__builtin_mul_overflow(products, elems, &sums)) sums = std::numeric_limits<int64_t>::max();
        const int64_t affordable = partial_bytes_most / setting.elem_bytes / std::max<int64_t>(sums, 1);
        tasks.chunks =
            std::max<int64_t>(1, std::min({ceil_div(setting.chunks_wanted, products), m.boxes.count(), affordable}));
        // More tasks than chunks make: smaller products, first of fewer result channels, then of fewer pairs.
        const int64_t most = partial_bytes_most / setting.elem_bytes;
        while (products * tasks.chunks < setting.tasks_wanted &&
               (tasks.chunks == 1 || 2 * sums * tasks.chunks <= most)) {
            if (tasks.channel_block > channel_panel) {
                tasks.channel_block = round_up(tasks.channel_block / 2, channel_panel);
            } else if (m.patches.channels_per_block > 1 && cuts_pairs) {
                m.patches.channels_per_block = ceil_div(m.patches.channels_per_block, 2);
                m.patches.channel_blocks = ceil_div(m.patches.channels, m.patches.channels_per_block);
            } else {
                break;
            }
            products = products_of(plan);
        }
    }
    tasks.count = products * tasks.chunks;
}

}  // namespace convpp
