// Sums of the weight gradient as rows of a product: [filter][pair], or its transpose; and panels of the operands.
//
// In:  a Plan, a product, a box of pixels, the operands.   Out: panels of x and dy; sums; dw.
// Next: packed/grad.hpp and indirect/grad.hpp, which pack both or one of the operands; rows/grad.hpp, which packs none.
#pragma once

#include <algorithm>
#include <cmath>

#include "plan/tasks.hpp"
#include "source/padded.hpp"
#include "source/staged.hpp"
#include "strategies/operands.hpp"
#include "weights/panels.hpp"

namespace convpp {

// Pixels of a run, of a box that has so many: alike, or nearly.  In a sum of n terms with one sign, runs of s add the
// error of s*s/n steps, and n pixels are enough runs and boxes to keep that near what 24 steps round.
inline int64_t pixel_run(const Plan& plan, int64_t pixels) {
    constexpr double steps = 24.0;
    const double all = static_cast<double>(plan.maps[0].map.pixels()) * static_cast<double>(plan.batch());
    const auto most = static_cast<int64_t>(std::sqrt(steps * all));
    return ceil_div(pixels, ceil_div(pixels, std::max<int64_t>(most, 1)));
}

// How the sums of one product lie in memory: rows of whole vectors.
struct SumLayout {
    int64_t patch_width, channel_width;  // of the panels
    int64_t elems;  // of the largest product's sums
    int64_t pairs, most;  // of a block, in whole panels; rows or columns at most, and a vector

    template <class T>
    SumLayout(const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const Widths width = panel_widths(plan, kernel);
        patch_width = width.pixels;  // patches take the place of the products' pixels
        channel_width = width.channels;
        pairs = round_up(plan.maps[0].patches.largest(), patch_width);
        elems = plan.tasks.channel_block * pairs;
        most = std::max(pairs, plan.tasks.channel_block) + kernel.lanes;
    }
};

// The pitch of a product's rows of sums: its columns in whole vectors.
template <class T>
int64_t sum_pitch(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product) {
    return round_up(plan.tile.pixels_are_columns ? product.block.size() : product.channels, kernel.lanes);
}

// The rows of a product's sums.
inline int64_t sum_rows_of(const Plan& plan, const SumProduct& product) {
    return plan.tile.pixels_are_columns ? product.channels : product.block.size();
}

// What a thread needs to write rows of sums.
template <class T>
struct RowWriting {
    const T** rows = nullptr;  // of the sums
    int64_t* offsets = nullptr;  // of pairs in dw

