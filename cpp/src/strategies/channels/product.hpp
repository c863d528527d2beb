// Layers whose groups are a few channels: vectors run along the channels, through several groups.
//
// In:  a Plan whose feed is channel_vectors, the operands, a task.   Out: the task's results.
// The plan counts all groups' channels as those of one group; every result channel reads Plan::group_channels of them.
//
// The source is read once and copied with its padding into vectors of channels, the pixels of each behind one another:
// what the taps share stays in L1, and pixels that lie a multiple of the cache's sets apart do not push each other out.
// channels_first planes are transposed on the way in and on the way out.  In both layouts all residue classes of a
// plane (the input gradient of a strided layer) are one task and share the copy, if the taps of each are one box.
// weight_grad.cpp uses the same copy.   Next: kernels/channel.hpp.
#pragma once

#include <algorithm>
#include <vector>

#include "result/order.hpp"
#include "weights/panels.hpp"
#include "source/padded.hpp"

namespace convpp {

// Index into the tables' functions for groups of 1, 2, 4, 8 channels; -1 if there is none.
inline int channel_kernel(int64_t group_channels) {
    for (int i = 0; i < kernels::channel_groups; ++i)
        if (group_channels == int64_t(1) << i) return i;
    return -1;
}

// What some maps' pixels of a box read with a box of their taps: one copy for all.  (Several maps have one box of taps.)
inline PaddedLayout channel_layout(const MapPlan* maps, int64_t map_count, const Box& box, int64_t taps,
                                   int64_t lanes) {
    constexpr const char* what = "the padded input";
    PaddedLayout layout;
    for (size_t a = 0; a < 3; ++a) {
        int64_t lo = 0, hi = 0;
        for (int64_t m = 0; m < map_count; ++m) {
            const Box pixels = pixels_of(maps[m], box), tap_box = maps[m].patches.taps.box(taps);
            if (pixels.extent(a + 1) == 0) continue;
            const ReadRange range = read_range(maps[m].map.axis[a], pixels.lo[a + 1], pixels.hi[a + 1],
                                               tap_box.lo[a + 1], tap_box.hi[a + 1]);
            if (hi == lo) lo = range.lo, hi = range.lo;
            lo = std::min(lo, range.lo);
            hi = std::max(hi, range.lo + range.length);
        }
        layout.range[a] = {lo, hi - lo};
    }
    TensorStrides& s = layout.strides;
    s.channel = 1;
    s.axis[2] = lanes;
    s.axis[1] = checked_mul(lanes, layout.range[2].length, what);
    s.axis[0] = checked_mul(s.axis[1], layout.range[1].length, what);
    s.batch = checked_mul(s.axis[0], layout.range[0].length, what);
    layout.elems = checked_mul(s.batch, box.extent(0), what);
    return layout;
}

// The padded copy of some vectors of channels, one behind the other.
template <class T>
struct ChannelCopy {
    PaddedBuffers<T> padded;
    kernels::Run* runs = nullptr;  // channels_first: the rows of a plane
    int64_t* channel_offset = nullptr;

