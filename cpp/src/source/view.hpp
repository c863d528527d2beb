// How patches of a source are read, whatever its layout, padding and stride: in place, or from a copy of a part of it.
//
// In:  a MapPlan, a box of pixels, a block of patches, the source tensor or the layout of a copy.
// Out: a SourceView: pair k of pixel (n, d, h, w) is at base[n*step[0] + .. + w*step[3] + offset[k]].
// Next: staged.hpp (pixels as vectors), padded.hpp (pixels one by one), lanes.hpp (vectors of channels).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/contract.hpp"
#include "plan/plan.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

using PixelSteps = std::array<int64_t, 4>;  // from a pixel to the next sample, depth, row, column

template <class T>
struct SourceView {
    Stored<T> base;  // plain where tiles read it
    PixelSteps step{0, 0, 0, 0};
};

// Fills offsets[k] of the block's pairs, given the step between channels and the position of a tap on each axis.
template <class Position>
void fill_offsets(const PatchBlock& block, int64_t channel_step, const Position& position, int64_t* offsets) {
    // Positions along a row are found once, where the first row belongs, which is completed last.
    const int64_t length = block.taps.extent(3);
    for (int64_t w = 0; w < length; ++w) offsets[w] = position(2, block.taps.lo[3] + w);
    int64_t taps = 0, first_row = 0;
    for (int64_t d = block.taps.lo[1]; d < block.taps.hi[1]; ++d) {
        const int64_t slice = position(0, d);
        for (int64_t h = block.taps.lo[2]; h < block.taps.hi[2]; ++h, taps += length) {
            const int64_t row = slice + position(1, h);
            if (taps == 0) first_row = row;
            else
                for (int64_t w = 0; w < length; ++w) offsets[taps + w] = row + offsets[w];
        }
    }
    for (int64_t w = 0; w < length; ++w) offsets[w] += first_row;
    for (int64_t c = 1; c < block.channels(); ++c)
        for (int64_t t = 0; t < taps; ++t) offsets[c * taps + t] = c * channel_step + offsets[t];
}

// Where the weights of a tap lie, axis by axis: a position for fill_offsets.
inline auto weight_position(const Plan& plan, const MapPlan& m) {
    return [&](size_t a, int64_t t) { return m.map.axis[a].taps.weight(t) * plan.weights.axis[a]; };
}

// What is read: the patches of a box of pixels, of a block of (channel, tap) pairs.
struct Patches {
    const MapPlan& plan;
    const TensorStrides& strides;  // of the source
    const Box& pixels;
    const PatchBlock& block;

    template <class T>
    SourcePart<T> part(const Stored<T>& source) const {
        return part_of(source, strides, source_extents(plan.map), pixels, block.channel_lo, block.channels());
    }
};

// The patches in a copy that begins at `base`.
template <class T>
SourceView<T> view_of_copy(const MapPlan& plan, const Box& pixels, const PatchBlock& block, const CopyLayout& layout,
                           const Stored<T>& base, int64_t* offsets) {
    SourceView<T> view{base, {layout.strides.batch, 0, 0, 0}};
    std::array<int64_t, 3> first{};  // the first pixel's: the shift, or the offset, of a tap that reads position 0
    for (size_t a = 0; a < 3; ++a) {
        const ReadRange& range = layout.range[a];
        // Positions from pixel to pixel.
        const int64_t pixel = range.lie() == Lie::as_in_source ? plan.map.axis[a].source_step : 1;
        first[a] = (range.lie() == Lie::by_residue ? range.lo / range.step : range.lo) - pixels.lo[a + 1] * pixel;
        view.step[a + 1] = pixel * layout.strides.axis[a];
    }
    const auto position = [&](size_t a, int64_t t) {
        const ReadRange& range = layout.range[a];
        const Taps& taps = plan.map.axis[a].taps;
        const int64_t step = layout.strides.axis[a], i = t - range.first_tap();
        if (range.lie() == Lie::as_in_source) return (taps.offset(t) - first[a]) * step;
        if (range.lie() == Lie::by_tap) return i * layout.phase_step[a];
        const int64_t phase = range.phases == 1 ? 0 : i % range.phases;
        return phase * layout.phase_step[a] + (taps.shift(t) - first[a]) * step;
    };
    fill_offsets(block, layout.strides.channel, position, offsets);
    return view;
}

