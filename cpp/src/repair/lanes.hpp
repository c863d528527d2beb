// Groups of few channels, as of depthwise layers, with neighbouring channels side by side: what the kernels that run
// along the channels (kernels/channel/) are given of a class of pixels, for which all its taps read inside.
//
// In:  planes of some channels of a sample, a class of pixels.   Out: the same planes as vectors; rows, taps' offsets.
// Next: lane_products.hpp, lane_sums.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "machine/dispatch.hpp"
#include "machine/workspace.hpp"
#include "repair/border.hpp"
#include "repair/shape.hpp"
#include "source/stored.hpp"

namespace convpp {

// Planes up to this are copied, so that what all taps read stays in the caches.
inline constexpr int64_t small_plane = 4096;

// Which of the kernels along the channels serves a plan's groups; none: -1.
template <class T>
int lane_kernel(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    const Geometry& g = plan.problem.geometry();
    const int64_t each = g.in_channels / g.groups;
    const bool large = std::max(source_pixels(plan), y_pixels(plan)) > small_plane;
    if (g.groups == 1 || g.in_channels != g.out_channels || plan.maps[0].map.has_border()) return -1;
    if (!plan.channels_last() && large) return -1;
    for (int i = 0; i < kernels::channel_groups; ++i)
        if (int64_t(1) << i == each && kernel.channel_tiles[i] != nullptr) return i;
    return -1;
}

// Planes of some channels: where they begin, from pixel to pixel along each axis, and from channel to channel (vectors
// have them side by side).
template <class T>
struct RepairPlanes {
    const T* at = nullptr;
    Extents step{};
    int64_t channel = 1;
};

// What a thread needs.
template <class T>
struct RepairLanes {
    static constexpr int64_t most_pixels = 128;  // rows of a kernel's call, and pixels of its results
    int kernel_index;
    int64_t group = 0;  // channels
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
        source = carver.take<T>(copied(plan, kernel, source_pixels(plan)));
        dy = carver.take<T>(sums_pixels ? copied(plan, kernel, y_pixels(plan)) : 0);
        all = carver.take<T>(checked_mul(vectors, kernel.lanes, "the workspace"));
        some = carver.take<T>(vectors * kernel.lanes);
        sums = carver.take<T>(used && !sums_pixels ? most_pixels * kernel.lanes : 0);
        offsets = carver.take<int64_t>(used ? taps : 0);
        channel_at = carver.take<int64_t>(used ? kernel.lanes : 0);
        rows = carver.take<kernels::VectorAt>(used ? most_pixels : 0);
        again = carver.take<bool>(used && sums_pixels ? taps * kernel.lanes : 0);
    }

    // Channels [first, first + count) of the planes of a sample, whose first channel is at `from`.
    RepairPlanes<T> planes(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& from,
                         const TensorStrides& strides, const Extents& extent, int64_t count, T* copy) const {
        const int64_t pixels = extent[0] * extent[1] * extent[2], lanes = kernel.lanes;
        if (reads_in_place(plan, pixels) && count == lanes) return {from.plain(), strides.axis};
        const kernels::Readers<T>& read = reading(kernel, from);
        if (plan.channels_last()) {
            read.split_channels(from.at, strides.axis[2], pixels, count, copy, 0, from.end);
        } else {
            for (int64_t j = 0; j < count; ++j) channel_at[j] = j * strides.channel;
            const kernels::Run run{0, 0, pixels};
            read.transpose_panel(from.at, channel_at, count, &run, 1, copy, lanes, from.end);
        }
        return {copy, {extent[1] * extent[2] * lanes, extent[2] * lanes, lanes}};
    }

private:
    static bool reads_in_place(const Plan& plan, int64_t pixels) {
        return plan.channels_last() && !plan.converts() && pixels > small_plane;
    }
    int64_t copied(const Plan& plan, const kernels::KernelTable<T>& kernel, int64_t pixels) const {
        const bool whole = plan.problem.geometry().out_channels % kernel.lanes == 0;
        if (kernel_index < 0 || (whole && reads_in_place(plan, pixels))) return 0;
        return checked_mul(pixels + 1, kernel.lanes, "the workspace");
    }
};

// Where pixels of a class read its taps: taps follow each other in the order of what they read along the width.
class LaneTaps {
public:
    // `step`: of the planes that are read.
    LaneTaps(const IndexMap& map, const std::array<Span, 3>& taps, const Extents& step)
        : taps_(taps),
          axis_{SourceSteps(map.axis[0], step[0]), SourceSteps(map.axis[1], step[1]),
                SourceSteps(map.axis[2], step[2])} {
        turned_ = axis_[2].tap < 0;
    }
    // How many taps in turn are as far apart as pixels.
    int64_t line() const { return std::abs(axis_[2].tap) == axis_[2].pixel ? taps_[2].length() : 1; }
    // visit(tap, how far it reads behind the first one) in order.
    template <class Visit>
    void for_each(const Visit& visit) const {
        const int64_t width = taps_[2].length(), next = std::abs(axis_[2].tap);
        for (int64_t d = taps_[0].lo; d < taps_[0].hi; ++d)
            for (int64_t h = taps_[1].lo; h < taps_[1].hi; ++h)
                for (int64_t i = 0; i < width; ++i)
                    visit(Extents{d, h, turned_ ? taps_[2].hi - 1 - i : taps_[2].lo + i},
                          (d - taps_[0].lo) * axis_[0].tap + (h - taps_[1].lo) * axis_[1].tap + i * next);
    }
    // Where a pixel reads at the first one.
    int64_t at(const Extents& u) const {
        return axis_[0].at(u[0], taps_[0].lo) + axis_[1].at(u[1], taps_[1].lo) +
               axis_[2].at(u[2], turned_ ? taps_[2].hi - 1 : taps_[2].lo);
    }
    int64_t pixel_step() const { return axis_[2].pixel; }

private:
    std::array<Span, 3> taps_;
    std::array<SourceSteps, 3> axis_;
    bool turned_ = false;
};

// Some rows of a class's pixels at a time: place(row, pixels of it, its first pixel), then use(rows, pixels).
template <class Place, class Use>
void for_each_rows(const PixelClass& of, int64_t most_rows, int64_t most_pixels, const Place& place, const Use& use) {
    const int64_t width = std::min(of.pixels[2].length(), most_pixels);
    if (width == 0) return;
    const int64_t at_once = std::clamp<int64_t>(most_pixels / width, 1, most_rows);
    for (int64_t w = of.pixels[2].lo; w < of.pixels[2].hi; w += width) {
        const int64_t count = std::min(width, of.pixels[2].hi - w);
        int64_t rows = 0;
        for (int64_t d = of.pixels[0].lo; d < of.pixels[0].hi; ++d)
            for (int64_t h = of.pixels[1].lo; h < of.pixels[1].hi; ++h) {
                place(rows, count, Extents{d, h, w});
                if (++rows < at_once) continue;
                use(rows, count);
                rows = 0;
            }
        if (rows > 0) use(rows, count);
    }
}

}  // namespace convpp
