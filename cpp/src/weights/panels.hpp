// The weights as panels for the register tile: panel[pair][result channel], packed once before the tasks start,
// or by the tasks (Packing::by_tasks).
//
// In:  a Plan, the weights as the user stores them.   Out: packed_weight_elems(plan) elements, laid out by
// PackedWeights.
// Next: kernels/move/pack.hpp (the two motions); strategies/packed/, rows/ and indirect/, which read the panels.
#pragma once

#include <algorithm>
#include <type_traits>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "plan/tasks.hpp"
#include "source/view.hpp"
#include "strategies/operands.hpp"

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

// Result channels of the largest task, in whole vectors.
template <class T>
int64_t channel_pitch(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    return round_up(std::min(plan.tasks.channel_block, plan.tasks.channels), kernel.lanes);
}

// Where the packed weights of a block begin, relative to the group's.  Behind each panel are `slack` elements, since
// packing spills up to a vector there, and another thread may be writing the next panel.
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
    return {plan.packing.panels, panel_widths(plan, kernel).channels, kernel.lanes};
}

// bf16 pairs whose numbers are packed at once, before they are joined: few, so that those stay in the L1 cache.
inline int64_t channels_at_once(int64_t taps) { return std::max<int64_t>(32 / taps, 1); }

// What a thread needs for packing.
struct PackingBuffers {
    float* apart = nullptr;  // numbers that are joined to bf16 pairs
    int64_t* offsets = nullptr;  // of a block's pairs
    kernels::Run* runs = nullptr;  // pairs whose weights follow each other
    int64_t* channel_offset = nullptr;  // of a panel's channels

    // `pairs`: of a block, if there are larger ones than the maps'.
    PackingBuffers(Carver& carver, const Plan& plan, int64_t width, int64_t pairs = 0) {
        const bool joins = plan.order == SumOrder::pairs;
        int64_t numbers = 0;
        for (const MapPlan& m : plan.maps) {
            const int64_t taps = m.patches.taps.largest();
            pairs = std::max(pairs, m.patches.largest());
            if (joins) numbers = std::max(numbers, 2 * channels_at_once(taps) * taps);
        }
        pairs = std::max(pairs, numbers);
        apart = carver.take<float>(joins ? (numbers + 1) * width : 0);  // and a vector that packing spills
        offsets = carver.take<int64_t>(pairs);
        runs = carver.take<kernels::Run>(pairs);
        channel_offset = carver.take<int64_t>(width);
    }
};

// Some panels of a block of weights, to be packed: panel p to `to + p * pitch`.
template <class T>
struct PackingItem {
    const MapPlan& map;
    PatchBlock block;
    Stored<T> weights;  // of the group
    int64_t panel_lo, panel_hi, pitch;
    T* to;
};

// Packs the weights of one block of pairs for some panels of result channels: panel[pair][channel].
template <class T>
void pack_numbers(const Plan& plan, const kernels::KernelTable<T>& kernel, const PackingItem<T>& item,
                  const PackingBuffers& buffers) {
    const PatchBlock& block = item.block;
    const int64_t width = panel_widths(plan, kernel).channels, depth = block.size();
    fill_offsets(block, plan.weights.source_channel, weight_position(plan, item.map), buffers.offsets);
    const Stored<T> from = item.weights + block.channel_lo * plan.weights.source_channel;
    const kernels::Readers<T>& read = reading(kernel, item.weights);
    int64_t run_count = 0;
    for (int64_t k = 0; k < depth; ++k) {
        const int64_t at = buffers.offsets[k];
        kernels::Run& last = buffers.runs[run_count - (run_count > 0)];
        if (run_count > 0 && last.src + last.count == at) ++last.count;
        else buffers.runs[run_count++] = {at, k, 1};
    }
    for (int64_t panel = item.panel_lo; panel < item.panel_hi; ++panel) {
        const int64_t channel = panel * width, valid = std::min(width, plan.tasks.channels - channel);
        T* to = item.to + panel * item.pitch;
        if (plan.weights.result_channel == 1) {  // a 1x1 kernel's input gradient: channels follow each other
            const kernels::Run run{channel, 0, valid};
            read.copy_panel(from.at, buffers.offsets, depth, &run, 1, to, width, from.end);
        } else {
            for (int64_t j = 0; j < valid; ++j) buffers.channel_offset[j] = (channel + j) * plan.weights.result_channel;
            read.transpose_panel(from.at, buffers.channel_offset, valid, buffers.runs, run_count, to, width, from.end);
        }
    }
}

// The same of bf16 pairs: numbers are packed as above, and then joined.  A block with so many channels of pairs is one
// with twice as many of numbers.
inline void pack_bf16_pairs(const Plan& plan, const kernels::KernelTable<float>& kernel, const PackingItem<float>& item,
                            const PackingBuffers& buffers) {
    const PatchBlock& block = item.block;
    const int64_t width = panel_widths(plan, kernel).channels, taps = block.taps.elems();
    const int64_t step = channels_at_once(taps), row = taps * width;
    for (int64_t panel = item.panel_lo; panel < item.panel_hi; ++panel)
        for (int64_t lo = block.channel_lo; lo < block.channel_hi; lo += step) {
            const int64_t hi = std::min(lo + step, block.channel_hi);
            PackingItem<float> numbers{item.map, block, item.weights, panel, panel + 1, 0, buffers.apart};
            numbers.block.channel_lo = 2 * lo;
            numbers.block.channel_hi = 2 * hi;
            pack_numbers(plan, kernel, numbers, buffers);
            float* const to = item.to + panel * item.pitch + (lo - block.channel_lo) * row;
            for (int64_t c = 0; c < hi - lo; ++c)
                kernel.join_bf16_pairs(buffers.apart + 2 * c * row, buffers.apart + (2 * c + 1) * row,
                                       row / kernel.lanes, to + c * row);
        }
}

