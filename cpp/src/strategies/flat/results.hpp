// Flat results: planes that were computed as one long row each, moved into the result and (to be added to) out of it.
//
// In:  a task of product.hpp, one channel's flat results.   Out: rows of the result, those of residue classes in turn.
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

// One channel of a task: its classes' flat results and their places in the result.
template <class T>
struct FlatChannel {
    const Plan& plan;
    const ProductTask& task;
    const FlatPlanes& planes;
    T* flat;  // of the first class
    T* result;

    const MapPlan& map(int64_t m) const { return (&task.map)[m]; }
    Box pixels(int64_t m) const { return pixels_of(map(m), task.pixels); }
    int64_t step(int64_t m, size_t a) const { return map(m).map.axis[a].result_step * plan.buffer.strides.axis[a]; }
    // Where the first pixel of a class lies along an axis of the result.
    int64_t start(int64_t m, size_t a) const {
        return map(m).map.axis[a].result_start * plan.buffer.strides.axis[a] + pixels(m).lo[a + 1] * step(m, a);
    }
    // Plane (n, d) of a class: its first pixel among the flat results, and the plane in the result.
    T* from(int64_t m, int64_t n, int64_t d) const {
        const Box own = pixels(m);
        const auto at = [&](size_t a) { return own.lo[a + 1] + map(m).shift[a] - task.pixels.lo[a + 1]; };
        return flat + m * task.channels * planes.elems() + (n * planes.depth + d + at(0)) * planes.plane +
               at(1) * planes.pitch + at(2);
    }
    T* to(int64_t m, int64_t n, int64_t d) const {
        return result + (task.pixels.lo[0] + n) * plan.buffer.strides.batch + start(m, 0) + d * step(m, 0);
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
bool interleave_flat(const FlatChannel<T>& channel, const kernels::KernelTable<T>& kernel, int64_t first,
                     int64_t heights, int64_t n, int64_t d) {
    std::array<int64_t, most_in_turn> columns{first}, rows{first};
    if (channel.plan.buffer.strides.axis[2] != 1 || !channel.in_turn(2, 2, 1, columns.data())) return false;
    const int64_t elems = channel.pixels(columns[0]).extent(3) + channel.pixels(columns[1]).extent(3);
    const int64_t even = columns[0] - first, odd = columns[1] - first, pitch = channel.planes.pitch;
    T* const to = channel.to(first, n, d) + channel.start(columns[0], 2);
    const auto pair = [&](int64_t m) {
        return kernels::RowPair<T>{channel.from(m + even, n, d), channel.from(m + odd, n, d), pitch, pitch};
    };
    std::array<kernels::RowPair<T>, most_in_turn> pairs;
    if (channel.in_turn(1, heights, 2, rows.data())) {
        int64_t count = 0;
        for (int64_t c = 0; c < heights; ++c) {
            pairs[static_cast<size_t>(c)] = pair(rows[static_cast<size_t>(c)]);
            count += channel.pixels(rows[static_cast<size_t>(c)]).extent(2);
        }
        kernel.interleave_rows(pairs.data(), heights, count, elems, to + channel.start(rows[0], 1),
                               channel.plan.buffer.strides.axis[1]);
        return true;
    }
    for (int64_t m = first; m < first + 2 * heights; m += 2) {
        pairs[0] = pair(m);
        kernel.interleave_rows(pairs.data(), 1, channel.pixels(m).extent(2), elems, to + channel.start(m, 1),
                               channel.step(m, 1));
    }
    return true;
}

template <class T>
void write_flat(const FlatChannel<T>& channel, const kernels::KernelTable<T>& kernel) {
    const int64_t classes = channel.task.map.classes;
    // Maps are one for each combination of the classes of depth, height and width.
    const auto alike = [&](int64_t m, size_t a) {
        return channel.map(m).map.axis[a].result_start == channel.map(0).map.axis[a].result_start;
    };
    int64_t in_row = 1, in_plane = 1;
    while (in_row < classes && alike(in_row, 0) && alike(in_row, 1)) ++in_row;
    while (in_plane < classes && alike(in_plane, 0)) ++in_plane;
    for (int64_t first = 0; first < classes; first += in_plane) {
        const Box slices = channel.pixels(first);
        for (int64_t n = 0; n < slices.extent(0); ++n)
            for (int64_t d = 0; d < slices.extent(1); ++d) {
                if (in_row == 2 && interleave_flat(channel, kernel, first, in_plane / 2, n, d)) continue;
                for (int64_t m = first; m < first + in_plane; ++m) {
                    const Box own = channel.pixels(m);
                    const int64_t row_step = channel.step(m, 1), step = channel.step(m, 2);
                    const T* const from = channel.from(m, n, d);
                    T* const to = channel.to(m, n, d) + channel.start(m, 1) + channel.start(m, 2);
                    if (step == 1) {
                        kernel.store_rows(from, channel.planes.pitch, own.extent(2), own.extent(3), to, row_step);
                        continue;
                    }
                    for (int64_t h = 0; h < own.extent(2); ++h)
                        for (int64_t w = 0; w < own.extent(3); ++w)
                            to[h * row_step + w * step] = from[h * channel.planes.pitch + w];
                }
            }
    }
}

// The opposite, for results that are added to what is there.
template <class T>
void read_flat(const FlatChannel<T>& channel) {
    for (int64_t m = 0; m < channel.task.map.classes; ++m) {
        const Box own = channel.pixels(m);
        for (int64_t n = 0; n < own.extent(0); ++n)
            for (int64_t d = 0; d < own.extent(1); ++d) {
                T* const to = channel.from(m, n, d);
                const T* const from = channel.to(m, n, d) + channel.start(m, 1) + channel.start(m, 2);
                for (int64_t h = 0; h < own.extent(2); ++h)
                    for (int64_t w = 0; w < own.extent(3); ++w)
                        to[h * channel.planes.pitch + w] = from[h * channel.step(m, 1) + w * channel.step(m, 2)];
            }
    }
}

}  // namespace convpp
