// Blocks, chunks, tiles and buffers of a pass, by estimates of their cost.  plan.hpp says what comes in and goes out.
#include "plan.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "cache.hpp"
#include "checked.hpp"
#include "dispatch.hpp"
#include "estimates.hpp"

namespace convpp {
namespace {

// Depth of a block of the contraction (forward, input_grad), and its columns in weight_grad.  A panel of 48 columns
// and 288 rows is 55 KiB of float32: it streams from L2 at 8 bytes a cycle while the tile multiplies, and a tile's
// accumulators are loaded and stored once in 288 steps.  288 is 32 channels of 3x3 and a multiple of 48.
constexpr int64_t patch_limit = 288;

// The packed pixels of a chunk (patch_limit x pixels) should stay in 7/16 of L2: of 1 MiB, 398 pixels of float32, which
// is two images of 14x14.
int64_t chunk_bytes(const Plan& plan) { return plan.cache_bytes * 7 / 16; }

constexpr int64_t chunk_pixels_most = 1024;

// weight_grad: the pixels that a tile sums between loading and storing its accumulators.
constexpr int64_t sum_pixels = 256;
constexpr int64_t sum_channels = 256;  // 256 x 256 float32 of packed dy: 256 KiB of L2

// Tasks that a pass is cut into if it has the work: 8 for each thread keep the last ones short.  How forward and
// input_grad are cut changes no bit; the weight gradient's chunks of pixels do, so their number never looks at threads.
constexpr int64_t tasks_of_thread = 8, least_tasks_wanted = 16, chunks_wanted = 16;
constexpr int64_t pixels_worth_a_task = 56;  // read one by one: 8 tiles, each of them 2 % of the task
constexpr int64_t most_sum_channels = 512;  // result channels of a task, at most: their sums share the L2
constexpr int64_t channels_worth_a_task = 64;  // packing pixels again for 64 channels costs less than 10 %

// Where there are many groups, a task does several: finding out where its pixels lie serves them all.  As many times as
// the tasks wanted:
constexpr int64_t group_tasks_factor = 4;

// Where vectors run along the channels: what is read of a pixel at once (16 cache lines: long enough for memory to stream),
// while the padded copy of a task takes 3/8 of L2.
constexpr int64_t channel_run_bytes = 1024;

// Below this many operations, waking a second thread (2-5 us) costs more than it saves.
constexpr double serial_flops = 1.5e6;

// Partial sums of weight_grad's chunks, together.
constexpr int64_t partial_bytes_most = int64_t(32) << 20;

int64_t panel_width(const Plan& plan, const TileShape& shape, bool of_pixels) {
    return of_pixels == plan.tile.pixels_are_columns ? shape.vectors * shape.lanes : shape.rows;
}

// The most taps of a block.  Where the taps of an axis lie much further apart than a chunk has pixels (dilation), the
// staged part of the source is mostly gaps: then each tap of that axis, and of those outside it, is staged on its own.
// The blocks of taps are part of the order of the sum: they come from the map alone, not from anything that N touches
// (how pixels are cut, whether they are staged).
int64_t taps_limit(const IndexMap& map) {
    constexpr std::array<int64_t, 3> pixels_of_chunk{4, 16, 400};  // along depth, height, width; a rough figure will do
    constexpr int64_t most_gaps = 4;  // staged elements for each that is read
    int64_t inner = 1;
    for (size_t a = 3; a-- > 0;) {
        const auto& taps = map.axis[a].taps;
        const auto [lo, hi] =
            std::minmax_element(taps.begin(), taps.end(), [](const Tap& s, const Tap& t) { return s.shift < t.shift; });
        const int64_t others = static_cast<int64_t>(taps.size()) - 1;
        if (hi->shift - lo->shift > most_gaps * others * std::min(map.axis[a].count, pixels_of_chunk[a]))
            return std::min(inner, patch_limit);
        inner *= static_cast<int64_t>(taps.size());
    }
    return patch_limit;
}

PatchBlocks make_patch_blocks(int64_t channels, const IndexMap& map) {
    const auto taps_of = [&](size_t a) { return static_cast<int64_t>(map.axis[a].taps.size()); };
    PatchBlocks blocks;
    blocks.channels = channels;
    blocks.taps = BoxSplit({1, taps_of(0), taps_of(1), taps_of(2)}, taps_limit(map), 1);
    const int64_t fit = std::max<int64_t>(1, patch_limit / blocks.taps.largest());
    blocks.channel_blocks = ceil_div(channels, fit);
    blocks.channels_per_block = ceil_div(channels, blocks.channel_blocks);
    return blocks;
}

// Where pixels are not packed, a chunk's staged channels are not multiplied by taps: 8192 pixels of one channel are
// 32 KiB of float32; of many channels, a quarter of the L2's share.
int64_t chunk_pixels_of_rows(const Plan& plan, const MapPlan& m, int64_t elem_bytes) {
    int64_t staged = elem_bytes * m.patches.channels_per_block;  // bytes for each pixel
    for (const AxisMap& axis : m.map.axis) staged *= static_cast<int64_t>(axis.phases.size());
    return std::clamp<int64_t>(chunk_bytes(plan) / 4 / staged, 1, 8192);
}

BoxSplit split_pixels(const Plan& plan, const IndexMap& map, int64_t limit, int64_t lanes) {
    return BoxSplit({plan.batch, map.axis[0].count, map.axis[1].count, map.axis[2].count}, limit, lanes);
}

void describe_operands(Plan& plan, const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    const bool to_input = plan.pass == Pass::input_grad;
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups;
    plan.groups_per_sample = g.groups;
    plan.groups = g.per_sample ? g.groups * g.batch : g.groups;
    plan.batch = g.per_sample ? 1 : g.batch;
    plan.channels_last = g.layout == Layout::channels_last;
    plan.result_channels = to_input ? in : out;
    plan.source_channels = to_input ? out : in;
    const TensorStrides x = tensor_strides(g.layout, g.in_channels, g.input);
    const TensorStrides y = tensor_strides(g.layout, g.out_channels, problem.output());
    plan.source = to_input ? y : x;
    plan.result = to_input ? x : y;
    plan.weight_group = in * out * problem.taps();
    const int64_t per_out = in * problem.taps(), per_in = problem.taps();
    plan.weight_result_channel = to_input ? per_in : per_out;
    plan.weight_source_channel = to_input ? per_out : per_in;
    plan.weight_axis = {g.kernel[1] * g.kernel[2], g.kernel[2], 1};
}

// Where taps of any pixel stay inside the source, pixels can be read where they lie: as vectors if they are consecutive
// there; one by one from anywhere, except that planes a multiple of many cache sets apart would push each other out.
bool vectors_in_place(const Plan& plan, const IndexMap& map) {
    return plan.source.axis[2] == 1 && map.axis[2].source_step == 1 && map.reads_inside();
}

bool scalars_in_place(const Plan& plan, const IndexMap& map, int64_t elem_bytes) {
    constexpr int64_t few_sets_bytes = 2048;  // half of the 4 KiB after which an L1 of 64 sets begins again
    const bool aliased =
        plan.source.channel != 1 && plan.source_channels > 1 && plan.source.channel * elem_bytes % few_sets_bytes == 0;
    return map.reads_inside() && !aliased;
}

struct Choice {
    Feed feed = Feed::packed_pixels;
    TileChoice tile;
};

// The cheapest way of feeding the map that has the most work.
Choice choose_feed(const Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    const auto work = [](const MapPlan& m) { return m.map.pixels() * m.map.taps(); };
    MapPlan m = *std::max_element(plan.maps.begin(), plan.maps.end(),
                                  [&](const MapPlan& a, const MapPlan& b) { return work(a) < work(b); });
    const bool sums = plan.pass == Pass::weight_grad;
    m.in_place = vectors_in_place(plan, m.map);
    Choice best{Feed::packed_pixels, (sums ? packed_sum : packed_product)(kernels, plan, m)};
    const TileChoice vectors = (sums ? vector_sum : vector_product)(kernels, plan, m);
    if (vectors.cost < best.tile.cost) best = {Feed::pixel_vectors, vectors};
    m.in_place = scalars_in_place(plan, m.map, elem_bytes);
    const TileChoice scalars = (sums ? scalar_sum : scalar_product)(kernels, plan, m);
    if (scalars.cost < best.tile.cost) best = {Feed::pixel_scalars, scalars};
    return best;
}

// Classes next to each other in `maps` that one task computes: those that together fill the rows of the result, and for
// some ways also the columns.
int64_t family_size(const Plan& plan, size_t leader) {
    const int64_t step = plan.maps[leader].map.axis[2].result_step;
    const int64_t most = static_cast<int64_t>(most_family),
                  left = std::min(most + 1, static_cast<int64_t>(plan.maps.size() - leader));
    const bool channels = plan.feed == Feed::channel_vectors;
    const bool whole_planes = plan.flat_rows || channels;
    if (plan.channels_last ? !channels : plan.feed != Feed::pixel_scalars && !whole_planes) return 1;
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
    return whole_planes && in_plane <= most ? in_plane : in_row;
}

// Finds the families, and the boxes of pixels of each: of those of the map that has the most.
void split_families(Plan& plan, int64_t limit, int64_t lanes) {
    for (size_t leader = 0; leader < plan.maps.size();) {
        const int64_t family = family_size(plan, leader);
        const auto first = plan.maps.begin() + static_cast<std::ptrdiff_t>(leader);
        const auto end = first + static_cast<std::ptrdiff_t>(family);
        const auto most = std::max_element(
            first, end, [](const MapPlan& a, const MapPlan& b) { return a.map.pixels() < b.map.pixels(); });
        const BoxSplit split = split_pixels(plan, most->map, std::max<int64_t>(limit / family, 1), lanes);
        for (auto m = first; m != end; ++m) {
            m->pixels = split;
            m->family = m == first ? family : 0;
        }
        leader += static_cast<size_t>(family);
    }
}

// Vectors of channels go through several groups at once, if results and source have the same few channels in each.
// channels_first planes are worth transposing for depthwise layers (measured: 1 to 2 times as fast as their rows, for
// planes of 7x7 to 112x112), not for groups of 4 channels.
bool uses_channel_vectors(const Plan& plan, const KernelShapes& kernels) {
    const int64_t channels = plan.result_channels, lanes = kernels.shape[0].lanes;
    const bool power_of_two = channels == 1 || channels == 2 || channels == 4 || channels == 8;
    if (plan.groups == 1 || plan.groups != plan.groups_per_sample || channels != plan.source_channels ||
        !power_of_two || channels > lanes)
        return false;
    if (plan.channels_last) return true;
    const auto one_box = [](const MapPlan& m) { return m.patches.taps.count() == 1; };
    return channels == 1 && plan.groups >= lanes / 2 &&
           (plan.maps.size() == 1 || std::all_of(plan.maps.begin(), plan.maps.end(), one_box));
}

void use_channel_vectors(Plan& plan, const KernelShapes& kernels) {
    plan.feed = Feed::channel_vectors;
    plan.group_channels = plan.result_channels;
    plan.result_channels *= plan.groups;
    plan.groups = plan.groups_per_sample = 1;
    plan.tile = {0, false, kernels::most_channel_pixels, kernels.shape[0].lanes, 0};
    for (MapPlan& m : plan.maps) {
        m.in_place = false;
        m.patches.channels_per_block =
            plan.group_channels;  // blocks are of taps alone; the order of the sum is the same
        m.patches.channel_blocks = 1;
    }
}

// Channels and pixels of a task: the padded copy of both stays in L2.  channels_first takes one vector of channels.
void block_channel_vectors(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    const int64_t lanes = kernels.shape[0].lanes, padded = round_up(plan.result_channels, lanes);
    const bool first = !plan.channels_last;
    plan.channel_block = first ? lanes : std::min(padded, round_up(channel_run_bytes / elem_bytes, lanes));
    int64_t pixels = 0, limit = plan.cache_bytes * 3 / 8 / (plan.channel_block * elem_bytes);
    for (const MapPlan& m : plan.maps) pixels += m.map.pixels() * plan.batch;
    if (plan.parallel) {
        // (The weight gradient's chunks are made of boxes.)
        const int64_t wanted = plan.pass == Pass::weight_grad ? chunks_wanted : plan.tasks_wanted;
        // First fewer pixels, as long as their rows are worth the borders that are copied with them.
        limit = std::min(limit, std::max(ceil_div(pixels * ceil_div(padded, plan.channel_block), wanted),
                                         4 * plan.maps[0].map.axis[2].count));
        while (plan.channel_block > 2 * lanes &&
               ceil_div(pixels, limit) * ceil_div(padded, plan.channel_block) < wanted)
            plan.channel_block = round_up(plan.channel_block / 2, lanes);
    }
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
    split_families(plan, std::max<int64_t>(limit, 1), 1);
    if (!first || plan.pass == Pass::weight_grad) return;
    int64_t boxes = 0;  // several vectors a task share what is found out about its pixels
    for (const MapPlan& m : plan.maps) boxes += m.family > 0 ? m.pixels.count() : 0;
    plan.channel_block =
        lanes * std::clamp<int64_t>(boxes * padded / lanes / (group_tasks_factor * plan.tasks_wanted), 1, 16);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);
}

// Forward and input gradient by vectors of channels: tasks are (map, box of pixels, some vectors of channels).
void plan_channel_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    use_channel_vectors(plan, kernels);
    block_channel_vectors(plan, kernels, elem_bytes);
    const int64_t padded = round_up(plan.result_channels, kernels.shape[0].lanes);
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks;
        if (m.family > 0) plan.tasks += m.pixels.count() * plan.channel_blocks;
        m.weights_at = plan.packed_weight_elems;
        m.weights_per_group = checked_mul(padded, m.map.taps() * plan.group_channels, "the packed weights");
        plan.packed_weight_elems = checked_add(plan.packed_weight_elems, m.weights_per_group, "the packed weights");
    }
}

