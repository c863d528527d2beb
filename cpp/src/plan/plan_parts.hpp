// The steps of make_plan (plan.cpp), each in a file of its own.
//
//   blocks.cpp         boxes of pixels and blocks of patches
//   feed.cpp           the way of feeding the tile
//   joint.cpp          residue classes as rows of one product
//   plan_products.cpp  tasks of forward and input_grad
//   plan_results.cpp   buffers for results that are not computed in place
//   plan_sums.cpp      tasks of weight_grad
//   plan_winograd.cpp  forward and input_grad by Winograd's algorithm
//   plan_winograd_sums.cpp  weight_grad by it
#pragma once

#include "problem/checked.hpp"
#include "machine/dispatch.hpp"
#include "plan/plan.hpp"

namespace convpp {

// Tasks that a pass is cut into if it has the work: 8 for each thread keep the last ones short.  How forward and
// input_grad are cut changes no bit; the weight gradient's chunks of pixels do, so their number never looks at threads.
inline constexpr int64_t tasks_of_thread = 8, least_tasks_wanted = 16, usual_chunks_wanted = 16;

// Depth of a block of the contraction (forward, input_grad), and its columns in weight_grad.  A panel of 48 columns
// and 288 rows is 55 KiB of float32: it streams from L2 at 8 bytes a cycle while the tile multiplies, and a tile's
// accumulators are loaded and stored once in 288 steps.  288 is 32 channels of 3x3 and a multiple of 48.
inline constexpr int64_t patch_limit = 288;

// Result channels of a product of weight_grad, at most: with patch_limit pairs, 288 KiB of float32 sums in L2.
inline constexpr int64_t sum_channels = 256;

// `least_channels`: of a block, if there are so many; for fewer taps.
PatchBlocks make_patch_blocks(int64_t channels, const IndexMap& map, int64_t least_channels = 1);
BoxSplit split_pixels(const Plan& plan, const IndexMap& map, int64_t limit, int64_t lanes, int64_t chunks = 1);

// Most pixels of a task that reads them as vectors: a chunk's staged channels are not multiplied by taps.
int64_t chunk_pixels_of_rows(const Plan& plan, const MapPlan& m, int64_t elem_bytes);

// Most pixels of a box whose source is staged phase by phase (planes, and what is known of their bands, stay in L2), or
// copied with all that lies between the pixels.
int64_t staged_pixels_most(const Plan& plan, const MapPlan& m, int64_t elem_bytes);
int64_t copied_pixels_most(const Plan& plan, const MapPlan& m, int64_t elem_bytes);

// Width of the panels of pixels, or of result channels.
int64_t panel_width(const Plan& plan, const TileShape& shape, bool of_pixels);

// The source's pixels of a row that neighbouring result pixels read are neighbours in memory.
inline bool vectors_together(const Plan& plan, const IndexMap& map) {
    return plan.source.axis[2] == 1 && map.axis[2].source_step == 1;
}

// weight_grad, channels_last: the pairs are channels of one tap, so that a panel [pixel][pair] is copied from pixels.
inline bool packs_straight(const Plan& plan, const IndexMap& map) {
    return plan.pass == Pass::weight_grad && plan.source.channel == 1 && plan.source.axis[2] != 1 && map.taps() == 1 &&
           map.reads_inside();
}

// Whether the direct algorithm multiplies bf16 pairs, and turns a plan's source into them.  They are added in another order, and
// bits must not depend on batch or layout: the choice is one sample's in channels first.
bool bf16_pairs_are_faster(Plan sample, const KernelShapes& kernels, int64_t elem_bytes);
void use_bf16_pairs(Plan& plan);

// Sets feed and tile, and what of the maps follows from them (in_place).
void choose_feed(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);

// The maps of a plan as rows of one product, or each as one where they cannot be joined.  Panels have `most_rows` at most.
std::vector<JointPlan> join_maps(const Plan& plan, int64_t most_rows);

void plan_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);
// Lets the tasks of a planned product compute into buffers of their own.
void buffer_results(Plan& plan);

void plan_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);

// Sets plan.winograd; or leaves it and says why Winograd's algorithm cannot serve the plan's map (or would not be faster).
// The choice depends on one sample (weight_grad: on the batch), never on threads or caches.  `at_once`: channels that the
// direct algorithm would multiply at once.
std::string choose_winograd(Plan& plan, const KernelShapes& kernels, bool only_if_faster, int64_t at_once = 1);
void plan_winograd_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);
void plan_winograd_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);

// The blocks of a plan whose feed is channel_vectors, in any pass.
void block_channel_vectors(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes);

}  // namespace convpp
