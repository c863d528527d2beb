// Tasks of weight_grad by a direct strategy: (group, block of result channels, block of patches, chunk of pixels).
//
// In:  a draft of the plan with its tile, and how large a strategy wants its boxes.
// Out: Plan::tasks, boxes and chunks.   Next: strategies/*/strategy.cpp, which call this.
//
// Boxes and chunks come from the shapes alone, never from threads or caches: they decide the bits of dw.
#pragma once

#include "plan/product_tasks.hpp"

namespace convpp {

// Result channels of a product of weight_grad, at most: with patch_limit pairs, 288 KiB of float32 sums in L2.
inline constexpr int64_t channels_of_sum = 256;

// Whether pairs are channels of one tap in channels_last, so that a panel [pixel][pair] is copied from pixels.
inline bool packs_straight(const Plan& plan, const IndexMap& map) {
    return plan.pass == Pass::weight_grad && plan.source.strides.channel == 1 && plan.source.strides.axis[2] != 1 &&
           map.taps() == 1 && map.reads_inside();
}

// Of which operand tiles read the planes where they lie: these only stream through L2, and are not asked for.
struct Streams {
    bool x = false, dy = false;
};

// Pixels of a box of a strategy that packs an operand: a tile sums them between loading and storing its accumulators.
int64_t box_pixels(const Plan& plan, const MapPlan& m, const Streams& streams);

// Blocks of result channels, as large as channels_of_sum allows.
void block_sum_channels(Plan& plan, const Setting& setting);

// Boxes of at most so many pixels, of which there are enough for chunks that are alike.
void split_sums(Plan& plan, const Setting& setting, int64_t pixels_most);

// Chunks of pixels, and smaller blocks where that makes too few tasks.  `channel_panel`: that blocks of channels are
// made of; `cuts_pairs`: blocks of pairs may be cut, too.
void chunk_sums(Plan& plan, const Setting& setting, int64_t channel_panel, bool cuts_pairs = true);

// Sums of the largest product, in whole vectors of the tile.
int64_t sum_elems(const Plan& plan, int64_t patch_panel);

}  // namespace convpp
