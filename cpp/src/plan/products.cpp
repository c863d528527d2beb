// Tasks of forward and input_grad: (map or classes of maps, group, box of pixels, block of result channels).
#include <algorithm>
#include <cstddef>

#include "plan/plan_parts.hpp"

namespace convpp {
namespace {

// The packed pixels of a chunk (patch_limit x pixels) should stay in 7/16 of L2: of 1 MiB, 398 pixels of float32, which
// is two images of 14x14.
int64_t chunk_bytes(const Plan& plan) { return plan.cache_bytes * 7 / 16; }

constexpr int64_t chunk_pixels_most = 1024;
constexpr int64_t least_pixels = 32;          // fewer leave tiles partly filled, whatever the caches say
constexpr int64_t joint_pixels_most = 8192, joint_pixels_of_many_rows = 160;
constexpr int64_t pixels_worth_a_task = 56;  // read one by one: 8 tiles, each of them 2 % of the task
constexpr int64_t most_sum_channels = 512;  // result channels of a task, at most: their sums share the L2
constexpr int64_t channels_worth_a_task = 64;  // packing pixels again for 64 channels costs less than 10 %

constexpr int64_t sliding_pixels = 16384;  // source and results of a task are 128 KiB of float32

// Where there are many groups, a task does several: finding out where its pixels lie serves them all.  As many times as
// the tasks wanted:
constexpr int64_t group_tasks_factor = 4;

// Where vectors run along the channels: what is read of a pixel at once (16 cache lines: long enough for memory to stream),
// while the padded copy of a task takes 3/8 of L2.
constexpr int64_t channel_run_bytes = 1024;

// Classes next to each other in `maps` that one task computes: those that together fill the rows of the result, and for
// some ways also the columns.
int64_t classes_together(const Plan& plan, size_t leader) {
    if (plan.flat_rows) {
        const auto joint = static_cast<size_t>(plan.maps[leader].joint);
        return static_cast<int64_t>(plan.joints[joint].shift.size());
    }
    const int64_t step = plan.maps[leader].map.axis[2].result_step;
    const int64_t most = static_cast<int64_t>(most_classes),
                  left = std::min(most + 1, static_cast<int64_t>(plan.maps.size() - leader));
    const bool channels = plan.feed == Feed::channel_vectors;
    if (plan.channels_last ? !channels : plan.feed != Feed::pixel_scalars && !channels) return 1;
    if (channels &&
        std::any_of(plan.maps.begin(), plan.maps.end(), [](const MapPlan& m) { return m.patches.taps.count() != 1; }))
        return 1;
    const auto alike = [&](size_t a) {  // maps from the leader on that begin where it does, along axes 0 .. a
        int64_t count = 0;
        const auto start = [&](int64_t m, size_t b) {
            return plan.maps[leader + static_cast<size_t>(m)].map.axis[b].result_start;
        };
        while (count < left && start(count, 0) == start(0, 0) && (a == 0 || start(count, 1) == start(0, 1))) ++count;
        return count;
    };
    const int64_t in_row = alike(1), in_plane = alike(0);
    if (in_row != step || in_row > most) return 1;
    return channels && in_plane <= most ? in_plane : in_row;
}

// Finds the families, and the boxes of pixels of each: of those of the map that has the most.
void split_classes(Plan& plan, int64_t limit, int64_t lanes) {
    int64_t joint = 0;
    for (size_t leader = 0; leader < plan.maps.size(); ++joint) {
        if (plan.flat_rows) plan.maps[leader].joint = joint;
        const int64_t classes = classes_together(plan, leader);
        const auto first = plan.maps.begin() + static_cast<std::ptrdiff_t>(leader);
        const auto end = first + static_cast<std::ptrdiff_t>(classes);
        const auto most = std::max_element(
            first, end, [](const MapPlan& a, const MapPlan& b) { return a.map.pixels() < b.map.pixels(); });
        JointPlan* const product = plan.flat_rows ? &plan.joints[static_cast<size_t>(joint)] : nullptr;
        const IndexMap& map = product != nullptr ? product->map : most->map;
        const BoxSplit split = split_pixels(plan, map, std::max<int64_t>(limit / classes, 1), lanes);
        for (auto m = first; m != end; ++m) {
            m->pixels = split;
            m->classes = m == first ? classes : 0;
            if (product != nullptr) m->shift = product->shift[static_cast<size_t>(m - first)];
        }
        if (product != nullptr) product->pixels = split;
        leader += static_cast<size_t>(classes);
    }
}

}  // namespace

// Channels and pixels of a task: the padded copy of both stays in L2.  channels_first takes one vector of channels.
void block_channel_vectors(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    const int64_t lanes = kernels.shape[0].lanes, padded = round_up(plan.result_channels, lanes);
    const bool first = !plan.channels_last;
    plan.channel_block = first ? lanes : std::min(padded, round_up(channel_run_bytes / elem_bytes, lanes));
    int64_t pixels = 0, copied = 1;  // elements of a channel for each pixel
    for (const MapPlan& m : plan.maps) {
        pixels += m.map.pixels() * plan.batch;
        copied = std::max(copied, m.map.source_elems_of_pixel());
    }
    int64_t limit = std::max<int64_t>(1, plan.cache_bytes * 3 / 8 / (plan.channel_block * elem_bytes) / copied);
    if (plan.parallel) {
        // (The weight gradient's chunks are made of boxes.)
        const int64_t wanted = plan.pass == Pass::weight_grad ? plan.chunks_wanted : plan.tasks_wanted;
        // First fewer pixels, as long as their rows are worth the borders that are copied with them.
        limit = std::min(limit, std::max(ceil_div(pixels * ceil_div(padded, plan.channel_block), wanted),
                                         4 * plan.maps[0].map.axis[2].count));
        while (plan.channel_block > 2 * lanes &&
               ceil_div(pixels, limit) * ceil_div(padded, plan.channel_block) < wanted)
            plan.channel_block = round_up(plan.channel_block / 2, lanes);
    }
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
    split_classes(plan, limit, 1);
    if (!first || plan.pass == Pass::weight_grad) return;
    int64_t boxes = 0;  // several vectors a task share what is found out about its pixels
    for (const MapPlan& m : plan.maps) boxes += m.classes > 0 ? m.pixels.count() : 0;
    plan.channel_block =
        lanes * std::clamp<int64_t>(boxes * padded / lanes / (group_tasks_factor * plan.tasks_wanted), 1, 16);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
}

namespace {

// Forward and input gradient by vectors of channels: tasks are (map, box of pixels, some vectors of channels).
void plan_channel_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    block_channel_vectors(plan, kernels, elem_bytes);
    const int64_t padded = round_up(plan.result_channels, kernels.shape[0].lanes);
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks;
        if (m.classes > 0) plan.tasks += m.pixels.count() * plan.channel_blocks;
        m.weights_at = plan.packed_weight_elems;
        m.weights_per_group = checked_mul(padded, m.map.taps() * plan.group_channels, "the packed weights");
        plan.packed_weight_elems = checked_add(plan.packed_weight_elems, m.weights_per_group, "the packed weights");
    }
}

