// Boxes of pixels or taps, boxes cut into smaller ones, and the contraction cut into blocks.
//
// In:  extents, an index map.   Out: Box, BoxSplit, PatchBlocks: plain values.   Next: plan/plan.hpp, which chooses
// their sizes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "problem/index_map.hpp"

namespace convpp {

// A range of each of four axes: (sample, depth, height, width) of pixels, or (1, depth, height, width) of taps.
struct Box {
    std::array<int64_t, 4> lo{0, 0, 0, 0}, hi{0, 0, 0, 0};
    int64_t extent(size_t axis) const { return hi[axis] - lo[axis]; }
    int64_t elems() const { return extent(0) * extent(1) * extent(2) * extent(3); }
};

// Calls visit(n, a, b, c) for all indices below some counts, in order.
template <class Visit>
void for_each_index(const std::array<int64_t, 4>& counts, const Visit& visit) {
    for (int64_t n = 0; n < counts[0]; ++n)
        for (int64_t a = 0; a < counts[1]; ++a)
            for (int64_t b = 0; b < counts[2]; ++b)
                for (int64_t c = 0; c < counts[3]; ++c) visit(n, a, b, c);
}

// visit(position) for all positions below some extents, in order.
template <class Visit>
void for_each_position(const Extents& extents, const Visit& visit) {
    Extents at{0, 0, 0};
    for (at[0] = 0; at[0] < extents[0]; ++at[0])
        for (at[1] = 0; at[1] < extents[1]; ++at[1])
            for (at[2] = 0; at[2] < extents[2]; ++at[2]) visit(at);
}

// Cuts a box into smaller ones: single indices on the axes outside `axis`, `step` indices on it, all inside it.
// The boxes are in lexicographic order, and so are the elements through them.
class BoxSplit {
public:
    BoxSplit() = default;
    // Boxes of at most `limit` elements, or of one, in whose vectors of `lanes` few lanes stay empty.
    // Shared out to `chunks`, the largest chunk has few pixels more than its share.
    BoxSplit(const std::array<int64_t, 4>& extents, int64_t limit, int64_t lanes, int64_t chunks = 1);
    int64_t count() const { return count_; }
    int64_t largest() const {  // elements of the largest box
        int64_t elems = count_ == 0 ? 0 : step_;
        for (size_t a = axis_ + 1; a < 4; ++a) elems *= extents_[a];
        return elems;
    }
    Box box(int64_t index) const;  // the first one is the largest
    // The boxes differ in their extents along one axis alone, which is cut into so many parts: so do the first ones.
    size_t cut_axis() const { return axis_; }
    int64_t parts() const { return parts_; }
    int64_t largest_extent(size_t axis) const { return axis > axis_ ? extents_[axis] : axis == axis_ ? step_ : 1; }
    int64_t shortest_row() const {  // of any box, along the innermost axis
        return axis_ == 3 && extents_[3] % step_ != 0 ? extents_[3] % step_ : axis_ == 3 ? step_ : extents_[3];
    }
    const std::array<int64_t, 4>& extents() const { return extents_; }

private:
    std::array<int64_t, 4> extents_{0, 0, 0, 0};
    size_t axis_ = 0;
    int64_t step_ = 1, parts_ = 0, count_ = 0;
};

// The contraction of forward and input_grad, and the columns of weight_grad, are pairs (channel, tap).  They are cut
// into blocks of some channels with some taps; the order of the sum is: boxes of taps (mostly one, of all), blocks of
// channels, channels, taps.
struct PatchBlocks {
    int64_t channels = 0, channels_per_block = 1;
    int64_t channel_blocks = 0;
    BoxSplit taps;
    int64_t run_channels = 0;  // of a run (kernels/contract.hpp: Depth); 0: it is a part of a channel's taps,
    int64_t run_taps = 0;  // so many

    int64_t count() const { return channel_blocks * taps.count(); }
    int64_t largest() const { return channels_per_block * taps.largest(); }
    // Very many blocks are added in so many sections, whose sums are added then.  Section s is of blocks
    // [first_block(s), first_block(s + 1)).
    int64_t sections() const;
    int64_t first_block(int64_t section) const { return count() * section / sections(); }
};

struct PatchBlock {
    int64_t channel_lo = 0, channel_hi = 0;
    Box taps;
    int64_t start = 0;  // position of its first pair in the whole contraction
    int64_t run = 0;  // pairs of a run
    int64_t channels() const { return channel_hi - channel_lo; }
    int64_t size() const { return channels() * taps.elems(); }
};
PatchBlock patch_block(const PatchBlocks& blocks, int64_t index);

// Depth of a block of the contraction (forward, input_grad), and its columns in weight_grad.  A panel of 48 columns
// and 288 rows is 55 KiB of float32: it streams from L2 at 8 bytes a cycle while the tile multiplies, and a tile's
// accumulators are loaded and stored once in 288 steps.  288 is 32 channels of 3x3 and a multiple of 48.
inline constexpr int64_t patch_limit = 288;

// Of a lane's run, where each lane adds up products of its own (weight gradients by rows of pixels or of channels).
inline constexpr int64_t lane_run = 96;

// So many taps of a channel are one run, or a part of one, if it has no more; else they are several.
inline constexpr int64_t whole_taps = 96;

struct PatchRules {
    int64_t most_taps;  // of the maps that are summed alike, if this is one of several
    int64_t least_channels = 1;  // of a block, if there are so many; for fewer taps
    bool summed_in_blocks = true;  // forward, input_grad
    bool one_tap_box = false;  // whatever lies between the taps
    bool any_extent = false;  // however many pixels there are
};
PatchBlocks make_patch_blocks(int64_t channels, const IndexMap& map, const PatchRules& rules);

}  // namespace convpp
