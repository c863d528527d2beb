// The weights as panels for the register tile: panel[pair][result channel], packed once before the tasks start.
//
// In:  a Plan, the weights as the user stores them.   Out: plan.packed_weight_elems elements, laid out by PackedWeights.
// Next: kernels/pack.hpp (the two motions), packed_task.hpp, row_task.hpp and
// indirect_product.hpp (who reads the panels).
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "strategies/products.hpp"
#include "machine/parallel.hpp"
#include "source/staged.hpp"
#include "strategies/product_task.hpp"

namespace convpp {

// Widths of the panels that pixels and channels are packed into.
struct Widths {
    int64_t pixels, channels;
};

template <class T>
Widths panel_widths(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    const auto& tiles = kernel.tiles[plan.tile.shape];
    const int64_t columns = int64_t(tiles.vectors) * kernel.lanes, rows = tiles.rows;
    return plan.tile.pixels_are_columns ? Widths{columns, rows} : Widths{rows, columns};
}

// Where the packed weights of a block begin, relative to the group's.  Panels are `slack` apart, since packing spills
// up to a vector behind each panel and another thread may be writing the next one.
struct PackedWeights {
    int64_t panels, width, slack;
    int64_t pitch(const PatchBlock& block) const { return block.size() * width + slack; }
    int64_t at(const PatchBlock& block, int64_t index) const { return panels * (block.start * width + index * slack); }
    // From the first packed element of all: a group's panels of a block, from a result channel on.
    int64_t of_task(const MapPlan& m, int64_t group, int64_t channel_lo, const PatchBlock& block, int64_t index) const {
        return m.weights_at + group * m.weights_per_group + at(block, index) + channel_lo / width * pitch(block);
    }
};

template <class T>
PackedWeights packed_weights(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    const int64_t width = panel_widths(plan, kernel).channels;
    const int64_t panels = plan.flat_rows ? plan.joints.front().panels : ceil_div(plan.result_channels, width);
    return {panels, width, kernel.lanes};
}

// bf16 pairs whose numbers are packed at once, before they are joined: few, so that those stay in the L1 cache.
inline int64_t channels_at_once(int64_t taps) { return std::max<int64_t>(32 / taps, 1); }

// What a thread needs for packing.
struct PackingBuffers {
    float* apart = nullptr;  // numbers that are joined to bf16 pairs
    int64_t* offsets = nullptr;  // of a block's pairs
    kernels::Run* runs = nullptr;  // pairs whose weights follow each other
    int64_t* channel_offset = nullptr;  // of a panel's channels

