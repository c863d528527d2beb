// Patches: how a block of (channel, tap) pairs and a box of pixels read the source, whatever its layout, padding and
// stride.
//
// In:  a MapPlan, a box of pixels, a block of patches, the source tensor.
// Out: a PatchView: element (pair k, pixel j) is at base[offset[k] + alpha(j)], and alpha runs along consecutive
//      elements within a row of pixels (the runs).  From there, packing is two plain motions (kernels/pack.hpp).
//
// Where the source is not already like that, its part that the block reads is staged: copied once into planes that
//   - have the layout [channel][sample][phase d][depth][phase h][phase w][height][width],
//   - contain the padding as zeros, so that nobody after this looks at a border,
//   - are split into the phases of the stride, so that neighbouring pixels read neighbouring elements.
// Every staged element is then read by all taps.  What is to be copied (Staging: bands of rows) is the same for all
// channels and groups, and found out once for them.
//
// Next: packed_task.hpp, row_task.hpp, weight_grad.cpp.  (padded_source.hpp is the same for pixels read one by one.)
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/border_map.hpp"
#include "problem/checked.hpp"
#include "kernels/contract.hpp"
#include "plan/plan.hpp"
#include "source/stored.hpp"
#include "machine/workspace.hpp"

namespace convpp {

template <class T>
struct PatchView {
    Stored<T> base;  // plain where tiles read it: MapPlan::in_place is false for what is stored in another type
    std::array<int64_t, 3> step{0, 0, 0};      // from a pixel to the next sample, depth, row; 1 within a row
};

// The staged part of one axis: elements u + shift of `phases` phases.
struct StagedAxis {
    int64_t phases = 1, length = 1, shift_lo = 0;
};

inline StagedAxis staged_axis(const AxisMap& axis, int64_t pixels, int64_t tap_lo, int64_t tap_hi) {
    int64_t lo = axis.taps[static_cast<size_t>(tap_lo)].shift, hi = lo;
    for (int64_t t = tap_lo; t < tap_hi; ++t) {
        lo = std::min(lo, axis.taps[static_cast<size_t>(t)].shift);
        hi = std::max(hi, axis.taps[static_cast<size_t>(t)].shift);
    }
    return {static_cast<int64_t>(axis.phases.size()), pixels + hi - lo, lo};
}

// Elements of one channel's staged plane, with slack behind it for stores and loads of whole vectors.
inline int64_t staged_plane(const MapPlan& plan, const Box& pixels, const Box& taps) {
    int64_t total = pixels.extent(0);
    for (size_t a = 0; a < 3; ++a) {
        const StagedAxis staged = staged_axis(plan.map.axis[a], pixels.extent(a + 1), taps.lo[a + 1], taps.hi[a + 1]);
        total = checked_mul(total, checked_mul(staged.phases, staged.length, "the staged input"), "the staged input");
    }
    return total + 16;
}

// Fills offsets[k] of the block's pairs, given the step between channels and the position of a tap on each axis.
template <class Position>
void fill_offsets(const PatchBlock& block, int64_t channel_step, const Position& position, int64_t* offsets) {
    for (int64_t c = 0; c < block.channel_hi - block.channel_lo; ++c)
        for (int64_t d = block.taps.lo[1]; d < block.taps.hi[1]; ++d)
            for (int64_t h = block.taps.lo[2]; h < block.taps.hi[2]; ++h)
                for (int64_t w = block.taps.lo[3]; w < block.taps.hi[3]; ++w)
                    *offsets++ = c * channel_step + position(0, d) + position(1, h) + position(2, w);
}

// Where the weights of a tap lie, axis by axis: a position for fill_offsets.
inline auto weight_position(const Plan& plan, const MapPlan& m) {
    return [&](size_t a, int64_t t) { return m.map.axis[a].taps[static_cast<size_t>(t)].weight * plan.weights.axis[a]; };
}

template <class T>
PatchView<T> view_in_place(const MapPlan& plan, const TensorStrides& strides, const Stored<T>& source,
                           const Box& pixels, const PatchBlock& block, int64_t* offsets) {
    PatchView<T> view;
    view.step = {strides.batch, plan.map.axis[0].source_step * strides.axis[0],
                 plan.map.axis[1].source_step * strides.axis[1]};
    view.base = source + pixels.lo[0] * view.step[0] + pixels.lo[1] * view.step[1] + pixels.lo[2] * view.step[2] +
                pixels.lo[3] + block.channel_lo * strides.channel;
    const auto position = [&](size_t a, int64_t t) {
        return plan.map.axis[a].taps[static_cast<size_t>(t)].offset * strides.axis[a];
    };
    fill_offsets(block, strides.channel, position, offsets);
    return view;
}

// The staged elements of one phase of an axis: [zeros | source from `first`, source_step apart | zeros].
struct Segment {
    int64_t zeros_before = 0, count = 0, first = 0;
};

inline Segment inside_part(const AxisMap& axis, int64_t start, int64_t length, int64_t phase) {
    const int64_t at = start * axis.source_step + phase;  // source index of the first element
    const int64_t lo = std::clamp<int64_t>(ceil_div(-at, axis.source_step), 0, length);
    const int64_t hi = std::clamp<int64_t>(floor_div(axis.source_extent - 1 - at, axis.source_step) + 1, lo, length);
    return {lo, hi - lo, at + lo * axis.source_step};
}

// How a box of pixels and a block of patches are staged: the same for all groups, so that it is found out once for them.
struct Staging {
    bool in_place = false;
    kernels::Band* bands = nullptr;  // of a channel
    int64_t band_count = 0, band_rows = 0, band_pitch = 0;  // rows and elements of a row of each band
    int64_t row_step = 0, step = 0;  // of the source, from row to row and within rows
    int64_t plane = 0;               // elements of a staged channel
    std::array<int64_t, 3> pixel_step{0, 0, 0};
    int64_t* offsets = nullptr;      // of the block's pairs
    BorderMap border;                     // of a sample's channel
    int64_t samples = 0, sample_lo = 0, sample = 0;  // the box's, and elements of a staged one
};

// Positions of each axis that a box stages, at most.
inline std::array<int64_t, 3> most_staged(const MapPlan& plan) {
    const Box pixels = plan.boxes.box(0);
    std::array<int64_t, 3> most{};
    for (int64_t b = 0; b < plan.patches.taps.count(); ++b) {
        const Box taps = plan.patches.taps.box(b);
        for (size_t a = 0; a < 3; ++a) {
            const StagedAxis staged =
                staged_axis(plan.map.axis[a], pixels.extent(a + 1), taps.lo[a + 1], taps.hi[a + 1]);
            most[a] = std::max(most[a], staged.phases * staged.length);
        }
    }
    return most;
}

// Bands a box needs, of one channel: one for each sample, staged slice, and phase of height and width.
inline int64_t most_bands(const MapPlan& plan) {
    const Box pixels = plan.boxes.box(0);
    int64_t most = 0;
    for (int64_t b = 0; b < plan.patches.taps.count(); ++b) {
        const Box taps = plan.patches.taps.box(b);
        const StagedAxis depth = staged_axis(plan.map.axis[0], pixels.extent(1), taps.lo[1], taps.hi[1]);
        most = std::max(most, pixels.extent(0) * depth.phases * depth.length);
    }
    return most * static_cast<int64_t>(plan.map.axis[1].phases.size() * plan.map.axis[2].phases.size());
}

// The buffers of one thread.  With a measuring carver the constructor only counts.
template <class T>
struct PatchBuffers {
    T* staged = nullptr;
    int64_t* offsets = nullptr;   // of the block's pairs
    int64_t* columns = nullptr;   // of the pixels of a row in a channels_last source
    Staging staging;

