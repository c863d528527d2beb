// The source as pixels are read one by one: in place where no tap falls into the padding (and planes do not push each
// other out of the L1 cache), else from a padded copy of the part that a box of pixels and a block of patches read.
//
// In:  a MapPlan, a box of pixels, a block of patches, the source tensor.
// Out: a PixelView: pair k of pixel (n, d, h, w) is at base[n*step[0] + .. + w*step[3] + offset[k]].
// Next: indirect_product.hpp and weight_grad.cpp, which read it through pointers, so that neither stride nor layout
// needs the source to be rearranged.  (patches.hpp is the same for whole vectors of pixels, which does.)
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/staged.hpp"

namespace convpp {

template <class T>
struct PixelView {
    Stored<T> base;  // plain where tiles read it
    std::array<int64_t, 4> step{0, 0, 0, 0};  // from a pixel to the next sample, depth, row, column
};

// The part of one axis that a range of pixels reads with some taps, in source elements.
struct ReadRange {
    int64_t lo = 0, length = 1;
};

inline ReadRange read_range(const AxisMap& axis, int64_t pixel_lo, int64_t pixel_hi, int64_t tap_lo, int64_t tap_hi) {
    int64_t lo = axis.taps[static_cast<size_t>(tap_lo)].offset, hi = lo;
    for (int64_t t = tap_lo; t < tap_hi; ++t) {
        lo = std::min(lo, axis.taps[static_cast<size_t>(t)].offset);
        hi = std::max(hi, axis.taps[static_cast<size_t>(t)].offset);
    }
    return {lo + pixel_lo * axis.source_step, (pixel_hi - 1 - pixel_lo) * axis.source_step + hi - lo + 1};
}

// Strides of the padded copy: of its channels, samples and axes.
struct PaddedLayout {
    std::array<ReadRange, 3> range;
    TensorStrides strides;
    int64_t elems = 0;
};

// Planes whose distance is a multiple of many cache sets would all compete for the same few.
inline constexpr int64_t most_slack = 48;
inline int64_t apart_from_aliases(int64_t elems) { return elems + (elems % 256 < 32 ? most_slack : 16); }

inline PaddedLayout padded_layout(const MapPlan& plan, const TensorStrides& source, const Box& pixels, const Box& taps,
                                  int64_t channels) {
    constexpr const char* what = "the padded input";
    PaddedLayout layout;
    for (size_t a = 0; a < 3; ++a)
        layout.range[a] =
            read_range(plan.map.axis[a], pixels.lo[a + 1], pixels.hi[a + 1], taps.lo[a + 1], taps.hi[a + 1]);
    const bool channels_lie_together = source.channel == 1;
    TensorStrides& s = layout.strides;
    s = dense_strides(channels_lie_together ? channels : 1,
                      {layout.range[0].length, layout.range[1].length, layout.range[2].length}, what);
    const int64_t plane = checked_mul(s.batch, pixels.extent(0), what);
    s.channel = channels_lie_together ? 1 : apart_from_aliases(plane);
    layout.elems = channels_lie_together ? plane : checked_mul(s.channel, channels, what);
    return layout;
}

// The longest axes of some copies.
inline void lengthen(std::array<int64_t, 3>& most, const PaddedLayout& layout) {
    for (size_t a = 0; a < 3; ++a) most[a] = std::max(most[a], layout.range[a].length);
}

// The axes of a padded copy, as BorderMap takes them.
inline std::array<CopiedAxis, 3> copied_axes(const PaddedLayout& layout) {
    std::array<CopiedAxis, 3> copied;
    for (size_t a = 0; a < 3; ++a) copied[a] = {layout.range[a].lo, layout.range[a].length, layout.strides.axis[a]};
    return copied;
}

// The buffers of one thread.
template <class T>
struct PaddedBuffers {
    T* copy = nullptr;
    int64_t* offsets = nullptr;  // of the block's pairs
    BorderMap border;  // of a sample's channel, or pixels