// The patches where they lie: in a copy, so to speak, whose layout is the source's own.
template <class T>
SourceView<T> view_in_place(const Patches& patches, const SourcePart<T>& part, int64_t* offsets) {
    CopyLayout layout;
    layout.strides = patches.strides;
    Stored<T> base = part.first;
    for (size_t a = 0; a < 3; ++a) {
        layout.range[a].lo = patches.pixels.lo[a + 1] * patches.plan.map.axis[a].source_step;
        base += layout.range[a].lo * patches.strides.axis[a];
    }
    return view_of_copy(patches.plan, patches.pixels, patches.block, layout, base, offsets);
}

// Calls row(alpha, count) for the rows of a box of pixels, in order; neighbouring rows are not yet joined.
template <class Row>
void for_each_row(const Box& pixels, const PixelSteps& step, const Row& row) {
    for (int64_t n = 0; n < pixels.extent(0); ++n)
        for (int64_t d = 0; d < pixels.extent(1); ++d)
            for (int64_t h = 0; h < pixels.extent(2); ++h)
                row(n * step[0] + d * step[1] + h * step[2], pixels.extent(3));
}

// Calls pixel(position) for the pixels of a box, in order: where they lie relative to the view's base.
template <class T, class Pixel>
void for_each_pixel(const SourceView<T>& view, const Box& pixels, const Pixel& pixel) {
    for_each_row(pixels, view.step, [&](int64_t alpha, int64_t count) {
        for (int64_t w = 0; w < count; ++w, alpha += view.step[3]) pixel(alpha);
    });
}

// The runs of a box's pixels, cut at multiples of `width`: panel p has runs[first[p] .. first[p+1]), whose dst is the
// position within the panel.  Rows that follow each other in memory become one run.
inline void panel_runs(Box pixels, const PixelSteps& step, int64_t width, kernels::Run* runs, int64_t* first) {
    if (step[2] == pixels.extent(3)) {  // of a plane without gaps: one row
        pixels.hi[3] = pixels.lo[3] + pixels.extent(2) * pixels.extent(3);
        pixels.hi[2] = pixels.lo[2] + 1;
    }
    int64_t column = 0, count = 0;  // pixels of the last panel, runs of all
    *first = 0;
    for_each_row(pixels, step, [&](int64_t alpha, int64_t left) {
        while (left > 0) {
            const int64_t take = std::min(left, width - column);
            if (column > 0 && runs[count - 1].src + runs[count - 1].count == alpha) runs[count - 1].count += take;
            else runs[count++] = {alpha, column, take};
            alpha += take;
            left -= take;
            column += take;
            if (column < width) continue;
            column = 0;
            *++first = count;
        }
    });
    if (column > 0) *++first = count;
}

inline int64_t most_runs(const Box& pixels, int64_t width) {
    return pixels.extent(0) * pixels.extent(1) * pixels.extent(2) + ceil_div(pixels.elems(), width) + 1;
}

// Where the results of a box's rows of pixels lie (their first pixels), relative to the group's first result of
// channel 0; row(offset) is called in order.
template <class Row>
void for_each_result_row(const IndexMap& map, const TensorStrides& strides, const Box& pixels, const Row& row) {
    const auto at = [&](size_t a, int64_t u) {
        return (map.axis[a].result_start + u * map.axis[a].result_step) * strides.axis[a];
    };
    for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
        for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d)
            for (int64_t h = pixels.lo[2]; h < pixels.hi[2]; ++h)
                row(n * strides.batch + at(0, d) + at(1, h) + at(2, pixels.lo[3]));
}

// The same for every pixel.
inline void result_offsets(const IndexMap& map, const TensorStrides& strides, const Box& pixels, int64_t* offsets) {
    const int64_t step = map.axis[2].result_step * strides.axis[2], length = pixels.extent(3);
    for_each_result_row(map, strides, pixels, [&](int64_t first) {
        for (int64_t w = 0; w < length; ++w) *offsets++ = first + w * step;
    });
}

}  // namespace convpp
