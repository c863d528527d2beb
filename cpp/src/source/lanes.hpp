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
#include "source/copy.hpp"
#include "source/view.hpp"

namespace convpp {

// Lays the ranges of a copy out in vectors of channels.
inline void lay_out_vectors(CopyLayout& layout, int64_t samples, int64_t lanes) {
    lay_out(layout, samples, lanes, "the padded input");
}

// What some maps' pixels of a box read with a box of their taps: one copy for all.  (Several maps have one box of taps.)
inline CopyLayout lane_layout(const MapPlan* maps, int64_t map_count, const Box& box, int64_t taps, int64_t lanes) {
    CopyLayout layout;
    for (size_t a = 0; a < 3; ++a) {
        int64_t lo = 0, hi = 0;
        for (int64_t m = 0; m < map_count; ++m) {
            const Box pixels = pixels_of(maps[m], box);
            if (pixels.extent(a + 1) == 0) continue;
            const ReadRange range = read_range(maps[m].map, a, pixels, maps[m].patches.taps.box(taps));
            if (hi == lo) lo = range.lo, hi = range.lo;
            lo = std::min(lo, range.lo);
            hi = std::max(hi, range.lo + range.length);
        }
        layout.range[a] = {lo, hi - lo};
    }
    lay_out_vectors(layout, box.extent(0), lanes);
    return layout;
}

// The copy of some vectors of channels, one behind the other.
template <class T>
struct LaneCopy : SourceCopy<T> {
    kernels::Run* runs = nullptr;  // channels_first: the rows of a plane
    int64_t* channel_offset = nullptr;

    LaneCopy(Carver& carver, const Plan& plan, int64_t lanes) : LaneCopy(carver, sizes_of(plan, lanes), lanes, most_taps(plan)) {}
    // Of a source, and of another tensor that takes its place.
    LaneCopy(Carver& carver, const Plan& plan, const CopyLayout& source, const CopyLayout& other, int64_t lanes)
        : LaneCopy(carver, sizes_of(plan, source, other), lanes, 0) {}

private:
    LaneCopy(Carver& carver, const CopySizes& sizes, int64_t lanes, int64_t taps)
        : SourceCopy<T>(carver, sizes, 0, taps) {
        runs = carver.take<kernels::Run>(sizes.rows);
        channel_offset = carver.take<int64_t>(lanes);
    }
    static CopySizes sizes_of(const Plan& plan, int64_t lanes) {
        const int64_t channels = plan.channels_last() ? plan.tasks.channel_block : lanes;
        CopySizes sizes;
        for (const MapPlan& m : plan.maps)
            for (int64_t b = 0; m.classes > 0 && b < m.patches.taps.count(); ++b) {
                const CopyLayout layout = lane_layout(&m, m.classes, m.boxes.box(0), b, lanes);
                sizes.add(layout, layout.copied_elems(channels, "the padded input"), m.map.has_border());
            }
        return sizes;
    }
    static CopySizes sizes_of(const Plan& plan, const CopyLayout& source, const CopyLayout& other) {
        CopySizes sizes;
        sizes.add(source, source.elems, plan.maps[0].map.has_border());
        sizes.add(other, other.elems, false);
        return sizes;
    }
    static int64_t most_taps(const Plan& plan) {
        int64_t taps = 0;
        for (const MapPlan& m : plan.maps) taps = std::max(taps, m.patches.taps.largest());
        return taps;
    }
};

// Some channels of the part of a tensor that a box of pixels reads.
struct LaneBlock {
    const Box& box;
    const CopyLayout& layout;
    int64_t channel, channels;

    template <class T>
    Stored<T> first(const Stored<T>& source, const TensorStrides& strides) const {
        return source + (box.lo[0] * strides.batch + channel * strides.channel);
    }
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
    const CopyLayout& layout = block.layout;
    const kernels::Readers<T>& read = reading(kernel, source);
    const int64_t lanes = kernel.lanes, channels = block.channels, vectors = ceil_div(channels, lanes);
    const CopyBands bands(layout, from, tensor.extents);
    const Stored<T> first = block.first(source, from);
    const bool transposes = !tensor.channels_last;
    if (transposes) {
        for (int64_t h = 0; h < bands.rows.count; ++h)
            copy.runs[h] = {h * from.axis[1], h * layout.range[2].length, bands.columns.count};
        for (int64_t c = 0; c < lanes; ++c) copy.channel_offset[c] = c * from.channel;
    }
    T* to = copy.at;
    bands.for_each([&](const kernels::Band& band) {
        for (int64_t v = 0; transposes && band.rows > 0 && v < vectors; ++v)
            read.transpose_panel((first + (band.from + v * lanes * from.channel)).at, copy.channel_offset,
                                 std::min(lanes, channels - v * lanes), copy.runs, band.rows,
                                 to + band.before + v * layout.elems, lanes, source.end);
        to = write_band(layout, vectors, band, from.axis[1], to, [&](T* at, int64_t row) {
            if (!transposes)
                read.split_channels((first + row).at, from.axis[2], band.count, channels, at, layout.elems, source.end);
        });
    });
}

// What a map's pixels read in the first vector of a copy.
template <class T>
SourceView<T> view_of_lanes(const MapPlan& m, const Box& pixels, const PatchBlock& taps, const CopyLayout& layout,
                            const LaneCopy<T>& copy) {
    return view_of_copy<T>(m, pixels, taps, layout, {copy.at, layout.elems}, copy.offsets);
}

// The same of the plan's source, and what lies outside of x.  The lanes beyond the channels stay zeros.
template <class T>
void copy_lanes(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                const LaneBlock& block, const LaneCopy<T>& copy) {
    const TensorStrides& strides = plan.source.strides;
    copy_lanes(kernel, {strides, source_extents(m.map), plan.channels_last()}, source, block, copy);
    copy.fill_border(m.map, block.layout, strides, block.first(source, strides), block.channels);
}

}  // namespace convpp
