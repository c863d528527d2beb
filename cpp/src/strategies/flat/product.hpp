// A task of forward or input_grad whose planes are computed as if each was one long row.
//
// In:  a Plan of this strategy, the operands, packed weights, a task.   Out: the task's results.
//
// Short rows would leave most lanes of their vectors unused, and results two pixels apart would be stored one by one.
// So the task goes through the staged planes from end to end (a few lanes between two rows compute what nobody reads)
// and leaves flat results of the same shape, which results.hpp moves into place.
//
// All residue classes of an input gradient are computed by one product: they are rows of the same tiles, which share
// the staged source and each vector that is loaded from it.  Where some classes have a tap that others do not have, the
// tile is told which rows take part (JointPlan::active): a zero as weight would do, but for NaN and Inf.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "strategies/flat/results.hpp"
#include "strategies/flat/joint.hpp"
#include "weights/panels.hpp"
#include "source/staged.hpp"

namespace convpp {

template <class T>
struct FlatBuffers {
    PackingBuffers packing;
    Staging<T> patches;
    T* flat = nullptr;  // [row of the product][plane]
    T* bias = nullptr;  // of each row
    kernels::VectorAt* vectors = nullptr;
    int64_t* offsets = nullptr;  // of the pairs in which some row of a panel takes part
    unsigned char* active = nullptr;  // which ones

    FlatBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels, most_pairs(own<FlatPlan>(plan).joints)),
          patches(carver, own<FlatPlan>(plan).joints, kernel.lanes) {
        const int64_t pairs = most_pairs(own<FlatPlan>(plan).joints);
        int64_t elems = 0, most_vectors = 0, most_rows = 0;
        for (const JointPlan& joint : own<FlatPlan>(plan).joints) {
            const FlatPlanes planes(joint, joint.boxes.box(0), kernel.lanes);
            const int64_t rows = static_cast<int64_t>(joint.shifts.size()) * channels_of_task(plan);
            elems = std::max(elems, rows * planes.elems());
            most_vectors = std::max(most_vectors, planes.elems() / kernel.lanes);
            most_rows = std::max(most_rows, rows);
        }
        flat = carver.take<T>(elems + 2 * kernel.lanes);
        bias = carver.take<T>(most_rows);
        vectors = carver.take<kernels::VectorAt>(most_vectors);
        offsets = carver.take<int64_t>(pairs);
        active = carver.take<unsigned char>(pairs);
    }
    static int64_t channels_of_task(const Plan& plan) {
        return std::min(plan.tasks.channel_block, plan.tasks.channels);
    }
};

// Calls step(position in the block, rows) for the block's pairs in which rows of the panel take part.
template <class Step>
void for_each_step(const JointPlan& joint, const PatchBlock& block, int64_t panel, const Step& step) {
    const int64_t taps = joint.map.taps();
    const unsigned char* const active = joint.active(panel);
    for (int64_t c = block.channel_lo, k = 0; c < block.channel_hi; ++c)
        for (int64_t tap = 0; tap < taps; ++tap, ++k)
            if (active[tap] != 0) step(k, active[tap]);
}

// Packs some panels of the product of several maps: each map's weights lie as far apart as the others', from its first
// tap on.  (Element by element: where this is done, channels are few.)
template <class T>
void pack_joint_weights(const Plan& plan, const JointPlan& joint, const PackingItem<T>& item, int64_t width,
                        const PackingBuffers& buffers) {
    const MapPlan* const maps = &item.map;
    const PatchBlock& block = item.block;
    const auto position = [&](size_t a, int64_t t) {
        const Taps& taps = joint.map.axis[a].taps;
        return (taps.weight(t) - taps.weight(0)) * plan.weights.axis[a];
    };
    fill_offsets(block, plan.weights.source_channel, position, buffers.offsets);
    const int64_t rows = static_cast<int64_t>(joint.shifts.size()) * plan.tasks.channels;
    std::array<Stored<T>, kernels::max_row_tile_rows> from;
    for (int64_t panel = item.panel_lo; panel < std::min(item.panel_hi, joint.panels); ++panel) {
        const int64_t first = panel * joint.panel_rows, count = std::min(joint.panel_rows, rows - first);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t channel = (first + r) % plan.tasks.channels;
            const IndexMap& own = maps[(first + r) / plan.tasks.channels].map;
            Stored<T> at =
                item.weights + block.channel_lo * plan.weights.source_channel + channel * plan.weights.result_channel;
            for (size_t a = 0; a < 3; ++a) at += own.axis[a].taps.weight(0) * plan.weights.axis[a];
            from[static_cast<size_t>(r)] = at;
        }
        T* to = item.to + panel * item.pitch;
        for_each_step(joint, block, panel, [&](int64_t k, unsigned char active) {
            for (int64_t r = 0; r < count; ++r)
                if (active >> r & 1) to[r] = from[static_cast<size_t>(r)][buffers.offsets[k]];
            to += width;
        });
    }
}

