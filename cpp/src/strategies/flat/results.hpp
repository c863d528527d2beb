// Flat results: planes that were computed as one long row each, moved into the result and (to be added to) out of it.
//
// In:  a task of product.hpp, its flat results.   Out: rows of the result, those of residue classes in turn.
// Next: kernels/move/pack.hpp (store_rows, interleave_rows).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/layout.hpp"
#include "plan/tasks.hpp"
#include "strategies/flat/joint.hpp"

namespace convpp {

// The planes of one row of the product, (sample, depth) one behind the other; rows `pitch` apart as in the staged
// source.
struct FlatPlanes {
    int64_t samples, depth, pitch, plane;

    FlatPlanes(const JointPlan& joint, const Box& box, int64_t lanes) {
        samples = box.extent(0);
        depth = box.extent(1);
        pitch = read_range(joint, 2, box, joint.patches.taps.box(0), Phases::apart).length;
        plane = round_up((box.extent(2) - 1) * pitch + box.extent(3), lanes);
    }
    int64_t elems() const { return samples * depth * plane; }
};

// Classes of the height whose rows are written in turn by one call; more are written one by one.
inline constexpr int64_t most_in_turn = 16;

// A task's flat results and their places in the result, as offsets that all its channels have.
struct FlatResults {
    const Plan& plan;
    const ProductTask& task;
    const FlatPlanes& planes;

    const MapPlan& map(int64_t m) const { return (&task.map)[m]; }
    Box pixels(int64_t m) const { return pixels_of(map(m), task.pixels); }
    int64_t step(int64_t m, size_t a) const { return map(m).map.axis[a].result_step * plan.buffer.strides.axis[a]; }
    // Where the first pixel of a class lies along an axis of the result.
    int64_t start(int64_t m, size_t a) const {
        return map(m).map.axis[a].result_start * plan.buffer.strides.axis[a] + pixels(m).lo[a + 1] * step(m, a);
    }
    // A class's first plane: its first pixel among the flat results, and the plane in the result.
    int64_t from(int64_t m) const {
        const Box own = pixels(m);
        const auto at = [&](size_t a) { return own.lo[a + 1] + map(m).shift[a] - task.pixels.lo[a + 1]; };
        return m * task.channels * planes.elems() + at(0) * planes.plane + at(1) * planes.pitch + at(2);
    }
    int64_t to(int64_t m) const { return task.pixels.lo[0] * plan.buffer.strides.batch + start(m, 0); }

    // Calls use(from, to) with what lies between a class's first plane and each of its planes, channel by channel.
    template <class Use>
    void for_each_plane(int64_t m, const Use& use) const {
        const Box own = pixels(m);
        const int64_t depth_step = step(m, 0);
        for (int64_t c = 0; c < task.channels; ++c)
            for (int64_t n = 0; n < own.extent(0); ++n)
                for (int64_t d = 0; d < own.extent(1); ++d)
                    use(c * planes.elems() + (n * planes.depth + d) * planes.plane,
                        c * plan.buffer.strides.channel + n * plan.buffer.strides.batch + d * depth_step);
    }

    // Whether `count` maps, `between` of them apart, have their pixels in turn along an axis: one of each, and then the
    // next of each, the last ones perhaps missing.  Puts them into this order.
    bool in_turn(size_t a, int64_t count, int64_t between, int64_t* maps) const {
        if (count > most_in_turn || count * plan.buffer.strides.axis[a] != step(maps[0], a)) return false;
        for (int64_t i = 1; i < count; ++i) maps[i] = maps[0] + i * between;
        std::sort(maps, maps + count, [&](int64_t m, int64_t other) { return start(m, a) < start(other, a); });
        const auto extent = [&](int64_t i) { return pixels(maps[i]).extent(a + 1); };
        for (int64_t i = 1; i < count; ++i)
            if (start(maps[i], a) != start(maps[i - 1], a) + plan.buffer.strides.axis[a] || extent(i) > extent(i - 1))
                return false;
        return extent(count - 1) > 0 && extent(0) <= extent(count - 1) + 1;
    }
};

// Two classes whose pixels alternate in a row, for all `heights` classes of the height.  False: they do not.
template <class T>
bool interleave_flat(const FlatResults& of, const kernels::KernelTable<T>& kernel, int64_t first, int64_t heights,
                     const T* flat, T* result) {
    std::array<int64_t, most_in_turn> columns{first}, rows{first};
    if (of.plan.buffer.strides.axis[2] != 1 || !of.in_turn(2, 2, 1, columns.data())) return false;
    const int64_t elems = of.pixels(columns[0]).extent(3) + of.pixels(columns[1]).extent(3);
    const int64_t even = columns[0] - first, odd = columns[1] - first, pitch = of.planes.pitch;
    T* const to = result + of.to(first) + of.start(columns[0], 2);
    const auto pair = [&](int64_t m, int64_t from_plane) {
        return kernels::RowPair<T>{flat + of.from(m + even) + from_plane, flat + of.from(m + odd) + from_plane, pitch,
                                   pitch};
    };
    if (of.in_turn(1, heights, 2, rows.data())) {
        std::array<kernels::RowPair<T>, most_in_turn> pairs, of_plane;
        const auto used = static_cast<size_t>(heights);
        int64_t count = 0;
        for (size_t i = 0; i < used; ++i) {
            pairs[i] = pair(rows[i], 0);
            count += of.pixels(rows[i]).extent(2);
        }
        T* const first_row = to + of.start(rows[0], 1);
        of.for_each_plane(first, [&](int64_t from_plane, int64_t to_plane) {
            for (size_t i = 0; i < used; ++i)
                of_plane[i] = {pairs[i].even + from_plane, pairs[i].odd + from_plane, pitch, pitch};
            kernel.interleave_rows(of_plane.data(), heights, count, elems, first_row + to_plane,
                                   of.plan.buffer.strides.axis[1]);
        });
        return true;
    }
    of.for_each_plane(first, [&](int64_t from_plane, int64_t to_plane) {
        for (int64_t m = first; m < first + 2 * heights; m += 2) {
            const kernels::RowPair<T> of_class = pair(m, from_plane);
            kernel.interleave_rows(&of_class, 1, of.pixels(m).extent(2), elems, to + of.start(m, 1) + to_plane,
                                   of.step(m, 1));
        }
    });
    return true;
}

// The rows of a class, of its first plane.
template <class T>
struct ClassRows {
    const T* from = nullptr;
    T* to = nullptr;
    int64_t rows = 0, columns = 0, row_step = 0, step = 0;