    PatchBuffers(Carver& carver, const Plan& plan, int64_t lanes, bool used = true) {
        if (used) take(carver, plan.maps, lanes);
    }
    // Of other maps than the plan's.
    template <class Map>
    PatchBuffers(Carver& carver, const std::vector<Map>& maps, int64_t lanes) {
        take(carver, maps, lanes);
    }

private:
    template <class Maps>
    void take(Carver& carver, const Maps& maps, int64_t lanes) {
        int64_t staged_elems = 0, pairs = 0, row = 0, bands = 0;
        std::array<int64_t, 3> folded{};
        for (const MapPlan& m : maps) {
            pairs = std::max(pairs, m.patches.largest());
            if (m.in_place) continue;
            bands = std::max(bands, most_bands(m));
            if (m.map.has_border()) folded = most_staged(m);  // it is then the only map
            const Box pixels = m.boxes.box(0);
            for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
                const Box taps = m.patches.taps.box(b);
                staged_elems = std::max(staged_elems, checked_mul(m.patches.channels_per_block,
                                                                  staged_plane(m, pixels, taps), "the staged input"));
                row = std::max(row, staged_axis(m.map.axis[2], pixels.extent(3), taps.lo[3], taps.hi[3]).length);
            }
        }
        staged = carver.take<T>(staged_elems + row + 2 * lanes);  // a row's padding may be written behind the last one
        offsets = carver.take<int64_t>(pairs);
        columns = carver.take<int64_t>(row);
        staging.offsets = offsets;
        staging.bands = carver.take<kernels::Band>(bands);
        if (folded[2] > 0) staging.border = BorderMap(carver, folded);
    }
};