// Most pixels of a task that computes all classes: what it stages of a block of channels and its flat results take the
// chunk's share of the L2; with many rows, whose weights all pass by for each box, the flat results take more of it.
int64_t joint_pixels(const Plan& plan, int64_t elem_bytes) {
    const JointPlan& joint = plan.joints.front();
    const auto classes = static_cast<int64_t>(joint.shift.size());
    const int64_t rows = classes * plan.result_channels, each = joint.patches.channels_per_block + rows;
    const int64_t of_many = std::min(joint_pixels_of_many_rows, plan.cache_bytes * 5 / 8 / (rows * elem_bytes));
    return classes *
           std::clamp(std::max(chunk_bytes(plan) / (each * elem_bytes), of_many), least_pixels, joint_pixels_most);
}

// Most pixels of a task.
int64_t chunk_pixels(const Plan& plan, int64_t elem_bytes, int64_t channel_panel) {
    if (plan.feed == Feed::sliding_rows) return sliding_pixels;
    if (plan.feed == Feed::pixel_scalars) {
        // Their sums, and the source that they read, stay in 7/16 of L2 while all blocks of patches are added.
        const int64_t sums =
            plan.result.channel == 1 ? 0 : std::min(round_up(plan.result_channels, channel_panel), most_sum_channels);
        const int64_t each = sums + 2 * plan.maps[0].patches.channels_per_block;
        const int64_t most = std::min(chunk_pixels_most, copied_pixels_most(plan, plan.maps[0], elem_bytes));
        return std::max(std::min(chunk_bytes(plan) / (each * elem_bytes), most), least_pixels);
    }
    if (joins_classes(plan)) return joint_pixels(plan, elem_bytes);
    int64_t terms = 1;
    for (const MapPlan& m : plan.maps) terms = std::max(terms, m.map.taps() * plan.source_channels);
    const int64_t packed = std::min({chunk_bytes(plan) / (std::min(patch_limit, terms) * elem_bytes), chunk_pixels_most,
                                     staged_pixels_most(plan, plan.maps[0], elem_bytes)});
    return plan.feed == Feed::packed_pixels ? packed
                                            : std::max(packed, chunk_pixels_of_rows(plan, plan.maps[0], elem_bytes));
}

