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
inline CopyLayout padded_layout(const IndexMap& map, const TensorStrides& source, const Box& pixels, const Box& taps,
                                int64_t channels) {
    const bool channels_lie_together = source.channel == 1;
    CopyLayout layout;
    for (size_t a = 0; a < 3; ++a) layout.range[a] = read_range(map, a, pixels, taps);
    lay_out(layout, pixels.extent(0), channels_lie_together ? channels : 1, "the padded input");
    if (!channels_lie_together) set_channels_apart(layout, apart_from_aliases(layout.elems));
    return layout;
}

// The memory of one thread.
template <class T>
SourceCopy<T> padded_copy(Carver& carver, const Plan& plan, int64_t lanes) {
    const CopySizes sizes(plan.maps, "the padded input", [&](const MapPlan& m, const Box& taps) {
        CopyLayout layout =
            padded_layout(m.map, plan.source.strides, m.boxes.box(0), taps, m.patches.channels_per_block);
        layout.elems += most_slack;  // a smaller box may need more slack than the largest
        return layout;
    });
    // A row's padding may be written behind the last one.
    return SourceCopy<T>(carver, sizes, sizes.pitch + 2 * lanes, most_pairs(plan.maps));
}

// Copies what of the box lies inside the source, and zeros around it.
template <class T>
void copy_padded(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& first,
                 const CopyLayout& layout, T* copy) {
    const TensorStrides& strides = patches.strides;
    const kernels::Readers<T>& read = reading(kernel, first);
    const CopyBands bands(layout, strides, source_extents(patches.plan.map));
    const int64_t pitch = layout.strides.axis[1], width = layout.width;
    // One call copies all rows of a band, where nothing that is left out lies between the pixels.
    const bool by_band = strides.axis[2] == width;
    for (int64_t c = 0; c < patches.channels(); c += width, copy += layout.elems) {
        const Stored<T> from = first + c * strides.channel;
        T* to = copy;
        bands.for_each([&](const kernels::Band& band) {
            T* const at = to + band.before;
            if (!by_band) {
                to = write_band(layout, 1, band, strides.axis[1], to, [&](T* row, int64_t source) {
                    read.copy_rows((from + source).at, strides.axis[2], 1, band.count, width, row, width, from.end);
                });
                return;
            }
            std::fill_n(to, band.before, T(0));
            to += band.elems;
            if (band.rows == 0) return;
            if (from.partner_distance != 0)
                kernel.copy_bf16_pair_rows((from + band.from).at, from.partner_distance, strides.axis[1], band.rows,
                                           band.count, at, pitch, from.end);
            else
                read.copy_rows((from + band.from).at, strides.axis[1], 1, band.rows, band.count * width, at, pitch,
                               from.end);
            T* const behind = at + band.rows * pitch;
            if (behind < to) std::fill_n(behind, to - behind, T(0));
        });
    }
}

template <class T>
SourceView<T> view_pixels(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                          const SourceCopy<T>& copy) {
    const MapPlan& plan = patches.plan;
    if (plan.in_place) return view_in_place(patches, source, copy.offsets);
    const Stored<T> first = patches.first(source);
    const int64_t channels = patches.channels();
    const CopyLayout layout = padded_layout(plan.map, patches.strides, patches.pixels, patches.block.taps, channels);
    copy_padded(kernel, patches, first, layout, copy.at);
    copy.fill_border(plan.map, layout, patches.strides, first, channels);
    const Stored<T> base{copy.at, layout.copied_elems(channels, "the padded input")};
    return view_of_copy(plan, patches.pixels, patches.block, layout, base, copy.offsets);
}

}  // namespace convpp
