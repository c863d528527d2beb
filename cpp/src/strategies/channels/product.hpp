// Layers whose groups are a few channels: vectors run along the channels, through several groups.
//
// In:  a Plan of this strategy, the operands, a task.   Out: the task's results.
// Tasks run through the channels of all groups as if they were one; every result channel reads those of its own group.
//
// The source is read once and copied with its padding into vectors of channels (source/lanes.hpp).  channels_first
// planes are transposed on the way in and on the way out.  In both layouts all residue classes of a plane (the input
// gradient of a strided layer) are one task and share the copy, if the taps of each are one box.   Next:
// kernels/channel/channel.hpp.
#pragma once

#include <algorithm>

#include "result/order.hpp"
#include "source/gather.hpp"
#include "source/lanes.hpp"
#include "strategies/channels/in_place.hpp"
#include "weights/panels.hpp"

namespace convpp {

struct ChannelsPlan : StrategyPlan {
    GroupChannels group{1, 1};  // Tasks::channels are those of all groups
    // Where a group has other channels than the kernels are made for: each lane's source channels are brought to where
    // the lane is, and are taps like others to it, which reads one channel.
    bool gathers = false;

    int64_t copies() const { return gathers ? group.source : 1; }  // of the source, for each vector
    int64_t kernel_channels() const { return gathers ? 1 : group.source; }  // of the kernel
};

// Index into the tables' functions for groups of 1, 2, 4, 8 channels; -1 if there is none.
inline int channel_kernel(int64_t group_channels) {
    for (int i = 0; i < kernels::channel_groups; ++i)
        if (group_channels == int64_t(1) << i) return i;
    return -1;
}

inline int64_t most_rows(const Box& pixels) { return pixels.extent(0) * pixels.extent(1) * pixels.extent(2); }

template <class T>
struct ChannelBuffers {
    LaneCopy<T> copy;
    LaneGather<T> gather;
    int64_t* pairs = nullptr;  // offsets of a block's weights
    OrderedSums<T> sums;  // channels_first: of all pixels; channels_last: of a vector that is partly filled
    T* gap = nullptr;  // channels_first: of each result that has no terms
    kernels::VectorAt* rows = nullptr;  // of pixels
    int64_t* result_rows = nullptr;  // where they begin in the result
    PixelPointers<T> pointers;

    ChannelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : copy(carver, plan, kernel.lanes, own<ChannelsPlan>(plan).copies()),
          gather(carver, plan, kernel.lanes, own<ChannelsPlan>(plan).group, own<ChannelsPlan>(plan).gathers),
          pointers(carver, plan, kernel.lanes) {
        int64_t pixels = 0, results = 0, most_runs = 0, most_pairs = 0, rows_most = 0;
        for (const MapPlan& m : plan.maps) {
            most_pairs = std::max(most_pairs, m.patches.largest());
            if (m.in_place) continue;
            pixels = std::max(pixels, m.boxes.largest() * std::max<int64_t>(m.classes, 1));
            results = std::max(results, m.boxes.largest() * results_of_pixel(plan, m));
            most_runs = std::max(most_runs, most_result_runs(plan, m));
            rows_most = std::max(rows_most, most_rows(m.boxes.box(0)));
        }
        pairs = carver.take<int64_t>(most_pairs);
        rows = carver.take<kernels::VectorAt>(rows_most);
        result_rows = carver.take<int64_t>(plan.channels_last() ? rows_most : 0);
        const bool last = plan.channels_last();
        sums = {carver, carver.take<T>(pixels * kernel.lanes), kernel.lanes, last ? 0 : results, last ? 0 : most_runs};
        gap = carver.take<T>(plan.gaps_from < 3 ? kernel.lanes : 0);
    }
};

// The taps of a block of patches, as one of a single channel.
inline PatchBlock taps_of(const MapPlan& m, PatchBlock block) {
    block.start /= m.patches.channels;  // taps before it
    block.channel_lo = 0;
    block.channel_hi = 1;
    return block;
}

// weights[channel of the group][tap][lane], one vector of result channels and box of taps after the other.
template <class T>
void pack_channel_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m,
                          const Stored<T>& weights, int64_t vector, T* packed, int64_t* offsets,
                          int64_t* channel_offset) {
    const int64_t group = own<ChannelsPlan>(plan).group.result, lanes = kernel.lanes, first = vector * lanes;
    for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
        const PatchBlock block = patch_block(m.patches, b);
        fill_offsets(block, plan.weights.source_channel, weight_position(plan, m), offsets);
        const int64_t last = offsets[block.size() - 1] - offsets[0];
        if (group == 1 && last == block.size() - 1) {  // they lie together, and are transposed
            const int64_t channels = std::min(lanes, plan.tasks.channels - first);
            for (int64_t i = 0; i < channels; ++i) channel_offset[i] = i * plan.weights.group;
            const kernels::Run run{0, 0, block.size()};
            const Stored<T> from = weights + (first * plan.weights.group + offsets[0]);
            reading(kernel, weights)
                .transpose_panel(from.at, channel_offset, channels, &run, 1, packed, lanes, weights.end);
            packed += block.size() * lanes;
            continue;
        }
        for (int64_t k = 0; k < block.size(); ++k, packed += lanes)
            for (int64_t lane = 0; lane < lanes; ++lane) {
                const int64_t channel = first + lane;
                const bool there = channel < plan.tasks.channels;
                packed[lane] = there ? weights[channel / group * plan.weights.group +
                                               channel % group * plan.weights.result_channel + offsets[k]]
                                     : T(0);
            }
    }
}

