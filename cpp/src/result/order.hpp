// channels_first results that were computed as rows of channels: put into the order of the result and transposed.
//
// In:  a task, its sums[pixel][channel], the pixels of its maps one after the other.   Out: the results.
// Read before: indirect_product.hpp and channel_product.hpp, which leave such sums.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/contract.hpp"
#include "plan/tasks.hpp"
#include "source/view.hpp"

namespace convpp {

// A stretch of results that lie together: pixels [first, first + count) in the order of the result.
struct ResultRun {
    int64_t offset, first, count;
};

// Results that a task writes for each of its pixels, at most: with Gaps::written_by_tasks also those around it without terms.
inline int64_t results_of_pixel(const Plan& plan, const MapPlan& m) {
    if (plan.gaps != Gaps::written_by_tasks) return 1;
    return m.map.axis[0].result_step * m.map.axis[1].result_step * m.map.axis[2].result_step;
}

inline int64_t most_result_runs(const Plan& plan, const MapPlan& m) {
    const Box box = m.boxes.box(0);
    const int64_t rows = box.extent(0) * box.extent(1) * box.extent(2);
    // One for each row; one for each pixel where the maps of a task do not fill the rows.
    const int64_t runs = (rows + box.elems()) * m.classes;
    return std::max(runs, rows * results_of_pixel(plan, m) / m.map.axis[2].result_step);
}

// The rows of sums in the order of the result, and the stretches that lie together in it.  Returns their number.
// The task's maps are residue classes: some of the width, the same ones for some of the height.
template <class T>
int64_t order_results(const Plan& plan, const ProductTask& task, T* sums, int64_t pitch, T** in_order,
                      ResultRun* runs) {
    struct Class {
        int64_t start, count, map;  // along an axis: the first result, the pixels of the box
    };
    const MapPlan* const maps = &task.map;
    const Box& box = task.pixels;
    int64_t run_count = 0, pixel = 0;
    const auto put = [&](int64_t offset, int64_t count) {
        ResultRun& last = runs[run_count - (run_count > 0)];
        if (run_count > 0 && last.offset + last.count == offset) last.count += count;
        else runs[run_count++] = {offset, pixel, count};
        pixel += count;
    };
    if (task.map.classes == 1 &&
        task.map.map.axis[2].result_step * plan.buffer.strides.axis[2] == 1) {  // they are in order
        for_each_result_row(task.map.map, plan.buffer.strides, box, [&](int64_t offset) { put(offset, box.extent(3)); });
        for (int64_t i = 0; i < pixel; ++i) in_order[i] = sums + i * pitch;
        return run_count;
    }
    std::array<int64_t, most_classes> first_row{};  // of each map, in sums
    for (int64_t m = 1; m < task.map.classes; ++m)
        first_row[static_cast<size_t>(m)] = first_row[static_cast<size_t>(m - 1)] + pixels_of(maps[m - 1], box).elems();
    int64_t in_row = 1;
    while (in_row < task.map.classes && maps[in_row].map.axis[1].result_start == maps[0].map.axis[1].result_start)
        ++in_row;
    const auto classes = [&](size_t axis, int64_t count, int64_t step, std::array<Class, most_classes>& found) {
        for (int64_t c = 0; c < count; ++c) {
            const AxisMap& a = maps[c * step].map.axis[axis];
            found[static_cast<size_t>(c)] = {a.result_start + box.lo[axis + 1] * a.result_step,
                                             pixels_of(maps[c * step], box).extent(axis + 1), c * step};
        }
        std::sort(found.begin(), found.begin() + count,
                  [](const Class& a, const Class& b) { return a.start < b.start; });
        return count;
    };
    std::array<Class, most_classes> rows, columns;
    const int64_t row_classes = classes(1, task.map.classes / in_row, in_row, rows);
    const int64_t column_classes = classes(2, in_row, 1, columns);
    const AxisMap &depth = maps[0].map.axis[0], &height = maps[0].map.axis[1], &width = maps[0].map.axis[2];

    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t d = 0; d < box.extent(1); ++d) {
            const int64_t plane = (box.lo[0] + n) * plan.buffer.strides.batch +
                                  (depth.result_start + (box.lo[1] + d) * depth.result_step) * plan.buffer.strides.axis[0];
            for (int64_t h = 0; h < box.extent(2); ++h)
                for (int64_t r = 0; r < row_classes; ++r) {
                    const Class& row = rows[static_cast<size_t>(r)];
                    if (h >= row.count) continue;
                    const int64_t line = plane + (row.start + h * height.result_step) * plan.buffer.strides.axis[1];
                    const int64_t row_index = (n * box.extent(1) + d) * row.count + h;
                    for (int64_t w = 0; w < box.extent(3); ++w)
                        for (int64_t c = 0; c < column_classes; ++c) {
                            const Class& column = columns[static_cast<size_t>(c)];
                            if (w >= column.count) continue;
                            const int64_t offset =
                                line + (column.start + w * width.result_step) * plan.buffer.strides.axis[2];
                            in_order[pixel] = sums + (first_row[static_cast<size_t>(row.map + column.map)] +
                                                      row_index * column.count + w) *
                                                         pitch;
                            put(offset, 1);
                        }
                }
        }
    return run_count;
}

// The results of a task whose maps are all residue classes of its rows and planes (or the only one): a block without gaps.
// Then sums can be in the order of the result from the beginning.
struct ResultBlock {
    bool whole = false;
    int64_t row_lo = 0, rows = 0, column_lo = 0, columns = 0;

