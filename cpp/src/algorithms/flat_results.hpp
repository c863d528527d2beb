// Flat results: planes that were computed as one long row each, moved into the result and (to be added to) out of it.
//
// In:  a task of flat_task.hpp, one channel's flat results.   Out: rows of the result, those of residue classes interleaved.
// Next: kernels/pack.hpp (store_rows, interleave_rows).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "algorithms/patches.hpp"
#include "algorithms/product_task.hpp"

namespace convpp {

// The planes of one row of the product: (sample, depth) one behind the other, rows `pitch` apart as in the staged source.
struct FlatPlanes {
    int64_t samples, depth, pitch, plane;

    FlatPlanes(const JointPlan& joint, const Box& box, int64_t lanes) {
        const std::array<AxisMap, 3>& axis = joint.map.axis;
        const int64_t height = box.extent(2) + axis[1].beyond, width = box.extent(3) + axis[2].beyond;
        samples = box.extent(0);
        depth = box.extent(1) + axis[0].beyond;
        pitch = staged_axis(axis[2], box.extent(3), 0, static_cast<int64_t>(axis[2].taps.size())).length;
        plane = round_up((height - 1) * pitch + width, lanes);
    }
    int64_t elems() const { return samples * depth * plane; }
};

// One channel of a task: its classes' flat results and their places in the result.
template <class T>
struct FlatChannel {
    const Plan& plan;
    const ProductTask& task;
    const JointPlan& joint;
    const FlatPlanes& planes;
    T* flat;  // of the first class
    T* result;

    const AxisMap& axis(int64_t m, size_t a) const { return (&task.map)[m].map.axis[a]; }
    Box pixels(int64_t m) const { return pixels_of((&task.map)[m], task.pixels); }
    int64_t step(int64_t m, size_t a) const { return axis(m, a).result_step * plan.result.axis[a]; }
    // Where the first pixel of a class lies along an axis of the result.
    int64_t start(int64_t m, size_t a) const {
        return axis(m, a).result_start * plan.result.axis[a] + task.pixels.lo[a + 1] * step(m, a);
    }
    // Plane (n, d) of a class: its first pixel among the flat results, and the plane in the result.
    T* from(int64_t m, int64_t n, int64_t d) const {
        const Extents& shift = joint.shift[static_cast<size_t>(m)];
        return flat + m * task.channels * planes.elems() + (n * planes.depth + d + shift[0]) * planes.plane +
               shift[1] * planes.pitch + shift[2];
    }
    T* to(int64_t m, int64_t n, int64_t d) const {
        return result + (task.pixels.lo[0] + n) * plan.result.batch + start(m, 0) + d * step(m, 0);
    }
};

// Classes of the height whose rows one call of interleave_rows writes; more are written one by one.
inline constexpr int64_t most_interleaved = 16;

// Two classes whose pixels alternate in a row, of each class of the height: maps first .. first + 2 * count - 1.
template <class T>
void interleave_flat(const FlatChannel<T>& channel, const kernels::KernelTable<T>& kernel, int64_t first, int64_t count,
                     int64_t n, int64_t d) {
    const int64_t swapped = channel.start(first, 2) > channel.start(first + 1, 2) ? 1 : 0;
    const int64_t elems = channel.pixels(first).extent(3) + channel.pixels(first + 1).extent(3);
    const int64_t row_pitch = channel.plan.result.axis[1], pitch = channel.planes.pitch;
    T* const to = channel.to(first, n, d) + channel.start(first + swapped, 2);
    const auto pair = [&](int64_t m) {
        return kernels::RowPair<T>{channel.from(m + swapped, n, d), channel.from(m + 1 - swapped, n, d), pitch, pitch};
    };
    std::array<kernels::RowPair<T>, most_interleaved> pairs;
    if (count == channel.axis(first, 1).result_step && count <= most_interleaved) {  // they fill a plane
        std::array<int64_t, most_interleaved> order;  // topmost row first
        int64_t rows = 0;
        for (int64_t c = 0; c < count; ++c) {
            order[static_cast<size_t>(c)] = first + 2 * c;
            rows += channel.pixels(first + 2 * c).extent(2);
        }
        std::sort(order.begin(), order.begin() + count,
                  [&](int64_t a, int64_t b) { return channel.start(a, 1) < channel.start(b, 1); });
        for (int64_t c = 0; c < count; ++c) pairs[static_cast<size_t>(c)] = pair(order[static_cast<size_t>(c)]);
        kernel.interleave_rows(pairs.data(), count, rows, elems, to + channel.start(order[0], 1), row_pitch);
        return;
    }
    for (int64_t m = first; m < first + 2 * count; m += 2) {
        pairs[0] = pair(m);
        kernel.interleave_rows(pairs.data(), 1, channel.pixels(m).extent(2), elems, to + channel.start(m, 1),
                               channel.step(m, 1));
    }
}

template <class T>
void write_flat(const FlatChannel<T>& channel, const kernels::KernelTable<T>& kernel) {
    const int64_t family = channel.task.map.family;
    // Maps are one for each combination of the classes of depth, height and width.
    const auto alike = [&](int64_t m, size_t a) { return channel.start(m, a) == channel.start(0, a); };
    int64_t in_row = 1, in_plane = 1;
    while (in_row < family && alike(in_row, 0) && alike(in_row, 1)) ++in_row;
    while (in_plane < family && alike(in_plane, 0)) ++in_plane;
    const bool in_turn = in_row == 2 && channel.step(0, 2) == 2;
    for (int64_t first = 0; first < family; first += in_plane) {
        const Box slices = channel.pixels(first);
        for (int64_t n = 0; n < slices.extent(0); ++n)
            for (int64_t d = 0; d < slices.extent(1); ++d) {
                if (in_turn) {
                    interleave_flat(channel, kernel, first, in_plane / 2, n, d);
                    continue;
                }
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
    for (int64_t m = 0; m < channel.task.map.family; ++m) {
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