// Most pixels of a task.
int64_t chunk_pixels(const Plan& plan, int64_t elem_bytes, int64_t channel_panel) {
    if (plan.feed == Feed::pixel_scalars) {
        // Their sums, and the source that they read, stay in half of a 1 MiB L2 while all blocks of patches are added.
        const int64_t sums =
            plan.result.channel == 1 ? 0 : std::min(round_up(plan.result_channels, channel_panel), most_sum_channels);
        const int64_t each = sums + 2 * plan.maps[0].patches.channels_per_block;
        return std::clamp<int64_t>(chunk_bytes(plan) / (each * elem_bytes), 32, chunk_pixels_most);
    }
    int64_t terms = 1;
    for (const MapPlan& m : plan.maps) terms = std::max(terms, m.map.taps() * plan.source_channels);
    const int64_t packed = std::min(chunk_bytes(plan) / (std::min(patch_limit, terms) * elem_bytes), chunk_pixels_most);
    return plan.feed == Feed::packed_pixels ? packed
                                            : std::max(packed, chunk_pixels_of_rows(plan, plan.maps[0], elem_bytes));
}

// Forward and input gradient: tasks are (map, group, box of pixels, block of result channels).
void plan_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    if (uses_channel_vectors(plan, kernels)) return plan_channel_products(plan, kernels, elem_bytes);
    const Choice choice = choose_feed(plan, kernels, elem_bytes);
    plan.feed = choice.feed;
    plan.tile = choice.tile;
    if (plan.feed == Feed::pixel_vectors)
        plan.flat_rows = std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) {
            return computes_flat_rows(plan, m, kernels.shape[0].lanes);
        });
    const TileShape& shape = kernels.shape[plan.tile.family];
    const int64_t pixel_panel = panel_width(plan, shape, true), channel_panel = panel_width(plan, shape, false);
    for (size_t m = 0; m < plan.maps.size(); ++m) {
        MapPlan& map = plan.maps[m];
        map.in_place = plan.feed == Feed::pixel_scalars ? scalars_in_place(plan, map.map, elem_bytes)
                                                        : vectors_in_place(plan, map.map);
        // Flat rows and those shorter than a vector are read beyond their end, which only staged ones allow.
        if (plan.feed == Feed::pixel_vectors) map.in_place &= !plan.flat_rows && map.map.axis[2].count >= shape.lanes;
    }
    int64_t pixels = 0;
    for (const MapPlan& m : plan.maps) pixels += m.map.pixels() * plan.batch;

    const int64_t padded_channels = round_up(plan.result_channels, channel_panel);
    int64_t limit = chunk_pixels(plan, elem_bytes, channel_panel);
    int64_t splits = 1;  // of the result channels
    if (plan.feed == Feed::pixel_scalars)
        splits = ceil_div(padded_channels, round_up(most_sum_channels, channel_panel));
    if (plan.parallel && plan.feed == Feed::pixel_scalars) {
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
    } else if (plan.parallel) {
        // First the channels are split, which costs packing the pixels again, then the pixels into smaller chunks,
        // which fill fewer vectors.
        const int64_t chunks = plan.groups * ceil_div(pixels, limit);
        splits = std::clamp(ceil_div(plan.tasks_wanted, chunks), int64_t(1),
                            std::max<int64_t>(padded_channels / channels_worth_a_task, 1));
        limit = std::min(limit, std::max(ceil_div(pixels * plan.groups * splits, plan.tasks_wanted), 4 * pixel_panel));
    }
    const int64_t waste_unit = plan.tile.pixels_are_columns ? shape.lanes : shape.rows;
    split_families(plan, std::max<int64_t>(limit, 1), waste_unit);
    if (plan.feed == Feed::pixel_vectors)
        for (MapPlan& m : plan.maps) m.in_place &= m.pixels.shortest_row() >= shape.lanes;
    plan.channel_block = round_up(ceil_div(padded_channels, splits), channel_panel);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);

    int64_t boxes = 0;
    for (const MapPlan& m : plan.maps) boxes += m.family > 0 ? m.pixels.count() : 0;
    plan.group_block =
        std::clamp<int64_t>(plan.groups * boxes / (group_tasks_factor * plan.tasks_wanted), 1, plan.groups);
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks;
        if (m.family > 0)
            plan.tasks += ceil_div(plan.groups, plan.group_block) * m.pixels.count() * plan.channel_blocks;
        m.first_packing_block = plan.packing_blocks;
        plan.packing_blocks += plan.groups * m.patches.count();
        m.weights_at = plan.packed_weight_elems;
        // Each panel of a block is followed by a vector of slack (packed_weights.hpp says why).
        m.weights_per_group =
            checked_add(checked_mul(padded_channels, m.map.taps() * plan.source_channels, "the packed weights"),
                        padded_channels / channel_panel * m.patches.count() * shape.lanes, "the packed weights");
        plan.packed_weight_elems =
            checked_add(plan.packed_weight_elems, checked_mul(m.weights_per_group, plan.groups, "the packed weights"),
                        "the packed weights");
    }
}