template <class T>
void pack_all_channel_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                              int threads, T* packed, const ThreadBuffers<ChannelBuffers<T>>& buffers) {
    const int64_t vectors = ceil_div(plan.tasks.channels, kernel.lanes);
    parallel_for(vectors, packing_threads(plan, threads), [&](int64_t vector, int thread) {
        for (const MapPlan& m : plan.maps)
            pack_channel_weights(
                plan, kernel, m, operands.w, vector,
                packed + m.weights_at + vector * kernel.lanes * m.map.taps() * own<ChannelsPlan>(plan).group.source,
                buffers[static_cast<size_t>(thread)].pairs, buffers[static_cast<size_t>(thread)].copy.channel_offset);
    });
}

// Copies a block's source channels into vectors.
template <class T, class Buffers>
void copy_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                   const LaneBlock& block, const Buffers& buffers) {
    const ChannelsPlan& channels = own<ChannelsPlan>(plan);
    if (channels.gathers) gather_lanes(plan, kernel, m, source, block, channels.group, buffers.gather, buffers.copy.at);
    else copy_lanes(plan, kernel, m, source, block, buffers.copy);
}

// The view of a box of taps in such a copy; the offsets of those of all copies of a vector.
template <class T>
SourceView<T> view_channels(const Plan& plan, const MapPlan& m, const Box& pixels, const PatchBlock& taps,
                            const CopyLayout& layout, const LaneCopy<T>& copy) {
    const SourceView<T> view = copy.view_of(m, pixels, taps, layout);
    for (int64_t i = 1; i < own<ChannelsPlan>(plan).copies(); ++i)
        for (int64_t t = 0; t < taps.size(); ++t)
            copy.offsets[i * taps.size() + t] = copy.offsets[t] + i * layout.elems;
    return view;
}

// Taps of a kernel's row that read neighbouring pixels of the copy, as neighbouring results do; otherwise they are
// lines of their own.
inline bool taps_are_lines(const Box& taps, const int64_t* offsets, int64_t pixel_step) {
    return taps.extent(3) > 1 && (offsets[1] - offsets[0] == pixel_step || offsets[0] - offsets[1] == pixel_step);
}

// The rows of a map's pixels: their sources in the padded copy.  `result(row)` is where the row's first result lies.
// Where later taps read earlier pixels, rows are gone through from their ends.
template <class T, class Result>
kernels::PixelRows pixel_rows(const Box& pixels, const SourceView<T>& view, bool backwards, int64_t result_step,
                              const Result& result, kernels::VectorAt* rows) {
    const int64_t last = backwards ? pixels.extent(3) - 1 : 0, sign = backwards ? -1 : 1;
    int64_t count = 0;
    for_each_row(pixels, view.step, [&](int64_t alpha, int64_t) {
        rows[count] = {alpha + last * view.step[3], result(count) + last * result_step};
        ++count;
    });
    return {rows, count, pixels.extent(3), sign * view.step[3], sign * result_step};
}

