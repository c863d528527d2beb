// The weight gradient where groups are a few channels: vectors run along the channels, sums[vector][pair][lane].
//
// In:  a Plan of this strategy, a task, the operands.   Out: its sums; then dw.
// Next: kernels/channel/channel.hpp; product.hpp is the same for the other passes.
#pragma once

#include <algorithm>

#include "strategies/channels/product.hpp"
#include "strategies/panel_sums.hpp"

namespace convpp {

template <class T>
struct ChannelSumBuffers {
    LaneCopy<T> copy;
    LaneGather<T> gather;
    T* channel_panels = nullptr;  // of dy
    T* sums = nullptr;
    kernels::Run* runs = nullptr;
    int64_t* dy_offset = nullptr;  // of rows of pixels, of channels, or of pairs in dw
    kernels::VectorAt* pixel_rows = nullptr;

    ChannelSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : copy(carver, plan, kernel.lanes, own<ChannelsPlan>(plan).copies()),
          gather(carver, plan, kernel.lanes, own<ChannelsPlan>(plan).group, own<ChannelsPlan>(plan).gathers) {
        const SumLayout layout(plan, kernel);
        const MapPlan& m = plan.maps[0];
        const int64_t pixels = m.boxes.largest();
        channel_panels = carver.take<T>(pixels * plan.tasks.channel_block + kernel.lanes);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : layout.elems);
        runs = carver.take<kernels::Run>(most_runs(m.boxes.box(0), pixels));
        dy_offset = carver.take<int64_t>(std::max({pixels, layout.channel_width, layout.most}));
        pixel_rows = carver.take<kernels::VectorAt>(most_rows(m.boxes.box(0)));
    }
};

// Vectors of channels of dy from channel `from` of the product on: panel[vector][pixel][lane].
template <class T>
void pack_dy_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product,
                      const Operands<T>& operands, const Box& pixels, int64_t from,
                      const ChannelSumBuffers<T>& buffers) {
    if (!plan.channels_last()) return pack_dy(plan, kernel, product, operands, pixels, kernel.lanes, buffers);
    const int64_t count = pixels.elems() * kernel.lanes, length = pixels.extent(3);
    const Stored<T> dy = operands.dy + product.channel_lo + from;
    T* to = buffers.channel_panels + from / kernel.lanes * count;
    for_each_result_row(plan.maps[0].map, plan.result, pixels, [&](int64_t offset) {
        reading(kernel, dy)
            .split_channels((dy + offset).at, plan.result.axis[2], length, product.channels - from, to, count, dy.end);
        to += length * kernel.lanes;
    });
}

// The sums of a product, in vectors of channels: sums[vector][pair][lane].
template <class T>
void sum_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task,
                  const Operands<T>& operands, T* sums, const ChannelSumBuffers<T>& buffers) {
    const SumProduct& product = task.product;
    const MapPlan& m = plan.maps[0];
    const ChannelsPlan& channels = own<ChannelsPlan>(plan);
    const auto add_sums = kernel.channel_sums[channel_kernel(channels.kernel_channels())];
    const int64_t lanes = kernel.lanes, vectors = ceil_div(product.channels, lanes);
    const PatchBlock taps = taps_of(m, product.block);
    std::fill_n(sums, vectors * product.block.size() * lanes, T(0));
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const Box pixels = m.boxes.box(b);
        const int64_t count = pixels.elems();
        const CopyLayout layout = lane_layout(&m, 1, pixels, product.tap_box, lanes);
        copy_channels(plan, kernel, m, first_x(plan, product, operands),
                      {pixels, layout, product.channel_lo, product.channels}, buffers);
        const SourceView<T> view = view_channels(plan, m, pixels, taps, layout, buffers.copy);
        // Whole vectors of channels_last dy are read where they lie; the others, and halves, are packed.
        const int64_t in_place = plan.channels_last() && !plan.converts() ? product.channels / lanes * lanes : 0;
        if (in_place < product.channels) pack_dy_channels(plan, kernel, product, operands, pixels, in_place, buffers);
        const auto add = [&](int64_t from, int64_t to, const T* dy, int64_t dy_step, int64_t dy_vector,
                             const auto& dy_row) {
            if (from == to) return;
            const kernels::PixelRows rows = pixel_rows(pixels, view, false, dy_step, dy_row, buffers.pixel_rows);
            for (int64_t v = from / lanes; v < ceil_div(to, lanes); ++v)
                add_sums(taps.size() * channels.copies(), buffers.copy.offsets, rows, lane_run,
                         view.base.plain() + v * channels.copies() * layout.elems, dy + v * dy_vector,
                         sums + v * product.block.size() * lanes);
        };
        int64_t* at = buffers.dy_offset;
        if (in_place > 0) for_each_result_row(m.map, plan.result, pixels, [&](int64_t offset) { *at++ = offset; });
        add(0, in_place, operands.dy.plain() + product.channel_lo, plan.result.axis[2], lanes,
            [&](int64_t row) { return buffers.dy_offset[row]; });
        add(in_place, product.channels, buffers.channel_panels, lanes, count * lanes,
            [&](int64_t row) { return row * pixels.extent(3) * lanes; });
    }
}

template <class T>
void write_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, const T* sums,
                    const Operands<T>& operands, const ChannelSumBuffers<T>& buffers) {
    fill_offsets(product.block, plan.weights.source_channel, weight_position(plan, plan.maps[0]), buffers.dy_offset);
    const int64_t lanes = kernel.lanes, pairs = product.block.size();
    for (int64_t c = 0; c < product.channels; ++c) {
        const int64_t channel = product.channel_lo + c;
        const int64_t of_group = own<ChannelsPlan>(plan).group.result;
        T* const to = operands.result.plain() + channel / of_group * plan.weights.group +
                      channel % of_group * plan.weights.result_channel;
        const T* const from = sums + c / lanes * pairs * lanes + c % lanes;
        for (int64_t k = 0; k < pairs; ++k) {
            T& target = to[buffers.dy_offset[k]];
            target = operands.accumulate ? target + from[k * lanes] : from[k * lanes];
        }
    }
}

// For sum_loop.hpp.  (A product's rows are its pairs, as far as they can be added apart.)
template <class T>
struct ChannelSums : RowSums<T, ChannelSumBuffers<T>, &sum_channels<T>> {
    using Buffers = ChannelSumBuffers<T>;
    static constexpr bool cuts_rows = false;
    static void write(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, const T* sums,
                      int64_t, int64_t, const Operands<T>& operands, const Buffers& buffers) {
        write_channels(plan, kernel, product, sums, operands, buffers);
    }
};

}  // namespace convpp