    PaddedBuffers(Carver& carver, const Plan& plan, int64_t lanes, bool used = true) {
        if (!used) return;
        int64_t elems = 0, row = 0, pairs = 0;
        std::array<int64_t, 3> folded{};
        for (const MapPlan& m : plan.maps) {
            pairs = std::max(pairs, m.patches.largest());
            if (m.in_place) continue;
            const int64_t copied = m.patches.channels_per_block;
            for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
                const PaddedLayout layout =
                    padded_layout(m, plan.source.strides, m.boxes.box(0), m.patches.taps.box(b), copied);
                // A smaller box may need more slack than the largest.
                elems = std::max(elems, layout.elems + copied * most_slack);
                row = std::max(row, layout.strides.axis[1]);
                if (m.map.has_border()) lengthen(folded, layout);
            }
        }
        copy = carver.take<T>(elems + row + 2 * lanes);  // a row's padding may be written behind the last one
        offsets = carver.take<int64_t>(pairs);
        if (folded[2] > 0) border = BorderMap(carver, folded);
    }
};

inline Extents source_extents(const IndexMap& map) {
    return {map.axis[0].source_extent, map.axis[1].source_extent, map.axis[2].source_extent};
}

// What of the copy lies inside the source, on each axis.
inline std::array<Segment, 3> inside_parts(const Extents& source, const PaddedLayout& layout) {
    std::array<Segment, 3> inside;
    for (size_t a = 0; a < 3; ++a) {
        const ReadRange& range = layout.range[a];
        const int64_t lo = std::clamp<int64_t>(-range.lo, 0, range.length);
        const int64_t hi = std::clamp<int64_t>(source[a] - range.lo, lo, range.length);
        inside[a] = {lo, hi - lo, range.lo + lo};
    }
    return inside;
}

// Copies what of the box lies inside the source, and zeros around it.
template <class T>
void copy_padded(const kernels::KernelTable<T>& kernel, const MapPlan& plan, const TensorStrides& strides,
                 const Stored<T>& source, const Box& pixels, int64_t channels, const PaddedLayout& layout, T* copy) {
    const std::array<AxisMap, 3>& axis = plan.map.axis;
    const std::array<Segment, 3> inside = inside_parts(source_extents(plan.map), layout);
    const TensorStrides& to = layout.strides;
    const bool channels_lie_together = strides.channel == 1;
    // A slab is what is copied by rows: a plane of one channel, or a row of pixels with all channels.
    const auto zero = [](T* at, int64_t count) { std::fill_n(at, count, T(0)); };
    const kernels::Readers<T>& read = reading(kernel, source);
    const auto plane = [&](Stored<T> from, T* at) {  // of one channel, or of all
        const Segment &rows = inside[1], &columns = inside[2];
        const int64_t pitch = to.axis[1], before = columns.zeros_before * to.axis[2];
        if (rows.count == 0 || columns.count == 0) return zero(at, to.axis[0]);
        zero(at, rows.zeros_before * pitch + before);
        at += rows.zeros_before * pitch + before;
        from += rows.first * strides.axis[1] + columns.first * strides.axis[2];
        if (from.partner_distance != 0) {
            kernel.copy_bf16_pair_rows(from.at, from.partner_distance, strides.axis[1], rows.count, columns.count, at, pitch,
                                  from.end);
        } else if (!channels_lie_together) {
            read.copy_rows(from.at, strides.axis[1], 1, rows.count, columns.count, at, pitch, from.end);
        } else if (strides.axis[2] == channels) {
            read.copy_rows(from.at, strides.axis[1], 1, rows.count, columns.count * channels, at, pitch, from.end);
        } else {
            for (int64_t h = 0; h < rows.count; ++h) {
                read.copy_rows((from + h * strides.axis[1]).at, strides.axis[2], 1, columns.count, channels,
                               at + h * pitch, channels, from.end);
                zero(at + h * pitch + columns.count * channels, pitch - columns.count * channels);
            }
        }
        const int64_t behind = layout.range[1].length - rows.zeros_before - rows.count;
        zero(at - before + rows.count * pitch, behind * pitch);
    };
    for (int64_t c = 0; c < (channels_lie_together ? 1 : channels); ++c)
        for (int64_t n = 0; n < pixels.extent(0); ++n)
            for (int64_t d = 0; d < layout.range[0].length; ++d) {
                const int64_t depth = layout.range[0].lo + d;
                T* const at = copy + c * to.channel + n * to.batch + d * to.axis[0];
                if (depth < 0 || depth >= axis[0].source_extent) zero(at, to.axis[0]);
                else
                    plane(source + c * strides.channel + (pixels.lo[0] + n) * strides.batch + depth * strides.axis[0],
                          at);
            }
}

