// The source as pixels are read one by one: in place where no tap falls into the padding (and planes do not push each
// other out of the L1 cache), else from a padded copy of the part that a box of pixels and a block of patches read.
//
// In:  the patches of a box of pixels and a block of (channel, tap) pairs, the source tensor.   Out: a SourceView.
// Next: strategies/indirect/, which reads it through pointers, so that neither stride nor layout needs the source to be
// rearranged.  (staged.hpp is the same for whole vectors of pixels, which does.)
#pragma once

#include <algorithm>
#include <cstdint>

#include "source/copy.hpp"
#include "source/view.hpp"

namespace convpp {

// Planes whose distance is a multiple of many cache sets would all compete for the same few.
inline constexpr int64_t most_slack = 48;
inline int64_t apart_from_aliases(int64_t elems) { return elems + (elems % 256 < 32 ? most_slack : 16); }

// Planes of single channels, or pixels with all channels, as they lie in the source.
inline CopyLayout padded_layout(const MapPlan& m, const TensorStrides& source, const Box& pixels, const Box& taps,
                                int64_t channels) {
    const bool channels_lie_together = source.channel == 1;
    CopyLayout layout;
    for (size_t a = 0; a < 3; ++a) layout.range[a] = read_range(m, a, pixels, taps, Phases::together);
    if (channels_lie_together) {
        layout.lay_out(pixels.extent(0), 1, channels);
    } else {
        layout.lay_out(pixels.extent(0), channels, 1);
        layout.set_channel_step(apart_from_aliases(layout.elems));
    }
    return layout;
}

// The memory of one thread.
template <class T>
SourceCopy<T> padded_copy(Carver& carver, const Plan& plan, int64_t lanes) {
    const CopySizes sizes(plan.maps, [&](const MapPlan& m, int64_t i) {
        CopyLayout layout =
            padded_layout(m, plan.source.strides, m.boxes.box(0), m.patches.taps.box(i), m.patches.channels_per_block);
        layout.elems += most_slack;  // a smaller box may need more slack than the largest
        return layout;
    });
    // A row's padding may be written behind the last one.
    return SourceCopy<T>(carver, sizes, sizes.pitch + 2 * lanes, most_pairs(plan.maps));
}

// Copies what lies inside the source, and zeros around it.
template <class T>
void copy_padded(const kernels::KernelTable<T>& kernel, const SourcePart<T>& part, const CopyLayout& layout, T* copy) {
    const kernels::Readers<T>& read = reading(kernel, part.first);
    const CopyBands bands(layout, part);
    const TensorStrides& strides = part.strides;
    const int64_t pitch = layout.strides.axis[1], width = layout.width;
    const auto copy_rows = [&](const Stored<T>& from, int64_t src_pitch, int64_t step, int64_t rows, int64_t count,
                               T* to, int64_t to_pitch) {
        if (from.partner_distance != 0)
            kernel.copy_bf16_pair_rows(from.at, from.partner_distance, src_pitch, step, rows, count, to, to_pitch,
                                       from.end);
        else read.copy_rows(from.at, src_pitch, step, rows, count, to, to_pitch, from.end);
    };
    const int64_t row_step = layout.range[1].step * strides.axis[1],
                  column_step = layout.range[2].step * strides.axis[2];
    // Rows are copied at once where nothing that is left out lies between their pixels, or pixels are single elements.
    const bool at_once = column_step == width || width == 1;
    const int64_t step = width == 1 ? column_step : 1;
    // Planes of which nothing is left out but what lies before the first row and behind the last are rows, too.
    const Segment &rows = bands.rows, &columns = bands.columns;
    const bool one_row = rows.count == 1 || (step == 1 && row_step == columns.count);
    if (width == 1 && layout.bands() == 1 && one_row && rows.count == layout.range[1].length &&
        columns.count == layout.range[2].length)
        return bands.for_each([&](const kernels::Band& band) {
            if (band.rows > 0)
                copy_rows(part.first + band.from, strides.channel, step, layout.blocks, band.rows * band.count, copy,
                          layout.elems);
            else std::fill_n(copy, layout.total(), T(0));
        });
    for (int64_t b = 0; b < layout.blocks; ++b) {
        T* to = copy + b * layout.elems;
        bands.for_each([&](const kernels::Band& band) {
            const auto copy_row = [&](T* at, int64_t row) {
                const Stored<T> from = part.first + (b * width * strides.channel + row);
                if (at_once) copy_rows(from, row_step, step, band.rows, band.count * width, at, pitch);
                else copy_rows(from, column_step, 1, band.count, width, at, width);
            };
            to = write_band(layout, 1, band, row_step, to, copy_row, at_once);
        });
    }
}

// Whether two maps' pixels read the same part of the source, so that one copy serves both.
inline bool reads_alike(const MapPlan& a, const Box& a_pixels, const MapPlan& b, const Box& b_pixels,
                        const PatchBlock& block) {
    for (size_t axis = 0; axis < 3; ++axis) {
        const ReadRange one = read_range(a, axis, a_pixels, block.taps, Phases::together),
                        other = read_range(b, axis, b_pixels, block.taps, Phases::together);
        if (one.phases != 1 || other.phases != 1 || one.step != other.step || one.length != other.length ||
            one.first(0) != other.first(0))
            return false;
    }
    return true;
}

// `copied`: a map before has read alike, and its copy is still there.
template <class T>
SourceView<T> view_pixels(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                          const SourceCopy<T>& copy, bool copied = false) {
    const IndexMap& map = patches.plan.map;
    const SourcePart<T> part = patches.part(source);
    if (patches.plan.in_place) return view_in_place(patches, part, copy.offsets);
    const CopyLayout layout =
        padded_layout(patches.plan, part.strides, patches.pixels, patches.block.taps, part.channels);
    if (!copied) {
        copy_padded(kernel, part, layout, copy.at);
        copy.fill_border(map, part, layout);
    }
    return copy.view_of(patches.plan, patches.pixels, patches.block, layout);
}

}  // namespace convpp