// Weight gradient: tasks are (group, block of out channels, block of patches, chunk of pixels).
void plan_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    MapPlan& m = plan.maps[0];
    if (uses_channel_vectors(plan, kernels)) {
        use_channel_vectors(plan, kernels);
        block_channel_vectors(plan, kernels, elem_bytes);
    } else {
        const Choice choice = choose_feed(plan, kernels, elem_bytes);
        plan.feed = choice.feed;
        plan.tile = choice.tile;
        m.in_place = plan.feed == Feed::pixel_scalars && !plan.tile.pixels_are_columns
                         ? scalars_in_place(plan, m.map, elem_bytes)
                         : vectors_in_place(plan, m.map);
        m.pixels = split_pixels(
            plan, m.map, plan.feed == Feed::pixel_vectors ? chunk_pixels_of_rows(plan, m, elem_bytes) : sum_pixels, 1);
        // Rows shorter than a vector are read beyond their end, which only staged ones allow.
        if (plan.feed == Feed::pixel_vectors) m.in_place &= m.pixels.shortest_row() >= kernels.shape[0].lanes;
        const int64_t channel_panel = panel_width(plan, kernels.shape[plan.tile.family], false);
        const int64_t blocks = ceil_div(plan.result_channels, round_up(sum_channels, channel_panel));
        plan.channel_block = round_up(ceil_div(plan.result_channels, blocks), channel_panel);
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
        while (products * plan.chunks < plan.tasks_wanted) {
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

}  // namespace

BoxSplit::BoxSplit(const std::array<int64_t, 4>& extents, int64_t limit, int64_t lanes) : extents_(extents) {
    int64_t inner = 1;
    for (const int64_t extent : extents)
        if (extent == 0) return;
    axis_ = 3;
    while (axis_ > 0 && inner * extents[axis_] <= limit) inner *= extents[axis_--];
    const int64_t most = std::clamp<int64_t>(limit / inner, 1, extents[axis_]);
    // Among the larger steps, the one whose boxes fill up the fewest vectors (counting an eighth of a vector of fixed
    // cost a box): candidates are tried on a coarse raster so that planning stays cheap.
    double best_vectors = std::numeric_limits<double>::infinity();
    const int64_t raster = std::max<int64_t>(1, most / 128);
    const auto vectors_of = [&](int64_t step) {
        const int64_t elems = step * inner;
        return elems == 0 ? 0.0 : static_cast<double>(ceil_div(elems, lanes)) + 0.125;
    };
    for (int64_t parts = ceil_div(extents[axis_], most), tried = 0; tried < 16; ++tried, parts += raster) {
        const int64_t step = ceil_div(extents[axis_], parts);
        if (step * 2 < most && tried > 0) break;
        const int64_t full = extents[axis_] / step, rest = extents[axis_] % step;
        const double vectors = static_cast<double>(full) * vectors_of(step) + vectors_of(rest);
        if (vectors < best_vectors) {
            best_vectors = vectors;
            step_ = step;
        }
        if (step == 1) break;
    }
    parts_ = ceil_div(extents[axis_], step_);
    count_ = parts_;
    for (size_t a = 0; a < axis_; ++a) count_ *= extents[a];
    largest_ = step_ * inner;
}

Box BoxSplit::box(int64_t index) const {
    Box box;
    box.hi = extents_;
    box.lo[axis_] = index % parts_ * step_;
    box.hi[axis_] = std::min(box.lo[axis_] + step_, extents_[axis_]);
    index /= parts_;
    for (size_t a = axis_; a-- > 0; index /= extents_[a]) {
        box.lo[a] = index % extents_[a];
        box.hi[a] = box.lo[a] + 1;
    }
    return box;
}

PatchBlock patch_block(const PatchBlocks& blocks, int64_t index) {
    PatchBlock block;
    block.taps = blocks.taps.box(index / blocks.channel_blocks);
    block.channel_lo = index % blocks.channel_blocks * blocks.channels_per_block;
    block.channel_hi = std::min(block.channel_lo + blocks.channels_per_block, blocks.channels);
    int64_t taps_before = 0;  // in lexicographic order
    for (size_t a = 1; a < 4; ++a) taps_before = taps_before * blocks.taps.extents()[a] + block.taps.lo[a];
    block.start = blocks.channels * taps_before + block.channel_lo * block.taps.elems();
    return block;
}

Plan make_plan(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads) {
    const KernelShapes kernels = kernel_shapes(isa, dtype);
    const int64_t elem_bytes = dtype == DType::float32 ? 4 : 8;
    Plan plan;
    plan.pass = pass;
    plan.algorithm = algorithm == Algorithm::automatic ? Algorithm::direct : algorithm;
    plan.isa = isa;
    plan.parallel = problem.flops() > serial_flops;
    // The weight gradient's chunks are made of boxes of pixels: its bits must not depend on the machine's caches.
    plan.cache_bytes = pass == Pass::weight_grad ? usual_cache_bytes : cache_bytes();
    plan.tasks_wanted = std::max(least_tasks_wanted, tasks_of_thread * threads);
    describe_operands(plan, problem);
    if (pass == Pass::input_grad) {
        InputGradMaps maps = input_grad_maps(problem);
        plan.fill_result = !maps.covers_input;
        for (IndexMap& map : maps.classes) plan.maps.emplace_back(joined_rows(std::move(map)));
    } else {
        plan.maps.emplace_back(joined_rows(forward_map(problem)));
    }
    for (const MapPlan& m : plan.maps) plan.reads_padding |= !m.map.reads_inside();
    const int64_t results = pass == Pass::forward      ? problem.y_elems()
                            : pass == Pass::input_grad ? problem.x_elems()
                                                       : problem.w_elems();
    plan.empty = problem.flops() == 0 || results == 0 || plan.maps.empty();
    if (plan.empty || plan.algorithm == Algorithm::reference) return plan;
    for (MapPlan& m : plan.maps) m.patches = make_patch_blocks(plan.source_channels, m.map);
    if (pass == Pass::weight_grad) plan_sums(plan, kernels, elem_bytes);
    else plan_products(plan, kernels, elem_bytes);
    return plan;
}

std::string describe_blocking(const Plan& plan) {
    if (plan.algorithm == Algorithm::reference) return "plain loops";
    if (plan.empty) return "nothing to sum";
    const MapPlan& m = plan.maps.front();
    const auto text = [](int64_t n) { return std::to_string(n); };
    return std::string("tile ") + text(plan.tile.rows) + " " +
           (plan.tile.pixels_are_columns     ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           " x " + text(plan.tile.columns) + " " +
           (!plan.tile.pixels_are_columns    ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           "; " + text(plan.tasks) + " tasks of up to " + text(plan.channel_block) + " channels x " +
           text(m.pixels.largest()) + " pixels; " + text(m.patches.count()) + " blocks of up to " +
           text(m.patches.largest()) + " (channel, tap) pairs; " + text(static_cast<int64_t>(plan.maps.size())) +
           (plan.maps.size() == 1 ? " index map" : " residue classes") + (m.in_place ? ", read in place" : "");
}

}  // namespace convpp
