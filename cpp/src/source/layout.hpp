// What a box of pixels and a block of (channel, tap) pairs read of a source, and how a copy of it lies in memory.
//
// In:  an index map, a box of pixels, a box of taps.   Out: ReadRange, CopyLayout: plain values; bands, band by band.
// Next: staged.hpp, padded.hpp and lanes.hpp, which make such copies; view.hpp, through which they are read.
//
// Every copy has the layout
//   [block of channels][sample][phase d][depth][phase h][phase w][height][width][channel of the block]
// and contains the padding as zeros, so that nobody after this looks at a border.  What differs is the block (one
// channel, a vector of channels, or all of them), and whether the axes are split into the phases of the stride.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "kernels/contract.hpp"
#include "plan/plan.hpp"
#include "problem/boxes.hpp"
#include "problem/checked.hpp"
#include "source/stored.hpp"

namespace convpp {

// How the elements of an axis lie in a copy.
enum class Lie {
    as_in_source,  // all from the first one to the last: neighbours stay neighbours
    by_residue,    // in the phases of the stride: what neighbouring pixels read becomes neighbours
    by_tap,        // what each tap reads on its own, where most of what lies between is read by none
};

// The part of one axis that is read: position (phase f, l) is source element first(f) + l * step, which may lie outside
// the source.
struct ReadRange {
    int64_t lo = 0, length = 1, step = 1;
    const Taps* taps = nullptr;  // by_residue, by_tap: the first of them reads phase 0, the next ones the others
    int32_t phases = 1;
    int32_t tap = 0;  // by_residue: the first one; by_tap: -1 - that

    Lie lie() const { return taps == nullptr ? Lie::as_in_source : tap < 0 ? Lie::by_tap : Lie::by_residue; }
    int64_t first_tap() const { return tap < 0 ? -1 - tap : tap; }
    int64_t first(int64_t phase) const {
        if (taps == nullptr) return lo;
        return tap < 0 ? lo + phase * taps->apart() : lo + taps->residue(tap + phase);
    }
    int64_t positions() const { return phases * length; }
};

// Every element from the first one to the last that pixels [lo, lo + count) of an axis read with some taps.
inline ReadRange whole_range(const AxisMap& axis, int64_t lo, int64_t count, int64_t tap_lo, int64_t tap_hi) {
    const Span offsets = axis.taps.offsets(tap_lo, tap_hi);
    return {lo * axis.source_step + offsets.lo, (count - 1) * axis.source_step + offsets.hi - offsets.lo + 1};
}

// Whether neighbouring elements of an axis stay neighbours, or those that neighbouring pixels read become neighbours.
enum class Phases { together, apart };

// Whether `taps` of an axis are copied apart from each other, of any box that has up to `most` pixels along it.  (Of an
// axis alone, not of each box: what is copied of the largest box then is the most.)
inline bool copies_taps_apart(const AxisMap& axis, size_t a, const Span& taps, int64_t most, Phases phases) {
    constexpr int64_t mostly_gaps = 8;  // elements copied for each that is read
    const int64_t count = taps.length(), step = axis.source_step;
    // (Pixels that are not neighbours in a row that is copied as it is stay with what lies between them: of such rows,
    // boxes have few pixels.)
    const bool apart = phases == Phases::apart;
    // Rows that a single tap leaves out are not copied.  (Columns are: measured, bf16 pairs of 1x1 at stride 2, 1.2 times
    // as fast as taking every second element.)
    if (count == 1) return step > 1 && !apart && a < 2;
    if (!apart && a == 2 && step > 1 && most > 1) return false;
    const Span reach = apart ? axis.taps.shifts(taps.lo, taps.hi) : axis.taps.offsets(taps.lo, taps.hi);
    const auto wasted = [&](int64_t pixels) {
        const int64_t length = (pixels - 1) * (apart ? 1 : step) + reach.hi - reach.lo + 1;
        return length / mostly_gaps > count * pixels / (apart ? axis.taps.phases(count) : 1);
    };
    return wasted(1) && wasted(most);  // and for all between
}

// As many taps of an axis read as far, wherever they begin: where there is one phase, or so many taps that the
// difference of an element is not worth looking at each box of them.
inline bool reaches_alike(const AxisMap& axis) {
    constexpr int64_t very_many_taps = 65536;
    return axis.source_step == 1 || axis.taps.size() > very_many_taps;
}

// What a box of pixels reads along axis `a` with a box of taps, as it is copied.
inline ReadRange read_range(const MapPlan& m, size_t a, const Box& pixels, const Box& tap_box,
                            Phases phases = Phases::together) {
    const AxisMap& axis = m.map.axis[a];
    const int64_t lo = pixels.lo[a + 1], count = pixels.extent(a + 1), step = axis.source_step;
    const Span taps{tap_box.lo[a + 1], tap_box.hi[a + 1]};
    if (copies_taps_apart(axis, a, taps, m.boxes.largest_extent(a + 1), phases))
        return {lo * step + axis.taps.offset(taps.lo),
                count,
                count == 1 ? 1 : step,
                &axis.taps,
                static_cast<int32_t>(taps.length()),
                static_cast<int32_t>(-1 - taps.lo)};
    if (phases != Phases::apart) return whole_range(axis, lo, count, taps.lo, taps.hi);
    const Span shifts = axis.taps.shifts(taps.lo, taps.hi);
    const int64_t reach = step > 1 && reaches_alike(axis)
                              ? (taps.length() - 1) * std::abs(axis.taps.apart()) / step + 1  // the longest
                              : shifts.hi - shifts.lo;
    return {(lo + shifts.lo) * step,
            count + reach,
            step,
            &axis.taps,
            static_cast<int32_t>(axis.taps.phases(taps.length())),
            static_cast<int32_t>(taps.lo)};
}

inline Extents source_extents(const IndexMap& map) {
    return {map.axis[0].source_extent, map.axis[1].source_extent, map.axis[2].source_extent};
}

inline Extents pixel_extents(const IndexMap& map) { return {map.axis[0].count, map.axis[1].count, map.axis[2].count}; }

// Some channels of some samples of a tensor.
template <class T>
struct SourcePart {
    Stored<T> first;  // element of the first of them
    const TensorStrides& strides;
    Extents extents;
    int64_t samples, channels;
};

// Those of a box of pixels, from `channel` on.
template <class T>
SourcePart<T> part_of(const Stored<T>& tensor, const TensorStrides& strides, const Extents& extents, const Box& pixels,
                      int64_t channel, int64_t channels) {
    return {tensor + (pixels.lo[0] * strides.batch + channel * strides.channel), strides, extents, pixels.extent(0),
            channels};
}

// A copy of the ranges, of some samples and channels.
struct CopyLayout {
    std::array<ReadRange, 3> range;
    TensorStrides strides;  // axis: from position to position of a phase
    std::array<int64_t, 3> phase_step{0, 0, 0};  // from phase to phase
    int64_t samples = 1;
    int64_t blocks = 1, width = 1;  // blocks of channels, and the channels of each
    int64_t elems = 0;  // of a block: the next one begins so far on
    const char* what = "the padded input";  // in the ShapeError of sizes that 64 bits do not hold

