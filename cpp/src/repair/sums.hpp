// Weight gradients whose padding met elements of dy that are not finite, computed again without it.
//
//   for each group, panel of filters, block of source channels, block of taps           parallel: the tasks
//     for each sample and block of rows, for each tap: of the pixels that read inside
//       sums[tap][source channel][filter] += x * dy                                     (kernels/tile/)
//
// In:  a Plan and the operands of a call that has been carried out; which taps of which filters are spoiled.
// Out: dw as the definition has it.   Next: lane_sums.hpp and dot_sums.hpp, where channels are few.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "problem/border.hpp"
#include "repair/dots.hpp"
#include "repair/lanes.hpp"
#include "repair/shape.hpp"
#include "repair/spoiled.hpp"
#include "source/border_map.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Of a tap of a task: its sums are to be computed for some filter; or they are NaN already, and stay so.
inline constexpr unsigned char to_be_computed = 1, stays_nan = 2;

// What a thread needs.
template <class T>
struct SumRepair {
    static constexpr int64_t most_pixels = 512, most_sums = int64_t(1) << 17;
    int64_t width, rows;  // of a tile
    int64_t channel_block = 0, tap_block = 0;  // source channels and taps of a task, at most
    T *panel = nullptr, *source = nullptr, *sums = nullptr;
    int64_t *positions = nullptr, *in_source = nullptr, *filters = nullptr;
    kernels::Run* runs = nullptr;
    const T** row = nullptr;
    T** row_sums = nullptr;
    unsigned char* again = nullptr;  // of the taps of a task
    RepairLanes<T> lane;  // which of the three serves, the plan says
    RepairDots<T> dots;

    SumRepair(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : lane(carver, plan, kernel), dots(carver, plan, kernel) {
        const kernels::TileKernels<T>& tiles = kernel.tiles[repair_shape];
        const Geometry& g = plan.problem.geometry();
        width = int64_t(tiles.vectors) * kernel.lanes;
        rows = tiles.rows;
        if (lane.group > 0 || dots.used) return;
        constexpr int64_t tiles_of_block = 8;
        channel_block = std::min(g.in_channels / g.groups, tiles_of_block * rows);
        tap_block = std::clamp<int64_t>(most_sums / (channel_block * width), 1, plan.maps[0].map.taps());
        const bool in_place = RepairShape(plan).in_place;
        panel = carver.take<T>(most_pixels * width + kernel.lanes);
        runs = carver.take<kernels::Run>(std::max(most_pixels, width));
        source = carver.take<T>(in_place ? 0 : channel_block * most_pixels + kernel.lanes);
        sums = carver.take<T>(tap_block * channel_block * width);
        positions = carver.take<int64_t>(std::max(most_pixels, width));
        in_source = carver.take<int64_t>(in_place ? 0 : most_pixels);
        filters = carver.take<int64_t>(width);
        row = carver.take<const T*>(channel_block);
        row_sums = carver.take<T*>(channel_block);
        again = carver.take<unsigned char>(tap_block);
    }
};

// The sums of some filters of a group, source channels and taps.
template <class T>
struct SumBlock {
    const Plan& plan;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const SpoiledFilter* spoiled;
    const SumRepair<T>& own;
    const RepairShape& shape;
    int64_t group, lanes, channel_lo, channels, tap_lo, tap_hi;
    const IndexMap& map = plan.maps[0].map;

    void run() const {
        find_taps();
        std::fill_n(own.sums, (tap_hi - tap_lo) * channels * own.width, T(0));
        std::fill_n(own.panel, SumRepair<T>::most_pixels * own.width, T(0));
        for (int64_t n = 0; n < plan.batch(); ++n)
            for (int64_t d = 0; d < map.axis[0].count; ++d)
                for (int64_t s = 0; s < border.axis[2].taps(); ++s) {
                    const Span columns = border.axis[2].pixels_of(s);
                    for (int64_t lo = columns.lo; lo < columns.hi; lo += SumRepair<T>::most_pixels)
                        add_columns(n, d, s, {lo, std::min(lo + SumRepair<T>::most_pixels, columns.hi)});
                }
        write();
    }

private:
    bool again(const Extents& tap) const {
        const int64_t index = border.tap_index(tap);
        return index >= tap_lo && index < tap_hi && own.again[index - tap_lo] == to_be_computed;
    }
    void find_taps() const {
        for (int64_t t = tap_lo; t < tap_hi; ++t) {
            const Extents tap = border.tap_of(t);
            const bool any =
                std::any_of(own.filters, own.filters + lanes, [&](int64_t k) { return spoiled[k].again(tap); });
            own.again[t - tap_lo] = any ? to_be_computed : 0;
        }
    }

