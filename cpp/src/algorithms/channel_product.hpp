// channels_last layers whose groups are a few channels: vectors run along the channels, through several groups.
//
// In:  a Plan whose feed is channel_vectors, the operands, a task.   Out: the task's results.
// The plan counts all groups' channels as those of one group; every result channel reads Plan::group_channels of them.
// The source is copied, padded, one vector of channels at a time: what the taps share stays in L1, and pixels that lie a
// multiple of the cache's sets apart do not push each other out.   Next: kernels/channel.hpp.
#pragma once

#include <algorithm>
#include <vector>

#include "algorithms/packed_weights.hpp"
#include "algorithms/padded_source.hpp"

namespace convpp {

// Index into the tables' functions for groups of 1, 2, 4, 8 channels; -1 if there is none.
inline int channel_kernel(int64_t group_channels) {
    for (int i = 0; i < kernels::channel_groups; ++i)
        if (group_channels == int64_t(1) << i) return i;
    return -1;
}

template <class T>
struct ChannelBuffers {
    PaddedBuffers<T> padded;  // `lanes` channels of it
    T* tail = nullptr;  // results of a vector that is partly filled
    const T** source = nullptr;  // of each pixel
    T** result = nullptr;  // of each pixel, where tiles write

    ChannelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : padded(carver, plan, kernel.lanes, kernel.lanes) {
        int64_t pixels = 0;
        for (const MapPlan& m : plan.maps) pixels = std::max(pixels, m.pixels.largest());
        tail = carver.take<T>(pixels * kernel.lanes);
        source = carver.take<const T*>(pixels);
        result = carver.take<T*>(pixels);
    }
};

// A box of taps as a block of patches, of one channel.
inline PatchBlock taps_of(const MapPlan& m, int64_t index) {
    PatchBlock block;
    block.taps = m.patches.taps.box(index);
    block.channel_hi = 1;
    return block;
}

// Copies the vector of channels from `channel` on of what a box of pixels reads; fills the offsets of the taps.
template <class T>
PixelView<T> view_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m,
                           Memory<const T> source, const Box& pixels, const PatchBlock& taps, int64_t channel,
                           const PaddedBuffers<T>& buffers) {
    const PaddedLayout layout = padded_layout(m, plan.source, pixels, taps.taps, kernel.lanes);
    source.at += channel;
    copy_padded(kernel, m, plan.source, source, pixels, std::min<int64_t>(kernel.lanes, plan.result_channels - channel),
                layout, buffers.copy);
    return padded_view(m, pixels, taps, layout, buffers);
}

// weights[channel of the group][tap][lane], one vector of result channels and box of taps after the other.
template <class T>
void pack_channel_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const T* weights,
                          int64_t vector, T* packed) {
    const int64_t group = plan.group_channels, lanes = kernel.lanes;
    for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
        const Box taps = m.patches.taps.box(b);
        for (int64_t c = 0; c < group; ++c)
            for (int64_t d = taps.lo[1]; d < taps.hi[1]; ++d)
                for (int64_t h = taps.lo[2]; h < taps.hi[2]; ++h)
                    for (int64_t w = taps.lo[3]; w < taps.hi[3]; ++w, packed += lanes) {
                        const auto at = [&](size_t a, int64_t t) {
                            return m.map.axis[a].taps[static_cast<size_t>(t)].weight * plan.weight_axis[a];
                        };
                        const int64_t tap = at(0, d) + at(1, h) + at(2, w);
                        for (int64_t lane = 0; lane < lanes; ++lane) {
                            const int64_t channel = vector * lanes + lane;
                            packed[lane] = channel < plan.result_channels
                                               ? weights[channel / group * plan.weight_group +
                                                         channel % group * plan.weight_result_channel +
                                                         c * plan.weight_source_channel + tap]
                                               : T(0);
                        }
                    }
    }
}

template <class T>
void pack_all_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                      int threads, T* packed, const std::vector<ChannelBuffers<T>>&) {
    const int64_t vectors = ceil_div(plan.result_channels, kernel.lanes);
    parallel_for(vectors, threads, [&](int64_t vector, int) {
        for (const MapPlan& m : plan.maps)
            pack_channel_weights(plan, kernel, m, operands.weights, vector,
                                 packed + m.weights_at + vector * kernel.lanes * m.map.taps() * plan.group_channels);
    });
}

template <class T>
void run_channel_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                      const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const auto tiles = kernel.channel_tiles[channel_kernel(plan.group_channels)];
    const int64_t count = task.pixels.elems(), lanes = kernel.lanes;
    const int64_t step = m.map.axis[2].result_step * plan.result.axis[2];
    const Memory<const T> source{operands.source, operands.source + operands.source_elems};
    for (int64_t channel = task.channel_lo; channel < task.channel_lo + task.channels; channel += lanes) {
        const int64_t valid = std::min(lanes, plan.result_channels - channel);
        int64_t pixel = 0;
        for_each_result_row(m.map, plan.result, task.pixels, [&](int64_t offset) {
            for (int64_t w = 0; w < task.pixels.extent(3); ++w)
                buffers.result[pixel++] = operands.result + channel + offset + w * step;
        });
        kernels::Start start = operands.accumulate        ? kernels::Start::from_c
                               : operands.bias != nullptr ? kernels::Start::column_bias
                                                          : kernels::Start::zero;
        if (valid < lanes)  // through a buffer of whole vectors
            for (int64_t i = 0; i < count; ++i) {
                if (operands.accumulate) std::copy_n(buffers.result[i], valid, buffers.tail + i * lanes);
                buffers.result[i] = buffers.tail + i * lanes;
            }
        const T* weights = packed + m.weights_at + channel / lanes * lanes * m.map.taps() * plan.group_channels;
        for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
            const PatchBlock taps = taps_of(m, b);
            const PixelView<T> view =
                view_channels(plan, kernel, m, source, task.pixels, taps, channel, buffers.padded);
            const T** at = buffers.source;
            for_each_pixel(view, task.pixels, [&](int64_t alpha) { *at++ = view.base + alpha; });
            tiles(taps.size(), buffers.source, buffers.padded.offsets, count, weights, buffers.result, start,
                  bias + channel);
            weights += lanes * taps.size() * plan.group_channels;
            start = kernels::Start::from_c;
        }
        if (valid == lanes) continue;
        pixel = 0;
        for_each_result_row(m.map, plan.result, task.pixels, [&](int64_t offset) {
            for (int64_t w = 0; w < task.pixels.extent(3); ++w, ++pixel)
                std::copy_n(buffers.tail + pixel * lanes, valid, operands.result + channel + offset + w * step);
        });
    }
}

}  // namespace convpp