    int64_t bands() const { return samples * range[0].positions() * range[1].phases * range[2].phases; }
    int64_t total() const { return checked_mul(elems, blocks, what); }

    // Lays the ranges out, one behind the other.
    void lay_out(int64_t sample_count, int64_t block_count, int64_t channels) {
        const auto& [depth, height, row] = range;
        const Extents positions{depth.positions(), checked_mul(height.positions(), row.phases, what), row.length};
        strides = dense_strides(channels, positions, what);
        strides.channel = 1;
        const int64_t band = strides.axis[1] * height.length;
        phase_step = {strides.axis[0] * depth.length, band * row.phases, band};
        samples = sample_count;
        blocks = block_count;
        width = channels;
        elems = checked_mul(strides.batch, samples, what);
    }
    // Puts blocks of single channels apart.
    void set_channel_step(int64_t step) { elems = strides.channel = step; }
};

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

// A copy's bands: rows and columns of one phase each, of a slice of a sample, with the zeros around what lies inside
// the source.  They are the same for all blocks of channels.
struct CopyBands {
    const CopyLayout& layout;
    const TensorStrides& source;
    Extents extents;  // of the source
    Segment rows, columns;  // of the first phases, mostly the only ones

    template <class T>
    CopyBands(const CopyLayout& of, const SourcePart<T>& part)
        : layout(of),
          source(part.strides),
          extents(part.extents),
          rows(inside_part(of.range[1], extents[1], 0)),
          columns(inside_part(of.range[2], extents[2], 0)) {}

    // visit(band) in the order of the copy.  Its rows begin at band.from, relative to the first sample that is copied,
    // and have band.count columns; zeros and elements are counted as they lie in the copy.
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

// Writes a band of some blocks of channels: row(at, from) copies each row, and zeros are put around them.  Or it copies
// all rows `at_once`, with zeros behind each.  Returns where the next band begins.
template <class T, class Row>
T* write_band(const CopyLayout& layout, int64_t blocks, const kernels::Band& band, int64_t row_step, T* to,
              const Row& row, bool at_once = false) {
    const auto zero = [&](T* at, int64_t count) {
        for (int64_t b = 0; count > 0 && b < blocks; ++b) std::fill_n(at + b * layout.elems, count, T(0));
    };
    const int64_t pitch = layout.strides.axis[1], copied = at_once ? pitch : band.count * layout.width;
    const int64_t rows = at_once ? band.rows : 1;
    T* const end = to + band.elems;
    zero(to, band.before);
    T* at = to + band.before;
    for (int64_t i = 0; i < band.rows; i += rows, at += rows * pitch) {
        row(at, band.from + i * row_step);
        // Zeros up to where the next row's elements begin, or the band ends.
        zero(at + copied, std::min<int64_t>(pitch, end - at) - copied);
    }
    zero(at, end - at);
    return end;
}

}  // namespace convpp