    ChannelCopy(Carver& carver, const Plan& plan, int64_t lanes) : padded(carver, plan, lanes, false) {
        if (plan.feed != Feed::channel_vectors) return;
        int64_t elems = 0, rows = 0, taps = 0;
        std::array<int64_t, 3> folded{};
        for (const MapPlan& m : plan.maps) {
            taps = std::max(taps, m.patches.taps.largest());
            for (int64_t b = 0; m.classes > 0 && b < m.patches.taps.count(); ++b) {
                const PaddedLayout layout = channel_layout(&m, m.classes, m.pixels.box(0), b, lanes);
                elems = std::max(elems, layout.elems);
                rows = std::max(rows, layout.range[1].length);
                if (m.map.has_border()) lengthen(folded, layout);
            }
        }
        const int64_t vectors = plan.channels_last ? ceil_div(plan.channel_block, lanes) : 1;
        take(carver, checked_mul(elems, vectors, "the padded input"), rows, lanes);
        padded.offsets = carver.take<int64_t>(taps);
        if (folded[2] > 0) padded.border = BorderMap(carver, folded);
    }
    // Of a source, and of another tensor that takes its place.
    ChannelCopy(Carver& carver, const Plan& plan, const PaddedLayout& source, const PaddedLayout& other, int64_t lanes)
        : padded(carver, plan, lanes, false) {
        take(carver, std::max(source.elems, other.elems), std::max(source.range[1].length, other.range[1].length),
             lanes);
        std::array<int64_t, 3> folded{};
        lengthen(folded, source);
        if (plan.maps[0].map.has_border()) padded.border = BorderMap(carver, folded);
    }

private:
    void take(Carver& carver, int64_t elems, int64_t rows, int64_t lanes) {
        padded.copy = carver.take<T>(elems);
        runs = carver.take<kernels::Run>(rows);
        channel_offset = carver.take<int64_t>(lanes);
    }
};

inline int64_t most_rows(const Box& pixels) { return pixels.extent(0) * pixels.extent(1) * pixels.extent(2); }

template <class T>
struct ChannelBuffers {
    ChannelCopy<T> copy;
    int64_t* pairs = nullptr;  // offsets of a block's weights
    T* sums = nullptr;  // channels_first: of all pixels; channels_last: of a vector that is partly filled
    kernels::VectorAt* rows = nullptr;  // of pixels
    int64_t* result_rows = nullptr;  // where they begin in the result
    T** in_order = nullptr;  // channels_first: of each pixel, in sums
    ResultRun* runs = nullptr;

    ChannelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : copy(carver, plan, kernel.lanes) {
        int64_t pixels = 0, most_runs = 0, most_pairs = 0, rows_most = 0;
        for (const MapPlan& m : plan.maps) {
            most_pairs = std::max(most_pairs, m.patches.largest());
            pixels = std::max(pixels, m.pixels.largest() * std::max<int64_t>(m.classes, 1));
            most_runs = std::max(most_runs, most_result_runs(plan, m));
            rows_most = std::max(rows_most, most_rows(m.pixels.box(0)));
        }
        pairs = carver.take<int64_t>(most_pairs);
        sums = carver.take<T>(pixels * kernel.lanes);
        rows = carver.take<kernels::VectorAt>(rows_most);
        result_rows = carver.take<int64_t>(plan.channels_last ? rows_most : 0);
        in_order = carver.take<T*>(plan.channels_last ? 0 : pixels);
        runs = carver.take<ResultRun>(plan.channels_last ? 0 : most_runs);
    }
};

// A box of taps as a block of patches, of one channel.
inline PatchBlock taps_of(const MapPlan& m, int64_t index) {
    PatchBlock block = patch_block(m.patches, index);
    block.start /= m.patches.channels;  // taps before it
    block.channel_lo = 0;
    block.channel_hi = 1;
    return block;
}

// Copies `channels` channels from `channel` on of the part of a tensor that `layout` describes.
template <class T>
void copy_channels(const kernels::KernelTable<T>& kernel, const TensorStrides& from, const Extents& extents,
                   const Stored<T>& source, const Box& box, const PaddedLayout& layout, int64_t channel,
                   int64_t channels, bool channels_last, const ChannelCopy<T>& copy) {
    const kernels::Readers<T>& read = reading(kernel, source);
    const int64_t lanes = kernel.lanes, vectors = ceil_div(channels, lanes);
    const std::array<Segment, 3> inside = inside_parts(extents, layout);
    const TensorStrides& to = layout.strides;
    const bool first = !channels_last;
    const auto zero = [&](T* at, int64_t count) {
        for (int64_t v = 0; count > 0 && v < vectors; ++v) std::fill_n(at + v * layout.elems, count, T(0));
    };
    const int64_t before = inside[2].zeros_before * lanes, after = to.axis[1] - before - inside[2].count * lanes;
    if (first) {
        for (int64_t h = 0; h < inside[1].count; ++h)
            copy.runs[h] = {h * from.axis[1], h * layout.range[2].length, inside[2].count};
        for (int64_t c = 0; c < lanes; ++c) copy.channel_offset[c] = c * from.channel;
    }
    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t d = 0; d < layout.range[0].length; ++d) {
            T* const plane = copy.padded.copy + n * to.batch + d * to.axis[0];
            const int64_t depth = layout.range[0].lo + d;
            if (depth < 0 || depth >= extents[0] || inside[1].count == 0 || inside[2].count == 0) {
                zero(plane, to.axis[0]);
                continue;
            }
            T* const body = plane + inside[1].zeros_before * to.axis[1];
            const Stored<T> corner = source + (box.lo[0] + n) * from.batch + depth * from.axis[0] +
                                     inside[1].first * from.axis[1] + inside[2].first * from.axis[2] +
                                     channel * from.channel;
            zero(plane, body - plane);
            for (int64_t v = 0; first && v < vectors; ++v)
                read.transpose_panel((corner + v * lanes * from.channel).at, copy.channel_offset,
                                     std::min(lanes, channels - v * lanes), copy.runs, inside[1].count,
                                     body + before + v * layout.elems, lanes, source.end);
            for (int64_t h = 0; h < inside[1].count; ++h) {
                T* const row = body + h * to.axis[1];
                zero(row, before);
                if (!first)
                    read.split_channels((corner + h * from.axis[1]).at, from.axis[2], inside[2].count, channels,
                                        row + before, layout.elems, source.end);
                zero(row + to.axis[1] - after, after);
            }
            T* const behind = body + inside[1].count * to.axis[1];
            zero(behind, plane + to.axis[0] - behind);
        }
}

