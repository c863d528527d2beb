// Boxes and blocks, cut.  boxes.hpp says what comes in and goes out.
#include "problem/boxes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "problem/checked.hpp"

namespace convpp {
namespace {

// The most taps of a block.  Where the taps of an axis lie much further apart than a chunk has pixels (dilation), the
// staged part of the source is mostly gaps: then each tap of that axis, and of those outside it, is staged on its own.
// The blocks of taps are part of the order of the sum: they come from the map alone, not from anything that N touches
// (how pixels are cut, whether they are staged).
int64_t taps_limit(const IndexMap& map, bool any_extent) {
    constexpr std::array<int64_t, 3> pixels_of_chunk{4, 16, 400};  // along depth, height, width; a rough figure will do
    constexpr int64_t most_gaps = 4;  // staged elements for each that is read
    int64_t inner = 1;
    for (size_t a = 3; a-- > 0;) {
        const Taps& taps = map.axis[a].taps;
        const Span shifts = taps.shifts(0, taps.size());
        const int64_t others = taps.size() - 1;
        const int64_t pixels = any_extent ? pixels_of_chunk[a] : std::min(map.axis[a].count, pixels_of_chunk[a]);
        if (shifts.hi - shifts.lo > most_gaps * others * pixels) return std::min(inner, patch_limit);
        inner *= taps.size();
    }
    return patch_limit;
}

// About as many terms as round the least in sum.  Each run costs a load and a store of a tile's sums, 1/2 % of the time
// of 144 steps: so runs are as long as the error of short sums allows, and in 1x1 layers, whose tiles do little else,
// longer than of several taps; long sums have enough blocks.
int64_t run_of(int64_t terms, int64_t taps) {
    constexpr int64_t one_run = 64, short_sum = 192, few_taps = 36, usual_sum = 576, long_sum = 4096;
    if (terms <= one_run) return one_run;
    if (terms <= short_sum) return taps == 1 ? 64 : taps <= few_taps ? few_taps : 96;
    if (terms <= usual_sum) return taps == 1 ? 128 : 96;
    return terms <= long_sum ? 144 : patch_limit;
}

}  // namespace

int64_t PatchBlocks::sections() const {
    constexpr int64_t many_blocks = 24;
    if (count() <= many_blocks) return 1;
    // The square root, rounded up: about as many sections as each has blocks.
    auto sections = static_cast<int64_t>(std::sqrt(static_cast<double>(count())));
    while (sections > 1 && sections - 1 >= ceil_div(count(), sections - 1)) --sections;
    while (sections < ceil_div(count(), sections)) ++sections;
    return sections;
}

PatchBlocks make_patch_blocks(int64_t channels, const IndexMap& map, const PatchRules& rules) {
    const auto taps_of = [&](size_t a) { return map.axis[a].taps.size(); };
    PatchBlocks blocks;
    blocks.channels = channels;
    const int64_t row = taps_of(2), least_channels = std::min(channels, rules.least_channels);
    int64_t of_box = std::min(taps_limit(map, rules.any_extent), patch_limit / least_channels);
    if (rules.summed_in_blocks) {
        // Runs are some channels, or some rows of one channel's taps, or a part of a row, if it is longer.
        if (row > whole_taps) of_box = std::min(of_box, row);
        if (least_channels > 1) of_box = std::min(of_box, whole_taps);
    }
    if (rules.one_tap_box) of_box = rules.most_taps;
    blocks.taps = BoxSplit({1, taps_of(0), taps_of(1), row}, of_box, 1);
    const int64_t own = blocks.taps.largest(), taps = blocks.taps.count() == 1 ? rules.most_taps : own;
    const int64_t fit = std::max(least_channels, patch_limit / taps);
    blocks.channel_blocks = ceil_div(channels, fit);
    blocks.channels_per_block = ceil_div(channels, blocks.channel_blocks);
    const int64_t run = run_of(blocks.count() * blocks.channels_per_block * taps, taps);
    if (taps <= whole_taps) {
        blocks.run_channels =
            ceil_div(blocks.channels_per_block, ceil_div(blocks.channels_per_block * taps, std::max(run, taps)));
    } else {
        const int64_t unit = row > whole_taps ? 1 : row;
        blocks.run_taps = ceil_div(own / unit, ceil_div(own, run)) * unit;
    }
    return blocks;
}

BoxSplit::BoxSplit(const std::array<int64_t, 4>& extents, int64_t limit, int64_t lanes, int64_t chunks)
    : extents_(extents) {
    int64_t inner = 1, outer = 1;
    for (const int64_t extent : extents)
        if (extent == 0) return;
    axis_ = 3;
    while (axis_ > 0 && inner * extents[axis_] <= limit) inner *= extents[axis_--];
    for (size_t a = 0; a < axis_; ++a) outer *= extents[a];
    const int64_t most = std::clamp<int64_t>(limit / inner, 1, extents[axis_]);
    // Among the larger steps, the one whose boxes fill up the fewest vectors (counting an eighth of a vector of fixed
    // cost a box), times what the largest chunk has beyond its share: candidates are tried on a coarse raster so that
    // planning stays cheap.
    double best_vectors = std::numeric_limits<double>::infinity();
    const int64_t raster = chunks > 1 ? 1 : std::max<int64_t>(1, most / 128);
    const auto vectors_of = [&](int64_t step) {
        const int64_t elems = step * inner;
        return elems == 0 ? 0.0 : static_cast<double>(ceil_div(elems, lanes)) + 0.125;
    };
    for (int64_t parts = ceil_div(extents[axis_], most), tried = 0; tried < 16; ++tried, parts += raster) {
        const int64_t step = ceil_div(extents[axis_], parts);
        if (step * 2 < most && tried > 0) break;
        const int64_t full = extents[axis_] / step, rest = extents[axis_] % step;
        const int64_t boxes = outer * ceil_div(extents[axis_], step);
        const double uneven = static_cast<double>(round_up(boxes, chunks)) / static_cast<double>(boxes);
        const double vectors = uneven * (static_cast<double>(full) * vectors_of(step) + vectors_of(rest));
        if (vectors < best_vectors) {
            best_vectors = vectors;
            step_ = step;
        }
        if (step == 1) break;
    }
    parts_ = ceil_div(extents[axis_], step_);
    count_ = parts_;
    for (size_t a = 0; a < axis_; ++a) count_ *= extents[a];
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
    block.run = blocks.run_channels > 0 ? blocks.run_channels * block.taps.elems() : blocks.run_taps;
    return block;
}

}  // namespace convpp