    ClassRows() = default;
    ClassRows(const FlatResults& of, int64_t m, const T* flat, T* result)
        : from(flat + of.from(m)),
          to(result + of.to(m) + of.start(m, 1) + of.start(m, 2)),
          rows(of.pixels(m).extent(2)),
          columns(of.pixels(m).extent(3)),
          row_step(of.step(m, 1)),
          step(of.step(m, 2)) {}

    void write_row(int64_t h, int64_t pitch, int64_t from_plane, int64_t to_plane) const {
        const T* const own = from + from_plane + h * pitch;
        T* const into = to + to_plane + h * row_step;
        for (int64_t w = 0, end = columns, apart = step; w < end; ++w) into[w * apart] = own[w];
    }
};

// `flat`: of the task's first channel; `result`: of its first channel.
template <class T>
void write_flat(const FlatResults& of, const kernels::KernelTable<T>& kernel, const T* flat, T* result) {
    const int64_t classes = of.task.map.classes, pitch = of.planes.pitch;
    // Maps are one for each combination of the classes of depth, height and width.
    const auto alike = [&](int64_t m, size_t a) {
        return of.map(m).map.axis[a].result_start == of.map(0).map.axis[a].result_start;
    };
    int64_t in_row = 1, in_plane = 1;
    while (in_row < classes && alike(in_row, 0) && alike(in_row, 1)) ++in_row;
    while (in_plane < classes && alike(in_plane, 0)) ++in_plane;
    for (int64_t first = 0; first < classes; first += in_plane) {
        if (in_row == 2 && interleave_flat(of, kernel, first, in_plane / 2, flat, result)) continue;
        // Some classes at once, row by row: they write the same cache lines.
        for (int64_t some = first; some < first + in_plane; some += most_in_turn) {
            const int64_t count = std::min(most_in_turn, first + in_plane - some);
            std::array<ClassRows<T>, most_in_turn> rows;
            for (int64_t i = 0; i < count; ++i) rows[static_cast<size_t>(i)] = {of, some + i, flat, result};
            int64_t most = 0;
            for (int64_t i = 0; i < count; ++i) most = std::max(most, rows[static_cast<size_t>(i)].rows);
            of.for_each_plane(first, [&](int64_t from_plane, int64_t to_plane) {
                if (of.step(first, 2) == 1) {
                    for (int64_t i = 0; i < count; ++i) {
                        const ClassRows<T>& own = rows[static_cast<size_t>(i)];
                        kernel.store_rows(own.from + from_plane, pitch, own.rows, own.columns, own.to + to_plane,
                                          own.row_step);
                    }
                    return;
                }
                for (int64_t h = 0; h < most; ++h)
                    for (int64_t i = 0; i < count; ++i)
                        if (h < rows[static_cast<size_t>(i)].rows)
                            rows[static_cast<size_t>(i)].write_row(h, pitch, from_plane, to_plane);
            });
        }
    }
}

// The opposite, for results that are added to what is there.
template <class T>
void read_flat(const FlatResults& of, const T* result, T* flat) {
    for (int64_t m = 0; m < of.task.map.classes; ++m) {
        const int64_t rows = of.pixels(m).extent(2), columns = of.pixels(m).extent(3);
        const int64_t row_step = of.step(m, 1), step = of.step(m, 2);
        T* const flat_to = flat + of.from(m);
        const T* const result_from = result + of.to(m) + of.start(m, 1) + of.start(m, 2);
        of.for_each_plane(m, [&](int64_t to_plane, int64_t from_plane) {
            for (int64_t h = 0; h < rows; ++h)
                for (int64_t w = 0; w < columns; ++w)
                    flat_to[to_plane + h * of.planes.pitch + w] = result_from[from_plane + h * row_step + w * step];
        });
    }
}

}  // namespace convpp