// Vectors of pixels that are read where they lie: what a chunk of them reads is asked for during the one before it
// (row_product.hpp), so boxes need not fit in a cache.  The source of a box is 8 to 32 chunks: the first of them, which
// nobody asked for, should be a small part.  (Few channels: where a box's pixels lie should not take more memory.)
struct RowBoxes {
    int64_t least, most;  // pixels
};
RowBoxes row_boxes(const Plan& plan, int64_t elem_bytes) {
    constexpr int64_t pixels_most = 8192;
    const int64_t chunk = row_chunk_bytes(plan) / (plan.maps[0].patches.channels_per_block * elem_bytes);
    return {std::clamp(8 * chunk, least_pixels, pixels_most), std::clamp(32 * chunk, least_pixels, pixels_most)};
}

// With a stride beyond the kernel's reach, most results have no terms.  Where results are transposed into place, a task
// writes those around its own too, if together they are all: rows of memory are then written once, as a whole.
// (Measured: the input gradient of 1x1 layers of stride 2, 256 to 1024 channels: 1.05 to 1.25 times as fast.)
bool writes_gaps(const Plan& plan) {
    if (plan.feed != Feed::pixel_scalars || plan.channels_last) return false;
    if (!plan.fill_result || plan.maps.size() != 1) return false;
    constexpr int64_t most_around = 16;  // as many as residue classes in a classes, for the same reason
    int64_t around = 1;
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& axis = plan.maps[0].map.axis[a];
        if (axis.result_start >= axis.result_step || axis.result_step > most_around / around) return false;
        if (axis.count * axis.result_step < result_extent(plan, a)) return false;
        around *= axis.result_step;
    }
    return true;
}

// Few pixels and large weights: then a task takes all pixels and the fewest channels, and packs the weights that it alone
// reads, block by block, where they stay in L2.  Packed by all threads before, they would go to memory and come back
// (measured: 2 to 3 % of 3x3 512-512 at 7x7 and 14x14, far more while others fill the L3).
bool all_pixels_in_a_task(const Plan& plan, int64_t elem_bytes, int64_t pixels, int64_t padded_channels,
                          int64_t channel_panel) {
    constexpr double large_weights = 1 << 18;  // elements: from here on they are not in L2 anyway
    const MapPlan& m = plan.maps[0];
    const double weights =
        static_cast<double>(m.map.taps() * plan.source_channels) * static_cast<double>(padded_channels);
    return plan.maps.size() == 1 && (plan.parallel || plan.shares_samples) &&
           pixels <= std::min(chunk_pixels_most, copied_pixels_most(plan, m, elem_bytes)) && weights >= large_weights &&
           2 * plan.groups * (padded_channels / channel_panel) >= plan.tasks_wanted;
}

}  // namespace

