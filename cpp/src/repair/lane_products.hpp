// The same as products.hpp for groups of a few channels: vectors of neighbouring channels in place of panels, which such
// groups would not fill.
//
//   for each vector of channels, part of the samples                                    parallel: the tasks
//     for each class of pixels with such a channel: sums over the taps inside           (kernels/channel/)
//
// In:  a Plan and the operands of a call that has been carried out.   Out: results as the definition has them.
// Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/parallel.hpp"
#include "repair/lanes.hpp"
#include "repair/products.hpp"

namespace convpp {

// Of one map, and a vector of channels from `first` on.
template <class T>
struct LaneProducts {
    const Plan& plan;
    const IndexMap& map;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const TapBounds* bounds;
    const ProductRepair<T>& own;
    int64_t first, count;
    const RepairShape shape{plan};
    const RepairLanes<T>& lane = own.lane;
    const int64_t lanes = kernel.lanes, taps = border.taps();

    void run(int64_t sample_lo, int64_t sample_hi) const {
        if (std::all_of(bounds + first, bounds + first + count, [](const TapBounds& of) { return of.none(); })) return;
        fill_weights();
        for (int64_t n = sample_lo; n < sample_hi; n += lane.samples) {
            const int64_t samples = std::min(lane.samples, sample_hi - n);
            const Stored<T> source =
                operands.source(plan.pass) + (n * shape.strides.batch + first * shape.strides.channel);
            const RepairPlanes<T> planes =
                lane.planes(plan, kernel, source, shape.strides, shape.extents, count, samples, false);
            const LaneTaps its(map, border, planes.step);
            border.for_each_class([&](const PixelClass& of) {
                if (find_wanted(bounds, of, count, own)) repair_class(of, its, planes, n, samples);
            });
        }
    }

private:
    void fill_weights() const {
        const LaneTaps its(map, border, {1, 1, 1});
        for (int64_t j = 0; j < lanes; ++j) {
            const int64_t channel = own.channels[j] = first + std::min(j, count - 1);
            own.bias[j] = operands.bias ? operands.bias[channel] : T(0);
            lane.channel_at[j] = shape.weights_at(plan, channel);
        }
        with_elements(operands.w, [&](const auto* w) {
            for_each_position(border.tap_extents(), [&](const Extents& tap) {
                for (int64_t c = 0; c < lane.group; ++c) {
                    const auto* const from = w + c * plan.weights.source_channel + weight_at(plan, map, tap);
                    T* const to = lane.all + (c * taps + its.index(tap)) * lanes;
                    for (int64_t j = 0; j < lanes; ++j) to[j] = computed<T>(from[lane.channel_at[j]]);
                }
            });
        });
    }

    void repair_class(const PixelClass& of, const LaneTaps& its, const RepairPlanes<T>& planes, int64_t n,
                      int64_t samples) const {
        const int64_t inside = of.tap_count(), pixel = map.axis[2].result_step * plan.result.axis[2];
        its.find_offsets(of.taps, lane.offsets);
        its.for_each_stretch(of.taps, [&](int64_t from, int64_t to, int64_t stretch) {
            for (int64_t c = 0; c < lane.group; ++c)
                std::copy_n(lane.all + (c * taps + from) * lanes, stretch * lanes,
                            lane.some + (c * inside + to) * lanes);
        });
        const auto place = [&](int64_t row, int64_t pixels, int64_t sample, const Extents& u) {
            lane.rows[row] = {sample * planes.sample + (inside > 0 ? its.at(of.taps, u) : 0), row * pixels * lanes};
            const int64_t at = result_at(plan, map, n + sample, u);
            for (int64_t i = 0; i < pixels; ++i) own.result_at[row * pixels + i] = at + i * pixel;
        };
        const auto use = [&](int64_t rows, int64_t pixels) {
            kernel.channel_tiles[lane.kernel_index](
                {inside, its.line(of.taps), std::max<int64_t>(inside * lane.group, 1)}, lane.offsets,
                {lane.rows, rows, pixels, its.pixel_step(), lanes}, planes.at, lane.some, lane.sums,
                kernels::Onto::column_bias, own.bias);
            write_repaired(plan, kernel, operands, own, {lane.sums, lanes}, rows * pixels, count);
        };
        for_each_rows(of, samples, lane.most_pixels, lane.most_pixels, place, use);
    }
};

// Of one map.
template <class T>
void repair_lanes(const Plan& plan, const IndexMap& map, const Operands<T>& operands, int64_t batch, int threads,
                  const TapBounds* bounds, const ThreadBuffers<ProductRepair<T>>& buffers) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const Border border(map);
    const RepairShape shape(plan);
    const int64_t all = shape.groups * shape.result_channels, blocks = ceil_div(all, kernel.lanes);
    const int64_t parts = std::min(batch, repair_parts(blocks, threads));
    parallel_for(blocks * parts, threads, [&](int64_t task, int thread) {
        const int64_t first = task / parts * kernel.lanes, part = task % parts;
        LaneProducts<T>{plan,
                        map,
                        border,
                        kernel,
                        operands,
                        bounds,
                        buffers[static_cast<size_t>(thread)],
                        first,
                        std::min<int64_t>(kernel.lanes, all - first)}
            .run(part * batch / parts, (part + 1) * batch / parts);
    });
}

}  // namespace convpp
