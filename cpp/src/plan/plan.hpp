// How a pass is carried out: the way of feeding the tile, blocks, tasks and buffers, decided before any data is seen.
//
// In:  a ConvProblem, the pass, the element type, the ISA's tile shapes, the size of L2, the threads that want tasks.
// Out: a Plan, a plain value.   Next: plan_parts.hpp (its steps), algorithms/implicit_gemm.cpp (forward, input_grad),
// algorithms/weight_grad.cpp.
//
// The order of the sums of forward and input_grad comes from the index map (PatchBlocks), and from nothing else here:
// so y and dx have the same bits for every thread count and batch, however the tile is fed.  The weight gradient's
// order follows from feed, boxes and chunks of pixels: they come from the shapes, never from threads or caches.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "convpp/convolution.hpp"
#include "problem/index_map.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {

// A range of each of four axes: (sample, depth, height, width) of pixels, or (1, depth, height, width) of taps.
struct Box {
    std::array<int64_t, 4> lo{0, 0, 0, 0}, hi{0, 0, 0, 0};
    int64_t extent(size_t axis) const { return hi[axis] - lo[axis]; }
    int64_t elems() const { return extent(0) * extent(1) * extent(2) * extent(3); }
};

// Cuts a box into smaller ones: single indices on the axes outside `axis`, `step` indices on it, all inside it.
// The boxes are in lexicographic order, and so are the elements through them.
class BoxSplit {
public:
    BoxSplit() = default;
    // Boxes of at most `limit` elements (but whole on the innermost axis down to 1), whose sizes waste few of `lanes`.
    // Shared out to `chunks`, the largest chunk has few pixels more than its share.
    BoxSplit(const std::array<int64_t, 4>& extents, int64_t limit, int64_t lanes, int64_t chunks = 1);
    int64_t count() const { return count_; }
    int64_t largest() const { return largest_; }  // elements of the largest box
    Box box(int64_t index) const;  // the first one is the largest
    int64_t shortest_row() const {  // of any box, along the innermost axis
        return axis_ == 3 && extents_[3] % step_ != 0 ? extents_[3] % step_ : axis_ == 3 ? step_ : extents_[3];
    }
    const std::array<int64_t, 4>& extents() const { return extents_; }

private:
    std::array<int64_t, 4> extents_{0, 0, 0, 0};
    size_t axis_ = 0;
    int64_t step_ = 1, parts_ = 0, count_ = 0, largest_ = 0;
};

// The contraction of forward and input_grad, and the columns of weight_grad, are pairs (channel, tap).  They are cut
// into blocks of some channels with some taps; the order of the sum is: boxes of taps (mostly one, of all), blocks of
// channels, channels, taps.
struct PatchBlocks {
    int64_t channels = 0, channels_per_block = 1;
    int64_t channel_blocks = 0;
    BoxSplit taps;

    int64_t count() const { return channel_blocks * taps.count(); }
    int64_t largest() const { return channels_per_block * taps.largest(); }
};

struct PatchBlock {
    int64_t channel_lo = 0, channel_hi = 0;
    Box taps;
    int64_t start = 0;  // position of its first pair in the whole contraction
    int64_t size() const { return (channel_hi - channel_lo) * taps.elems(); }
};
PatchBlock patch_block(const PatchBlocks& blocks, int64_t index);

// One index map with its blocking.  Forward has one, input_grad one for each residue class.
struct MapPlan {
    explicit MapPlan(IndexMap index_map) : map(std::move(index_map)) {}

    IndexMap map;
    bool in_place = false;     // the source is read where it lies; else staged, or copied with its padding
    BoxSplit pixels;           // over (samples, *result pixels of the map)
    PatchBlocks patches;
    int64_t weights_at = 0;    // first element of its packed weights (all groups)
    int64_t weights_per_group = 0;
    int64_t first_task = 0;
    int64_t joint = 0;         // flat rows: its family's, in Plan::joints
    Extents shift{0, 0, 0};    // its pixel u is pixel u + shift of `pixels` (of its family's product)
    int64_t classes = 1;       // this map and the next ones whose pixels its tasks compute too; 0 for those
    int64_t first_packing_block = 0;  // of the weights: (group, block of patches)
};

// Flat rows (flat_task.hpp): the product that a family of maps is computed by.  A row of it is a result channel of one of
// the maps, the maps' rows follow each other.
struct JointPlan : MapPlan {
    using MapPlan::MapPlan;

    std::vector<Extents> shift;         // of each map
    int64_t panels = 0, panel_rows = 0;  // the last panel may have fewer
    std::vector<unsigned char> active;  // [panel][tap]: a bit for each row of the panel whose map has the tap
};

struct TileChoice {
    int shape = 0;             // of the kernel table
    bool pixels_are_columns = true;  // which side is vectorised: pixels (weight_grad: patches), or channels
    int64_t rows = 1, columns = 1;   // of a full tile, in elements
    double cost = 0;                 // the estimate, in slots of a multiply-add unit
};

// Residue classes that one task may compute, at most: strides of 4 in a plane.  More would leave each of them few pixels.
inline constexpr size_t most_classes = 16;

// The same for flat rows, which stage the source once for all classes: patches of 16x16.
inline constexpr size_t most_joint = 256;

// Below this many operations, waking a second thread (2-5 us) costs more than it saves.
inline constexpr double serial_flops = 1.5e6;

// How far outside of its source row a vector of sliding_rows may begin.
inline constexpr int64_t slide_reach = 16;