inline void find_bands(const MapPlan& plan, const TensorStrides& strides, const Box& pixels, const PatchBlock& block,
                       Staging& staging) {
    const std::array<AxisMap, 3>& axis = plan.map.axis;
    std::array<StagedAxis, 3> staged;
    for (size_t a = 0; a < 3; ++a)
        staged[a] = staged_axis(axis[a], pixels.extent(a + 1), block.taps.lo[a + 1], block.taps.hi[a + 1]);
    const int64_t length = staged[2].length, height = staged[1].length;
    const int64_t band_elems = height * length, row_phase = staged[2].phases * band_elems;
    const int64_t slice = staged[1].phases * row_phase, slice_phase = staged[0].length * slice;
    const int64_t sample = staged[0].phases * slice_phase;
    staging.plane = pixels.extent(0) * sample + 16;
    staging.band_rows = height;
    staging.band_pitch = length;
    staging.row_step = axis[1].source_step * strides.axis[1];
    staging.step = axis[2].source_step * strides.axis[2];
    staging.pixel_step = {sample, slice, length};
    kernels::Band* band = staging.bands;
    for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
        for (const int64_t phase_d : axis[0].phases)
            for (int64_t ld = 0; ld < staged[0].length; ++ld) {
                const int64_t d = (pixels.lo[1] + staged[0].shift_lo + ld) * axis[0].source_step + phase_d;
                const bool outside = d < 0 || d >= axis[0].source_extent;
                for (const int64_t phase_h : axis[1].phases) {
                    const Segment rows = inside_part(axis[1], pixels.lo[2] + staged[1].shift_lo, height, phase_h);
                    for (const int64_t phase_w : axis[2].phases) {
                        const Segment part = inside_part(axis[2], pixels.lo[3] + staged[2].shift_lo, length, phase_w);
                        if (outside || rows.count == 0 || part.count == 0) *band++ = {0, band_elems, 0, 0, band_elems};
                        else
                            *band++ = {n * strides.batch + d * strides.axis[0] + rows.first * strides.axis[1] +
                                           part.first * strides.axis[2],
                                       rows.zeros_before * length + part.zeros_before, rows.count, part.count,
                                       band_elems};
                    }
                }
            }
    staging.band_count = band - staging.bands;

    const std::array<int64_t, 3> unit{slice, length, 1}, phase_unit{slice_phase, row_phase, band_elems};
    const auto position = [&](size_t a, int64_t t) {
        const Tap& tap = axis[a].taps[static_cast<size_t>(t)];
        return tap.phase * phase_unit[a] + (tap.shift - staged[a].shift_lo) * unit[a];
    };
    fill_offsets(block, staging.plane, position, staging.offsets);

    if (!staging.border.used()) return;
    std::array<CopiedAxis, 3> copied;
    for (size_t a = 0; a < 3; ++a)
        copied[a] = {(pixels.lo[a + 1] + staged[a].shift_lo) * axis[a].source_step,
                     staged[a].length,
                     unit[a],
                     axis[a].source_step,
                     axis[a].phases.data(),
                     staged[a].phases,
                     phase_unit[a]};
    staging.border.find(plan.map, strides, copied);
    staging.samples = pixels.extent(0);
    staging.sample_lo = pixels.lo[0] * strides.batch;
    staging.sample = sample;
}

// A channels_last source is transposed on the way: row by row, all channels at once.
template <class T>
void stage_channels_last(const kernels::KernelTable<T>& kernel, const Staging& staging, const Stored<T>& from,
                         int64_t channels, int64_t* columns, T* to) {
    const int64_t length = staging.band_pitch;
    for (int64_t l = 0; l < length; ++l) columns[l] = l * staging.step;
    const kernels::Run run{0, 0, channels};
    const auto zero_planes = [&](T* at, int64_t count) {
        for (int64_t c = 0; count > 0 && c < channels; ++c) std::fill_n(at + c * staging.plane, count, T(0));
    };
    for (const kernels::Band* band = staging.bands; band != staging.bands + staging.band_count; ++band) {
        zero_planes(to, band->before);
        T* at = to + band->before;
        for (int64_t i = 0; i < band->rows; ++i, at += length) {
            reading(kernel, from)
                .transpose_panel((from + (band->from + i * staging.row_step)).at, columns, band->count, &run, 1, at,
                                 staging.plane, from.end);
            // Zeros up to where the next row's elements begin, or the band ends.
            zero_planes(at + band->count, std::min(length, to + band->elems - at) - band->count);
        }
        if (at < to + band->elems) zero_planes(at, to + band->elems - at);
        to += band->elems;
    }
}

