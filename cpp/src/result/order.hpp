// Where sums whose vectors run along channels become results.  In channels_last they lie in the same order.  In
// channels_first they are put into the order of the result, and transposed.
//
// In:  a task, its sums[pixel][channel], the pixels of its maps one after the other.   Out: the results.
// Read before: the product.hpp of strategies/indirect, channels and winograd, which leave such sums.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "kernels/contract.hpp"
#include "plan/tasks.hpp"
#include "result/epilogue.hpp"

namespace convpp {

// A stretch of results that lie together: pixels [first, first + count) in the order of the result.  In channels_last,
// a row of pixels whose sums begin at `first`.
struct ResultRun {
    int64_t offset, first, count;
};

// Sums, and the results that they become.
template <class T>
struct OrderedSums {
    T* sums = nullptr;
    int64_t pitch = 0;  // from pixel to pixel
    T* gap = nullptr;  // what results become that have no terms; null: there are none
    T** in_order = nullptr;  // the sums of each pixel, in the order of the result; null in channels_last
    ResultRun* runs = nullptr;
    int64_t run_count = 0, pixel_count = 0;

    OrderedSums() = default;
    OrderedSums(Carver& carver, T* of, int64_t pixel_pitch, int64_t most_pixels, int64_t most_runs)
        : sums(of), pitch(pixel_pitch) {
        if (most_pixels > 0) in_order = carver.take<T*>(most_pixels);
        runs = carver.take<ResultRun>(most_runs);
    }

    // The next pixels: their results lie together.
    void add(int64_t offset, int64_t count) {
        ResultRun& last = runs[run_count - (run_count > 0)];
        if (run_count > 0 && last.offset + last.count == offset) last.count += count;
        else runs[run_count++] = {offset, pixel_count, count};
        pixel_count += count;
    }
    // Calls use(run) for all of them.
    template <class Use>
    void for_each_run(const Use& use) const {
        for (const ResultRun* run = runs; run != runs + run_count; ++run) use(*run);
    }
    // Sums that begin with what the result holds (channels_first).
    void read(const TensorStrides& strides, int64_t channels, const T* result) const {
        for_each_run([&](const ResultRun& run) {
            for (int64_t i = 0; i < run.count; ++i)
                for (int64_t c = 0; c < channels; ++c)
                    in_order[run.first + i][c] = result[run.offset + i + c * strides.channel];
        });
    }
    void write(const kernels::KernelTable<T>& kernel, const TensorStrides& strides, int64_t channels, T* result) const {
        for_each_run([&](const ResultRun& run) {
            T* const to = result + run.offset;
            if (in_order == nullptr)
                kernel.store_rows(sums + run.first, pitch, run.count, channels, to, strides.axis[2]);
            else kernel.transpose_rows(in_order + run.first, run.count, channels, to, strides.channel);
        });
    }
};

// Results that a task writes for each pixel of its box, at most: of its maps, or with the gaps between them.
inline int64_t results_of_pixel(const Plan& plan, const MapPlan& m) {
    return std::max(m.classes, cell(plan, m.map, 0) * cell(plan, m.map, 1) * cell(plan, m.map, 2));
}

inline int64_t most_result_runs(const Plan& plan, const MapPlan& m) {
    const Box box = m.boxes.box(0);
    const int64_t rows = box.extent(0) * box.extent(1) * box.extent(2);
    // One for each row; one for each pixel where the maps of a task do not fill the rows.
    const int64_t runs = (rows + box.elems()) * m.classes;
    return std::max(runs, rows * cell(plan, m.map, 0) * cell(plan, m.map, 1));
}

// The results of an area whose rows lie together, and whose sums lie `own` strides apart.
template <class T>
void order_area(const TensorStrides& result, const ResultArea& area, const TensorStrides& own, OrderedSums<T>& order) {
    const auto at = [&](size_t a, int64_t i) { return (area.lo[a + 1] + i * area.step[a + 1]) * result.axis[a]; };
    int64_t rows = area.count[2], count = area.count[3];
    // Rows that follow each other, here and there, are one.
    if (area.step[2] * result.axis[1] == count * result.axis[2] && own.axis[1] == count * own.axis[2])
        count *= std::exchange(rows, 1);
    for_each_index({area.count[0], area.count[1], rows, 1}, [&](int64_t n, int64_t d, int64_t h, int64_t) {
        const int64_t offset = (area.lo[0] + n) * result.batch + at(0, d) + at(1, h) + at(2, 0);
        const int64_t row = n * own.batch + d * own.axis[0] + h * own.axis[1];
        if (order.in_order == nullptr) {
            order.runs[order.run_count++] = {offset, row, count};
            return;
        }
        T* from = order.sums + row;
        T** const first = order.in_order + order.pixel_count;
        for (T** to = first; to != first + count; ++to, from += own.axis[2]) *to = from;
        order.add(offset, count);
    });
}

// The strides of an area's sums where they lie in the order of the result.
inline TensorStrides sums_in_order(const ResultArea& area, int64_t pitch) {
    return dense_strides(pitch, {area.count[1], area.count[2], area.count[3]}, "the results");
}

// A task's results along an axis: those of its residue classes in turn, and those between them that have no terms.
struct AxisClasses {
    struct Class {
        int64_t start, count;  // results
        int64_t map;  // the first one of this class; -1: no terms
    };
    std::array<Class, most_classes> classes{};
    size_t count = 0;
    int64_t step, longest, results = 0;
    bool dense = true;  // the results lie together