template <class T>
void pack_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const PackingItem<T>& item,
                  const PackingBuffers& buffers) {
    if constexpr (std::is_same_v<T, float>)
        if (plan.order == SumOrder::pairs) return pack_bf16_pairs(plan, kernel, item, buffers);
    pack_numbers(plan, kernel, item, buffers);
}

// An item of packing is some panels of a block; a task is as many items as make it worth handing out.  Residue classes
// take their taps from the same lines of memory: an item is then fewer panels, and the classes' items follow each
// other, so that all but the first find them in the L2.  (Measured, 3x3 at stride 2, one sample of 14x14, 320-512
// and 512-512: the input gradient takes 1.5 to 1.8 times less, together with asking ahead in transpose_panel.)
constexpr int64_t panels_of_item = 8, panels_of_class_item = 1;
constexpr int64_t elems_of_packing_task = 8192;

// Packing less than this takes no longer than waking the other threads.
inline int packing_threads(const Plan& plan, int threads) {
    return packed_weight_elems(plan) < 2 * elems_of_packing_task ? 1 : threads;
}

// Packs all weights.  `patches(map)`: the blocks that a map's weights are packed in, or null if they are with another
// one's; pack(item, thread) packs an item.
template <class T, class Patches, class Pack>
void pack_all_panels(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, int threads,
                     T* packed, const Patches& patches, const Pack& pack) {
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t groups = plan.tasks.groups, elems = packed_weight_elems(plan);
    int64_t blocks = 0;
    bool alike = plan.maps.size() > 1;  // the maps, in their blocks
    for (const MapPlan& m : plan.maps) {
        blocks += patches(m) != nullptr ? groups * patches(m)->count() : 0;
        alike = alike && patches(m) != nullptr && patches(m)->count() == patches(plan.maps[0])->count();
    }
    const int64_t panels_of_one = alike ? panels_of_class_item : panels_of_item;
    const auto classes = alike ? static_cast<int64_t>(plan.maps.size()) : int64_t(1);
    const int64_t parts = ceil_div(layout.panels, panels_of_one), items = blocks * parts;
    const int64_t of_task = std::max<int64_t>(1, items * elems_of_packing_task / (elems + 1));
    const auto pack_item = [&](int64_t item, int thread) {
        const int64_t part = item / classes % parts, at = item / classes / parts;  // of the class, or of all maps
        const MapPlan& m =
            alike ? plan.maps[static_cast<size_t>(item % classes)] : map_of(plan, &MapPlan::first_packing_block, at);
        const PatchBlocks& own = *patches(m);
        const int64_t of_map = alike ? at : at - m.first_packing_block;
        const int64_t index = of_map % own.count(), group = of_map / own.count();
        const PatchBlock block = patch_block(own, index);
        const int64_t panel_lo = part * panels_of_one, panel_hi = std::min(panel_lo + panels_of_one, layout.panels);
        T* const to = packed + m.weights_at + group * m.weights_per_group + layout.at(block, index);
        pack(PackingItem<T>{m, block, operands.w + group * plan.weights.group, panel_lo, panel_hi, layout.pitch(block),
                            to},
             thread);
    };
    parallel_for(ceil_div(items, of_task), packing_threads(plan, threads), [&](int64_t task, int thread) {
        for (int64_t item = task * of_task; item < std::min(items, (task + 1) * of_task); ++item)
            pack_item(item, thread);
    });
}

// The same by the blocks of each map itself.  `buffers[thread].packing` are the thread's PackingBuffers.
template <class T, class Buffers>
void pack_all_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, int threads,
                      T* packed, const ThreadBuffers<Buffers>& buffers) {
    pack_all_panels(
        plan, kernel, operands, threads, packed, [](const MapPlan& m) { return &m.patches; },
        [&](const PackingItem<T>& item, int thread) {
            pack_weights(plan, kernel, item, buffers[static_cast<size_t>(thread)].packing);
        });
}

// What sums start from: all of the result's channels, and zeros where whole vectors are read.
template <class T>
void copy_bias(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& bias, T* to) {
    if (!bias) return;
    const int64_t channels = plan.tasks.groups * plan.tasks.channels;
    for (int64_t c = 0; c < channels; ++c) to[c] = bias[c / plan.bias_elems];
    std::fill_n(to + channels, panel_widths(plan, kernel).channels, T(0));
}

// Shared by all threads: the packed weights, and a bias that can be read in whole vectors.
template <class T>
struct SharedWeights {
    T* weights = nullptr;
    T* bias = nullptr;
    SharedWeights(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const int64_t channels = plan.tasks.groups * plan.tasks.channels;
        weights = carver.take<T>(plan.packing.by_tasks ? 0 : packed_weight_elems(plan) + kernel.lanes);
        bias = carver.take<T>(channels + panel_widths(plan, kernel).channels);
    }
};

}  // namespace convpp