    // Of the taps of column s of the kernel.
    void add_columns(int64_t n, int64_t d, int64_t s, Span columns) const {
        const int64_t rows = border.axis[1].taps(), all = map.axis[1].count;
        const int64_t width = columns.length(), at_once = SumRepair<T>::most_pixels / width;
        bool any = false;
        for (int64_t r = 0; r < border.axis[0].taps() * rows && !any; ++r) any = again({r / rows, r % rows, s});
        if (!any) return;
        for (int64_t lo = 0; lo < all; lo += at_once) {
            const Span height{lo, std::min(lo + at_once, all)};
            pack_dy(n, d, height, columns);
            if (shape.in_place) find_offsets(height.length(), width);
            for (int64_t depth = 0; depth < border.axis[0].taps(); ++depth) {
                if (!border.axis[0].pixels_of(depth).has(d)) continue;
                for (int64_t r = 0; r < rows; ++r) {
                    const Span inside = border.axis[1].pixels_of(r);
                    const Span its{std::max(inside.lo, height.lo), std::min(inside.hi, height.hi)};
                    if (its.length() > 0 && again({depth, r, s}))
                        add_tap(n, d, {depth, r, s}, its, columns, own.panel + (its.lo - lo) * width * own.width);
                }
            }
            for (int64_t r = 0; r < border.axis[0].taps() * rows; ++r) stop_at_nan({r / rows, r % rows, s});
        }
    }

    void stop_at_nan(const Extents& tap) const {
        if (!again(tap)) return;
        const int64_t t = border.tap_index(tap) - tap_lo;
        for (int64_t j = 0; j < lanes; ++j)
            for (int64_t c = 0, end = spoiled[own.filters[j]].again(tap) ? channels : 0; c < end; ++c) {
                const T sum = own.sums[(t * channels + c) * own.width + j];
                if (sum == sum) return;
            }
        own.again[t] = stays_nan;
    }

    // panel[pixel][filter].
    void pack_dy(int64_t n, int64_t d, Span height, Span columns) const {
        const TensorStrides& at = plan.result;
        const kernels::Readers<T>& read = reading(kernel, operands.dy);
        const Stored<T> from = operands.dy + at.offset(n, 0, {d, height.lo, columns.lo});
        const int64_t width = columns.length();
        int64_t runs = 0;
        if (at.channel == 1) {  // filters that lie together, of each pixel
            for (int64_t j = 0, end = 0; j < lanes; j = end) {
                for (end = j + 1; end < lanes && own.filters[end] == own.filters[end - 1] + 1;) ++end;
                own.runs[runs++] = {own.filters[j], j, end - j};
            }
            int64_t count = 0;
            for (int64_t h = 0; h < height.length(); ++h)
                for (int64_t u = 0; u < width; ++u) own.positions[count++] = h * at.axis[1] + u * at.axis[2];
            read.copy_panel(from.at, own.positions, count, own.runs, runs, own.panel, own.width, from.end);
        } else {  // rows, of each filter
            for (int64_t j = 0; j < lanes; ++j) own.positions[j] = own.filters[j] * at.channel;
            for (int64_t h = 0; h < height.length(); ++h) own.runs[runs++] = {h * at.axis[1], h * width, width};
            read.transpose_panel(from.at, own.positions, lanes, own.runs, runs, own.panel, own.width, from.end);
        }
    }

    // Of pixels from the first one, in x.
    void find_offsets(int64_t height, int64_t width) const {
        const std::array<AxisMap, 3>& axis = map.axis;
        const int64_t row = axis[1].source_step * shape.strides.axis[1],
                      column = axis[2].source_step * shape.strides.axis[2];
        int64_t* to = own.positions;
        for (int64_t h = 0; h < height; ++h)
            for (int64_t u = 0; u < width; ++u) *to++ = h * row + u * column;
    }

    // Where some pixels read x at a tap.
    void find_positions(int64_t d, const Extents& tap, Span height, Span columns) const {
        const TensorStrides& x = shape.strides;
        const int64_t depth = border.axis[0].element(d, tap[0]) * x.axis[0];
        int64_t* to = own.positions;
        for (int64_t h = height.lo; h < height.hi; ++h) {
            const int64_t line = depth + border.axis[1].element(h, tap[1]) * x.axis[1];
            for (int64_t u = columns.lo; u < columns.hi; ++u)
                *to++ = line + border.axis[2].element(u, tap[2]) * x.axis[2];
        }
    }

    void add_tap(int64_t n, int64_t d, const Extents& tap, Span height, Span columns, const T* panel) const {
        const TensorStrides& x = shape.strides;
        const int64_t count = height.length() * columns.length();
        int64_t first = 0;
        if (shape.in_place) {
            const std::array<AxisMap, 3>& axis = map.axis;
            const Extents pixel{d, height.lo, columns.lo};
            for (size_t a = 0; a < 3; ++a)
                first +=
                    (pixel[a] * axis[a].source_step + axis[a].taps[static_cast<size_t>(tap[a])].offset) * x.axis[a];
        } else {
            find_positions(d, tap, height, columns);
        }
        const Stored<T> from = operands.x + (n * x.batch + (group * shape.channels + channel_lo) * x.channel);
        const int64_t* offsets = own.positions;
        if (shape.in_place) {
            for (int64_t c = 0; c < channels; ++c) own.row[c] = from.plain() + first + c * x.channel;
        } else {
            copy_source(from, height, columns);
            offsets = own.in_source;
        }
        T* const sums = own.sums + (border.tap_index(tap) - tap_lo) * channels * own.width;
        for (int64_t c = 0; c < channels; ++c) own.row_sums[c] = sums + c * own.width;
        const auto vectors = static_cast<size_t>(ceil_div(lanes, kernel.lanes));
        for (int64_t c = 0; c < channels; c += own.rows) {
            const int64_t rows = std::min(own.rows, channels - c);
            kernel.tiles[repair_shape].indirect[rows - 1][vectors - 1](
                kernels::Depth(count), own.row + c, offsets, panel, own.row_sums + c, 0, kernels::Onto::c, nullptr);
        }
    }