// One vector of channels of a map's pixels.
template <class T>
struct ChannelProduct {
    const MapPlan& map;
    Box pixels;
    int64_t tap_box = 0;
    const CopyLayout& layout;
    int64_t channel = 0, vector = 0;  // the first channel, and the number of its vector in the copy
    kernels::Onto onto = kernels::Onto::zero;
    T* result = nullptr;
    int64_t result_step = 0;
};

// Row i of the results begins at result_row(i).
template <class T, class ResultRow>
void multiply_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const ChannelProduct<T>& of,
                       const ResultRow& result_row, const T* packed, const T* bias, const ChannelBuffers<T>& buffers) {
    const MapPlan& m = of.map;
    const PatchBlock taps = taps_of(m, patch_block(m.patches, of.tap_box));
    const ChannelsPlan& channels = own<ChannelsPlan>(plan);
    const int64_t group = channels.group.source;
    const SourceView<T> view = view_channels(plan, m, of.pixels, taps, of.layout, buffers.copy);
    const int64_t* const offsets = buffers.copy.offsets;
    const bool lines = taps_are_lines(taps.taps, offsets, view.step[3]);
    const bool backwards = lines && offsets[1] < offsets[0];
    const kernels::PixelRows rows = pixel_rows(of.pixels, view, backwards, of.result_step, result_row, buffers.rows);
    kernel.channel_tiles[channel_kernel(channels.kernel_channels())](
        {taps.size() * channels.copies(), lines ? std::min(taps.taps.extent(3), taps.run) : 1, taps.run}, offsets, rows,
        view.base.plain() + of.vector * channels.copies() * of.layout.elems,
        packed + m.weights_at + of.channel * m.map.taps() * group + taps.start * group * kernel.lanes, of.result,
        of.onto, bias + of.channel);
}

// What the sums of a box of taps are added to.
template <class T>
kernels::Onto addend_of(const Operands<T>& operands, bool first_box) {
    if (operands.accumulate || !first_box) return kernels::Onto::c;
    return operands.bias ? kernels::Onto::column_bias : kernels::Onto::zero;
}

// channels_last: the tiles write the results, but for a vector that is partly filled.
template <class T>
void run_channels_last(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                       const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const int64_t lanes = kernel.lanes;
    const Stored<T>& source = operands.source(plan.pass);
    // One vector of channels of a map's pixels.
    const auto multiply = [&](const MapPlan& m, int64_t b, const CopyLayout& layout, int64_t channel, int64_t valid) {
        const Box pixels = pixels_of(m, task.pixels);
        const int64_t step = m.map.axis[2].result_step * plan.buffer.strides.axis[2], columns = pixels.extent(3);
        const kernels::Onto onto = addend_of(operands, b == task.first_block(m.patches));
        const auto run = [&](T* result, int64_t result_step, const auto& result_row) {
            const int64_t vector = (channel - task.channel_lo) / lanes;
            const ChannelProduct<T> product{m, pixels, b, layout, channel, vector, onto, result, result_step};
            multiply_channels(plan, kernel, product, result_row, packed, bias, buffers);
        };
        int64_t* at = buffers.result_rows;
        for_each_result_row(m.map, plan.buffer.strides, pixels, [&](int64_t offset) { *at++ = offset; });
        T* const result = operands.sums + channel;
        if (valid == lanes) return run(result, step, [&](int64_t row) { return buffers.result_rows[row]; });
        const auto for_each_result = [&](const auto& use) {  // use(where it is in sums, in the result)
            for (int64_t i = 0; i < pixels.elems(); ++i)
                use(buffers.sums.sums + i * lanes, result + buffers.result_rows[i / columns] + i % columns * step);
        };
        if (onto == kernels::Onto::c) for_each_result([&](T* sum, const T* to) { std::copy_n(to, valid, sum); });
        run(buffers.sums.sums, lanes, [&](int64_t row) { return row * columns * lanes; });
        for_each_result([&](const T* sum, T* to) { std::copy_n(sum, valid, to); });
    };
    for (int64_t b = task.first_block(maps[0].patches); b < task.end_block(maps[0].patches); ++b) {
        const CopyLayout layout = lane_layout(maps, task.map.classes, task.pixels, b, lanes);
        copy_channels(plan, kernel, maps[0], source, {task.pixels, layout, task.channel_lo, task.channels}, buffers);
        for (int64_t channel = 0; channel < task.channels; channel += lanes)
            for (const MapPlan* m = maps; m != maps + task.map.classes; ++m)
                multiply(*m, b, layout, task.channel_lo + channel, std::min(lanes, task.channels - channel));
    }
}

