// The source as vectors of channels: a padded copy of a part of it, the pixels of each vector behind one another.
//
// In:  a MapPlan (or residue classes), a box of pixels, a box of taps, the source tensor.   Out: a LaneCopy.
// Next: strategies/channels/product.hpp and strategies/winograd/product.cpp, whose vectors run along channels.
//
// What the taps share stays in L1, and pixels that lie a multiple of the cache's sets apart do not push each other out.
// channels_first planes are transposed on the way.
#pragma once

#include <algorithm>
#include <array>

#include "plan/tasks.hpp"
#include "source/padded.hpp"

namespace convpp {

// Lays the ranges of a copy out: the pixels of one vector of channels.
inline void lay_out_vectors(PaddedLayout& layout, int64_t samples, int64_t lanes) {
    constexpr const char* what = "the padded input";
    layout.strides =
        dense_strides(lanes, {layout.range[0].length, layout.range[1].length, layout.range[2].length}, what);
    layout.strides.channel = 1;
    layout.elems = checked_mul(layout.strides.batch, samples, what);
}

// What some maps' pixels of a box read with a box of their taps: one copy for all.  (Several maps have one box of taps.)
inline PaddedLayout lane_layout(const MapPlan* maps, int64_t map_count, const Box& box, int64_t taps, int64_t lanes) {
    PaddedLayout layout;
    for (size_t a = 0; a < 3; ++a) {
        int64_t lo = 0, hi = 0;
        for (int64_t m = 0; m < map_count; ++m) {
            const Box pixels = pixels_of(maps[m], box), tap_box = maps[m].patches.taps.box(taps);
            if (pixels.extent(a + 1) == 0) continue;
            const ReadRange range = read_range(maps[m].map.axis[a], pixels.lo[a + 1], pixels.hi[a + 1],
                                               tap_box.lo[a + 1], tap_box.hi[a + 1]);
            if (hi == lo) lo = range.lo, hi = range.lo;
            lo = std::min(lo, range.lo);
            hi = std::max(hi, range.lo + range.length);
        }
        layout.range[a] = {lo, hi - lo};
    }
    lay_out_vectors(layout, box.extent(0), lanes);
    return layout;
}

// The padded copy of some vectors of channels, one behind the other.
template <class T>
struct LaneCopy {
    PaddedBuffers<T> padded;
    kernels::Run* runs = nullptr;  // channels_first: the rows of a plane
    int64_t* channel_offset = nullptr;