// How pixels reach the register tile; docs/architecture.md compares the ways.  In the weight gradient by pixel_scalars,
// pixels and pairs change places.
enum class Feed {
    packed_pixels,  // copied into panels (packed_task.hpp)
    pixel_vectors,  // read where they lie, in vectors of pixels of a row (row_task.hpp, dot.hpp)
    pixel_scalars,  // read where they lie, one by one; vectors run along the channels (indirect_product.hpp)
    channel_vectors,  // few channels a group: in vectors of channels, through several groups (channel_product.hpp)
    sliding_rows,   // depthwise: rows of pixels that several rows of results read (slide_task.hpp)
};

struct Plan {
    Pass pass = Pass::forward;
    DType dtype = DType::float32;
    Algorithm algorithm = Algorithm::direct;
    Isa isa = Isa::scalar;
    bool converts = false;      // operands are stored in half: tiles read what was converted, not in place

    // bfloat16, pixel_scalars: two neighbouring channels are multiplied at once (kernels/bf16 pairs.cpp).  Such bf16 pairs are the
    // source's elements then, and source_channels and all strides of `source` count them; but the weights' stay as they are.
    // bf16 pairs that do not lie together in memory are `partner_distance` elements apart.
    bool bf16_pairs = false;
    int64_t partner_distance = 0;

    bool empty = false;  // the sum has no terms, or there are no results: only bias or zeros are written

    // With weights for each sample, the plan is that of one sample (batch is then 1), for each of `samples`.
    int64_t samples = 1;
    bool shares_samples = false;  // threads take whole samples; else they share the tasks of one after the other
    int64_t groups = 1, batch = 1;  // groups, one after the other
    int64_t result_channels = 0, source_channels = 0;  // of a group
    bool channels_last = false;
    TensorStrides source, result;  // weight_grad: of x and dy
    TensorStrides task_result;  // where tasks compute: `result`, or those of a buffer of each thread
    int64_t weight_group = 0, weight_result_channel = 0, weight_source_channel = 0;  // strides in elements
    Extents weight_axis{0, 0, 0};

    std::vector<MapPlan> maps;
    bool reads_padding = false;  // zeros, not what is beyond other boundaries
    bool fill_result = false;  // some results have no terms: fill all before the maps write theirs
    bool writes_gaps = false;  // the same results, where tasks write them between their own (ordered_results.hpp)
    TileChoice tile;
    Feed feed = Feed::packed_pixels;
    bool buffered = false;  // results are not computed where they belong (algorithms/task_results.hpp)
    int64_t buffer_elems = 0;
    bool packs_in_task = false;  // pixel_scalars: each task packs its own weights, block by block, into its L2
    int64_t group_channels = 1;  // channel_vectors: of a group; to the plan, all groups are one
    bool flat_rows = false;  // pixel_vectors: rows are computed as one, through planes (flat_task.hpp)
    std::vector<JointPlan> joints;  // flat_rows: of each family
    int64_t group_block = 1;  // groups of a task
    int64_t channel_block = 0;  // result channels a task computes; a multiple of the panel's width
    int64_t channel_blocks = 0;
    int64_t chunks = 1;  // weight_grad: chunks of the pixels, each summed on its own, then added in a tree
    int64_t tasks = 0, tasks_wanted = 0, chunks_wanted = 1;
    bool parallel = false;  // enough work for more than one thread
    double weight_share = 0;  // forward: of the time, for packing or transforming the weights; an estimate

    WinogradPlan winograd;  // if it is the algorithm: maps[0].pixels are then boxes of its units

    int64_t cache_bytes = 0;  // of L2, that blocks are made for
    int64_t packing_blocks = 0;
    int64_t packed_weight_elems = 0;  // shared by the threads
    int64_t partial_elems = 0;  // weight_grad: of all chunks
    int64_t thread_bytes = 0;  // workspace of each thread
    int64_t shared_bytes = 0;
};

// What the weights of a map (the first of its family, where rows are flat) are multiplied with.
inline const MapPlan& multiplied(const Plan& plan, const MapPlan& m) {
    return plan.flat_rows ? plan.joints[static_cast<size_t>(m.joint)] : m;
}

// Whether one product computes several maps.
inline bool joins_classes(const Plan& plan) { return plan.flat_rows && plan.joints.size() < plan.maps.size(); }

// The result's extent along an axis, channels first.
inline int64_t result_extent(const Plan& plan, size_t axis) {
    return (axis == 0 ? plan.result.channel : plan.result.axis[axis - 1]) / plan.result.axis[axis];
}

// pixel_vectors: bytes of the vectors (pairs x pixels) that all result channels pass by before the next ones come.
// 3/64 of the L2, 48 KiB of 1 MiB, leave room for the weights, the results, and the next vectors, which are asked for
// meanwhile.  (Measured with 1x1 layers, planes of 28x28 to 112x112: 24 to 48 KiB are alike, but for one tile of 128
// channels at a time; 96 KiB cost 2 to 5 %.)
inline int64_t row_chunk_bytes(const Plan& plan) { return plan.cache_bytes * 3 / 64; }

// What a plan is made for: one sample where each has weights of its own, else the problem itself.
ConvProblem planned_part(const ConvProblem& problem);

// `threads`: how many the plan should have tasks for; they change how it is cut, never a bit of its results.
// `only_read`: see input_grad_maps.  An input gradient's plan is that of an x with zeros around it (algorithms/frame.hpp).
Plan make_plan(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads = 2,
               bool only_read = false);
std::string describe_blocking(const Plan& plan);

}  // namespace convpp
