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
    for (size_t a = 0; a < 3; ++a) layout.range[a] = read_range(m, a, pixels, taps);
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
    // Rows are copied at once where nothing that is left out lies between their pixels.
    const int64_t row_step = layout.range[1].step * strides.axis[1],
                  column_step = layout.range[2].step * strides.axis[2];
    const bool at_once = column_step == width;
    for (int64_t b = 0; b < layout.blocks; ++b) {
        T* to = copy + b * layout.elems;
        bands.for_each([&](const kernels::Band& band) {
            const auto copy_rows = [&](T* at, int64_t row) {
                const Stored<T> from = part.first + (b * width * strides.channel + row);
                if (from.partner_distance != 0)
                    kernel.copy_bf16_pair_rows(from.at, from.partner_distance, row_step, band.rows, band.count, at,
                                               pitch, from.end);
                else if (at_once)
                    read.copy_rows(from.at, row_step, 1, band.rows, band.count * width, at, pitch, from.end);
                else read.copy_rows(from.at, column_step, 1, band.count, width, at, width, from.end);
            };
            to = write_band(layout, 1, band, row_step, to, copy_rows, at_once);
        });
    }
}

template <class T>
SourceView<T> view_pixels(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                          const SourceCopy<T>& copy) {
    const IndexMap& map = patches.plan.map;
    const SourcePart<T> part = patches.part(source);
    if (patches.plan.in_place) return view_in_place(patches, part, copy.offsets);
    const CopyLayout layout =
        padded_layout(patches.plan, part.strides, patches.pixels, patches.block.taps, part.channels);
    copy_padded(kernel, part, layout, copy.at);
    copy.fill_border(map, part, layout);
    return copy.view_of(patches.plan, patches.pixels, patches.block, layout);
}

}  // namespace convpp