    PackingBuffers(Carver& carver, const Plan& plan, int64_t width) {
        int64_t pairs = 0, numbers = 0;
        for (const MapPlan& m : plan.maps) pairs = std::max(pairs, m.patches.largest());
        for (const JointPlan& joint : plan.joints) pairs = std::max(pairs, joint.patches.largest());
        for (const MapPlan& m : plan.maps) {
            const int64_t taps = m.patches.taps.largest();
            if (plan.bf16_pairs) numbers = std::max(numbers, 2 * channels_at_once(taps) * taps);
        }
        pairs = std::max(pairs, numbers);
        apart = carver.take<float>(plan.bf16_pairs ? (numbers + 1) * width : 0);  // and a vector that packing spills
        offsets = carver.take<int64_t>(pairs);
        runs = carver.take<kernels::Run>(pairs);
        channel_offset = carver.take<int64_t>(width);
    }
};

// Packs the weights of one block of pairs for some panels of result channels: panel[pair][channel].
template <class T>
void pack_numbers(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const PatchBlock& block,
                  const Stored<T>& weights, int64_t panel_lo, int64_t panel_hi, int64_t pitch, T* packed,
                  const PackingBuffers& buffers) {
    const int64_t width = panel_widths(plan, kernel).channels, depth = block.size();
    fill_offsets(block, plan.weight_source_channel, weight_position(plan, m), buffers.offsets);
    const Stored<T> from = weights + block.channel_lo * plan.weight_source_channel;
    const kernels::Readers<T>& read = reading(kernel, weights);
    int64_t run_count = 0;
    for (int64_t k = 0; k < depth; ++k) {
        const int64_t at = buffers.offsets[k];
        kernels::Run& last = buffers.runs[run_count - (run_count > 0)];
        if (run_count > 0 && last.src + last.count == at) ++last.count;
        else buffers.runs[run_count++] = {at, k, 1};
    }
    for (int64_t panel = panel_lo; panel < panel_hi; ++panel) {
        const int64_t channel = panel * width, valid = std::min(width, plan.result_channels - channel);
        T* to = packed + panel * pitch;
        if (plan.weight_result_channel == 1) {  // a 1x1 kernel's input gradient: channels follow each other
            const kernels::Run run{channel, 0, valid};
            read.copy_panel(from.at, buffers.offsets, depth, &run, 1, to, width, from.end);
        } else {
            for (int64_t j = 0; j < valid; ++j) buffers.channel_offset[j] = (channel + j) * plan.weight_result_channel;
            read.transpose_panel(from.at, buffers.channel_offset, valid, buffers.runs, run_count, to, width, from.end);
        }
    }
}

// The same of bf16 pairs, which are joined from numbers: any geometry's are packed already.  A block of bf16 pairs is one of as many
// channels twice.
inline void pack_bf16_pairs(const Plan& plan, const kernels::KernelTable<float>& kernel, const MapPlan& m,
                       const PatchBlock& block, const Stored<float>& weights, int64_t panel_lo, int64_t panel_hi,
                       int64_t pitch, float* packed, const PackingBuffers& buffers) {
    const int64_t width = panel_widths(plan, kernel).channels, taps = block.taps.elems();
    const int64_t step = channels_at_once(taps), row = taps * width;
    for (int64_t panel = panel_lo; panel < panel_hi; ++panel)
        for (int64_t lo = block.channel_lo; lo < block.channel_hi; lo += step) {
            const int64_t hi = std::min(lo + step, block.channel_hi);
            PatchBlock numbers = block;
            numbers.channel_lo = 2 * lo;
            numbers.channel_hi = 2 * hi;
            pack_numbers(plan, kernel, m, numbers, weights, panel, panel + 1, 0, buffers.apart, buffers);
            float* const to = packed + panel * pitch + (lo - block.channel_lo) * row;
            for (int64_t c = 0; c < hi - lo; ++c)
                kernel.join_bf16_pairs(buffers.apart + 2 * c * row, buffers.apart + (2 * c + 1) * row, row / kernel.lanes,
                                  to + c * row);
        }
}

template <class T>
void pack_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const PatchBlock& block,
                  const Stored<T>& weights, int64_t panel_lo, int64_t panel_hi, int64_t pitch, T* packed,
                  const PackingBuffers& buffers) {
    if constexpr (std::is_same_v<T, float>)
        if (plan.bf16_pairs) return pack_bf16_pairs(plan, kernel, m, block, weights, panel_lo, panel_hi, pitch, packed, buffers);
    pack_numbers(plan, kernel, m, block, weights, panel_lo, panel_hi, pitch, packed, buffers);
}

// Calls step(position in the block, rows) for the block's pairs in which rows of the panel take part.
template <class Step>
void for_each_step(const JointPlan& joint, const PatchBlock& block, int64_t panel, const Step& step) {
    const int64_t taps = joint.map.taps();
    const unsigned char* const active = joint.active.data() + panel * taps;
    for (int64_t c = block.channel_lo, k = 0; c < block.channel_hi; ++c)
        for (int64_t tap = 0; tap < taps; ++tap, ++k)
            if (active[tap] != 0) step(k, active[tap]);
}

