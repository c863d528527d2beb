// The same as sums.hpp where source channels are few and rows of pixels are not short: products of rows of dy and x, as
// long as the rows of pixels that read inside at a column of the kernel.
//
//   for each group, some filters, column of the kernel                                  parallel: the tasks
//     for each sample, class of heights: sums[filter][source channel, tap of the column] += dy * x  (kernels/tile/dot.hpp)
//
// In:  a Plan and the operands of a call that has been carried out; which taps of which filters are spoiled.
// Out: dw as the definition has it.   Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/parallel.hpp"
#include "repair/dots.hpp"
#include "repair/sums.hpp"

namespace convpp {

// Some filters of a group (dots.filters), at one column of the kernel.
template <class T>
struct DotSums {
    const Plan& plan;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const SpoiledFilter* spoiled;
    const SumRepair<T>& own;
    int64_t group, filters, column;
    const RepairShape shape{plan};
    const RepairDots<T>& dots = own.dots;
    const IndexMap& map = plan.maps[0].map;
    const int64_t lanes = kernel.lanes, heights = border.axis[1].taps();
    const int64_t tap_rows = border.axis[0].taps() * heights, pairs = shape.channels * tap_rows;  // of the column
    const Span width = border.axis[2].pixels_of(column);

    void run() const {
        for (int64_t i = 0; i < filters * tap_rows; ++i)
            dots.again[i] = spoiled[dots.filters[i / tap_rows]].again(tap_of(i % tap_rows));
        std::fill_n(dots.sums, filters * pairs, T(0));
        for (int64_t n = 0; n < plan.batch() && any_left(); ++n) {
            const RepairPlanes<T> x = rows_of_x(n);
            border.axis[0].for_each_class([&](Span d, Span depth_taps) {
                border.axis[1].for_each_class([&](Span h, Span height_taps) {
                    add_class({{d, h, width}, {depth_taps, height_taps, {column, column + 1}}}, x, n);
                });
            });
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
        for (int64_t k = 0; k < filters; ++k)
            for (int64_t i = 0; i < pairs; ++i)
                if (dots.again[k * tap_rows + i % tap_rows] &&
                    !visit(dots.filters[k], i / tap_rows, tap_of(i % tap_rows), dots.sums[k * pairs + i]))
                    return false;
        return true;
    }
    Extents tap_of(int64_t row) const { return {row / heights, row % heights, column}; }
    bool any_left() const {
        return !for_each_sum([](int64_t, int64_t, const Extents&, T sum) { return sum != sum; });
    }
    bool reads_in_place() const { return dots.x_in_place && width.length() >= lanes; }

    // Of the column's pixels, from the first one on.
    RepairPlanes<T> rows_of_x(int64_t n) const {
        const TensorStrides& x = shape.strides;
        const SourceSteps step(map.axis[2], x.axis[2]);
        Stored<T> from = operands.x + (n * x.batch + group * shape.channels * x.channel);
        if (width.length() == 0) return {};
        from += step.at(width.lo, column);
        if (reads_in_place()) return {from.plain(), x.axis, x.channel};
        const int64_t rows = shape.extents[0] * shape.extents[1], pitch = round_up(width.length(), lanes);
        for (int64_t c = 0; c < shape.channels; ++c)
            reading(kernel, from)
                .copy_rows((from + c * x.channel).at, x.axis[1], step.pixel, rows, width.length(),
                           dots.x + c * rows * pitch, pitch, from.end);
        return {dots.x, {shape.extents[1] * pitch, pitch, 1}, rows * pitch};
    }

    void add_class(const PixelClass& of, const RepairPlanes<T>& x, int64_t n) const {
        if (of.pixel_count() * of.tap_count() == 0) return;
        const SourceSteps depth(map.axis[0], x.step[0]), height(map.axis[1], x.step[1]);
        int64_t columns = 0;
        for (int64_t c = 0; c < shape.channels; ++c)
            for (int64_t d = 0; d < of.taps[0].length(); ++d)
                for (int64_t h = 0; h < of.taps[1].length(); ++h)
                    dots.offsets[columns++] = c * x.channel + d * depth.tap + h * height.tap;
        const auto place = [&](int64_t row, int64_t, int64_t, const Extents& u) {
            dots.rows[row] = {depth.at(u[0], of.taps[0].lo) + height.at(u[1], of.taps[1].lo) + u[2] - width.lo,
                              plan.result.offset(n, 0, u)};
        };
        for_each_rows(of, 1, dots.most_vectors, dots.most_vectors * lanes, place, [&](int64_t rows, int64_t pixels) {
            std::fill_n(dots.part, filters * columns, T(0));
            add_rows(rows, pixels, columns, x.at);
            for (int64_t k = 0; k < filters; ++k) {
                const T* from = dots.part + k * columns;
                for (int64_t c = 0; c < shape.channels; ++c)
                    for (int64_t d = of.taps[0].lo; d < of.taps[0].hi; ++d)
                        for (int64_t h = of.taps[1].lo; h < of.taps[1].hi; ++h)
                            dots.sums[k * pairs + (c * border.axis[0].taps() + d) * heights + h] += *from++;
            }
        });
    }

    // part[filter][column] += the products of some rows.
    void add_rows(int64_t rows, int64_t pixels, int64_t columns, const T* x) const {
        const bool dy_in_place = !plan.converts() && plan.result.axis[2] == 1 &&
                                 dots.filters[filters - 1] - dots.filters[0] == filters - 1;
        const T* dy = operands.dy.plain() + dots.filters[0] * plan.result.channel;
        int64_t pitch = plan.result.channel;
        const T* dy_end = operands.dy.plain_end();
        if (!dy_in_place) {
            pitch = round_up(rows * pixels, lanes);
            dy = pack_dy(rows, pixels, pitch);
            dy_end = dy + filters * pitch;
        }
        // The rest of a row ends with it, where nothing else lies behind.
        const int64_t whole = pixels / lanes, rest = pixels % lanes;
        const int64_t back = reads_in_place() || whole > 0 ? lanes - rest : 0;
        int64_t count = 0;
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t v = 0; v < whole; ++v) dots.put(count++, dots.rows[i], v * lanes, 0, lanes);
        const int64_t all_whole = count;
        for (int64_t i = 0; i < rows && rest > 0; ++i)
            dots.put(count++, dots.rows[i], whole * lanes - back, back, rest);
        kernel.dot_rows(dy, pitch, dy_end, filters, x, dots.offsets, columns,
                        {dots.at, dots.skip, dots.count, all_whole, count}, dots.part, columns);
    }