// What lies outside of x.  The lanes beyond the channels stay zeros.
template <class T>
void copy_channels_outside(const MapPlan& m, const TensorStrides& from, const Stored<T>& source, const Box& box,
                           const PaddedLayout& layout, int64_t channels, int64_t lanes, ChannelCopy<T> copy) {
    BorderMap& border = copy.padded.border;
    border.find(m.map, from, copied_axes(layout));
    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t v = 0; v * lanes < channels; ++v) {
            const int64_t valid = std::min(lanes, channels - v * lanes);
            T* const plane = copy.padded.copy + v * layout.elems + n * layout.strides.batch;
            with_elements(source + ((box.lo[0] + n) * from.batch + v * lanes * from.channel), [&](const auto* vector) {
                border.for_each_outside([&](const BorderStretch& stretch) {
                    for (int64_t i = 0; i < stretch.count; ++i)
                        copy_elements(vector + stretch.from + i * stretch.step, from.channel, valid,
                                      plane + stretch.to + i * lanes, 1);
                });
            });
        }
}

// The same of the source.
template <class T>
void copy_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                   const Box& box, const PaddedLayout& layout, int64_t channel, int64_t channels,
                   const ChannelCopy<T>& copy) {
    copy_channels(kernel, plan.source, source_extents(m.map), source, box, layout, channel, channels,
                  plan.channels_last, copy);
    if (copy.padded.border.used())
        copy_channels_outside(m, plan.source, source + channel * plan.source.channel, box, layout, channels,
                              kernel.lanes, copy);
}

// weights[channel of the group][tap][lane], one vector of result channels and box of taps after the other.
template <class T>
void pack_channel_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m,
                          const Stored<T>& weights, int64_t vector, T* packed, int64_t* offsets) {
    const int64_t group = plan.group_channels, lanes = kernel.lanes;
    for (int64_t b = 0; b < m.patches.taps.count(); ++b) {
        const PatchBlock block = patch_block(m.patches, b);
        fill_offsets(block, plan.weight_source_channel, weight_position(plan, m), offsets);
        for (int64_t k = 0; k < block.size(); ++k, packed += lanes)
            for (int64_t lane = 0; lane < lanes; ++lane) {
                const int64_t channel = vector * lanes + lane;
                const bool there = channel < plan.result_channels;
                packed[lane] = there ? weights[channel / group * plan.weight_group +
                                               channel % group * plan.weight_result_channel + offsets[k]]
                                     : T(0);
            }
    }
}