// The same for some panels of the product of several maps: each map's weights lie as far apart as the others', from its
// first tap on.  (Element by element: where this is done, channels are few.)
template <class T>
void pack_joint_weights(const Plan& plan, const JointPlan& joint, const MapPlan* maps, const PatchBlock& block,
                        const Stored<T>& weights, int64_t panel_lo, int64_t panel_hi, int64_t width, int64_t pitch,
                        T* packed, const PackingBuffers& buffers) {
    const auto position = [&](size_t a, int64_t t) {
        const std::vector<Tap>& taps = joint.map.axis[a].taps;
        return (taps[static_cast<size_t>(t)].weight - taps.front().weight) * plan.weight_axis[a];
    };
    fill_offsets(block, plan.weight_source_channel, position, buffers.offsets);
    const int64_t rows = static_cast<int64_t>(joint.shift.size()) * plan.result_channels;
    std::array<Stored<T>, kernels::max_row_tile_rows> from;
    for (int64_t panel = panel_lo; panel < panel_hi; ++panel) {
        const int64_t first = panel * joint.panel_rows, count = std::min(joint.panel_rows, rows - first);
        for (int64_t r = 0; r < count; ++r) {
            const int64_t channel = (first + r) % plan.result_channels;
            const IndexMap& own = maps[(first + r) / plan.result_channels].map;
            Stored<T> at =
                weights + block.channel_lo * plan.weight_source_channel + channel * plan.weight_result_channel;
            for (size_t a = 0; a < 3; ++a) at += own.axis[a].taps.front().weight * plan.weight_axis[a];
            from[static_cast<size_t>(r)] = at;
        }
        T* to = packed + panel * pitch;
        for_each_step(joint, block, panel, [&](int64_t k, unsigned char active) {
            for (int64_t r = 0; r < count; ++r)
                if (active >> r & 1) to[r] = from[static_cast<size_t>(r)][buffers.offsets[k]];
            to += width;
        });
    }
}

// An item of packing is some panels of a block; a task is as many items as make it worth handing out.
constexpr int64_t panels_of_item = 8;
constexpr int64_t elems_of_packing_task = 8192;

// Packing less than this takes no longer than waking the other threads.
inline int packing_threads(const Plan& plan, int threads) {
    return plan.packed_weight_elems < 2 * elems_of_packing_task ? 1 : threads;
}

// `buffers[thread].packing` are the thread's PackingBuffers.
template <class T, class Buffers>
void pack_all_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                      int threads, T* packed, const std::vector<Buffers>& buffers) {
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t parts = ceil_div(layout.panels, panels_of_item), items = plan.packing_blocks * parts;
    const int64_t of_task = std::max<int64_t>(1, items * elems_of_packing_task / (plan.packed_weight_elems + 1));
    const auto pack_item = [&](int64_t item, int thread) {
        const int64_t part = item % parts;
        const MapPlan& m = map_of(plan, &MapPlan::first_packing_block, item / parts);
        const PatchBlocks& patches = multiplied(plan, m).patches;
        const int64_t index = (item / parts - m.first_packing_block) % patches.count();
        const int64_t group = (item / parts - m.first_packing_block) / patches.count();
        const PatchBlock block = patch_block(patches, index);
        const Stored<T> weights = operands.weights + group * plan.weight_group;
        const int64_t panel_lo = part * panels_of_item, panel_hi = std::min(panel_lo + panels_of_item, layout.panels);
        T* const to = packed + m.weights_at + group * m.weights_per_group + layout.at(block, index);
        const PackingBuffers& own = buffers[static_cast<size_t>(thread)].packing;
        if (!plan.flat_rows || m.classes == 1)
            pack_weights(plan, kernel, m, block, weights, panel_lo, panel_hi, layout.pitch(block), to, own);
        else
            pack_joint_weights(plan, plan.joints[static_cast<size_t>(m.joint)], &m, block, weights, panel_lo, panel_hi,
                               layout.width, layout.pitch(block), to, own);
    };
    parallel_for(ceil_div(items, of_task), packing_threads(plan, threads), [&](int64_t task, int thread) {
        for (int64_t item = task * of_task; item < std::min(items, (task + 1) * of_task); ++item)
            pack_item(item, thread);
    });
}

// What sums start from: all of the result's channels.
template <class T>
void copy_bias(const Plan& plan, const Stored<T>& bias, T* to) {
    const int64_t channels = bias ? plan.groups * plan.result_channels : 0;
    for (int64_t c = 0; c < channels; ++c) to[c] = bias[c];
}

// Shared by all threads: the packed weights, and a bias that can be read in whole vectors.
template <class T>
struct SharedWeights {
    T* weights = nullptr;
    T* bias = nullptr;
    SharedWeights(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const int64_t channels = plan.groups * plan.result_channels;
        weights = carver.take<T>(plan.packs_in_task ? 0 : plan.packed_weight_elems + kernel.lanes);
        bias = carver.take<T>(channels + panel_widths(plan, kernel).channels);
    }
};

}  // namespace convpp
