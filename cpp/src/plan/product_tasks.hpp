// Tasks of forward and input_grad by a direct strategy: (map or residue classes, block of groups, box of pixels,
// block of channels).
//
// In:  a draft of the plan with its tile, and how large a strategy wants its boxes and blocks.
// Out: Plan::tasks, the boxes of each map, where its packed weights lie.   Next: strategies/*/strategy.cpp, which call
// this.
#pragma once

#include <functional>

#include "plan/plan.hpp"

namespace convpp {

// The packed pixels of a chunk (patch_limit x pixels) should stay in 7/16 of L2: of 1 MiB, 398 pixels of float32, which
// is two images of 14x14.
inline int64_t chunk_bytes(const Setting& setting) { return setting.cache_bytes * 7 / 16; }

inline constexpr int64_t chunk_pixels_most = 1024;
inline constexpr int64_t least_pixels = 32;  // fewer leave tiles partly filled, whatever the caches say
inline constexpr int64_t channels_worth_a_task = 64;  // packing pixels again for 64 channels costs less than 10 %

// Where there are many groups, a task does several: finding out where its pixels lie serves them all.  There remain so
// many times the tasks wanted:
inline constexpr int64_t group_tasks_factor = 4;

// Width of the panels of pixels, or of result channels.
inline int64_t panel_width(const Plan& plan, const TileShape& shape, bool of_pixels) {
    return of_pixels == plan.tile.pixels_are_columns ? shape.vectors * shape.lanes : shape.rows;
}

inline const TileShape& tile_shape(const Plan& plan, const Setting& setting) {
    return setting.kernels.shape[plan.tile.shape];
}

BoxSplit split_pixels(const Plan& plan, const IndexMap& map, int64_t limit, int64_t lanes, int64_t chunks = 1);

// The source's pixels of a row that neighbouring result pixels read are neighbours in memory.
inline bool vectors_together(const Plan& plan, const IndexMap& map) {
    return plan.source.strides.axis[2] == 1 && map.axis[2].source_step == 1;
}

// Where taps of any pixel stay inside the source, pixels that are consecutive there can be read as vectors where they
// lie.
inline bool vectors_in_place(const Plan& plan, const IndexMap& map) {
    return vectors_together(plan, map) && map.reads_inside();
}

// Most pixels of a task that reads them as vectors: staged, they take memory for each channel, but not for each tap.
int64_t chunk_pixels_of_rows(const Setting& setting, const MapPlan& m);

// Most pixels of a box whose source is staged phase by phase (planes, and what is known of their bands, stay in L2), or
// copied with all that lies between the pixels.
int64_t staged_pixels_most(const Setting& setting, const MapPlan& m);
int64_t copied_pixels_most(const Setting& setting, const MapPlan& m);

// Most pixels of a box that is packed into panels; and of one whose rows are staged.
int64_t packed_pixels_most(const Plan& plan, const Setting& setting);
int64_t staged_row_pixels_most(const Plan& plan, const Setting& setting);

int64_t all_pixels(const Plan& plan);  // of all maps and samples
int64_t padded_channels(const Plan& plan, const Setting& setting);  // result channels, in whole panels

// How a strategy wants its tasks.
struct Cut {
    int64_t pixels = 1;  // of a box, at most
    int64_t splits = 1;  // of the result channels
};

// First the channels are split, which costs packing the pixels again, then the pixels into smaller boxes, which fill
// fewer vectors.
Cut cut_for_threads(const Plan& plan, const Setting& setting, int64_t pixels_most, bool channels_can_be_split = true);

// Residue classes next to each other in `maps`, from `leader` on, that one task may compute: those that together fill
// the rows of the result; with `planes`, also the columns.
int64_t classes_together(const Plan& plan, size_t leader, bool planes);

// Lets tasks write the results without terms around their own, too, along as many axes as `most_classes` allows: then
// rows of memory are written once, as a whole.  (Channels first, by tasks of all residue classes along these axes;
// classes_together finds them.)
void write_gaps(Plan& plan);

// Finds the boxes of pixels of all maps: of classes that are computed together, those of the one that has the most.
// `together`: their number, from a map on.
using ClassesFrom = std::function<int64_t(size_t leader)>;
void split_maps(Plan& plan, int64_t pixels_most, int64_t lanes, const ClassesFrom& together);

int64_t box_count(const Plan& plan);  // of all maps that lead

// Blocks of channels and groups, and tasks, for maps that have their boxes.
void count_tasks(Plan& plan, const Setting& setting, int64_t splits);

// Where packed weights lie.  `multiplied`: the map whose taps and blocks a map's weights are packed for, or null if
// they are packed with another one's.
void place_weights(
    Plan& plan, const Setting& setting,
    const std::function<const MapPlan*(const MapPlan&)>& multiplied = [](const MapPlan& m) { return &m; });

// The estimate of what packing takes of a forward pass (costs.hpp: weight_vector).  `at_once`: channels that are multiplied
// at once, while packing takes as long.
double share_of_packing(const Plan& plan, int64_t at_once = 1);

// Tasks of all pixels, as panels of result channels of a shape: those with which threads, which take whole tasks, are
// done first.  Nine panels of 64 channels are five for the slower of two threads, twelve of 48 are six.  (Measured, one
// sample, 2 threads: Winograd, 192-192 at 14x14 0.49 -> 0.36 ms, 384-384 at 7x7 0.80 -> 0.58; single pixels, 3x3 384-576
// at stride 2 1.08 times as fast.)
struct ChannelShare {
    TileChoice tile;
    int64_t panels = 1;  // of a task
};
ChannelShare share_channels(const Plan& plan, const Setting& setting, int64_t most_channels, int64_t threads);

// Lets the tasks of a planned product compute into buffers of their own, where operands are stored in half, since whole
// sums are rounded, or where sums have sections.
void buffer_results(Plan& plan, bool planes_together = false);

}  // namespace convpp