    ResultBlock(const Plan& plan, const ProductTask& task) {
        const MapPlan* const maps = &task.map;
        const AxisMap &height = maps->map.axis[1], &width = maps->map.axis[2];
        if (plan.buffer.strides.axis[2] != 1 || task.map.classes != height.result_step * width.result_step) return;
        whole = true;
        row_lo = first(maps[0], task, 1);
        column_lo = first(maps[0], task, 2);
        int64_t row_hi = 0, column_hi = 0;
        for (const MapPlan* m = maps; m != maps + task.map.classes; ++m) {
            const Box pixels = pixels_of(*m, task.pixels);
            row_lo = std::min(row_lo, first(*m, task, 1));
            column_lo = std::min(column_lo, first(*m, task, 2));
            row_hi = std::max(row_hi, first(*m, task, 1) + (pixels.extent(2) - 1) * height.result_step + 1);
            column_hi = std::max(column_hi, first(*m, task, 2) + (pixels.extent(3) - 1) * width.result_step + 1);
        }
        rows = row_hi - row_lo;
        columns = column_hi - column_lo;
    }

    // Where a map's first result lies along an axis.
    static int64_t first(const MapPlan& m, const ProductTask& task, size_t axis) {
        const AxisMap& a = m.map.axis[axis];
        return a.result_start + task.pixels.lo[axis + 1] * a.result_step;
    }

    // Pixels of the block before the first one of row `row` (of all planes) of a map.
    int64_t before_row(const MapPlan& m, const ProductTask& task, const Box& pixels, int64_t row) const {
        const int64_t plane = row / pixels.extent(2), h = row % pixels.extent(2);
        const int64_t in_plane = first(m, task, 1) - row_lo + h * m.map.axis[1].result_step;
        return (plane * rows + in_plane) * columns + first(m, task, 2) - column_lo;
    }

    // As order_results.
    template <class T>
    int64_t order(const Plan& plan, const ProductTask& task, T* sums, int64_t pitch, T** in_order,
                  ResultRun* runs) const {
        const AxisMap& depth = task.map.map.axis[0];
        int64_t run_count = 0, pixel = 0;
        for (int64_t n = task.pixels.lo[0]; n < task.pixels.hi[0]; ++n)
            for (int64_t d = task.pixels.lo[1]; d < task.pixels.hi[1]; ++d)
                for (int64_t h = row_lo; h < row_lo + rows; ++h, pixel += columns) {
                    const int64_t offset = n * plan.buffer.strides.batch +
                                           (depth.result_start + d * depth.result_step) * plan.buffer.strides.axis[0] +
                                           h * plan.buffer.strides.axis[1] + column_lo;
                    ResultRun& last = runs[run_count - (run_count > 0)];
                    if (run_count > 0 && last.offset + last.count == offset) last.count += columns;
                    else runs[run_count++] = {offset, pixel, columns};
                }
        for (int64_t i = 0; i < pixel; ++i) in_order[i] = sums + i * pitch;
        return run_count;
    }
};

// The same for one map with Gaps::written_by_tasks: every result around the pixels of the box is one of them, or `gap`.
template <class T>
int64_t order_results_and_gaps(const Plan& plan, const ProductTask& task, T* sums, int64_t pitch, T* gap, T** in_order,
                               ResultRun* runs) {
    const Box& box = task.pixels;
    const auto axis = [&](size_t a) -> const AxisMap& { return task.map.map.axis[a]; };
    const auto lo = [&](size_t a) { return box.lo[a + 1] * axis(a).result_step; };
    const auto hi = [&](size_t a) { return std::min(box.hi[a + 1] * axis(a).result_step, result_extent(plan, a)); };
    const auto is_pixel = [&](size_t a, int64_t at) { return (at - axis(a).result_start) % axis(a).result_step == 0; };
    int64_t run_count = 0, pixel = 0;
    for (int64_t n = box.lo[0]; n < box.hi[0]; ++n)
        for (int64_t d = lo(0); d < hi(0); ++d)
            for (int64_t h = lo(1); h < hi(1); ++h) {
                const bool row = is_pixel(0, d) && is_pixel(1, h);
                runs[run_count++] = {
                    n * plan.buffer.strides.batch + d * plan.buffer.strides.axis[0] + h * plan.buffer.strides.axis[1] + lo(2),
                    pixel, hi(2) - lo(2)};
                for (int64_t w = lo(2); w < hi(2); ++w) {
                    const bool own = row && is_pixel(2, w);
                    in_order[pixel++] = own ? sums : gap;
                    if (own) sums += pitch;
                }
            }
    return run_count;
}

// Sums that begin with what the result holds.
template <class T>
void read_results(const Plan& plan, T* const* in_order, const ResultRun* runs, int64_t run_count, int64_t channels,
                  const T* result) {
    for (const ResultRun* run = runs; run != runs + run_count; ++run)
        for (int64_t i = 0; i < run->count; ++i)
            for (int64_t c = 0; c < channels; ++c)
                in_order[run->first + i][c] = result[run->offset + i + c * plan.buffer.strides.channel];
}

template <class T>
void write_results(const Plan& plan, const kernels::KernelTable<T>& kernel, const T* const* in_order,
                   const ResultRun* runs, int64_t run_count, int64_t channels, T* result) {
    for (const ResultRun* run = runs; run != runs + run_count; ++run)
        kernel.transpose_rows(in_order + run->first, run->count, channels, result + run->offset,
                              plan.buffer.strides.channel);
}

}  // namespace convpp
