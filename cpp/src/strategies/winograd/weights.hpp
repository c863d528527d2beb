// The weights as Winograd's algorithm multiplies with them: U = G w G^T.
//
// In:  a Plan, the weights as the user stores them.   Out: transformed panels, laid out by WinogradWeights.
// Weights are packed first as they are for the direct algorithm (weights/panels.hpp), some channels at a time; vectors
// of result channels are then transformed from there.   Next: product.hpp, which reads them.
#pragma once

#include <algorithm>

#include "strategies/winograd/tiles.hpp"
#include "weights/panels.hpp"

namespace convpp {

// The transformed weights: [group][block of source channels][point][panel][tap, source channel][result channel].  Where
// tasks transform their own, it is one block of them, with the panels of a task.
struct WinogradWeights {
    int64_t panels, width, slack, taps;

    template <class T>
    WinogradWeights(const Plan& plan, const kernels::KernelTable<T>& kernel, int64_t result_channels)
        : width(panel_widths(plan, kernel).channels), slack(kernel.lanes), taps(winograd_of(plan).outer_taps()) {
        panels = ceil_div(result_channels, width);
    }
    int64_t pitch(int64_t channels) const { return taps * channels * width + slack; }  // of panels
    int64_t point_pitch(int64_t channels) const { return panels * pitch(channels); }
    int64_t block_at(const Plan& plan, int64_t group, int64_t block) const {
        return group * plan.maps[0].weights_per_group +
               winograd_of(plan).points() * block * point_pitch(winograd_of(plan).source_block);
    }
};

// What a thread needs for transforming.
template <class T>
struct WeightBuffers {
    PackingBuffers packing;
    T* panel = nullptr;  // packed
    int64_t* weight_from = nullptr;  // where the kernels of its source channels begin in it
    int64_t* weight_to = nullptr;  // and transformed

    WeightBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels) {
        const PatchBlocks& patches = plan.maps[0].patches;
        panel = carver.take<T>(patches.largest() * panel_widths(plan, kernel).channels + kernel.lanes);
        weight_from = carver.take<int64_t>(patches.channels_per_block);
        weight_to = carver.take<int64_t>(patches.channels_per_block);
    }
};

// A panel of result channels with a part of a source block: as many of its channels as are packed at once.
struct WeightPanel {
    int64_t group;
    const SourceBlock& block;
    int64_t part, panel;

    static int64_t parts(const Plan& plan, int64_t channels) {
        return ceil_div(channels, plan.maps[0].patches.channels_per_block);
    }
};

// `to`: the block's and the panel's first element.
template <class T>
void transform_panel(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                     const WeightPanel& of, const WinogradWeights& layout, T* to, const WeightBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    const MapPlan& m = plan.maps[0];
    const int64_t width = layout.width, most = m.patches.channels_per_block;
    const int64_t lo = of.part * most, channels = std::min(most, of.block.channels - lo);  // of the block
    if (channels <= 0) return;
    const Stored<T> weights = operands.w + of.group * plan.weights.group;
    PackingItem<T> packed{m, patch_block(m.patches, 0), weights, of.panel, of.panel + 1, 0, buffers.panel};
    packed.block.channel_lo = of.block.lo + lo;
    packed.block.channel_hi = of.block.lo + lo + channels;
    pack_weights(plan, kernel, packed, buffers.packing);
    for (int64_t i = 0; i < channels; ++i) {
        buffers.weight_from[i] = i * m.map.taps() * width;
        buffers.weight_to[i] = i * width;
    }
    const KernelTaps taps(plan, width);
    const kernels::TileSteps steps = point_steps(w, layout.point_pitch(of.block.channels));
    const int64_t valid = std::min(width, plan.tasks.channels - of.panel * width);
    to += lo * width;
    taps.for_each_outer([&](int64_t at) {
        for (int64_t v = 0; v < valid; v += kernel.lanes)
            transforms(plan, kernel)
                .weights(buffers.panel + at + v, buffers.weight_from, taps.steps(w), channels, nullptr, to + v,
                         buffers.weight_to, steps);
        to += of.block.channels * width;
    });
}

// All of them.  `buffers[thread].transforming` are the thread's WeightBuffers.
template <class T, class Buffers>
void transform_all_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                           int threads, T* transformed, const ThreadBuffers<Buffers>& buffers) {
    const WinogradWeights layout(plan, kernel, plan.tasks.channels);
    const int64_t blocks = SourceBlock::count(plan), parts = WeightPanel::parts(plan, winograd_of(plan).source_block);
    const int64_t tasks = plan.tasks.groups * blocks * parts * layout.panels;
    parallel_for(tasks, packing_threads(plan, threads), [&](int64_t task, int thread) {
        const int64_t panel = task % layout.panels, part = task / layout.panels % parts;
        const SourceBlock block(plan, task / layout.panels / parts % blocks);
        const int64_t group = task / layout.panels / parts / blocks;
        T* const to = transformed + layout.block_at(plan, group, block.index) + panel * layout.pitch(block.channels);
        transform_panel(plan, kernel, operands, {group, block, part, panel}, layout, to,
                        buffers[static_cast<size_t>(thread)].transforming);
    });
}

// The weights of a source block and a task's channels, where they stay in L2.
template <class T>
void transform_own_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                           const ProductTask& task, const SourceBlock& block, T* transformed,
                           const WeightBuffers<T>& buffers) {
    const WinogradWeights layout(plan, kernel, plan.tasks.channel_block);
    const int64_t first = task.channel_lo / layout.width, pitch = layout.pitch(block.channels);
    for (int64_t panel = 0; panel * layout.width < task.channels; ++panel)
        for (int64_t part = 0; part < WeightPanel::parts(plan, block.channels); ++part)
            transform_panel(plan, kernel, operands, {task.group_lo, block, part, first + panel}, layout,
                            transformed + panel * pitch, buffers);
}

}  // namespace convpp
