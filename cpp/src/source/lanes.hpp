// The source as vectors of channels: a padded copy of a part of it, the pixels of each vector behind one another.
//
// In:  a MapPlan (or residue classes), a box of pixels, a box of taps, the source tensor.   Out: a LaneCopy.
// Next: strategies/channels/product.hpp and strategies/winograd/product.hpp, whose vectors run along channels.
//
// What the taps share stays in L1, and pixels that lie a multiple of the cache's sets apart do not push each other out.
// channels_first planes are transposed on the way.
#pragma once

#include <algorithm>

#include "plan/tasks.hpp"
#include "source/copy.hpp"
#include "source/view.hpp"

namespace convpp {

// What some maps' pixels of a box read with a box of their taps: one copy for all.  (Several maps have one box of
// taps.)
inline CopyLayout lane_layout(const MapPlan* maps, int64_t map_count, const Box& box, int64_t taps, int64_t lanes) {
    CopyLayout layout;
    if (map_count == 1) {
        for (size_t a = 0; a < 3; ++a) layout.range[a] = read_range(*maps, a, box, maps->patches.taps.box(taps));
        layout.lay_out(box.extent(0), 1, lanes);
        return layout;
    }
    Extents lo{}, hi{};
    for (const MapPlan* m = maps; m != maps + map_count; ++m) {
        const Box pixels = pixels_of(*m, box), tap_box = m->patches.taps.box(taps);
        for (size_t a = 0; a < 3; ++a) {
            if (pixels.extent(a + 1) == 0) continue;
            const ReadRange range = whole_range(m->map.axis[a], pixels.lo[a + 1], pixels.extent(a + 1),
                                                tap_box.lo[a + 1], tap_box.hi[a + 1]);
            if (hi[a] == lo[a]) lo[a] = hi[a] = range.lo;
            lo[a] = std::min(lo[a], range.lo);
            hi[a] = std::max(hi[a], range.lo + range.length);
        }
    }
    for (size_t a = 0; a < 3; ++a) layout.range[a] = {lo[a], hi[a] - lo[a]};
    layout.lay_out(box.extent(0), 1, lanes);
    return layout;
}

// The copy of some vectors of channels, one behind the other.
template <class T>
struct LaneCopy : SourceCopy<T> {
    kernels::Run* runs = nullptr;  // channels_first: the rows of a plane
    int64_t* channel_offset = nullptr;

    // `copies`: vectors of source channels for each vector of result channels (gather.hpp).
    LaneCopy(Carver& carver, const Plan& plan, int64_t lanes, int64_t copies = 1)
        : LaneCopy(carver, sizes_of(plan, lanes, copies), lanes, most_taps(plan) * copies) {}
    // Of a source, and of another tensor that takes its place.
    LaneCopy(Carver& carver, const Plan& plan, const CopyLayout& source, const CopyLayout& other, int64_t lanes)
        : LaneCopy(carver, sizes_of(plan, source, other), lanes, 0) {}

private:
    LaneCopy(Carver& carver, const CopySizes& sizes, int64_t lanes, int64_t taps)
        : SourceCopy<T>(carver, sizes, 0, taps) {
        runs = carver.take<kernels::Run>(sizes.rows);
        channel_offset = carver.take<int64_t>(lanes);
    }
    static CopySizes sizes_of(const Plan& plan, int64_t lanes, int64_t copies) {
        return CopySizes(plan.maps, [&](const MapPlan& m, int64_t i) {  // of all channels of a task, or of one vector
            CopyLayout layout = lane_layout(&m, m.classes, m.boxes.box(0), i, lanes);
            if (plan.channels_last()) layout.blocks = ceil_div(plan.tasks.channel_block, lanes) * copies;
            return layout;
        });
    }
    static CopySizes sizes_of(const Plan& plan, const CopyLayout& source, const CopyLayout& other) {
        CopySizes sizes;
        sizes.add(source, plan.maps[0].map.has_border());
        sizes.add(other, false);
        return sizes;
    }
    static int64_t most_taps(const Plan& plan) {
        int64_t taps = 0;
        for (const MapPlan& m : plan.maps) taps = std::max(taps, m.patches.taps.largest());
        return taps;
    }
};

// Copies a part, and zeros around it.
template <class T>
void copy_lanes(const kernels::KernelTable<T>& kernel, const SourcePart<T>& part, bool channels_last,
                const CopyLayout& layout, const LaneCopy<T>& copy) {
    const TensorStrides& from = part.strides;
    const kernels::Readers<T>& read = reading(kernel, part.first);
    const int64_t lanes = kernel.lanes, vectors = ceil_div(part.channels, lanes);
    const int64_t row_step = layout.range[1].step * from.axis[1], column_step = layout.range[2].step * from.axis[2];
    const CopyBands bands(layout, part);
    int64_t runs = 0, columns = -1;  // that are found
    for (int64_t c = 0; !channels_last && c < lanes; ++c) copy.channel_offset[c] = c * from.channel;
    T* to = copy.at;
    bands.for_each([&](const kernels::Band& band) {
        if (!channels_last && (columns != band.count || runs < band.rows)) {  // mostly the same for all bands
            columns = band.count;
            runs = band.rows;
            for (int64_t h = 0; h < runs; ++h) copy.runs[h] = {h * row_step, h * layout.range[2].length, columns};
        }
        for (int64_t v = 0; !channels_last && band.rows > 0 && v < vectors; ++v)
            read.transpose_panel((part.first + (band.from + v * lanes * from.channel)).at, copy.channel_offset,
                                 std::min(lanes, part.channels - v * lanes), copy.runs, band.rows,
                                 to + band.before + v * layout.elems, lanes, part.first.end);
        to = write_band(layout, vectors, band, row_step, to, [&](T* at, int64_t row) {
            if (channels_last)
                read.split_channels((part.first + row).at, column_step, band.count, part.channels, at, layout.elems,
                                    part.first.end);
        });
    });
}

// Some channels of the plan's source that a box of pixels reads.
struct LaneBlock {
    const Box& pixels;
    const CopyLayout& layout;
    int64_t channel, channels;
};

// Copies a block, with what lies outside of x.  The lanes beyond the channels stay zeros.
template <class T>
void copy_lanes(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                const LaneBlock& block, const LaneCopy<T>& copy) {
    const SourcePart<T> part =
        part_of(source, plan.source.strides, source_extents(m.map), block.pixels, block.channel, block.channels);
    copy_lanes(kernel, part, plan.channels_last(), block.layout, copy);
    copy.fill_border(m.map, part, block.layout);
}

}  // namespace convpp
