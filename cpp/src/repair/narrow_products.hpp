// The same as products.hpp for groups of a few channels, as of depthwise layers: without panels, which they would not
// fill.  The lanes are neighbouring channels (channels_last, depthwise) or neighbouring pixels of a row.
//
// In:  a Plan and the operands of a call that has been carried out.   Out: results as the definition has them.
// Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "repair/products.hpp"
#include "repair/rows.hpp"

namespace convpp {

// Fewer channels than this on both sides.
inline bool is_narrow(const Plan& plan) {
    constexpr int64_t few = 4;
    const RepairShape shape(plan);
    return shape.channels < few && shape.result_channels < few && !plan.maps[0].map.has_border();
}

template <class T>
struct NarrowRepair {
    const Plan& plan;
    const IndexMap& map;
    const Border& border;
    const Operands<T>& operands;
    const TapBounds* bounds;
    const ProductRepair<T>& own;
    int64_t batch;
    const RepairShape shape{plan};
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const std::array<SourceSteps, 3> step{SourceSteps(map.axis[0], shape.strides.axis[0]),
                                          SourceSteps(map.axis[1], shape.strides.axis[1]),
                                          SourceSteps(map.axis[2], shape.strides.axis[2])};

    int64_t result_of(int64_t n, const Extents& u) const {
        int64_t at = n * plan.result.batch;
        for (size_t a = 0; a < 3; ++a)
            at += (map.axis[a].result_start + u[a] * map.axis[a].result_step) * plan.result.axis[a];
        return at;
    }

    // Neighbouring channels, each with a filter of its own, of one sample.
    void channels(int64_t first, int64_t count, int64_t n) const {
        for (int64_t j = 0; j < count; ++j) own.channels[j] = first + j;
        if (std::all_of(bounds + first, bounds + first + count, [](const TapBounds& of) { return of.none(); })) return;
        fill_panel(plan, map, border, operands.w, own, count);
        const Stored<T> source =
            operands.source(plan.pass) + (n * shape.strides.batch + first * shape.strides.channel);
        if (!turns_planes(plan))
            return with_elements(source, [&](const auto* elements) { add_channels(elements, 1, first, count, n); });
        turn_planes(kernel, source, source_pixels(plan), count, own.width, own.planes);
        add_channels(own.planes, own.width, first, count, n);
    }

    // One result channel, in every `parts`-th piece of a row.
    void pixels(int64_t channel, int64_t part, int64_t parts) const {
        if (bounds[channel].none()) return;
        own.channels[0] = channel;
        const Stored<T> w = operands.w + shape.weights_at(plan, channel);
        T* to = own.panel;  // [source channel][tap]
        for (int64_t c = 0; c < shape.channels; ++c)
            for_each_position(border.tap_extents(), [&](const Extents& tap) {
                *to++ = w[c * plan.weights.source_channel + weight_at(plan, map, tap)];
            });
        const int64_t first = channel / shape.result_channels * shape.channels * shape.strides.channel;
        int64_t piece = 0;
        with_elements(operands.source(plan.pass) + first, [&](const auto* source) {
            border.for_each_class([&](const PixelClass& of) {
                if (!bounds[channel].leaves(of)) return;
                const auto wanted = [](int64_t) { return true; };
                Extents u{};
                for (int64_t n = 0; n < batch; ++n)
                    for (u[0] = of.pixels[0].lo; u[0] < of.pixels[0].hi; ++u[0])
                        for (u[1] = of.pixels[1].lo; u[1] < of.pixels[1].hi; ++u[1])
                            for (u[2] = of.pixels[2].lo; u[2] < of.pixels[2].hi; u[2] += own.rows) {
                                if (piece++ % parts != part) continue;
                                const int64_t count = std::min(own.rows, of.pixels[2].hi - u[2]);
                                add_row(source + n * shape.strides.batch, of, u, count, channel);
                                for (int64_t i = 0; i < count; ++i)
                                    own.result_at[i] =
                                        result_of(n, u) + i * map.axis[2].result_step * plan.result.axis[2];
                                write_repaired(plan, kernel, operands, own, count, 1, wanted);
                            }
            });
        });
    }

private:
    template <class Body>
    static void for_each_row_of_taps(const PixelClass& of, const Body& body) {
        if (of.taps[2].length() == 0) return;
        for (int64_t d = of.taps[0].lo; d < of.taps[0].hi; ++d)
            for (int64_t h = of.taps[1].lo; h < of.taps[1].hi; ++h) body(d, h);
    }
    template <class Body>
    static void for_each_pixel_of(const PixelClass& of, const Body& body) {
        Extents u{};
        for (u[0] = of.pixels[0].lo; u[0] < of.pixels[0].hi; ++u[0])
            for (u[1] = of.pixels[1].lo; u[1] < of.pixels[1].hi; ++u[1])
                for (u[2] = of.pixels[2].lo; u[2] < of.pixels[2].hi; ++u[2]) body(u);
    }

