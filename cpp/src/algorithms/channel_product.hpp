// channels_last layers whose groups are a few channels: vectors run along the channels, through several groups.
//
// In:  a Plan whose feed is channel_vectors, the operands, a task.   Out: the task's results.
// The plan counts all groups' channels as those of one group; every result channel reads Plan::group_channels of them.
// The source is read once, pixel by pixel, and copied with its padding into vectors of channels, the pixels of each
// behind one another: what the taps share stays in L1, and pixels that lie a multiple of the cache's sets apart do not push
// each other out.   Next: kernels/channel.hpp.
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

// The padded copy of some vectors of channels: one behind the other, `vector_elems` apart.
template <class T>
struct ChannelCopy {
    PaddedBuffers<T> padded;  // of all vectors of a block of channels

    ChannelCopy(Carver& carver, const Plan& plan, int64_t lanes)
        : padded(carver, plan, lanes, round_up(plan.channel_block, lanes), plan.feed == Feed::channel_vectors) {}
};

template <class T>
struct ChannelBuffers {
    ChannelCopy<T> copy;
    T* tail = nullptr;  // results of a vector that is partly filled
    const T** source = nullptr;  // of each pixel
    T** result = nullptr;  // of each pixel
    T** tail_rows = nullptr;  // of each pixel, in the tail

    ChannelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : copy(carver, plan, kernel.lanes) {
        int64_t pixels = 0;
        for (const MapPlan& m : plan.maps) pixels = std::max(pixels, m.pixels.largest());
        tail = carver.take<T>(pixels * kernel.lanes);
        source = carver.take<const T*>(pixels);
        result = carver.take<T*>(pixels);
        tail_rows = carver.take<T*>(pixels);
    }
};

// A box of taps as a block of patches, of one channel.
inline PatchBlock taps_of(const MapPlan& m, int64_t index) {
    PatchBlock block = patch_block(m.patches, index);
    block.start /= m.patches.channels;  // taps before it
    block.channel_lo = 0;
    block.channel_hi = 1;
    return block;
}

// Copies `channels` channels from `channel` on of what a box of pixels reads; fills the offsets of the taps.  The view is of
// the first vector.
template <class T>
PixelView<T> view_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m,
                           Memory<const T> source, const Box& pixels, const PatchBlock& taps, int64_t channel,
                           int64_t channels, const ChannelCopy<T>& copy, int64_t& vector_elems) {
    const int64_t lanes = kernel.lanes, vectors = ceil_div(channels, lanes);
    const PaddedLayout layout = padded_layout(m, plan.source, pixels, taps.taps, lanes);
    const std::array<AxisMap, 3>& axis = m.map.axis;
    const std::array<Segment, 3> inside = inside_parts(axis, layout);
    const TensorStrides& to = layout.strides;
    vector_elems = layout.elems;
    const auto zero = [&](T* at, int64_t count) {
        for (int64_t v = 0; count > 0 && v < vectors; ++v) std::fill_n(at + v * layout.elems, count, T(0));
    };
    const int64_t before = inside[2].zeros_before * lanes, after = to.axis[1] - before - inside[2].count * lanes;
    for (int64_t n = 0; n < pixels.extent(0); ++n)
        for (int64_t d = 0; d < layout.range[0].length; ++d)
            for (int64_t h = 0; h < layout.range[1].length; ++h) {
                T* const at = copy.padded.copy + n * to.batch + d * to.axis[0] + h * to.axis[1];
                const int64_t depth = layout.range[0].lo + d, height = layout.range[1].lo + h;
                if (depth < 0 || depth >= axis[0].source_extent || height < 0 || height >= axis[1].source_extent) {
                    zero(at, to.axis[1]);
                    continue;
                }
                zero(at, before);
                kernel.split_channels(
                    source.at + (pixels.lo[0] + n) * plan.source.batch + depth * plan.source.axis[0] +
                        height * plan.source.axis[1] + inside[2].first * plan.source.axis[2] + channel,
                    plan.source.axis[2], inside[2].count, channels, at + before, layout.elems, source.end);
                zero(at + to.axis[1] - after, after);
            }
    return padded_view(m, pixels, taps, layout, copy.padded);
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
    const int64_t count = task.pixels.elems(), lanes = kernel.lanes, end = task.channel_lo + task.channels;
    const int64_t step = m.map.axis[2].result_step * plan.result.axis[2];
    const Memory<const T> source{operands.source, operands.source + operands.source_elems};
    for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
        const PatchBlock taps = taps_of(m, b);
        int64_t vector_elems = 0;
        const PixelView<T> view = view_channels(plan, kernel, m, source, task.pixels, taps, task.channel_lo,
                                                task.channels, buffers.copy, vector_elems);
        for (int64_t channel = task.channel_lo; channel < end; channel += lanes) {
            const int64_t valid = std::min(lanes, end - channel);
            const T* const base = view.base + (channel - task.channel_lo) / lanes * vector_elems;
            const T** at = buffers.source;
            for_each_pixel(view, task.pixels, [&](int64_t alpha) { *at++ = base + alpha; });
            int64_t pixel = 0;
            for_each_result_row(m.map, plan.result, task.pixels, [&](int64_t offset) {
                for (int64_t w = 0; w < task.pixels.extent(3); ++w)
                    buffers.result[pixel++] = operands.result + channel + offset + w * step;
            });
            kernels::Start start = operands.accumulate || b > 0 ? kernels::Start::from_c
                                   : operands.bias != nullptr   ? kernels::Start::column_bias
                                                                : kernels::Start::zero;
            const T* const weights = packed + m.weights_at + channel * m.map.taps() * plan.group_channels +
                                     taps.start * plan.group_channels * lanes;
            const auto multiply = [&](T* const* c) {
                tiles(taps.size(), buffers.source, buffers.copy.padded.offsets, count, weights, c, start,
                      bias + channel);
            };
            if (valid == lanes) {
                multiply(buffers.result);
                continue;
            }
            // A vector that is partly filled goes through a buffer.
            for (int64_t i = 0; i < count; ++i) {
                T* const in_tail = buffers.tail + i * lanes;
                if (start == kernels::Start::from_c) std::copy_n(buffers.result[i], valid, in_tail);
                buffers.tail_rows[i] = in_tail;
            }
            multiply(buffers.tail_rows);
            for (int64_t i = 0; i < count; ++i) std::copy_n(buffers.tail_rows[i], valid, buffers.result[i]);
        }
    }
}

}  // namespace convpp
