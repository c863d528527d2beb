// Groups of few channels, as of depthwise layers, with neighbouring channels side by side: what the kernels that run
// along the channels (kernels/channel/) are given of a class of pixels, for which all its taps read inside.
//
// In:  planes of some channels of a sample, a class of pixels.   Out: the same planes as vectors; rows, taps' offsets.
// Next: lane_products.hpp, lane_sums.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "machine/dispatch.hpp"
#include "machine/workspace.hpp"
#include "problem/border.hpp"
#include "repair/shape.hpp"
#include "source/stored.hpp"

namespace convpp {

// Planes up to this are copied, so that what all taps read stays in the caches; of several samples, if they are smaller
// still.
inline constexpr int64_t small_plane = 4096, copied_at_once = 2048;

// Which of the kernels along the channels serves a plan's groups; none: -1.
template <class T>
int lane_kernel(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    const Geometry& g = plan.problem.geometry();
    const int64_t each = g.in_channels / g.groups;
    const int64_t pixels = std::max(source_pixels(plan), y_pixels(plan));
    // (Copies of channels_last are no larger than a sample; those of a few lanes would be.)
    const bool fills_lanes = plan.channels_last() && g.in_channels >= kernel.lanes;
    if (g.groups == 1 || g.in_channels != g.out_channels || plan.maps[0].map.has_border()) return -1;
    if (!fills_lanes && pixels > small_plane) return -1;
    for (int i = 0; i < kernels::channel_groups; ++i)
        if (int64_t(1) << i == each && kernel.channel_tiles[i] != nullptr) return i;
    return -1;
}

// Planes of some channels: where they begin, from pixel to pixel along each axis, from channel to channel (vectors have
// them side by side) and from sample to sample.
template <class T>
struct RepairPlanes {
    const T* at = nullptr;
    Extents step{};
    int64_t channel = 1, sample = 0;
};

// What a thread needs.
template <class T>
struct RepairLanes {
    static constexpr int64_t most_pixels = 128;  // rows of a kernel's call, and pixels of its results
    int kernel_index;
    int64_t group = 0;  // channels
    int64_t samples = 1;  // whose planes are copied at once
    T *source, *dy;  // copied planes
    T *all, *some, *sums;  // weights or sums [channel of the group][tap][lane], of a class; results
    int64_t *offsets, *channel_at;
    bool* again;  // [tap][lane]
    kernels::VectorAt* rows;

    RepairLanes(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : kernel_index(lane_kernel(plan, kernel)) {
        const bool used = kernel_index >= 0, sums_pixels = plan.pass == Pass::weight_grad;
        group = used ? int64_t(1) << kernel_index : 0;
        int64_t taps = 0;
        for (const MapPlan& m : plan.maps) taps = std::max(taps, m.map.taps());
        const int64_t vectors = checked_mul(group, taps, "the workspace");
        if (!sums_pixels || y_pixels(plan) > 0)
            samples = std::max<int64_t>(
                copied_at_once / std::max<int64_t>({source_pixels(plan), sums_pixels ? y_pixels(plan) : 1, 1}), 1);
        source = carver.take<T>(copied(plan, kernel, false, source_pixels(plan)));
        dy = carver.take<T>(sums_pixels ? copied(plan, kernel, true, y_pixels(plan)) : 0);
        all = carver.take<T>(checked_mul(vectors, kernel.lanes, "the workspace"));
        some = carver.take<T>(vectors * kernel.lanes);
        sums = carver.take<T>(used && !sums_pixels ? most_pixels * kernel.lanes : 0);
        offsets = carver.take<int64_t>(used ? taps : 0);
        channel_at = carver.take<int64_t>(used ? kernel.lanes : 0);
        rows = carver.take<kernels::VectorAt>(used ? most_pixels : 0);
        again = carver.take<bool>(used && sums_pixels ? taps * kernel.lanes : 0);
    }

    // `count` channels of the planes of some samples, of dy or of the source; the first one is at `from`.
    RepairPlanes<T> planes(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& from,
                           const TensorStrides& strides, const Extents& extent, int64_t count, int64_t its_samples,
                           bool is_dy) const {
        T* const copy = is_dy ? dy : source;
        const int64_t pixels = extent[0] * extent[1] * extent[2], lanes = kernel.lanes;
        if (reads_in_place(plan, is_dy, pixels) && count == lanes)
            return {from.plain(), strides.axis, 1, strides.batch};
        const kernels::Readers<T>& read = reading(kernel, from);
        for (int64_t j = 0; j < count; ++j) channel_at[j] = j * strides.channel;
        const kernels::Run run{0, 0, pixels};
        for (int64_t n = 0; n < its_samples; ++n) {
            const Stored<T> sample = from + n * strides.batch;
            T* const to = copy + n * pixels * lanes;
            if (plan.channels_last()) read.split_channels(sample.at, strides.axis[2], pixels, count, to, 0, from.end);
            else read.transpose_panel(sample.at, channel_at, count, &run, 1, to, lanes, from.end);
        }
        return {copy, {extent[1] * extent[2] * lanes, extent[2] * lanes, lanes}, 1, pixels * lanes};
    }

private:
    // (Elements of dy are read once or twice.)
    static bool reads_in_place(const Plan& plan, bool is_dy, int64_t pixels) {
        return plan.channels_last() && !plan.converts() && (is_dy || pixels > small_plane);
    }
    int64_t copied(const Plan& plan, const kernels::KernelTable<T>& kernel, bool is_dy, int64_t pixels) const {
        const bool whole = plan.problem.geometry().out_channels % kernel.lanes == 0;
        if (kernel_index < 0 || (whole && reads_in_place(plan, is_dy, pixels))) return 0;
        return checked_mul(checked_mul(samples, pixels, "the workspace") + 1, kernel.lanes, "the workspace");
    }
};

// A map's taps in the order of what they read along the width, as they are kept, and where its pixels read them.
class LaneTaps {
public:
    // `step`: of the planes that are read.
    LaneTaps(const IndexMap& map, const Border& border, const Extents& step)
        : extents_(border.tap_extents()),
          axis_{SourceSteps(map.axis[0], step[0]), SourceSteps(map.axis[1], step[1]),
                SourceSteps(map.axis[2], step[2])},
          turned_(axis_[2].tap < 0) {}

