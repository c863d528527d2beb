// How a pass is carried out: the strategy, blocks, tasks and buffers, decided before any data is seen.
//
// In:  a Setting.   Out: a Plan, a plain value, complete: with all plans and all memory that a call may need.
// Next: select.cpp (the steps in their order), strategies/strategy.hpp (who decides most of it, and carries it out).
//
// The order of the sums of forward and input_grad comes from the index map (PatchBlocks) and the SumOrder, and from
// nothing else here: so y and dx have the same bits for every thread count and batch, whatever the strategy.  The
// weight gradient's order follows from the strategy, boxes and chunks of pixels: they come from the shapes, never from
// threads or caches.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "convpp/convolution.hpp"
#include "plan/setting.hpp"
#include "problem/boxes.hpp"
#include "problem/checked.hpp"
#include "problem/index_map.hpp"

namespace convpp {

struct Strategy;  // strategies/strategy.hpp
struct HaloPlan;  // plan/halo.hpp
struct ClassParts;  // plan/class_parts.hpp

// One index map with its blocking.  Forward has one, input_grad one for each residue class; or those that one was cut
// into (plan/cut_maps.hpp).
struct MapPlan {
    explicit MapPlan(IndexMap index_map) : map(std::move(index_map)) {}

    IndexMap map;
    bool in_place = false;  // the source is read where it lies; else staged, or copied with its padding
    BoxSplit boxes;  // of tasks, over (samples, *units): pixels, or what stands for them (Strategy::results)
    PatchBlocks patches;
    int64_t classes = 1;  // this map and the next ones whose pixels its tasks compute too; 0 for those
    Extents shift{0, 0, 0};  // its pixel u is pixel u + shift of `boxes`
    int64_t first_task = 0;
    int64_t weights_at = 0;  // first element of its packed weights (all groups)
    int64_t weights_per_group = 0;
    int64_t first_packing_block = 0;  // of the weights: (group, block of patches)
};

// Residue classes that one task may compute by a product each, at most: strides of 4 in a plane.  More would leave each
// of them few pixels.
inline constexpr size_t most_classes = 16;

// The register tile that multiplies.
struct TileChoice {
    int shape = 0;  // of the kernel table
    bool pixels_are_columns = true;  // which side is vectorised: pixels (weight_grad: patches), or channels
    int64_t rows = 1, columns = 1;  // of a full tile, in elements
};

// The operand whose patches are multiplied, as elements that a tile reads: single channels, or (bf16 pairs) two at
// once.
struct SourceElements {
    int64_t channels = 0;  // of a group
    TensorStrides strides;
};

// Strides of the weights, in elements.
struct WeightStrides {
    int64_t group = 0, result_channel = 0, source_channel = 0;
    Extents axis{0, 0, 0};
};

// In what order the terms of y and dx are added, which decides their bits.  (Terms of dw: by strategy, boxes and
// chunks.)
enum class SumOrder {
    sequential,  // as PatchBlocks says
    pairs,  // the same, two neighbouring channels at once (kernels/tile/bf16_pairs.cpp)
    lanes,  // vectors of channels lane by lane, then the lanes (strategies/dots)
    transformed,  // in other domains than the pixels'
};

// Results without terms: a stride beyond the kernel's reach leaves them between the others.  Tasks that write them
// along some axes alone write rows as a whole, of results that are filled before all the same.
enum class Gaps { none, filled_before, written_by_tasks };

// A pass is cut into tasks: (map, block of groups, box of pixels, block of result channels) for forward and input_grad;
// (group, block of result channels, block of patches, chunk of pixels) for weight_grad.
struct Tasks {
    int64_t groups = 1, channels = 0;  // products that are cut on their own, and the result channels of each
    int64_t group_block = 1;  // groups of a task
    int64_t channel_block = 0;  // result channels of a task; a multiple of the panel's width
    int64_t chunks = 1;  // weight_grad: of the pixels, each summed on its own, then added in a tree
    int64_t count = 0;
    bool parallel = false;  // enough work for more than one thread

    int64_t channel_blocks() const { return (channels + channel_block - 1) / channel_block; }
};

// The weights of forward and input_grad as panels (weights/panels.hpp).
struct Packing {
    int64_t panels = 0;  // of a block of (channel, tap) pairs
    bool by_tasks = false;  // each task packs its own weights, block by block, into its L2; else all are packed before
};

// Where tasks of forward and input_grad compute: in the result, or in a buffer of each thread (result/epilogue.hpp);
// sections after the first, in one more.
struct TaskBuffer {
    TensorStrides strides;  // the result's, or the buffer's
    int64_t elems = 0;  // of the buffer; 0: there is none
    bool used() const { return elems > 0; }
};

// Samples that have weights of their own.  The plan is that of one sample (its batch is then 1), for each of them.
struct Samples {
    int64_t count = 1;
    bool shared_out = false;  // threads take whole samples; else they share the tasks of one after the other
};

// Bytes of the workspace of one sample's plan.
struct WorkspaceBytes {
    int64_t shared = 0, of_thread = 0;
};

// What a strategy alone decides and reads lies in a struct of its own that derives from this.
struct StrategyPlan {
    virtual ~StrategyPlan() = default;
    virtual int64_t bytes() const { return 256; }  // of memory; enough for some numbers
};

struct Plan {
    explicit Plan(const Setting& setting);

