// The source as vectors of neighbouring pixels read it: in place where it is already so, else staged.
//
// In:  the patches of a box of pixels and a block of (channel, tap) pairs, the source tensor.
// Out: a SourceView whose pixels are neighbouring elements within a row.  From there, packing is two plain motions
//      (kernels/move/).
//
// Staged planes are split into the phases of the stride, so that neighbouring pixels read neighbouring elements.  Every
// staged element is then read by all taps.  What is to be copied (Staging: bands of rows) is the same for all channels and
// groups, and found out once for them.
//
// Next: strategies/packed/, strategies/rows/.  (padded.hpp is the same for pixels that are read one by one.)
#pragma once

#include <cstdint>

#include "source/copy.hpp"
#include "source/view.hpp"

namespace convpp {

inline CopyLayout staged_layout(const IndexMap& map, const Box& pixels, const Box& taps) {
    constexpr int64_t slack = 16;  // behind each channel, for stores and loads of whole vectors
    CopyLayout layout;
    for (size_t a = 0; a < 3; ++a) layout.range[a] = read_phases(map, a, pixels, taps);
    lay_out(layout, pixels.extent(0), 1, "the staged input");
    set_channels_apart(layout, layout.elems + slack);
    return layout;
}

// How a box of pixels and a block of patches are staged, the same for all groups; with the memory of one thread.
template <class T>
struct Staging : SourceCopy<T> {
    CopyLayout layout;
    SourceView<T> view;
    kernels::Band* bands = nullptr;  // of a channel
    int64_t band_count = 0;
    int64_t* columns = nullptr;  // of the pixels of a row in a channels_last source

    Staging() = default;
    template <class Maps>
    Staging(Carver& carver, const Maps& maps, int64_t lanes) {
        const CopySizes sizes(maps, "the staged input", [](const MapPlan& m, const Box& taps) {
            return staged_layout(m.map, m.boxes.box(0), taps);
        });
        // A row's padding may be written behind the last one.
        SourceCopy<T>::operator=(SourceCopy<T>(carver, sizes, sizes.pitch + 2 * lanes, most_pairs(maps)));
        bands = carver.take<kernels::Band>(sizes.bands);
        columns = carver.take<int64_t>(sizes.columns);
    }
};

template <class T>
void find_bands(const Patches& patches, Staging<T>& staging) {
    const MapPlan& plan = patches.plan;
    const CopyLayout& layout = staging.layout = staged_layout(plan.map, patches.pixels, patches.block.taps);
    kernels::Band* band = staging.bands;
    CopyBands(layout, patches.strides, source_extents(plan.map)).for_each([&](const kernels::Band& found) {
        *band++ = found;
    });
    staging.band_count = band - staging.bands;
    const Stored<T> base{staging.at, patches.channels() * layout.elems};
    staging.view = view_of_copy(plan, patches.pixels, patches.block, layout, base, staging.offsets);
    if (staging.border.used()) staging.border.find(plan.map, patches.strides, layout);
}

// A channels_last source is transposed on the way: row by row, all channels at once.
template <class T>
void stage_channels_last(const kernels::KernelTable<T>& kernel, const TensorStrides& strides, const Stored<T>& first,
                         int64_t channels, const Staging<T>& staging) {
    const CopyLayout& layout = staging.layout;
    for (int64_t l = 0; l < layout.range[2].length; ++l) staging.columns[l] = l * layout.range[2].step * strides.axis[2];
    const kernels::Run run{0, 0, channels};
    const kernels::Readers<T>& read = reading(kernel, first);
    T* to = staging.at;
    for (const kernels::Band* band = staging.bands; band != staging.bands + staging.band_count; ++band)
        to = write_band(layout, channels, *band, layout.range[1].step * strides.axis[1], to, [&](T* at, int64_t row) {
            read.transpose_panel((first + row).at, staging.columns, band->count, &run, 1, at, layout.elems, first.end);
        });
}

template <class T>
void stage_channels_first(const kernels::KernelTable<T>& kernel, const TensorStrides& strides, const Stored<T>& first,
                          int64_t channels, const Staging<T>& staging) {
    const CopyLayout& layout = staging.layout;
    for (int64_t c = 0; c < channels; ++c) {
        // A channel's part is short, and the next one's in other pages: memory streams only if it is asked for
        // (measured: 26 MB in pieces of 3 KiB arrive at 53 GB/s instead of 35).
        const int64_t prefetch = c + 1 < channels ? strides.channel : 0;
        reading(kernel, first)
            .copy_bands((first + c * strides.channel).at, staging.bands, staging.band_count,
                        layout.range[1].step * strides.axis[1], layout.range[2].step,
                        staging.at + c * layout.elems, layout.strides.axis[1], first.end, prefetch);
    }
}

// `staging` is what was found for the same pixels and block before, or to be found: `fresh`.
template <class T>
SourceView<T> stage_patches(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                            Staging<T>& staging, bool fresh) {
    if (patches.plan.in_place) return view_in_place(patches, source, staging.offsets);
    if (fresh) find_bands(patches, staging);
    const Stored<T> first = patches.first(source);
    const int64_t channels = patches.channels();
    if (patches.strides.axis[2] == 1) stage_channels_first(kernel, patches.strides, first, channels, staging);
    else stage_channels_last(kernel, patches.strides, first, channels, staging);
    if (staging.border.used())
        fill_outside(staging.border, staging.layout, patches.strides, first, channels, staging.at);
    return staging.view;
}

// The same, found anew.
template <class T>
SourceView<T> stage_patches(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                            const Staging<T>& memory) {
    Staging<T> staging = memory;
    return stage_patches(kernel, patches, source, staging, true);
}

}  // namespace convpp