    // What tiles cannot read where it lies: channels side by side where they lie so, else pixels.
    void copy_source(const Stored<T>& from, Span height, Span columns) const {
        const kernels::Readers<T>& read = reading(kernel, from);
        const int64_t step = shape.strides.channel, width = columns.length(), count = height.length() * width;
        const int64_t pixel = step == 1 ? channels : 1, channel = step == 1 ? 1 : count;
        const bool neighbours = map.axis[2].source_step * shape.strides.axis[2] == 1 && !map.has_border();
        if (step == 1) {
            const kernels::Run run{0, 0, channels};
            read.copy_panel(from.at, own.positions, count, &run, 1, own.source, channels, from.end);
        } else if (neighbours) {
            for (int64_t h = 0; h < height.length(); ++h) own.runs[h] = {own.positions[h * width], h * width, width};
            for (int64_t c = 0; c < channels; ++c) own.positions[c] = c * step;
            read.copy_panel(from.at, own.positions, channels, own.runs, height.length(), own.source, count, from.end);
        } else {
            with_elements(from, [&](const auto* x) {
                for (int64_t c = 0; c < channels; ++c)
                    for (int64_t i = 0; i < count; ++i)
                        copy_elements(x + own.positions[i] + c * step, 1, 1, own.source + c * count + i, 1);
            });
        }
        for (int64_t i = 0; i < count; ++i) own.in_source[i] = i * pixel;
        for (int64_t c = 0; c < channels; ++c) own.row[c] = own.source + c * channel;
    }

    void write() const {
        T* const dw = operands.result.plain();
        for_each_position(border.tap_extents(), [&](const Extents& tap) {
            const int64_t t = border.tap_index(tap);
            if (t < tap_lo || t >= tap_hi || own.again[t - tap_lo] == 0) return;
            const int64_t at = weight_at(plan, map, tap);
            for (int64_t j = 0; j < lanes; ++j) {
                if (!spoiled[own.filters[j]].again(tap)) continue;
                T* const to = dw + own.filters[j] * plan.weights.result_channel + at;
                for (int64_t c = 0; c < channels; ++c)
                    to[(channel_lo + c) * plan.weights.source_channel] =
                        own.sums[((t - tap_lo) * channels + c) * own.width + j];
            }
        });
    }
};

template <class T>
void repair_sum_panels(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                       const SpoiledFilter* spoiled, const ThreadBuffers<SumRepair<T>>& buffers) {
    const RepairShape shape(plan);
    const Geometry& g = plan.problem.geometry();
    const SumRepair<T>& any = buffers[0];
    const int64_t filters = g.out_channels / g.groups, panels = ceil_div(filters, any.width);
    const int64_t bad = count_panels(spoiled, g, any.width);
    if (bad == 0) return;
    // Blocks change no bit: each sum is of one task.
    const int64_t tiles = ceil_div(shape.channels, any.rows);
    const int64_t tiles_of_block =
        std::min(ceil_div(any.channel_block, any.rows), ceil_div(tiles, repair_parts(bad, threads)));
    const int64_t channel_block = std::min(any.channel_block, tiles_of_block * any.rows);
    const int64_t channel_blocks = ceil_div(shape.channels, channel_block);
    const int64_t tap_blocks = ceil_div(border.taps(), any.tap_block);
    const int64_t blocks = channel_blocks * tap_blocks;
    parallel_for(g.groups * panels * blocks, threads, [&](int64_t task, int thread) {
        const SumRepair<T>& own = buffers[static_cast<size_t>(thread)];
        const int64_t group = task / blocks / panels, panel = task / blocks % panels;
        const int64_t lanes =
            find_filters(spoiled, group * filters, (group + 1) * filters, panel, own.width, own.filters);
        if (lanes == 0) return;
        const int64_t channel = task % channel_blocks * channel_block;
        const int64_t tap = task / channel_blocks % tap_blocks * own.tap_block;
        SumBlock<T>{plan,
                    border,
                    kernel_table<T>(plan.kernels),
                    operands,
                    spoiled,
                    own,
                    shape,
                    group,
                    lanes,
                    channel,
                    std::min(channel_block, shape.channels - channel),
                    tap,
                    std::min(tap + own.tap_block, border.taps())}
            .run();
    });
}

}  // namespace convpp