// What lies outside of x: of one channel, or of pixels with all channels.
template <class T>
void pad_outside(const MapPlan& plan, const TensorStrides& strides, const Stored<T>& source, const Box& pixels,
                 int64_t channels, const PaddedLayout& layout, PaddedBuffers<T> buffers) {
    const bool together = strides.channel == 1;
    buffers.border.find(plan.map, strides, copied_axes(layout));
    for (int64_t c = 0; c < (together ? 1 : channels); ++c)
        for (int64_t n = 0; n < pixels.extent(0); ++n)
            fill_outside(buffers.border, source + c * strides.channel + (pixels.lo[0] + n) * strides.batch,
                         together ? channels : 1, buffers.copy + c * layout.strides.channel + n * layout.strides.batch);
}

// The view of what `strides` and `base` describe; `first`: what the taps' offsets are relative to.
template <class T>
PixelView<T> make_view(const MapPlan& plan, const PatchBlock& block, const TensorStrides& strides,
                       const Stored<T>& base, const std::array<int64_t, 3>& first, const PaddedBuffers<T>& buffers) {
    const std::array<AxisMap, 3>& axis = plan.map.axis;
    PixelView<T> view;
    view.base = base;
    view.step[0] = strides.batch;
    for (size_t a = 0; a < 3; ++a) view.step[a + 1] = axis[a].source_step * strides.axis[a];
    const auto position = [&](size_t a, int64_t t) {
        return (axis[a].taps[static_cast<size_t>(t)].offset - first[a]) * strides.axis[a];
    };
    fill_offsets(block, strides.channel, position, buffers.offsets);
    return view;
}

template <class T>
PixelView<T> padded_view(const MapPlan& plan, const Box& pixels, const PatchBlock& block, const PaddedLayout& layout,
                         const PaddedBuffers<T>& buffers) {
    std::array<int64_t, 3> first{};
    for (size_t a = 0; a < 3; ++a) first[a] = layout.range[a].lo - pixels.lo[a + 1] * plan.map.axis[a].source_step;
    return make_view<T>(plan, block, layout.strides, {buffers.copy, layout.elems}, first, buffers);
}

template <class T>
PixelView<T> view_pixels(const kernels::KernelTable<T>& kernel, const MapPlan& plan, const TensorStrides& strides,
                         Stored<T> source, const Box& pixels, const PatchBlock& block,
                         const PaddedBuffers<T>& buffers) {
    source += block.channel_lo * strides.channel;
    if (plan.in_place) {
        Stored<T> base = source + pixels.lo[0] * strides.batch;
        for (size_t a = 0; a < 3; ++a) base += pixels.lo[a + 1] * plan.map.axis[a].source_step * strides.axis[a];
        return make_view<T>(plan, block, strides, base, {0, 0, 0}, buffers);
    }
    const int64_t channels = block.channel_hi - block.channel_lo;
    const PaddedLayout layout = padded_layout(plan, strides, pixels, block.taps, channels);
    copy_padded(kernel, plan, strides, source, pixels, channels, layout, buffers.copy);
    if (buffers.border.used()) pad_outside(plan, strides, source, pixels, channels, layout, buffers);
    return padded_view(plan, pixels, block, layout, buffers);
}

// Calls pixel(position) for the pixels of a box, in order: where they lie relative to the view's base.
template <class T, class Pixel>
void for_each_pixel(const PixelView<T>& view, const Box& pixels, const Pixel& pixel) {
    for_each_row(pixels, {view.step[0], view.step[1], view.step[2]}, [&](int64_t alpha, int64_t count) {
        for (int64_t w = 0; w < count; ++w, alpha += view.step[3]) pixel(alpha);
    });
}

}  // namespace convpp