    // Of every `distance`-th map of the task.  `gaps`: with all between them.
    AxisClasses(const Plan& plan, const ProductTask& task, size_t axis, int64_t maps, int64_t distance, bool gaps)
        : step(task.map.map.axis[axis].result_step), longest(task.pixels.extent(axis + 1)) {
        const int64_t lo = task.pixels.lo[axis + 1] * step;
        for (int64_t m = 0; m < maps * distance; m += distance) {
            const MapPlan& map = (&task.map)[m];
            classes[count++] = {map.map.axis[axis].result_start + lo, pixels_of(map, task.pixels).extent(axis + 1), m};
        }
        if (gaps && cell(plan, task.map.map, axis) > 1) {
            const int64_t hi = std::min(task.pixels.hi[axis + 1] * step, result_extent(plan, axis));
            const size_t own = count;
            for (int64_t start = lo; start < lo + step; ++start)
                if (std::none_of(classes.begin(), classes.begin() + own,
                                 [&](const Class& c) { return c.start == start; }))
                    classes[count++] = {start, ceil_div(hi - start, step), -1};
        }
        std::sort(classes.begin(), classes.begin() + count,
                  [](const Class& a, const Class& b) { return a.start < b.start; });
        for (size_t i = 0; i < count; ++i) {
            results += classes[i].count;
            dense &= classes[i].start == classes[0].start + static_cast<int64_t>(i);
        }
        dense &= static_cast<int64_t>(count) == step;
    }
    // Calls use(class, pixel of it, result) for all results in order.
    template <class Use>
    void for_each(const Use& use) const {
        for (int64_t i = 0; i < longest; ++i)
            for (const Class* of = classes.data(); of != classes.data() + count; ++of)
                if (i < of->count) use(*of, i, of->start + i * step);
    }
};

// All results of a task.  Its maps are residue classes: some of the width, the same ones for some of the height, and so
// of the depth.
template <class T>
void order_results(const Plan& plan, const ProductTask& task, OrderedSums<T>& order) {
    using Class = AxisClasses::Class;
    const TensorStrides& s = plan.buffer.strides;
    const MapPlan* const maps = &task.map;
    const Box& box = task.pixels;
    const bool gaps = order.gap != nullptr;
    if (task.map.classes == 1 && !gaps && task.map.map.axis[2].result_step * s.axis[2] == 1) {  // they are in order
        const ResultArea area = area_of(task.map, box);
        return order_area(s, area, sums_in_order(area, order.pitch), order);
    }
    std::array<int64_t, most_classes> first{};  // pixel of each map, in sums
    for (int64_t m = 1; m < task.map.classes; ++m)
        first[static_cast<size_t>(m)] = first[static_cast<size_t>(m - 1)] + pixels_of(maps[m - 1], box).elems();
    const auto alike = [&](size_t axes) {  // maps that begin where the first one does, along so many axes
        int64_t count = 1;
        const auto same = [&](size_t a) {
            return maps[count].map.axis[a].result_start == maps[0].map.axis[a].result_start;
        };
        while (count < task.map.classes && same(0) && (axes == 1 || same(1))) ++count;
        return count;
    };
    const int64_t in_row = alike(2), in_plane = alike(1);
    const AxisClasses depth(plan, task, 0, task.map.classes / in_plane, in_plane, gaps),
        height(plan, task, 1, in_plane / in_row, in_row, gaps), width(plan, task, 2, in_row, 1, gaps);
    const auto sums_of = [&](int64_t map, int64_t pixel) {
        return order.sums + (first[static_cast<size_t>(map)] + pixel) * order.pitch;
    };
    for (int64_t n = 0; n < box.extent(0); ++n)
        depth.for_each([&](const Class& slice, int64_t d, int64_t at_depth) {
            height.for_each([&](const Class& row, int64_t h, int64_t at_height) {
                const int64_t line = (box.lo[0] + n) * s.batch + at_depth * s.axis[0] + at_height * s.axis[1];
                const int64_t row_index = (n * slice.count + d) * row.count + h;
                const bool none = slice.map < 0 || row.map < 0;
                if (width.dense && s.axis[2] == 1) {  // class by class, which is faster
                    for (size_t i = 0; i < width.count; ++i) {
                        const Class& column = width.classes[i];
                        const bool gap = none || column.map < 0;
                        T* from = gap ? order.gap : sums_of(slice.map + row.map + column.map, row_index * column.count);
                        const int64_t pitch = gap ? 0 : order.pitch;
                        T** to = order.in_order + order.pixel_count + i;
                        for (int64_t w = 0; w < column.count; ++w, to += width.step, from += pitch) *to = from;
                    }
                    return order.add(line + width.classes[0].start, width.results);
                }
                width.for_each([&](const Class& column, int64_t w, int64_t at_width) {
                    const bool gap = none || column.map < 0;
                    order.in_order[order.pixel_count] =
                        gap ? order.gap : sums_of(slice.map + row.map + column.map, row_index * column.count + w);
                    order.add(line + at_width * s.axis[2], 1);
                });
            });
        });
}

// The results of a task whose maps are all residue classes of its rows and planes (or the only one): a block without
// gaps. Then sums can be in the order of the result from the beginning.
struct ResultBlock {
    bool whole;
    ResultArea area;