// channels_first: a vector of channels at a time, transposed into the result.
template <class T>
void run_channels_first(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                        const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const int64_t lanes = kernel.lanes, end = task.channel_lo + task.channels;
    const Stored<T>& source = operands.source(plan.pass);
    const ResultBlock block(plan, task);
    OrderedSums<T> order = buffers.sums;
    if (plan.gaps_from < 3 && !operands.accumulate) order.gap = buffers.gap;
    if (block.whole) order_area(plan.buffer.strides, block.area, sums_in_order(block.area, lanes), order);
    else order_results(plan, task, order);
    for (int64_t channel = task.channel_lo; channel < end; channel += lanes) {
        const int64_t valid = std::min(lanes, end - channel);
        T* const result = operands.sums + channel * plan.buffer.strides.channel;
        if (operands.accumulate) order.read(plan.buffer.strides, valid, result);
        if (order.gap != nullptr && operands.bias) std::copy_n(bias + channel, valid, order.gap);
        else if (order.gap != nullptr) std::fill_n(order.gap, lanes, T(0));
        for (int64_t b = task.first_block(maps[0].patches); b < task.end_block(maps[0].patches); ++b) {
            const CopyLayout layout = lane_layout(maps, task.map.classes, task.pixels, b, lanes);
            copy_lanes(plan, kernel, maps[0], source, {task.pixels, layout, channel, valid}, buffers.copy);
            T* sums = order.sums;
            for (const MapPlan* m = maps; m != maps + task.map.classes; ++m) {
                const Box pixels = pixels_of(*m, task.pixels);
                if (pixels.elems() == 0) continue;
                const ResultArea area = area_of(*m, task.pixels);
                const auto result_row = [&](int64_t row) {
                    return lanes * (block.whole ? block.before_row(area, row) : row * pixels.extent(3));
                };
                const int64_t step = block.whole ? m->map.axis[2].result_step * lanes : lanes;
                const ChannelProduct<T> product{
                    *m,   pixels, b, layout, channel, 0, addend_of(operands, b == task.first_block(m->patches)),
                    sums, step};
                multiply_channels(plan, kernel, product, result_row, packed, bias, buffers);
                if (!block.whole) sums += pixels.elems() * lanes;
            }
        }
        order.write(kernel, plan.buffer.strides, valid, result);
    }
}

template <class T>
void run_channel_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                      const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    if (task.map.in_place)
        for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m)
            run_pixels_in_place(plan, kernel, operands, *m, task, packed, bias, buffers.pointers, operands.sums,
                                plan.buffer.strides);
    else if (plan.channels_last()) run_channels_last(plan, kernel, operands, packed, bias, buffers, task);
    else run_channels_first(plan, kernel, operands, packed, bias, buffers, task);
}

// Halves as the source and as results, which tiles round: where pixels are read in place.
template <class T>
bool store_channel_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                        const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    return task.map.in_place && with_halves(operands.source(plan.pass), operands.result, [&](auto* result) {
               for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m)
                   run_pixels_in_place(plan, kernel, operands, *m, task, packed, bias, buffers.pointers, result,
                                       plan.result);
           });
}

template <class T>
struct ChannelProducts : ProductParts<ChannelBuffers<T>, &pack_all_channel_weights<T>, &run_channel_task<T>> {
    static constexpr auto store = &store_channel_task<T>;
};

}  // namespace convpp