    // packed[filter][pixel], and from now on the rows begin there.
    const T* pack_dy(int64_t rows, int64_t pixels, int64_t pitch) const {
        const kernels::Readers<T>& read = reading(kernel, operands.dy);
        T* const packed = dots.dy + lanes;
        const int64_t step = plan.result.axis[2];
        if (plan.result.channel == 1) {
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t u = 0; u < pixels; ++u) dots.dy_at[i * pixels + u] = dots.rows[i].result + u * step;
            int64_t runs = 0;
            for (int64_t k = 0, end = 0; k < filters; k = end) {
                for (end = k + 1; end < filters && dots.filters[end] == dots.filters[end - 1] + 1;) ++end;
                dots.runs[runs++] = {dots.filters[k], k, end - k};
            }
            read.transpose_panel(operands.dy.at, dots.dy_at, rows * pixels, dots.runs, runs, packed, pitch,
                                 operands.dy.end);
        } else {
            for (int64_t k = 0; k < filters; ++k) dots.dy_at[k] = dots.filters[k] * plan.result.channel;
            for (int64_t i = 0; i < rows; ++i) dots.runs[i] = {dots.rows[i].result, i * pixels, pixels};
            read.copy_panel(operands.dy.at, dots.dy_at, filters, dots.runs, rows, packed, pitch, operands.dy.end);
        }
        for (int64_t i = 0; i < rows; ++i) dots.rows[i].result = i * pixels;
        return packed;
    }
};

template <class T>
void repair_dot_sums(const Plan& plan, const Border& border, const Operands<T>& operands, int threads,
                     const SpoiledFilter* spoiled, const ThreadBuffers<SumRepair<T>>& buffers) {
    const RepairShape shape(plan);
    const int64_t filters = shape.result_channels, blocks = ceil_div(filters, RepairDots<T>::most_filters);
    const int64_t columns = border.axis[2].taps();
    parallel_for(shape.groups * blocks * columns, threads, [&](int64_t task, int thread) {
        const SumRepair<T>& own = buffers[static_cast<size_t>(thread)];
        const int64_t group = task / columns / blocks, block = task / columns % blocks;
        const int64_t count = find_filters(spoiled, group * filters, (group + 1) * filters, block,
                                           RepairDots<T>::most_filters, own.dots.filters);
        if (count == 0) return;
        DotSums<T>{plan,
                   border,
                   kernel_table<T>(plan.isa),
                   operands,
                   spoiled,
                   own,
                   group,
                   count,
                   task % columns}
            .run();
    });
}

}  // namespace convpp
