// What a box of pixels and a block of (channel, tap) pairs read of a source, and how a copy of that part lies in memory.
//
// In:  an index map, a box of pixels, a box of taps.   Out: ReadRange, CopyLayout: plain values; bands, band by band.
// Next: staged.hpp, padded.hpp and lanes.hpp, which make such copies; view.hpp, through which they are read.
//
// Every copy has the layout
//   [block of channels][sample][phase d][depth][phase h][phase w][height][width][channel of the block]
// and contains the padding as zeros, so that nobody after this looks at a border.  What differs is the block (one channel,
// a vector of channels, or all of them), and whether the axes are split into the phases of the stride.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/contract.hpp"
#include "problem/boxes.hpp"
#include "problem/checked.hpp"

namespace convpp {

// The part of one axis that is read: position (phase f, l) is source element lo + l * step + residues[f], which may lie
// outside the source.
struct ReadRange {
    int64_t lo = 0, length = 1, step = 1;
    const int64_t* residues = nullptr;  // null: every element is read, as one phase
    int64_t phases = 1;

    int64_t first(int64_t phase) const { return residues != nullptr ? lo + residues[phase] : lo; }
    int64_t positions() const { return phases * length; }
};

// How far some taps of an axis reach: from the least of their offsets (or shifts) to the largest.
struct Reach {
    int64_t lo, length;
};
inline Reach reach_of(const AxisMap& axis, int64_t tap_lo, int64_t tap_hi, int64_t Tap::*along) {
    const auto [least, most] =
        std::minmax_element(axis.taps.begin() + tap_lo, axis.taps.begin() + tap_hi,
                            [&](const Tap& tap, const Tap& other) { return tap.*along < other.*along; });
    return {(*least).*along, (*most).*along - (*least).*along};
}

// What a box of pixels reads along axis `a` with a box of taps: every element from the first one to the last.
inline ReadRange read_range(const IndexMap& map, size_t a, const Box& pixels, const Box& taps) {
    const AxisMap& axis = map.axis[a];
    const Reach reach = reach_of(axis, taps.lo[a + 1], taps.hi[a + 1], &Tap::offset);
    return {pixels.lo[a + 1] * axis.source_step + reach.lo,
            (pixels.extent(a + 1) - 1) * axis.source_step + reach.length + 1};
}

// The same, split into the phases of the stride, so that neighbouring pixels read neighbouring elements.
inline ReadRange read_phases(const IndexMap& map, size_t a, const Box& pixels, const Box& taps) {
    const AxisMap& axis = map.axis[a];
    const Reach reach = reach_of(axis, taps.lo[a + 1], taps.hi[a + 1], &Tap::shift);
    return {(pixels.lo[a + 1] + reach.lo) * axis.source_step, pixels.extent(a + 1) + reach.length, axis.source_step,
            axis.phases.data(), static_cast<int64_t>(axis.phases.size())};
}

inline Extents source_extents(const IndexMap& map) {
    return {map.axis[0].source_extent, map.axis[1].source_extent, map.axis[2].source_extent};
}

// A copy of some channels of the ranges, of some samples.
struct CopyLayout {
    std::array<ReadRange, 3> range;
    TensorStrides strides;                      // axis: from position to position of a phase
    std::array<int64_t, 3> phase_step{0, 0, 0};  // from phase to phase
    int64_t samples = 1;
    int64_t width = 1;  // channels of a block
    int64_t elems = 0;  // of a block: the next one begins so far on

