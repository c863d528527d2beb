// The same as sums.hpp for groups of a few channels: vectors of neighbouring channels in place of panels, which such
// groups would not fill.
//
//   for each vector of channels, some rows of taps                                      parallel: the tasks
//     for each sample, class of pixels: sums[tap][channel] += x * dy for the taps inside (kernels/channel/)
//
// In:  a Plan and the operands of a call that has been carried out; which taps of which filters are spoiled.
// Out: dw as the definition has it.   Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "machine/parallel.hpp"
#include "repair/lanes.hpp"
#include "repair/sums.hpp"

namespace convpp {

// Of a vector of channels from `first` on, and the taps of some heights of the kernel.
template <class T>
struct LaneSums {
    const Plan& plan;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const SpoiledFilter* spoiled;
    const SumRepair<T>& own;
    int64_t first, count;
    Span heights;
    const RepairShape shape{plan};
    const RepairLanes<T>& lane = own.lane;
    const IndexMap& map = plan.maps[0].map;
    const int64_t lanes = kernel.lanes, taps = border.taps();

    void run() const {
        if (std::none_of(spoiled + first, spoiled + first + count, [](const SpoiledFilter& of) { return of.any; }))
            return;
        for (int64_t t = 0; t < taps * count; ++t)
            lane.again[t] = spoiled[first + t % count].again(border.tap_of(t / count));
        std::fill_n(lane.all, lane.group * taps * lanes, T(0));
        if (!any_left()) return;
        for (int64_t n = 0; n < plan.batch(); ++n) {
            const Stored<T> x = operands.x + (n * shape.strides.batch + first * shape.strides.channel);
            const Stored<T> dy = operands.dy + (n * plan.result.batch + first * plan.result.channel);
            const RepairPlanes<T> source =
                lane.planes(plan, kernel, x, shape.strides, shape.extents, count, lane.source);
            const RepairPlanes<T> its_dy =
                lane.planes(plan, kernel, dy, plan.result, plan.problem.output(), count, lane.dy);
            border.for_each_class([&](const PixelClass& of) { add_class(of, source, its_dy); });
            if (!any_left()) break;  // a sum that is NaN stays NaN
        }
        for_each_sum([&](int64_t k, int64_t c, const Extents& tap, T sum) {
            operands.result.plain()[k * plan.weights.result_channel + c * plan.weights.source_channel +
                                    weight_at(plan, map, tap)] = sum;
            return true;
        });
    }

private:
    // visit(filter, source channel, tap, sum) for all that are to be computed again, while it returns true.
    template <class Visit>
    bool for_each_sum(const Visit& visit) const {
        for (int64_t d = 0; d < border.axis[0].taps(); ++d)
            for (int64_t h = heights.lo; h < heights.hi; ++h)
                for (int64_t w = 0; w < border.axis[2].taps(); ++w)
                    for (int64_t j = 0; j < count; ++j) {
                        const Extents tap{d, h, w};
                        if (!lane.again[border.tap_index(tap) * count + j]) continue;
                        for (int64_t c = 0; c < lane.group; ++c)
                            if (!visit(first + j, c, tap, lane.all[(c * taps + border.tap_index(tap)) * lanes + j]))
                                return false;
                    }
        return true;
    }
    bool any_left() const {
        return !for_each_sum([](int64_t, int64_t, const Extents&, T sum) { return sum != sum; });
    }

    void add_class(const PixelClass& of, const RepairPlanes<T>& source, const RepairPlanes<T>& dy) const {
        std::array<Span, 3> inside = of.taps;
        inside[1] = {std::max(inside[1].lo, heights.lo), std::min(inside[1].hi, heights.hi)};
        const int64_t all = inside[0].length() * inside[1].length() * inside[2].length();
        if (all == 0) return;
        const LaneTaps its(map, inside, source.step);
        int64_t t = 0;
        its.for_each([&](const Extents&, int64_t offset) { lane.offsets[t++] = offset; });
        move(its, all, [&](T* of_tap, T* part) { std::copy_n(of_tap, lanes, part); });
        const auto place = [&](int64_t row, int64_t, const Extents& u) {
            lane.rows[row] = {its.at(u), u[0] * dy.step[0] + u[1] * dy.step[1] + u[2] * dy.step[2]};
        };
        for_each_rows(of, lane.most_pixels, std::numeric_limits<int64_t>::max(), place,
                      [&](int64_t rows, int64_t pixels) {
                          kernel.channel_sums[lane.kernel_index](
                              all, lane.offsets, {lane.rows, rows, pixels, its.pixel_step(), dy.step[2]}, source.at,
                              dy.at, lane.some);
                      });
        move(its, all, [&](T* of_tap, T* part) { std::copy_n(part, lanes, of_tap); });
    }

    // copy(sums of a tap, the same among those of a class's taps)
    template <class Copy>
    void move(const LaneTaps& its, int64_t all, const Copy& copy) const {
        int64_t t = 0;
        its.for_each([&](const Extents& tap, int64_t) {
            for (int64_t c = 0; c < lane.group; ++c)
                copy(lane.all + (c * taps + border.tap_index(tap)) * lanes, lane.some + (c * all + t) * lanes);
            ++t;
        });
    }
};

template <class T>
void repair_lane_sums(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                      const SpoiledFilter* spoiled, const ThreadBuffers<SumRepair<T>>& buffers) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const int64_t filters = plan.problem.geometry().out_channels, blocks = ceil_div(filters, kernel.lanes);
    const int64_t heights = border.axis[1].taps(), parts = std::min(heights, repair_parts(blocks, threads));
    parallel_for(blocks * parts, threads, [&](int64_t task, int thread) {
        const int64_t first = task / parts * kernel.lanes, part = task % parts;
        LaneSums<T>{plan,
                    border,
                    kernel,
                    operands,
                    spoiled,
                    buffers[static_cast<size_t>(thread)],
                    first,
                    std::min<int64_t>(kernel.lanes, filters - first),
                    {part * heights / parts, (part + 1) * heights / parts}}
            .run();
    });
}

}  // namespace convpp
