// The source as vectors of neighbouring pixels read it: in place where it is already so, else staged.
//
// In:  the patches of a box of pixels and a block of (channel, tap) pairs, the source tensor.
// Out: a SourceView whose pixels are neighbouring elements within a row.  From there, packing is two plain motions
//      (kernels/move/).
//
// Staged planes are split into the phases of the stride, so that neighbouring pixels read neighbouring elements.  Every
// staged element is then read by all taps.  What is to be copied (Staging: bands of rows) is the same for all channels
// and groups, and found out once for them.
//
// Next: strategies/packed/, rows/ and flat/.  (padded.hpp is the same for pixels that are read one by one.)
#pragma once

#include <cstdint>

#include "source/copy.hpp"
#include "source/view.hpp"

namespace convpp {

inline CopyLayout staged_layout(const MapPlan& m, const Box& pixels, const Box& taps, int64_t channels) {
    constexpr int64_t slack = 16;  // behind each channel, for stores and loads of whole vectors
    CopyLayout layout;
    layout.what = "the staged input";
    for (size_t a = 0; a < 3; ++a) layout.range[a] = read_range(m, a, pixels, taps, Phases::apart);
    layout.lay_out(pixels.extent(0), channels, 1);
    layout.set_channel_step(layout.elems + slack);
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
        const CopySizes sizes(maps, [](const MapPlan& m, int64_t i) {
            return staged_layout(m, m.boxes.box(0), m.patches.taps.box(i), m.patches.channels_per_block);
        });
        // A row's padding may be written behind the last one.
        SourceCopy<T>::operator=(SourceCopy<T>(carver, sizes, sizes.pitch + 2 * lanes, most_pairs(maps)));
        bands = carver.take<kernels::Band>(sizes.bands);
        columns = carver.take<int64_t>(sizes.columns);
    }
};

template <class T>
void find_bands(const Patches& patches, const SourcePart<T>& part, Staging<T>& staging) {
    const MapPlan& plan = patches.plan;
    staging.layout = staged_layout(plan, patches.pixels, patches.block.taps, part.channels);
    kernels::Band* band = staging.bands;
    CopyBands(staging.layout, part).for_each([&](const kernels::Band& found) { *band++ = found; });
    staging.band_count = band - staging.bands;
    staging.view = staging.view_of(plan, patches.pixels, patches.block, staging.layout);
    if (staging.border.used()) staging.border.find(plan.map, part.strides, staging.layout);
}

// A channels_last source is transposed on the way: row by row, all channels at once.
template <class T>
void stage_channels_last(const kernels::KernelTable<T>& kernel, const SourcePart<T>& part, const Staging<T>& staging) {
    const CopyLayout& layout = staging.layout;
    const int64_t row_step = layout.range[1].step * part.strides.axis[1];
    for (int64_t l = 0; l < layout.range[2].length; ++l)
        staging.columns[l] = l * layout.range[2].step * part.strides.axis[2];
    const kernels::Run run{0, 0, part.channels};
    T* to = staging.at;
    for (const kernels::Band* band = staging.bands; band != staging.bands + staging.band_count; ++band)
        to = write_band(layout, part.channels, *band, row_step, to, [&](T* at, int64_t row) {
            reading(kernel, part.first)
                .transpose_panel((part.first + row).at, staging.columns, band->count, &run, 1, at, layout.elems,
                                 part.first.end);
        });
}

template <class T>
void stage_channels_first(const kernels::KernelTable<T>& kernel, const SourcePart<T>& part, const Staging<T>& staging) {
    const CopyLayout& layout = staging.layout;
    const int64_t row_step = layout.range[1].step * part.strides.axis[1];
    for (int64_t c = 0; c < part.channels; ++c) {
        // A channel's part is short, and the next one's in other pages: memory streams only if it is asked for
        // (measured: 26 MB in pieces of 3 KiB arrive at 53 GB/s instead of 35).
        const int64_t prefetch = c + 1 < part.channels ? part.strides.channel : 0;
        reading(kernel, part.first)
            .copy_bands((part.first + c * part.strides.channel).at, staging.bands, staging.band_count, row_step,
                        layout.range[2].step, staging.at + c * layout.elems, layout.strides.axis[1], part.first.end,
                        prefetch);
    }
}

// `staging` is what was found for the same pixels and block before, or to be found: `fresh`.
template <class T>
SourceView<T> stage_patches(const kernels::KernelTable<T>& kernel, const Patches& patches, const Stored<T>& source,
                            Staging<T>& staging, bool fresh) {
    const SourcePart<T> part = patches.part(source);
    if (patches.plan.in_place) return view_in_place(patches, part, staging.offsets);
    if (fresh) find_bands(patches, part, staging);
    if (part.strides.axis[2] == 1) stage_channels_first(kernel, part, staging);
    else stage_channels_last(kernel, part, staging);
    if (staging.border.used()) fill_outside(staging.border, part, staging.layout, staging.at);
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