    LaneCopy(Carver& carver, const Plan& plan, int64_t lanes) : padded(carver, plan, lanes, false) {
        int64_t elems = 0, rows = 0, taps = 0;
        std::array<int64_t, 3> folded{};
        for (const MapPlan& m : plan.maps) {
            taps = std::max(taps, m.patches.taps.largest());
            for (int64_t b = 0; m.classes > 0 && b < m.patches.taps.count(); ++b) {
                const PaddedLayout layout = lane_layout(&m, m.classes, m.boxes.box(0), b, lanes);
                elems = std::max(elems, layout.elems);
                rows = std::max(rows, layout.range[1].length);
                if (m.map.has_border()) lengthen(folded, layout);
            }
        }
        const int64_t vectors = plan.channels_last() ? ceil_div(plan.tasks.channel_block, lanes) : 1;
        take(carver, checked_mul(elems, vectors, "the padded input"), rows, lanes);
        padded.offsets = carver.take<int64_t>(taps);
        if (folded[2] > 0) padded.border = BorderMap(carver, folded);
    }
    // Of a source, and of another tensor that takes its place.
    LaneCopy(Carver& carver, const Plan& plan, const PaddedLayout& source, const PaddedLayout& other, int64_t lanes)
        : padded(carver, plan, lanes, false) {
        take(carver, std::max(source.elems, other.elems), std::max(source.range[1].length, other.range[1].length),
             lanes);
        std::array<int64_t, 3> folded{};
        lengthen(folded, source);
        if (plan.maps[0].map.has_border()) padded.border = BorderMap(carver, folded);
    }

private:
    void take(Carver& carver, int64_t elems, int64_t rows, int64_t lanes) {
        padded.copy = carver.take<T>(elems);
        runs = carver.take<kernels::Run>(rows);
        channel_offset = carver.take<int64_t>(lanes);
    }
};

// Some channels of the part of a tensor that a box of pixels reads.
struct LaneBlock {
    const Box& box;
    const PaddedLayout& layout;
    int64_t channel, channels;
};

// A tensor that is copied.
struct LaneTensor {
    const TensorStrides& strides;
    Extents extents;
    bool channels_last;
};

// Copies a block, and zeros around it.
template <class T>
void copy_lanes(const kernels::KernelTable<T>& kernel, const LaneTensor& tensor, const Stored<T>& source,
                const LaneBlock& block, const LaneCopy<T>& copy) {
    const TensorStrides& from = tensor.strides;
    const Extents& extents = tensor.extents;
    const PaddedLayout& layout = block.layout;
    const Box& box = block.box;
    const int64_t channel = block.channel, channels = block.channels;
    const kernels::Readers<T>& read = reading(kernel, source);
    const int64_t lanes = kernel.lanes, vectors = ceil_div(channels, lanes);
    const std::array<Segment, 3> inside = inside_parts(extents, layout);
    const TensorStrides& to = layout.strides;
    const bool first = !tensor.channels_last;
    const auto zero = [&](T* at, int64_t count) {
        for (int64_t v = 0; count > 0 && v < vectors; ++v) std::fill_n(at + v * layout.elems, count, T(0));
    };
    const int64_t before = inside[2].zeros_before * lanes, after = to.axis[1] - before - inside[2].count * lanes;
    if (first) {
        for (int64_t h = 0; h < inside[1].count; ++h)
            copy.runs[h] = {h * from.axis[1], h * layout.range[2].length, inside[2].count};
        for (int64_t c = 0; c < lanes; ++c) copy.channel_offset[c] = c * from.channel;
    }
    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t d = 0; d < layout.range[0].length; ++d) {
            T* const plane = copy.padded.copy + n * to.batch + d * to.axis[0];
            const int64_t depth = layout.range[0].lo + d;
            if (depth < 0 || depth >= extents[0] || inside[1].count == 0 || inside[2].count == 0) {
                zero(plane, to.axis[0]);
                continue;
            }
            T* const body = plane + inside[1].zeros_before * to.axis[1];
            const Stored<T> corner = source + (box.lo[0] + n) * from.batch + depth * from.axis[0] +
                                     inside[1].first * from.axis[1] + inside[2].first * from.axis[2] +
                                     channel * from.channel;
            zero(plane, body - plane);
            for (int64_t v = 0; first && v < vectors; ++v)
                read.transpose_panel((corner + v * lanes * from.channel).at, copy.channel_offset,
                                     std::min(lanes, channels - v * lanes), copy.runs, inside[1].count,
                                     body + before + v * layout.elems, lanes, source.end);
            for (int64_t h = 0; h < inside[1].count; ++h) {
                T* const row = body + h * to.axis[1];
                zero(row, before);
                if (!first)
                    read.split_channels((corner + h * from.axis[1]).at, from.axis[2], inside[2].count, channels,
                                        row + before, layout.elems, source.end);
                zero(row + to.axis[1] - after, after);
            }
            T* const behind = body + inside[1].count * to.axis[1];
            zero(behind, plane + to.axis[0] - behind);
        }
}

// What lies outside of x.  The lanes beyond the channels stay zeros.
template <class T>
void copy_lanes_outside(const MapPlan& m, const TensorStrides& from, const Stored<T>& source, const LaneBlock& block,
                        int64_t lanes, LaneCopy<T> copy) {
    const PaddedLayout& layout = block.layout;
    const Box& box = block.box;
    const int64_t channels = block.channels;
    BorderMap& border = copy.padded.border;
    border.find(m.map, from, copied_axes(layout));
    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t v = 0; v * lanes < channels; ++v) {
            const int64_t valid = std::min(lanes, channels - v * lanes);
            T* const plane = copy.padded.copy + v * layout.elems + n * layout.strides.batch;
            with_elements(source + ((box.lo[0] + n) * from.batch + v * lanes * from.channel), [&](const auto* vector) {
                border.for_each_outside([&](const BorderStretch& stretch) {
                    for (int64_t i = 0; i < stretch.count; ++i)
                        copy_elements(vector + stretch.from + i * stretch.step, from.channel, valid,
                                      plane + stretch.to + i * lanes, 1);
                });
            });
        }
}

// The same of the plan's source, and what lies outside of x.
template <class T>
void copy_lanes(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                const LaneBlock& block, const LaneCopy<T>& copy) {
    const TensorStrides& strides = plan.source.strides;
    copy_lanes(kernel, {strides, source_extents(m.map), plan.channels_last()}, source, block, copy);
    if (copy.padded.border.used())
        copy_lanes_outside(m, strides, source + block.channel * strides.channel, block, kernel.lanes, copy);
}

}  // namespace convpp