// Forward and input gradient: tasks are (map, group, box of pixels, block of result channels).
void plan_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    if (plan.feed == Feed::channel_vectors) return plan_channel_products(plan, kernels, elem_bytes);
    plan.writes_gaps = writes_gaps(plan);
    plan.fill_result &= !plan.writes_gaps;
    const TileShape& shape = kernels.shape[plan.tile.shape];
    const int64_t pixel_panel = panel_width(plan, shape, true), channel_panel = panel_width(plan, shape, false);
    int64_t pixels = 0;
    for (const MapPlan& m : plan.maps) pixels += m.map.pixels() * plan.batch;

    const int64_t padded_channels = round_up(plan.result_channels, channel_panel);
    int64_t limit = chunk_pixels(plan, elem_bytes, channel_panel);
    int64_t splits = 1;  // of the result channels
    if (plan.feed == Feed::pixel_scalars)
        splits = ceil_div(padded_channels, round_up(most_sum_channels, channel_panel));
    if (plan.feed == Feed::pixel_scalars &&
        all_pixels_in_a_task(plan, elem_bytes, pixels, padded_channels, channel_panel)) {
        plan.packs_in_task = true;
        limit = pixels;
        splits = padded_channels / channel_panel;
    } else if (plan.parallel && plan.feed == Feed::pixel_scalars) {
        // Weights stream from L3 once for each box of pixels, pixels are copied once for each block of channels: first
        // some blocks of channels, then smaller boxes, then the smallest blocks.
        const int64_t all = pixels * plan.groups;
        const auto split_channels = [&](int64_t least) {
            splits = std::clamp(ceil_div(plan.tasks_wanted, ceil_div(all, limit)), splits,
                                std::max<int64_t>(splits, padded_channels / least));
        };
        split_channels(2 * std::max(channel_panel, channels_worth_a_task));
        limit = std::min(limit, std::max(ceil_div(all * splits, plan.tasks_wanted), pixels_worth_a_task));
        split_channels(std::max(channel_panel, channels_worth_a_task));
    } else if (plan.feed == Feed::pixel_vectors && plan.maps[0].in_place) {
        const RowBoxes boxes = row_boxes(plan, elem_bytes);
        limit = boxes.most;
        if (plan.parallel) {
            // First smaller boxes; then the channels are split, which reads the source again.
            const int64_t all = pixels * plan.groups;
            limit = std::min(limit, std::max(ceil_div(all, plan.tasks_wanted), boxes.least));
            splits = std::clamp(ceil_div(plan.tasks_wanted, ceil_div(all, limit)), int64_t(1),
                                std::max<int64_t>(padded_channels / channels_worth_a_task, 1));
            limit = std::min(limit, std::max(ceil_div(all * splits, plan.tasks_wanted), 4 * pixel_panel));
        }
    } else if (plan.parallel) {
        // First the channels are split, which costs packing the pixels again, then the pixels into smaller chunks,
        // which fill fewer vectors.
        const int64_t chunks = plan.groups * ceil_div(pixels, limit);
        splits = std::clamp(ceil_div(plan.tasks_wanted, chunks), int64_t(1),
                            std::max<int64_t>(padded_channels / channels_worth_a_task, 1));
        if (joins_classes(plan)) splits = 1;  // the rows of their one product are not cut
        limit = std::min(limit, std::max(ceil_div(pixels * plan.groups * splits, plan.tasks_wanted), 4 * pixel_panel));
    }
    const int64_t waste_unit = plan.tile.pixels_are_columns ? shape.lanes : shape.rows;
    split_classes(plan, std::max<int64_t>(limit, 1), waste_unit);
    if (plan.feed == Feed::pixel_vectors)
        // Rows shorter than a vector are read beyond their end, which only staged ones allow.
        for (MapPlan& m : plan.maps) m.in_place &= m.pixels.shortest_row() >= shape.lanes;
    plan.channel_block = round_up(ceil_div(padded_channels, splits), channel_panel);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);

    int64_t boxes = 0;
    for (const MapPlan& m : plan.maps) boxes += m.classes > 0 ? m.pixels.count() : 0;
    plan.group_block =
        std::clamp<int64_t>(plan.groups * boxes / (group_tasks_factor * plan.tasks_wanted), 1, plan.groups);
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks;
        if (m.classes > 0)
            plan.tasks += ceil_div(plan.groups, plan.group_block) * m.pixels.count() * plan.channel_blocks;
        m.first_packing_block = plan.packing_blocks;
        if (m.classes == 0 && plan.flat_rows) continue;  // its weights are with those of the first one
        const MapPlan& product = multiplied(plan, m);
        const int64_t panels = plan.flat_rows ? plan.joints.front().panels : padded_channels / channel_panel;
        plan.packing_blocks += plan.groups * product.patches.count();
        m.weights_at = plan.packed_weight_elems;
        // Each panel of a block is followed by a vector of slack (packed_weights.hpp says why).
        m.weights_per_group = checked_add(
            checked_mul(panels * channel_panel, product.map.taps() * plan.source_channels, "the packed weights"),
            panels * product.patches.count() * shape.lanes, "the packed weights");
        plan.packed_weight_elems =
            checked_add(plan.packed_weight_elems, checked_mul(m.weights_per_group, plan.groups, "the packed weights"),
                        "the packed weights");
    }
}

}  // namespace convpp