    int64_t index(const Extents& tap) const {
        return (tap[0] * extents_[1] + tap[1]) * extents_[2] + (turned_ ? extents_[2] - 1 - tap[2] : tap[2]);
    }
    // How many taps in turn are as far apart as pixels.
    int64_t line(const std::array<Span, 3>& taps) const {
        return std::abs(axis_[2].tap) == axis_[2].pixel ? taps[2].length() : 1;
    }
    int64_t pixel_step() const { return axis_[2].pixel; }
    // Where a pixel reads at the first tap of a box.
    int64_t at(const std::array<Span, 3>& taps, const Extents& u) const {
        return axis_[0].at(u[0], taps[0].lo) + axis_[1].at(u[1], taps[1].lo) + axis_[2].at(u[2], first(taps));
    }
    // How far behind the first one the taps of a box read.
    void find_offsets(const std::array<Span, 3>& taps, int64_t* offsets) const {
        const int64_t width = taps[2].length(), next = std::abs(axis_[2].tap);
        for (int64_t d = 0; d < taps[0].length(); ++d)
            for (int64_t h = 0; h < taps[1].length(); ++h)
                for (int64_t i = 0; i < width; ++i) *offsets++ = d * axis_[0].tap + h * axis_[1].tap + i * next;
    }
    // visit(index among all taps, among those of a box, how many): taps that follow each other in both.
    template <class Visit>
    void for_each_stretch(const std::array<Span, 3>& taps, const Visit& visit) const {
        const int64_t width = taps[2].length();
        const bool whole = width == extents_[2];
        int64_t at = 0;
        for (int64_t d = taps[0].lo; d < taps[0].hi && width > 0; ++d)
            for (int64_t h = taps[1].lo, count = whole ? taps[1].length() : 1; h < taps[1].hi; h += count) {
                visit(index({d, h, first(taps)}), at, count * width);
                at += count * width;
            }
    }

private:
    int64_t first(const std::array<Span, 3>& taps) const { return turned_ ? taps[2].hi - 1 : taps[2].lo; }

    Extents extents_;
    std::array<SourceSteps, 3> axis_;
    bool turned_;
};

// Some rows of the pixels of a class in some samples at a time: place(row, pixels of it, sample, its first pixel), then
// use(rows, pixels).
template <class Place, class Use>
void for_each_rows(const PixelClass& of, int64_t samples, int64_t most_rows, int64_t most_pixels, const Place& place,
                   const Use& use) {
    const int64_t width = std::min(of.pixels[2].length(), most_pixels);
    if (width == 0) return;
    const int64_t at_once = std::clamp<int64_t>(most_pixels / width, 1, most_rows);
    for (int64_t w = of.pixels[2].lo; w < of.pixels[2].hi; w += width) {
        const int64_t count = std::min(width, of.pixels[2].hi - w);
        int64_t rows = 0;
        for (int64_t n = 0; n < samples; ++n)
            for (int64_t d = of.pixels[0].lo; d < of.pixels[0].hi; ++d)
                for (int64_t h = of.pixels[1].lo; h < of.pixels[1].hi; ++h) {
                    place(rows, count, n, Extents{d, h, w});
                    if (++rows < at_once) continue;
                    use(rows, count);
                    rows = 0;
                }
        if (rows > 0) use(rows, count);
    }
}

}  // namespace convpp
