// The same as sums.hpp where source channels are few and rows of pixels are not short: products of rows of dy and x, as
// long as the rows of pixels that read inside at a column of the kernel.
//
//   for each group, some filters, columns of the kernel                                 parallel: the tasks
//     for each sample, class of heights, some rows of its pixels, column of the kernel:
//       sums[filter][source channel, tap of the column] += dy * x                       (kernels/tile/dot.hpp)
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

// Some filters of a group (dots.filters), at some columns of the kernel.
template <class T>
struct DotSums {
    const Plan& plan;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const SpoiledFilter* spoiled;
    const SumRepair<T>& own;
    int64_t group, filters;
    Span columns;
    const RepairShape shape{plan};
    const RepairDots<T>& dots = own.dots;
    const IndexMap& map = plan.maps[0].map;
    const int64_t lanes = kernel.lanes, heights = border.axis[1].taps();
    const int64_t tap_rows = border.axis[0].taps() * heights, pairs = shape.channels * tap_rows;  // of a column

    void run() const {
        for (int64_t i = 0, all = filters * tap_rows; i < columns.length() * all; ++i)
            dots.again[i] = spoiled[dots.filters[i % all / tap_rows]].again(tap_of(columns.lo + i / all, i % tap_rows));
        std::fill_n(dots.sums, columns.length() * filters * pairs, T(0));
        for (int64_t n = 0; n < plan.batch() && any_left(); ++n) {
            const RepairPlanes<T> x = planes_of_x(n);
            border.axis[0].for_each_class([&](Span d, Span depth_taps) {
                border.axis[1].for_each_class([&](Span h, Span height_taps) {
                    add_class({{d, h, {0, map.axis[2].count}}, {depth_taps, height_taps, {0, 1}}}, x, n);
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
    Extents tap_of(int64_t column, int64_t row) const { return {row / heights, row % heights, column}; }

    // visit(filter, source channel, tap, sum) for all that are to be computed again, while it returns true.
    template <class Visit>
    bool for_each_sum(const Visit& visit) const {
        for (int64_t i = 0; i < columns.length() * filters; ++i)
            for (int64_t p = 0; p < pairs; ++p)
                if (dots.again[i * tap_rows + p % tap_rows] &&
                    !visit(dots.filters[i % filters], p / tap_rows, tap_of(columns.lo + i / filters, p % tap_rows),
                           dots.sums[i * pairs + p]))
                    return false;
        return true;
    }
    bool any_left() const {
        return !for_each_sum([](int64_t, int64_t, const Extents&, T sum) { return sum != sum; });
    }

    // Copied, in as many phases as pixels read elements apart: what neighbouring pixels read lies together.
    RepairPlanes<T> planes_of_x(int64_t n) const {
        const TensorStrides& x = shape.strides;
        const Stored<T> from = operands.x + (n * x.batch + group * shape.channels * x.channel);
        if (dots.x_in_place) return {from.plain(), x.axis, x.channel};
        const int64_t rows = shape.extents[0] * shape.extents[1], plane = dots.phases * rows * dots.pitch;
        for (int64_t c = 0; c < shape.channels; ++c)
            copy_phases(kernel, from + c * x.channel, x, shape.extents, dots.phases, dots.pitch, dots.x + c * plane);
        return {dots.x, {shape.extents[1] * dots.pitch, dots.pitch, 1}, plane};
    }

    void add_class(const PixelClass& of, const RepairPlanes<T>& x, int64_t n) const {
        if (of.tap_count() == 0) return;
        const SourceSteps depth(map.axis[0], x.step[0]), height(map.axis[1], x.step[1]);
        int64_t count = 0, first = 0;
        for (int64_t c = 0; c < shape.channels; ++c)
            for (int64_t d = 0; d < of.taps[0].length(); ++d)
                for (int64_t h = 0; h < of.taps[1].length(); ++h)
                    dots.offsets[count++] = c * x.channel + d * depth.tap + h * height.tap;
        const auto place = [&](int64_t row, int64_t, int64_t, const Extents& u) {
            first = u[2];
            dots.rows[row] = {depth.at(u[0], of.taps[0].lo) + height.at(u[1], of.taps[1].lo),
                              plan.result.offset(n, 0, u)};
        };
        for_each_rows(of, 1, dots.most_vectors, dots.most_vectors * lanes, place, [&](int64_t rows, int64_t pixels) {
            const int64_t pitch = round_up(rows * pixels, lanes);
            const T* const dy = pack_dy(rows, pixels, pitch);
            for (int64_t column = columns.lo; column < columns.hi; ++column) {
                const Span inside = border.axis[2].pixels_of(column);
                const Span its{std::max(inside.lo, first), std::min(inside.hi, first + pixels)};
                if (its.length() == 0) continue;
                std::fill_n(dots.part, filters * count, T(0));
                reading_plain(kernel).dot_rows(dy, pitch, dy + filters * pitch, filters, x.at, dots.offsets, count,
                                               find_vectors(rows, column, its, first), lane_run, dots.part, count);
                add_part(of, column);
            }
        });
    }

    void add_part(const PixelClass& of, int64_t column) const {
        const T* from = dots.part;
        for (int64_t k = 0; k < filters; ++k) {
            T* const to = dots.sums + ((column - columns.lo) * filters + k) * pairs;
            for (int64_t c = 0; c < shape.channels; ++c)
                for (int64_t d = of.taps[0].lo; d < of.taps[0].hi; ++d)
                    for (int64_t h = of.taps[1].lo; h < of.taps[1].hi; ++h)
                        to[(c * border.axis[0].taps() + d) * heights + h] += *from++;
        }
    }

    // Of the pixels of a column in some rows, which begin at pixel `first`.
    kernels::RowVectors find_vectors(int64_t rows, int64_t column, Span pixels, int64_t first) const {
        const int64_t whole = pixels.length() / lanes, rest = pixels.length() % lanes;
        const int64_t read = SourceSteps(map.axis[2], 1).at(pixels.lo, column);
        const int64_t source =
            read % dots.phases * shape.extents[0] * shape.extents[1] * dots.pitch + read / dots.phases;
        // The rest of a row ends with it, where nothing may lie behind.
        const bool ends = whole > 0 || (dots.x_in_place && read + lanes > shape.extents[2]);
        const int64_t back = ends && rest > 0 ? lanes - rest : 0;
        const kernels::VectorAt to_first{source, pixels.lo - first};
        int64_t count = 0;
        const auto put = [&](int64_t i, int64_t behind, int64_t skipped, int64_t counted) {
            const kernels::VectorAt row{dots.rows[i].source + to_first.source, dots.rows[i].result + to_first.result};
            dots.put(count++, row, behind, skipped, counted);
        };
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t v = 0; v < whole; ++v) put(i, v * lanes, 0, lanes);
        const int64_t all_whole = count;
        for (int64_t i = 0; i < rows && rest > 0; ++i) put(i, whole * lanes - back, back, rest);
        return {dots.at, dots.skip, dots.count, all_whole, count};
    }

    // packed[filter][row][pixel], and from now on the rows begin there.
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
    const int64_t parts = std::min(columns, repair_parts(shape.groups * blocks, threads));
    const int64_t at_once = std::min(buffers[0].dots.most_columns, ceil_div(columns, parts));
    const int64_t pieces = ceil_div(columns, at_once);
    parallel_for(shape.groups * blocks * pieces, threads, [&](int64_t task, int thread) {
        const SumRepair<T>& own = buffers[static_cast<size_t>(thread)];
        const int64_t group = task / pieces / blocks, lo = task % pieces * at_once;
        const int64_t count = find_filters(spoiled, group * filters, (group + 1) * filters, task / pieces % blocks,
                                           RepairDots<T>::most_filters, own.dots.filters);
        if (count == 0) return;
        DotSums<T>{plan,  border, kernel_table<T>(plan.kernels),        operands, spoiled, own,
                   group, count,  {lo, std::min(lo + at_once, columns)}}
            .run();
    });
}

}  // namespace convpp