    // `scale`: what positions in the source are to be multiplied by.
    template <class S>
    void add_channels(const S* source, int64_t scale, int64_t first, int64_t count, int64_t n) const {
        border.for_each_class([&](const PixelClass& of) {
            const auto wanted = [&](int64_t channel) { return bounds[channel].leaves(of); };
            if (!std::any_of(own.channels, own.channels + count, wanted)) return;
            for_each_pixel_of(of, [&](const Extents& u) {
                for (int64_t j = 0; j < count; ++j) own.sums[j] = operands.bias ? operands.bias[first + j] : T(0);
                for_each_row_of_taps(of, [&](int64_t d, int64_t h) {
                    const S* x = source + scale * (step[0].at(u[0], d) + step[1].at(u[1], h) +
                                                   step[2].at(u[2], of.taps[2].lo));
                    const T* weights = own.panel + border.tap_index({d, h, of.taps[2].lo}) * own.width;
                    for (int64_t w = 0; w < of.taps[2].length(); ++w) {
                        for (int64_t j = 0; j < count; ++j) own.sums[j] += weights[j] * computed<T>(x[j]);
                        x += scale * step[2].tap;
                        weights += own.width;
                    }
                });
                own.result_at[0] = result_of(n, u);
                write_repaired(plan, kernel, operands, own, 1, count, wanted);
            });
        });
    }

    // Sums of `count` neighbouring pixels, the first one at u.
    template <class S>
    void add_row(const S* sample, const PixelClass& of, const Extents& u, int64_t count, int64_t channel) const {
        constexpr int64_t few_pixels = 4, many_taps = 8;
        const int64_t taps = of.taps[2].length(), pixel = step[2].pixel, tap = step[2].tap;
        std::array<T, kernels::max_tile_rows> sums;
        sums.fill(operands.bias ? operands.bias[channel] : T(0));
        for (int64_t c = 0; c < shape.channels; ++c)
            for_each_row_of_taps(of, [&](int64_t d, int64_t h) {
                const T* const w = own.panel + c * border.taps() + border.tap_index({d, h, of.taps[2].lo});
                const S* const x = sample + c * shape.strides.channel + step[0].at(u[0], d) + step[1].at(u[1], h) +
                                   step[2].at(u[2], of.taps[2].lo);
                if (count < few_pixels && taps >= many_taps)
                    for (int64_t i = 0; i < count; ++i) sums[static_cast<size_t>(i)] += dot<T>(w, 1, x + i * pixel, tap, taps);
                else
                    for (int64_t t = 0; t < taps; ++t)
                        for (int64_t i = 0; i < count; ++i)
                            sums[static_cast<size_t>(i)] += w[t] * computed<T>(x[i * pixel + t * tap]);
            });
        for (int64_t i = 0; i < count; ++i) own.sums[i * own.width] = sums[static_cast<size_t>(i)];
    }
};

// Of one map.
template <class T>
void repair_narrow(const Plan& plan, const IndexMap& map, const Operands<T>& operands, int64_t batch, int threads,
                   const TapBounds* bounds, const ThreadBuffers<ProductRepair<T>>& buffers) {
    const RepairShape shape(plan);
    const Border border(map);
    const int64_t all = shape.groups * shape.result_channels, width = buffers[0].width;
    const auto of = [&](int thread) {
        return NarrowRepair<T>{plan, map, border, operands, bounds, buffers[static_cast<size_t>(thread)], batch};
    };
    if (is_depthwise(plan) && (plan.channels_last() || turns_planes(plan))) {
        const int64_t blocks = ceil_div(all, width);
        parallel_for(blocks * batch, threads, [&](int64_t task, int thread) {
            const int64_t first = task % blocks * width;
            of(thread).channels(first, std::min(width, all - first), task / blocks);
        });
        return;
    }
    const int64_t parts = repair_parts(all, threads);
    parallel_for(all * parts, threads,
                 [&](int64_t task, int thread) { of(thread).pixels(task / parts, task % parts, parts); });
}

}  // namespace convpp