    RowWriting(Carver& carver, const SumLayout& layout, int64_t offset_count = 0) {
        rows = carver.take<const T*>(layout.most);
        offsets = carver.take<int64_t>(std::max(offset_count, layout.most));
    }
};

// Rows [row_lo, row_hi) of a product's sums become dw.
template <class T>
void write_rows(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, const T* sums,
                int64_t row_lo, int64_t row_hi, const Operands<T>& operands, const RowWriting<T>& buffers) {
    const int64_t pitch = sum_pitch(plan, kernel, product), pairs = product.block.size();
    int64_t* const offsets = buffers.offsets;
    fill_offsets(product.block, plan.weights.source_channel, weight_position(plan, plan.maps[0]), offsets);
    const bool by_patch = plan.tile.pixels_are_columns;
    const int64_t channel_step = by_patch ? pitch : 1, pair_step = by_patch ? 1 : pitch;
    const int64_t channel_lo = by_patch ? row_lo : 0, channel_hi = by_patch ? row_hi : product.channels;
    const int64_t pair_lo = by_patch ? 0 : row_lo, pair_hi = by_patch ? pairs : row_hi;
    T* const dw = operands.result.plain() + product.group * plan.weights.group +
                  product.channel_lo * plan.weights.result_channel +
                  product.block.channel_lo * plan.weights.source_channel;
    if (operands.accumulate) {
        for (int64_t c = channel_lo; c < channel_hi; ++c)
            for (int64_t k = pair_lo; k < pair_hi; ++k)
                dw[c * plan.weights.result_channel + offsets[k]] += sums[c * channel_step + k * pair_step];
        return;
    }
    // Of single taps, each filter's elements in turn: filters lie pages apart.  (Measured, 3x3 256-256 of 2x2: 2.5 times
    // as fast as pair by pair.)
    int64_t runs = 0;
    for (int64_t k = pair_lo; k < pair_hi; ++k) runs += k == pair_lo || offsets[k] != offsets[k - 1] + 1;
    constexpr int64_t short_run = 3;
    if (pair_hi - pair_lo <= short_run * runs) {
        for (int64_t c = channel_lo; c < channel_hi; ++c)
            for (int64_t k = pair_lo; k < pair_hi; ++k)
                dw[c * plan.weights.result_channel + offsets[k]] = sums[c * channel_step + k * pair_step];
        return;
    }
    if (!by_patch)
        for (int64_t k = pair_lo; k < pair_hi; ++k) buffers.rows[k] = sums + k * pitch;
    for (int64_t first = pair_lo, end = first + 1; first < pair_hi; first = end++) {  // pairs that lie together in dw
        while (end < pair_hi && offsets[end] == offsets[end - 1] + 1) ++end;
        T* const to = dw + channel_lo * plan.weights.result_channel + offsets[first];
        if (by_patch)
            kernel.store_rows(sums + channel_lo * pitch + first, pitch, channel_hi - channel_lo, end - first, to,
                              plan.weights.result_channel);
        else
            kernel.transpose_rows(buffers.rows + first, end - first, product.channels, to, plan.weights.result_channel);
    }
}

// A strategy's part in sum_loop.hpp, where sums are rows: a thread's buffers, made of (carver, plan, kernel), with
// `sums` and `writing`; the sums of a task.
template <class T, class ThreadsBuffers, auto RunTask>
struct RowSums {
    using Buffers = ThreadsBuffers;
    static constexpr auto run = RunTask;
    static constexpr bool cuts_rows = true;
    static int64_t elems(const Plan& plan, const kernels::KernelTable<T>& kernel) {
        return SumLayout(plan, kernel).elems;
    }
    static int64_t rows(const Plan& plan, const SumProduct& product) { return sum_rows_of(plan, product); }
    static int64_t pitch(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product) {
        return sum_pitch(plan, kernel, product);
    }
    static void write(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product, const T* sums,
                      int64_t row_lo, int64_t row_hi, const Operands<T>& operands, const Buffers& buffers) {
        write_rows(plan, kernel, product, sums, row_lo, row_hi, operands, buffers.writing);
    }
};

// Whether a panel of patches is copied straight from the pixels, all channels of each.
inline bool copies_patches(const Plan& plan) { return plan.maps[0].in_place && plan.source.strides.axis[2] != 1; }

// Whether dy is the panel that it would be packed into: in channels_last, where its channels fill one.  (The pixels of a
// box follow each other in dy.)
inline bool dy_is_panel(const Plan& plan, int64_t width) {
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    const TensorStrides& dy = plan.result;
    return !plan.converts() && dy.channel == 1 && plan.tasks.channels == width && dy.axis[2] == width &&
           dy.axis[1] == axis[2].count * dy.axis[2] && dy.axis[0] == axis[1].count * dy.axis[1] &&
           dy.batch == axis[0].count * dy.axis[0];
}

template <class T>
const T* panel_in_place(const Plan& plan, const Operands<T>& operands, const Box& pixels) {
    const TensorStrides& dy = plan.result;
    return (operands.dy + (pixels.lo[0] * dy.batch + pixels.lo[1] * dy.axis[0] + pixels.lo[2] * dy.axis[1] +
                           pixels.lo[3] * dy.axis[2]))
        .plain();
}

// What a thread needs to pack the operands that `packs_patches` and `packs_channels` name.
template <class T>
struct PanelBuffers {
    Staging<T> patches;  // where patches are packed from staged planes
    SourceCopy<T> padded;  // where they are copied straight, or read one by one
    T* patch_panels = nullptr;
    T* channel_panels = nullptr;
    kernels::Run* runs = nullptr;
    int64_t* x_offset = nullptr;  // of pixels, where patches are copied
    RowWriting<T> writing;
    int64_t* dy_offset = nullptr;  // of pixels, or of channels

    PanelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel, bool packs_patches,
                 bool packs_channels)
        : PanelBuffers(carver, plan, kernel, SumLayout(plan, kernel), packs_patches, packs_channels) {}

private:
    PanelBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel, const SumLayout& layout,
                 bool packs_patches, bool packs_channels)
        : patches(packs_patches ? Staging<T>(carver, plan.maps, kernel.lanes) : Staging<T>()),
          padded(!packs_patches || copies_patches(plan) ? padded_copy<T>(carver, plan, kernel.lanes) : SourceCopy<T>()),
          writing(carver, layout, std::max(plan.maps[0].boxes.largest(), layout.channel_width)) {
        const MapPlan& m = plan.maps[0];
        const int64_t pixels = m.boxes.largest();
        dy_offset = writing.offsets;
        patch_panels = carver.take<T>(packs_patches ? pixels * layout.pairs + kernel.lanes : 0);
        channel_panels = carver.take<T>(packs_channels ? pixels * plan.tasks.channel_block + kernel.lanes : 0);
        runs = carver.take<kernels::Run>(most_runs(m.boxes.box(0), pixels));
        x_offset = carver.take<int64_t>(packs_patches && copies_patches(plan) ? pixels : 0);
    }
};

// panel[pixel][filter] of dy.
template <class T, class Buffers>
void pack_dy(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product,
             const Operands<T>& operands, const Box& pixels, int64_t width, const Buffers& buffers) {
    const TensorStrides& strides = plan.result;
    const int64_t count = pixels.elems();
    Stored<T> base = first_dy(plan, product, operands);
    const kernels::Readers<T>& read = reading(kernel, base);
    const bool channels_lie_together = strides.channel == 1;
    int64_t first_run[2] = {0, 0};
    if (channels_lie_together) {
        result_offsets(plan.maps[0].map, strides, pixels, buffers.dy_offset);
    } else {
        const PixelSteps step{strides.batch, strides.axis[0], strides.axis[1], 1};
        base += pixels.lo[0] * step[0] + pixels.lo[1] * step[1] + pixels.lo[2] * step[2] + pixels.lo[3];
        panel_runs(pixels, step, count, buffers.runs, first_run);
    }
    for (int64_t first = 0; first < product.channels; first += width) {
        const int64_t channel = product.channel_lo + first, valid = std::min(width, product.channels - first);
        T* panel = buffers.channel_panels + first * count;
        if (valid < width) std::fill_n(panel, count * width, T(0));
        if (channels_lie_together) {
            const kernels::Run run{channel, 0, valid};
            read.copy_panel(base.at, buffers.dy_offset, count, &run, 1, panel, width, base.end);
        } else {
            for (int64_t j = 0; j < valid; ++j) buffers.dy_offset[j] = (channel + j) * strides.channel;
            read.transpose_panel(base.at, buffers.dy_offset, valid, buffers.runs, first_run[1], panel, width, base.end);
        }
    }
}

// panel[pixel][pair] of the patches of x.
template <class T>
void pack_patches(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumProduct& product,
                  const Operands<T>& operands, const Box& pixels, int64_t width, const PanelBuffers<T>& buffers) {
    const int64_t count = pixels.elems(), pairs = product.block.size();
    const Patches patches{plan.maps[0], plan.source.strides, pixels, product.block};
    if (copies_patches(plan)) {
        const SourceView<T> view = view_pixels(kernel, patches, first_x(plan, product, operands), buffers.padded);
        int64_t* offset = buffers.x_offset;
        for_each_pixel(view, pixels, [&](int64_t alpha) { *offset++ = alpha + buffers.padded.offsets[0]; });
        for (int64_t first = 0; first < pairs; first += width) {
            const kernels::Run run{first, 0, std::min(width, pairs - first)};
            T* panel = buffers.patch_panels + first * count;
            if (run.count < width) std::fill_n(panel, count * width, T(0));
            reading(kernel, view.base)
                .copy_panel(view.base.at, buffers.x_offset, count, &run, 1, panel, width, view.base.end);
        }
        return;
    }
    const SourceView<T> view = stage_patches(kernel, patches, first_x(plan, product, operands), buffers.patches);
    int64_t first_run[2] = {0, 0};
    panel_runs(pixels, view.step, count, buffers.runs, first_run);
    for (int64_t first = 0; first < pairs; first += width) {
        const int64_t valid = std::min(width, pairs - first);
        T* panel = buffers.patch_panels + first * count;
        if (valid < width) std::fill_n(panel, count * width, T(0));
        reading(kernel, view.base)
            .transpose_panel(view.base.at, buffers.patches.offsets + first, valid, buffers.runs, first_run[1], panel,
                             width, view.base.end);
    }
}

}  // namespace convpp
