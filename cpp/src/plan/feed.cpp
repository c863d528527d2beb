// The choice between the ways of feeding the tile (plan.hpp: Feed), by the estimates of their cost.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "plan/estimates.hpp"
#include "plan/plan_parts.hpp"

namespace convpp {
namespace {

// Where taps of any pixel stay inside the source, pixels can be read where they lie: as vectors if they are consecutive
// there; one by one from anywhere, except that planes a multiple of many cache sets apart would push each other out.
bool vectors_in_place(const Plan& plan, const IndexMap& map) {
    return vectors_together(plan, map) && map.reads_inside();
}

bool scalars_in_place(const Plan& plan, const IndexMap& map, int64_t elem_bytes) {
    if (plan.converts && (!plan.bf16_pairs || plan.partner_distance != 0)) return false;
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
Choice cheapest_feed(const Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    const auto work = [](const MapPlan& m) { return m.map.pixels() * m.map.taps(); };
    MapPlan m = *std::max_element(plan.maps.begin(), plan.maps.end(),
                                  [&](const MapPlan& a, const MapPlan& b) { return work(a) < work(b); });
    const bool sums = plan.pass == Pass::weight_grad;
    if (plan.bf16_pairs) {  // no other tile multiplies them
        m.in_place = scalars_in_place(plan, m.map, elem_bytes);
        TileChoice tile = scalar_product(kernels, plan, m);
        if (!m.in_place && m.map.reads_mostly_gaps()) tile.cost = std::numeric_limits<double>::infinity();
        return {Feed::pixel_scalars, tile};
    }
    m.in_place = vectors_in_place(plan, m.map);
    Choice best{Feed::packed_pixels, (sums ? packed_sum : packed_product)(kernels, plan, m)};
    // (Operands that are converted lie in place for nobody but a packer: dot products read dy where it lies.)
    const TileChoice vectors = (sums ? vector_sum : vector_product)(kernels, plan, m);
    if (vectors.cost < best.tile.cost && !(sums && plan.converts)) best = {Feed::pixel_vectors, vectors};
    m.in_place = scalars_in_place(plan, m.map, elem_bytes);
    if (!m.in_place && m.map.reads_mostly_gaps()) return best;  // the others copy only the phases that are read
    const TileChoice scalars = (sums ? scalar_sum : scalar_product)(kernels, plan, m);
    if (scalars.cost < best.tile.cost) best = {Feed::pixel_scalars, scalars};
    return best;
}

// Vectors of channels go through several groups at once, if results and source have the same few channels in each.
// channels_first planes are worth transposing for depthwise layers (measured: 1 to 2 times as fast as their rows, for
// planes of 7x7 to 112x112), not for groups of 4 channels.
bool uses_channel_vectors(const Plan& plan, const KernelShapes& kernels) {
    const int64_t channels = plan.result_channels, lanes = kernels.shape[0].lanes;
    const bool power_of_two = channels == 1 || channels == 2 || channels == 4 || channels == 8;
    if (plan.groups == 1 || channels != plan.source_channels || !power_of_two || channels > lanes) return false;
    if (plan.channels_last) return true;
    const auto one_box = [](const MapPlan& m) { return m.patches.taps.count() == 1; };
    // With fewer groups than half a vector, most of what is transposed would be nothing.
    return channels == 1 && plan.groups >= lanes / 2 &&
           (plan.maps.size() == 1 || std::all_of(plan.maps.begin(), plan.maps.end(), one_box));
}

void use_channel_vectors(Plan& plan, const KernelShapes& kernels) {
    plan.feed = Feed::channel_vectors;
    plan.group_channels = plan.result_channels;
    plan.result_channels *= plan.groups;
    plan.groups = 1;
    plan.tile = {0, false, kernels::most_channel_pixels, kernels.shape[0].lanes, 0};
    for (MapPlan& m : plan.maps) {
        m.in_place = false;
        // Blocks are of taps alone; the order of the sum is the same.
        m.patches.channels_per_block = plan.group_channels;
        m.patches.channel_blocks = 1;
    }
}

// The taps of an axis read neighbouring source elements, not far from the result's own, and nothing is skipped.  Results
// are about as many as source elements: what vectors read beyond a row's ends is bounded.
bool slides(const AxisMap& axis) {
    if (std::llabs(axis.count - axis.source_extent) > 2 * slide_reach) return false;
    const int64_t direction = axis.taps.back().offset < axis.taps.front().offset ? -1 : 1;
    for (size_t t = 0; t < axis.taps.size(); ++t)
        if (axis.taps[t].offset != axis.taps.front().offset + direction * static_cast<int64_t>(t) ||
            std::llabs(axis.taps[t].offset) > slide_reach)
            return false;
    return axis.source_step == 1 && axis.result_step == 1;
}

// Rows slide in depthwise layers of kernels three columns wide, at stride 1, channels first, unless much of each vector
// would be empty and vectors of channels would not.  (Measured against vectors of channels, float32: forward 1.3 to 1.7
// times as fast for planes of 28x28 to 112x112, 1.1 times for 14x14, 0.6 times for 7x7; weight gradient 1.25 to 1.3 times
// and 1.0 times.)
bool uses_sliding_rows(const Plan& plan, const KernelShapes& kernels) {
    constexpr int64_t most_columns = 8192, most_lines = 8;  // what a task may have to copy is bounded by them
    if (plan.channels_last || plan.result_channels != 1 || plan.source_channels != 1 || plan.maps.size() != 1)
        return false;
    if (plan.maps[0].map.has_border()) return false;  // columns outside are blanked as they are loaded
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const int64_t columns = axis[2].count, lanes = kernels.shape[0].lanes;
    const bool filled = 4 * columns >= 3 * round_up(columns, lanes);
    return axis[0].taps.size() == 1 && axis[0].taps[0].offset == 0 && axis[0].reads_inside() && slides(axis[0]) &&
           slides(axis[1]) && slides(axis[2]) && axis[1].count > 1 && axis[2].taps.size() == kernels::strip_taps &&
           columns <= most_columns && plan.source.axis[1] <= most_columns &&
           static_cast<int64_t>(axis[1].taps.size()) <= most_lines && (filled || !uses_channel_vectors(plan, kernels));
}

}  // namespace

void use_bf16_pairs(Plan& plan) {
    plan.bf16_pairs = true;
    plan.source_channels /= 2;
    TensorStrides& source = plan.source;
    if (source.channel == 1) {  // they lie together, and are read like float32
        source.batch /= 2;
        for (int64_t& step : source.axis) step = std::max<int64_t>(step / 2, 1);
    } else {
        plan.partner_distance = source.channel;
        source.channel *= 2;
    }
}

bool bf16_pairs_are_faster(Plan sample, const KernelShapes& kernels, int64_t elem_bytes) {
    if (!kernels.bf16_pairs || sample.pass == Pass::weight_grad || sample.source_channels % 2 != 0) return false;
    const auto find_blocks = [&] {
        for (MapPlan& m : sample.maps) m.patches = make_patch_blocks(sample.source_channels, m.map);
    };
    find_blocks();
    for (const bool last : {true, false}) {  // what is a matter of rules in one of the layouts
        sample.channels_last = last;
        if (uses_channel_vectors(sample, kernels)) return false;
    }
    const double converted = cheapest_feed(sample, kernels, elem_bytes).tile.cost;
    use_bf16_pairs(sample);
    find_blocks();
    return cheapest_feed(sample, kernels, elem_bytes).tile.cost < converted;
}

void choose_feed(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    if (!plan.bf16_pairs && uses_sliding_rows(plan, kernels)) {
        plan.feed = Feed::sliding_rows;
        plan.tile = {0, true, kernels::slide_rows[0], kernels.shape[0].lanes, 0};
        return;
    }
    if (!plan.bf16_pairs && uses_channel_vectors(plan, kernels)) return use_channel_vectors(plan, kernels);
    const Choice choice = cheapest_feed(plan, kernels, elem_bytes);
    plan.feed = choice.feed;
    plan.tile = choice.tile;
    if (plan.feed == Feed::pixel_vectors && plan.pass != Pass::weight_grad)
        plan.flat_rows = computes_flat_rows(plan, kernels.shape[0].lanes);
    if (plan.flat_rows) plan.joints = join_maps(plan, kernels.shape[0].rows);
    const bool scalars =
        plan.feed == Feed::pixel_scalars && !(plan.pass == Pass::weight_grad && plan.tile.pixels_are_columns);
    for (MapPlan& m : plan.maps) {
        if (scalars) m.in_place = scalars_in_place(plan, m.map, elem_bytes);
        else
            m.in_place = (vectors_in_place(plan, m.map) && !(plan.converts && plan.feed == Feed::pixel_vectors)) ||
                         (plan.feed != Feed::pixel_vectors && packs_straight(plan, m.map));
        // Flat rows are read beyond their end, which only staged ones allow.
        m.in_place &= !plan.flat_rows;
    }
}

}  // namespace convpp
