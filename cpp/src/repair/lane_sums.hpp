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
        for (int64_t j = 0; j < count; ++j) {
            const SpoiledFilter& filter = spoiled[first + j];
            const bool alike =
                j > 0 && filter.is_like(spoiled[first + j - 1]);  // as they mostly are, if all are spoiled
            for (int64_t t = 0; t < taps; ++t) {
                bool* const again = lane.again + t * count + j;
                *again = alike ? again[-1] : filter.again(border.tap_of(t));
            }
        }
        std::fill_n(lane.all, lane.group * taps * lanes, T(0));
        for (int64_t n = 0; n < plan.batch() && any_left(); n += lane.samples) {  // a sum that is NaN stays NaN
            const int64_t samples = std::min(lane.samples, plan.batch() - n);
            const Stored<T> x = operands.x + (n * shape.strides.batch + first * shape.strides.channel);
            const Stored<T> dy = operands.dy + (n * plan.result.batch + first * plan.result.channel);
            const RepairPlanes<T> source =
                lane.planes(plan, kernel, x, shape.strides, shape.extents, count, samples, false);
            const RepairPlanes<T> its_dy =
                lane.planes(plan, kernel, dy, plan.result, plan.problem.output(), count, samples, true);
            const LaneTaps its(map, border, source.step);
            border.for_each_class([&](const PixelClass& of) { add_class(of, its, source, its_dy, samples); });
        }
        for_each_sum([&](int64_t k, int64_t c, int64_t at, T sum) {
            operands.result.plain()[k * plan.weights.result_channel + c * plan.weights.source_channel + at] = sum;
            return true;
        });
    }

private:
    // visit(filter, source channel, where its tap is in dw, sum) for all that are to be computed again, while it returns true.
    template <class Visit>
    bool for_each_sum(const Visit& visit) const {
        const LaneTaps its(map, border, {1, 1, 1});
        for (int64_t d = 0; d < border.axis[0].taps(); ++d)
            for (int64_t h = heights.lo; h < heights.hi; ++h)
                for (int64_t w = 0; w < border.axis[2].taps(); ++w) {
                    const Extents tap{d, h, w};
                    const bool* const again = lane.again + border.tap_index(tap) * count;
                    const T* const sums = lane.all + its.index(tap) * lanes;
                    const int64_t at = weight_at(plan, map, tap);
                    for (int64_t j = 0; j < count; ++j)
                        for (int64_t c = 0; c < (again[j] ? lane.group : 0); ++c)
                            if (!visit(first + j, c, at, sums[c * taps * lanes + j])) return false;
                }
        return true;
    }
    bool any_left() const {
        return !for_each_sum([](int64_t, int64_t, int64_t, T sum) { return sum != sum; });
    }

    void add_class(const PixelClass& of, const LaneTaps& its, const RepairPlanes<T>& source, const RepairPlanes<T>& dy,
                   int64_t samples) const {
        std::array<Span, 3> inside = of.taps;
        inside[1] = {std::max(inside[1].lo, heights.lo), std::min(inside[1].hi, heights.hi)};
        const int64_t all = inside[0].length() * inside[1].length() * inside[2].length();
        if (all == 0) return;
        its.find_offsets(inside, lane.offsets);
        const auto move = [&](const auto& copy) {
            its.for_each_stretch(inside, [&](int64_t at, int64_t of_class, int64_t stretch) {
                for (int64_t c = 0; c < lane.group; ++c)
                    copy(lane.all + (c * taps + at) * lanes, lane.some + (c * all + of_class) * lanes, stretch * lanes);
            });
        };
        move([](const T* sums, T* some, int64_t elems) { std::copy_n(sums, elems, some); });
        const auto place = [&](int64_t row, int64_t, int64_t n, const Extents& u) {
            lane.rows[row] = {n * source.sample + its.at(inside, u),
                              n * dy.sample + u[0] * dy.step[0] + u[1] * dy.step[1] + u[2] * dy.step[2]};
        };
        const auto use = [&](int64_t rows, int64_t pixels) {
            kernel.channel_sums[lane.kernel_index](all, lane.offsets,
                                                   {lane.rows, rows, pixels, its.pixel_step(), dy.step[2]}, lane_run,
                                                   source.at, dy.at, lane.some);
        };
        for_each_rows(of, samples, lane.most_pixels, std::numeric_limits<int64_t>::max(), place, use);
        move([](T* sums, const T* some, int64_t elems) { std::copy_n(some, elems, sums); });
    }
};

template <class T>
void repair_lane_sums(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                      const SpoiledFilter* spoiled, const ThreadBuffers<SumRepair<T>>& buffers) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
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