    int64_t batch() const { return problem.geometry().batch; }
    bool channels_last() const { return problem.geometry().layout == Layout::channels_last; }
    // Operands are stored in half: tiles read what was converted, not in place.
    bool converts() const { return dtype == DType::bfloat16 || dtype == DType::float16; }
    bool empty() const { return how == nullptr; }

    ConvProblem problem;  // the Setting's
    Pass pass;
    DType dtype;
    Isa isa;
    Isa kernels;  // whose it takes: the isa's, or those of one with narrower vectors
    Algorithm algorithm;  // that was asked for, or chosen
    bool any_extent;  // as in Setting

    SourceElements source;
    TensorStrides result;  // weight_grad: of dy
    WeightStrides weights;
    int64_t bias_elems = 1;  // result channels that have the same bias
    std::vector<MapPlan> maps;
    bool cut = false;  // they are parts of one map, by what their pixels read
    bool one_tap_box = false;  // and are summed in the blocks of that one, which has all taps in one box
    int64_t most_taps = 1;  // of the maps that are summed alike
    double cut_share = 1;  // of the direct products' cost, that remains where maps are cut: of one sample (dw: of all)
    std::vector<Plan> pieces;  // weight_grad: by some taps each, from the pixels that read inside there
    int64_t dy_from = 0;  // of a piece: where its first pixel lies in dy
    std::shared_ptr<const ClassParts> parts;  // of an input gradient whose residue classes are too many for `maps`
    bool reads_padding = false;  // zeros, not what is beyond other boundaries
    Gaps gaps = Gaps::none;
    size_t gaps_from = 3;  // the first axis along which, as along those after it, tasks write gaps

    Samples samples;
    const Strategy* how = nullptr;  // null: the sum has no terms, or there are no results; bias or zeros are written
    std::shared_ptr<const StrategyPlan> own;
    SumOrder order = SumOrder::sequential;
    TileChoice tile;
    Tasks tasks;
    Packing packing;
    TaskBuffer buffer;
    int64_t sections = 1;  // of the sums of y or dx (PatchBlocks): the most of any map
    WorkspaceBytes memory;
    double weight_share = 0;  // forward: of the time, for packing or transforming the weights; an estimate

    // Made with the plan, so that nothing is planned later in a call:
    std::shared_ptr<const Plan> again;  // for results that are not finite, where the strategy mixes terms of many sums
    std::shared_ptr<const Plan> part;  // of some samples, where all sums would take much memory apart from the results
    std::shared_ptr<const HaloPlan> halo;  // of an input gradient: what is read outside x
};

// A strategy's own part of its plan.
template <class Own>
const Own& own(const Plan& plan) {
    return static_cast<const Own&>(*plan.own);
}

// Elements of all packed weights of forward and input_grad.
inline int64_t packed_weight_elems(const Plan& plan) {
    int64_t elems = 0;
    for (const MapPlan& m : plan.maps) elems = std::max(elems, m.weights_at + m.weights_per_group * plan.tasks.groups);
    return elems;
}

// As many of the threads as have tasks; all, where there are none, since the strategy hands its work out itself.
inline int threads_of(const Plan& plan, int threads) {
    if (!plan.tasks.parallel) return 1;
    return plan.tasks.count == 0 ? threads : static_cast<int>(std::min<int64_t>(threads, plan.tasks.count));
}

// The workspace of carrying it out once, without what may be computed again.
inline int64_t workspace_bytes(const Plan& plan, int threads) {
    constexpr const char* what = "the workspace";
    return checked_add(plan.memory.shared, checked_mul(threads, plan.memory.of_thread, what), what);
}

// The result's extent along an axis, channels first.
inline int64_t result_extent(const Plan& plan, size_t axis) {
    return (axis == 0 ? plan.result.channel : plan.result.axis[axis - 1]) / plan.result.axis[axis];
}

// Results that a task writes for each index of its box along an axis: with the gaps along it, all of a stride.
inline int64_t cell(const Plan& plan, const IndexMap& map, size_t axis) {
    return axis < plan.gaps_from ? 1 : map.axis[axis].result_step;
}

// The blocks of a map's contraction.
PatchBlocks blocks_of(const Plan& plan, const IndexMap& map);

Plan make_plan(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads = 2,
               bool only_read = false);

// What each strategy would have cost, or why it refused; of the problem that a plan was made for.
std::vector<Candidate> candidates(const Plan& plan, const ConvProblem& problem, int threads);

// Bytes of memory that a plan takes, all that was made with it included.
int64_t plan_bytes(const Plan& plan);

// In words, as explain prints it.
std::string describe_blocking(const Plan& plan);
// `products`: that several residue classes are; 0: each is one of its own.
std::string describe_direct(const Plan& plan, int64_t products = 0);

}  // namespace convpp