    int64_t bands() const { return samples * range[0].positions() * range[1].phases * range[2].phases; }
    int64_t copied_elems(int64_t channels, const char* what) const {
        return checked_mul(elems, ceil_div(channels, width), what);
    }
};

// Lays the ranges out without gaps, in blocks of `width` channels.  `what` names the copy in the ShapeError of sizes that
// 64 bits do not hold.
inline void lay_out(CopyLayout& layout, int64_t samples, int64_t width, const char* what) {
    const auto& [depth, height, row] = layout.range;
    TensorStrides& s = layout.strides;
    s = dense_strides(width, {depth.positions(), checked_mul(height.positions(), row.phases, what), row.length}, what);
    layout.phase_step = {s.axis[0] * depth.length, s.axis[1] * height.length * row.phases, s.axis[1] * height.length};
    layout.samples = samples;
    layout.width = width;
    layout.elems = checked_mul(s.batch, samples, what);
    s.channel = 1;
}

// Blocks of single channels, `elems` apart.
inline void set_channels_apart(CopyLayout& layout, int64_t elems) { layout.elems = layout.strides.channel = elems; }

// The positions of one phase of a range: [zeros | source elements from `first` on, a step apart | zeros].
struct Segment {
    int64_t zeros_before = 0, count = 0, first = 0;
};

inline Segment inside_part(const ReadRange& range, int64_t source_extent, int64_t phase) {
    const int64_t at = range.first(phase);
    const int64_t lo = std::clamp<int64_t>(ceil_div(-at, range.step), 0, range.length);
    const int64_t hi = std::clamp<int64_t>(floor_div(source_extent - 1 - at, range.step) + 1, lo, range.length);
    return {lo, hi - lo, at + lo * range.step};
}

// A copy's bands: rows and columns of one phase each, of a slice of a sample, with the zeros around what lies inside the
// source.  They are the same for all blocks of channels.
struct CopyBands {
    const CopyLayout& layout;
    const TensorStrides& source;
    Extents extents;        // of the source
    Segment rows, columns;  // of the first phases, mostly the only ones

    CopyBands(const CopyLayout& of, const TensorStrides& strides, const Extents& source_extents)
        : layout(of),
          source(strides),
          extents(source_extents),
          rows(inside_part(of.range[1], extents[1], 0)),
          columns(inside_part(of.range[2], extents[2], 0)) {}

    // visit(band) in the order of the copy.  Its rows begin at band.from, relative to the first sample that is copied, and
    // have band.count columns; zeros and elements are counted as they lie in the copy.
    template <class Visit>
    void for_each(const Visit& visit) const {
        const auto& [depth, height, row] = layout.range;
        const int64_t elems = layout.phase_step[2];
        for (int64_t n = 0; n < layout.samples; ++n)
            for (int64_t phase_d = 0; phase_d < depth.phases; ++phase_d)
                for (int64_t l = 0; l < depth.length; ++l) {
                    const int64_t d = depth.first(phase_d) + l * depth.step;
                    const bool outside = d < 0 || d >= extents[0];
                    const int64_t slice = n * source.batch + d * source.axis[0];
                    for (int64_t phase_h = 0; phase_h < height.phases; ++phase_h) {
                        const Segment r = phase_h == 0 ? rows : inside_part(height, extents[1], phase_h);
                        for (int64_t phase_w = 0; phase_w < row.phases; ++phase_w) {
                            const Segment c = phase_w == 0 ? columns : inside_part(row, extents[2], phase_w);
                            if (outside || r.count == 0 || c.count == 0) visit(kernels::Band{0, elems, 0, 0, elems});
                            else
                                visit(kernels::Band{
                                    slice + r.first * source.axis[1] + c.first * source.axis[2],
                                    r.zeros_before * layout.strides.axis[1] + c.zeros_before * layout.strides.axis[2],
                                    r.count, c.count, elems});
                        }
                    }
                }
    }
};

// Writes a band of some blocks of channels: row(at, from) copies each row, and zeros are put around them.  Returns where
// the next band begins.
template <class T, class Row>
T* write_band(const CopyLayout& layout, int64_t blocks, const kernels::Band& band, int64_t row_step, T* to,
              const Row& row) {
    const auto zero = [&](T* at, int64_t count) {
        for (int64_t b = 0; count > 0 && b < blocks; ++b) std::fill_n(at + b * layout.elems, count, T(0));
    };
    const int64_t pitch = layout.strides.axis[1], copied = band.count * layout.width;
    T* const end = to + band.elems;
    zero(to, band.before);
    T* at = to + band.before;
    for (int64_t i = 0; i < band.rows; ++i, at += pitch) {
        row(at, band.from + i * row_step);
        // Zeros up to where the next row's elements begin, or the band ends.
        zero(at + copied, std::min<int64_t>(pitch, end - at) - copied);
    }
    zero(at, end - at);
    return end;
}

}  // namespace convpp