template <class T>
void pack_all_weights(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                      int threads, T* packed, const std::vector<ChannelBuffers<T>>& buffers) {
    const int64_t vectors = ceil_div(plan.result_channels, kernel.lanes);
    parallel_for(vectors, packing_threads(plan, threads), [&](int64_t vector, int thread) {
        for (const MapPlan& m : plan.maps)
            pack_channel_weights(plan, kernel, m, operands.weights, vector,
                                 packed + m.weights_at + vector * kernel.lanes * m.map.taps() * plan.group_channels,
                                 buffers[static_cast<size_t>(thread)].pairs);
    });
}

// Taps of a kernel's row that read neighbouring pixels, as neighbouring results do; otherwise they are lines of their own.
inline bool taps_are_lines(const AxisMap& axis, const Box& taps) {
    const auto offset = [&](int64_t t) { return axis.taps[static_cast<size_t>(t)].offset; };
    const int64_t step = taps.extent(3) > 1 ? offset(taps.lo[3] + 1) - offset(taps.lo[3]) : 0;
    for (int64_t t = taps.lo[3]; t + 1 < taps.hi[3]; ++t)
        if (offset(t + 1) - offset(t) != step) return false;
    return step == axis.source_step || step == -axis.source_step;
}

// The rows of a map's pixels: their sources in the padded copy.  `result(row)` is where the row's first result lies.  Where
// later taps read earlier pixels, rows are gone through from their ends.
template <class T, class Result>
kernels::PixelRows pixel_rows(const Box& pixels, const PixelView<T>& view, bool backwards, int64_t result_step,
                              const Result& result, kernels::VectorAt* rows) {
    const int64_t last = backwards ? pixels.extent(3) - 1 : 0, sign = backwards ? -1 : 1;
    int64_t count = 0;
    for_each_row(pixels, {view.step[0], view.step[1], view.step[2]}, [&](int64_t alpha, int64_t) {
        rows[count] = {alpha + last * view.step[3], result(count) + last * result_step};
        ++count;
    });
    return {rows, count, pixels.extent(3), sign * view.step[3], sign * result_step};
}

// The pixels of one map, for one vector of channels, to `result`, where row i begins at result_row(i).
template <class T, class ResultRow>
void multiply_channels(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Box& pixels,
                       const PatchBlock& taps, const PaddedLayout& layout, const T* packed, int64_t channel,
                       int64_t vector, kernels::Start start, const T* bias, T* result, int64_t result_step,
                       const ResultRow& result_row, const ChannelBuffers<T>& buffers) {
    const PixelView<T> view = padded_view(m, pixels, taps, layout, buffers.copy.padded);
    const bool lines = taps_are_lines(m.map.axis[2], taps.taps);
    const int64_t* const offsets = buffers.copy.padded.offsets;
    const bool backwards = lines && offsets[1] < offsets[0];
    const kernels::PixelRows rows = pixel_rows(pixels, view, backwards, result_step, result_row, buffers.rows);
    const int64_t of_vector = plan.group_channels * kernel.lanes;
    kernel.channel_tiles[channel_kernel(plan.group_channels)](
        taps.size(), lines ? taps.taps.extent(3) : 1, offsets, rows, view.base.plain() + vector * layout.elems,
        packed + m.weights_at + channel * m.map.taps() * plan.group_channels + taps.start * of_vector, result, start,
        bias + channel);
}

// What the sums of a box of taps begin with.
template <class T>
kernels::Start first_start(const ProductOperands<T>& operands, int64_t box_of_taps) {
    if (operands.accumulate || box_of_taps > 0) return kernels::Start::from_c;
    return operands.bias ? kernels::Start::column_bias : kernels::Start::zero;
}