    ResultBlock(const Plan& plan, const ProductTask& task)
        : whole(plan.buffer.strides.axis[2] == 1 && plan.gaps_from == 3 &&
                task.map.classes == task.map.map.axis[1].result_step * task.map.map.axis[2].result_step),
          area(bounding_area(task)) {}

    // Pixels of the block before the first one of row `row` (of all planes) of a map with results `own`.
    int64_t before_row(const ResultArea& own, int64_t row) const {
        const int64_t plane = row / own.count[2], h = row % own.count[2];
        const int64_t in_plane = own.lo[2] - area.lo[2] + h * own.step[2];
        return (plane * area.count[2] + in_plane) * area.count[3] + own.lo[3] - area.lo[3];
    }
};

// Sums become results after residual and activation, the first one at `at`.  Halves are rounded on the way;
// channels_first ones lie in `planes` before.
template <class T>
void store_results(const Plan& plan, const kernels::KernelTable<T>& kernel, const OrderedSums<T>& order,
                   int64_t channels, const Operands<T>& operands, int64_t at, T* planes) {
    const bool rounds = plan.converts(), last = order.in_order == nullptr;
    if (!rounds) order.write(kernel, plan.result, channels, operands.result.plain() + at);
    else if (!last) kernel.transpose_rows(order.in_order, order.pixel_count, channels, planes, order.pixel_count);
    if (!rounds && operands.epilogue.none()) return;
    const int64_t pitch = last ? plan.result.axis[2] : plan.result.channel;
    const int64_t sum_pitch = !rounds ? pitch : last ? order.pitch : order.pixel_count;
    order.for_each_run([&](const ResultRun& run) {
        const int64_t to = at + run.offset;
        const T* const from = !rounds ? operands.result.plain() + to : (last ? order.sums : planes) + run.first;
        const SumRows<T> sums{from, sum_pitch, last ? run.count : channels, last ? channels : run.count};
        apply_epilogue(kernel, operands.epilogue.from(to), sums, operands.result + to, pitch);
    });
}

}  // namespace convpp