template <class T>
void pack_all_joint_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                            int threads, T* packed, const ThreadBuffers<FlatBuffers<T>>& buffers) {
    const FlatPlan& rows = own<FlatPlan>(plan);
    const int64_t width = packed_weights(plan, kernel).width;
    pack_all_panels(
        plan, kernel, operands, threads, packed,
        [&](const MapPlan& m) { return m.classes > 0 ? &rows.joint(plan, m).patches : nullptr; },
        [&](const PackingItem<T>& item, int thread) {
            const PackingBuffers& packing = buffers[static_cast<size_t>(thread)].packing;
            if (item.map.classes == 1) pack_weights(plan, kernel, item, packing);
            else pack_joint_weights(plan, rows.joint(plan, item.map), item, width, packing);
        });
}

// The vectors of a box's planes; returns their number.
inline int64_t find_flat_vectors(const FlatPlanes& planes, const PixelSteps& step, int64_t lanes,
                                 kernels::VectorAt* vectors) {
    int64_t found = 0;
    for (int64_t n = 0; n < planes.samples; ++n)
        for (int64_t d = 0; d < planes.depth; ++d)
            for (int64_t j = 0; j < planes.plane; j += lanes)
                vectors[found++] = {n * step[0] + d * step[1] + j, (n * planes.depth + d) * planes.plane + j};
    return found;
}

// The steps of one panel of a block: pairs (channel, tap) and the rows that take part in each.  `active` is null where
// all do in all of them.
struct PanelSteps {
    int64_t count, run;
    const int64_t* offsets;
    const unsigned char* active;
};

template <class T>
PanelSteps panel_steps(const JointPlan& joint, const PatchBlock& block, int64_t panel, int64_t rows,
                       const int64_t* offsets, const FlatBuffers<T>& buffers) {
    const int64_t taps = joint.map.taps();
    const unsigned char* const active = joint.active(panel);
    const auto all = static_cast<unsigned char>((1 << rows) - 1);
    if (std::all_of(active, active + taps, [&](unsigned char tap) { return tap == all; }))
        return {block.size(), block.run, offsets, nullptr};
    int64_t count = 0;
    bool some = false;
    for_each_step(joint, block, panel, [&](int64_t k, unsigned char of_step) {
        buffers.offsets[count] = offsets[k];
        buffers.active[count++] = of_step;
        some |= of_step != all;
    });
    return {count, joint.patches.run_channels * (count / block.channels()), buffers.offsets,
            some ? buffers.active : nullptr};
}

// Panels of one class have the same steps, one after the other.
inline bool same_steps(const JointPlan& joint, int64_t panel) {
    const unsigned char *const active = joint.active(panel), *const before = joint.active(panel - 1);
    return std::equal(active, active + joint.map.taps(), before);
}

template <class T>
void run_flat_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                   const T* packed, const T* bias, FlatBuffers<T>& buffers, const ProductTask& task) {
    const JointPlan& joint = own<FlatPlan>(plan).joint(plan, task.map);
    const PackedWeights layout = packed_weights(plan, kernel);
    const FlatPlanes planes(joint, task.pixels, kernel.lanes);
    const int64_t rows = task.map.classes * task.channels, first_panel = task.channel_lo / layout.width;
    const FlatResults results{plan, task, planes};
    Staging<T> staging = buffers.patches;
    int64_t vector_count = 0, staged = -1;  // the block that the staging was found for
    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> group_own(plan, operands, bias, task, group);
        Addend<T> addend = group_own.addend(true);
        if (addend.bias != nullptr) {
            for (int64_t row = 0; row < rows; ++row) buffers.bias[row] = addend.bias[row % task.channels];
            addend.bias = buffers.bias;
        }
        if (operands.accumulate) read_flat(results, group_own.result, buffers.flat);
        for (int64_t b = task.first_block(joint.patches); b < task.end_block(joint.patches); ++b) {
            const PatchBlock block = patch_block(joint.patches, b);
            const Patches patches{joint, plan.source.strides, task.pixels, block};
            const SourceView<T> view = stage_patches(kernel, patches, group_own.source, staging, staged != b);
            staged = b;
            if (vector_count == 0) vector_count = find_flat_vectors(planes, view.step, kernel.lanes, buffers.vectors);
            const T* weights = packed + layout.of_task(task.map, group, task.channel_lo, block, b);
            PanelSteps steps{};
            for (int64_t row = 0, panel = first_panel; row < rows;
                 row += joint.panel_rows, ++panel, weights += layout.pitch(block)) {
                const int64_t count = std::min(joint.panel_rows, rows - row);
                if (row == 0 || !same_steps(joint, panel))
                    steps = panel_steps(joint, block, panel, count, staging.offsets, buffers);
                const auto* tiles = kernel.row_tile[count - 1];
                const int64_t most = kernel.row_tile_vectors[count - 1];
                for (int64_t v = 0; v < vector_count; v += most)
                    tiles[std::min(most, vector_count - v) - 1](
                        {steps.count, steps.run}, weights, layout.width, view.base.plain(), steps.offsets, steps.active,
                        buffers.vectors + v, buffers.flat + row * planes.elems(), planes.elems(), addend.onto,
                        addend.bias != nullptr ? addend.bias + row : nullptr);
            }
            addend.onto = kernels::Onto::c;
        }
        write_flat(results, kernel, static_cast<const T*>(buffers.flat), group_own.result);
    }
}

template <class T>
using FlatProduct = ProductParts<FlatBuffers<T>, &pack_all_joint_weights<T>, &run_flat_task<T>>;

}  // namespace convpp