// channels_last: the tiles write the results, but for a vector that is partly filled.
template <class T>
void run_channels_last(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                       const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const int64_t lanes = kernel.lanes;
    const Stored<T>& source = operands.source;
    // One vector of channels of a map's pixels.
    const auto multiply = [&](const MapPlan& m, int64_t b, const PaddedLayout& layout, int64_t channel, int64_t valid) {
        const Box pixels = pixels_of(m, task.pixels);
        const int64_t step = m.map.axis[2].result_step * plan.task_result.axis[2], columns = pixels.extent(3);
        const kernels::Start start = first_start(operands, b);
        const auto run = [&](T* result, int64_t result_step, const auto& result_row) {
            multiply_channels(plan, kernel, m, pixels, taps_of(m, b), layout, packed, channel,
                              (channel - task.channel_lo) / lanes, start, bias, result, result_step, result_row,
                              buffers);
        };
        int64_t* at = buffers.result_rows;
        for_each_result_row(m.map, plan.task_result, pixels, [&](int64_t offset) { *at++ = offset; });
        T* const result = operands.sums + channel;
        if (valid == lanes) return run(result, step, [&](int64_t row) { return buffers.result_rows[row]; });
        const auto for_each_result = [&](const auto& use) {  // use(where it is in sums, in the result)
            for (int64_t i = 0; i < pixels.elems(); ++i)
                use(buffers.sums + i * lanes, result + buffers.result_rows[i / columns] + i % columns * step);
        };
        if (start == kernels::Start::from_c) for_each_result([&](T* sum, const T* to) { std::copy_n(to, valid, sum); });
        run(buffers.sums, lanes, [&](int64_t row) { return row * columns * lanes; });
        for_each_result([&](const T* sum, T* to) { std::copy_n(sum, valid, to); });
    };
    for (int64_t b = 0; b < maps[0].patches.taps.count(); ++b) {
        const PaddedLayout layout = channel_layout(maps, task.map.classes, task.pixels, b, lanes);
        copy_channels(plan, kernel, maps[0], source, task.pixels, layout, task.channel_lo, task.channels, buffers.copy);
        for (int64_t channel = 0; channel < task.channels; channel += lanes)
            for (const MapPlan* m = maps; m != maps + task.map.classes; ++m)
                multiply(*m, b, layout, task.channel_lo + channel, std::min(lanes, task.channels - channel));
    }
}

// channels_first: a vector of channels at a time, transposed into the result.
template <class T>
void run_channels_first(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                        const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const int64_t lanes = kernel.lanes, end = task.channel_lo + task.channels;
    const Stored<T>& source = operands.source;
    const ResultBlock block(plan, task);
    const int64_t run_count = block.whole
                                  ? block.order(plan, task, buffers.sums, lanes, buffers.in_order, buffers.runs)
                                  : order_results(plan, task, buffers.sums, lanes, buffers.in_order, buffers.runs);
    for (int64_t channel = task.channel_lo; channel < end; channel += lanes) {
        const int64_t valid = std::min(lanes, end - channel);
        T* const result = operands.sums + channel * plan.task_result.channel;
        if (operands.accumulate) read_results(plan, buffers.in_order, buffers.runs, run_count, valid, result);
        for (int64_t b = 0; b < maps[0].patches.taps.count(); ++b) {
            const PaddedLayout layout = channel_layout(maps, task.map.classes, task.pixels, b, lanes);
            copy_channels(plan, kernel, maps[0], source, task.pixels, layout, channel, valid, buffers.copy);
            T* sums = buffers.sums;
            for (const MapPlan* m = maps; m != maps + task.map.classes; ++m) {
                const Box pixels = pixels_of(*m, task.pixels);
                if (pixels.elems() == 0) continue;
                const auto result_row = [&](int64_t row) {
                    return lanes * (block.whole ? block.before_row(*m, task, pixels, row) : row * pixels.extent(3));
                };
                multiply_channels(plan, kernel, *m, pixels, taps_of(*m, b), layout, packed, channel, 0,
                                  first_start(operands, b), bias, sums,
                                  block.whole ? m->map.axis[2].result_step * lanes : lanes, result_row, buffers);
                if (!block.whole) sums += pixels.elems() * lanes;
            }
        }
        write_results(plan, kernel, buffers.in_order, buffers.runs, run_count, valid, result);
    }
}

template <class T>
void run_channel_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                      const T* packed, const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    if (plan.channels_last) run_channels_last(plan, kernel, operands, packed, bias, buffers, task);
    else run_channels_first(plan, kernel, operands, packed, bias, buffers, task);
}

}  // namespace convpp