// What lies outside of x, of all channels.
template <class T>
void stage_outside(const TensorStrides& strides, const Stored<T>& from, int64_t channels, const Staging& staging,
                   T* to) {
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t n = 0; n < staging.samples; ++n)
            fill_outside(staging.border, from + c * strides.channel + staging.sample_lo + n * strides.batch, 1,
                         to + c * staging.plane + n * staging.sample);
}

template <class T>
PatchView<T> stage_channels(const kernels::KernelTable<T>& kernel, const TensorStrides& strides,
                            const Stored<T>& source, int64_t channels, const Staging& staging,
                            const PatchBuffers<T>& buffers) {
    if (strides.axis[2] == 1) {
        for (int64_t c = 0; c < channels; ++c) {
            // A channel's part is short, and the next one's in other pages: memory streams only if it is asked for
            // (measured: 26 MB in pieces of 3 KiB arrive at 53 GB/s instead of 35).
            const int64_t prefetch = c + 1 < channels ? strides.channel : 0;
            reading(kernel, source)
                .copy_bands((source + c * strides.channel).at, staging.bands, staging.band_count, staging.row_step,
                            staging.step, buffers.staged + c * staging.plane, staging.band_pitch, source.end, prefetch);
        }
    } else {
        stage_channels_last(kernel, staging, source, channels, buffers.columns, buffers.staged);
    }
    if (staging.border.used()) stage_outside(strides, source, channels, staging, buffers.staged);
    return {{buffers.staged, channels * staging.plane}, staging.pixel_step};
}

// `staging` is what was found for the same pixels and block before, or to be found: `fresh`.
template <class T>
PatchView<T> stage_patches(const kernels::KernelTable<T>& kernel, const MapPlan& plan, const TensorStrides& strides,
                           Stored<T> source, const Box& pixels, const PatchBlock& block, Staging& staging, bool fresh,
                           const PatchBuffers<T>& buffers) {
    if (plan.in_place) return view_in_place(plan, strides, source, pixels, block, staging.offsets);
    if (fresh) find_bands(plan, strides, pixels, block, staging);
    source += block.channel_lo * strides.channel;
    return stage_channels(kernel, strides, source, block.channel_hi - block.channel_lo, staging, buffers);
}

// The same with the buffers' own Staging, found anew.
template <class T>
PatchView<T> stage_patches(const kernels::KernelTable<T>& kernel, const MapPlan& plan, const TensorStrides& strides,
                           Stored<T> source, const Box& pixels, const PatchBlock& block,
                           const PatchBuffers<T>& buffers) {
    Staging staging = buffers.staging;
    return stage_patches(kernel, plan, strides, source, pixels, block, staging, true, buffers);
}

// Calls row(alpha, count) for the rows of a box of pixels, in order; neighbouring rows are not yet joined.
template <class Row>
void for_each_row(const Box& pixels, const std::array<int64_t, 3>& step, const Row& row) {
    for (int64_t n = 0; n < pixels.extent(0); ++n)
        for (int64_t d = 0; d < pixels.extent(1); ++d)
            for (int64_t h = 0; h < pixels.extent(2); ++h)
                row(n * step[0] + d * step[1] + h * step[2], pixels.extent(3));
}

// The runs of a box's pixels, cut at multiples of `width`: panel p has runs[first[p] .. first[p+1]), whose dst is the
// position within the panel.  Rows that follow each other in memory become one run.
inline void panel_runs(const Box& pixels, const std::array<int64_t, 3>& step, int64_t width, kernels::Run* runs,
                       int64_t* first) {
    int64_t position = 0, count = 0;  // of pixels, of runs
    first[0] = 0;
    for_each_row(pixels, step, [&](int64_t alpha, int64_t left) {
        while (left > 0) {
            const int64_t column = position % width, take = std::min(left, width - column);
            if (column > 0 && runs[count - 1].src + runs[count - 1].count == alpha) runs[count - 1].count += take;
            else runs[count++] = {alpha, column, take};
            alpha += take;
            left -= take;
            position += take;
            if (position % width == 0) first[position / width] = count;
        }
    });
    first[ceil_div(position, width)] = count;
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
