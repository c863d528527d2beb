// Groups of few channels whose planes are large: what the kernel of dot products of rows (kernels/tile/dot.hpp) takes.
//
// In:  a Plan.   Out: whether it is repaired so, and what a thread needs for it.   Next: dot_sums.hpp, dot_products.hpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/dispatch.hpp"
#include "machine/workspace.hpp"
#include "repair/lanes.hpp"

namespace convpp {

template <class T>
bool uses_dots(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    constexpr int64_t few = 4;
    const RepairShape shape(plan);
    if (plan.maps[0].map.has_border() || lane_kernel(plan, kernel) >= 0) return false;
    if (plan.pass == Pass::weight_grad && 2 * plan.maps[0].map.axis[2].count >= kernel.lanes)
        return shape.channels < few;
    // Large planes are not copied: their borders are a small part of them.
    constexpr int64_t most_copied = int64_t(1) << 17;
    if (source_pixels(plan) > most_copied / std::max<int64_t>(shape.channels, 1)) return false;
    // (Panels of halves, which have to be copied for each pixel and tap, are slower.)
    const int64_t most = plan.converts() ? 2 * few : few;
    return std::min(shape.channels, shape.result_channels) < few &&
           std::max(shape.channels, shape.result_channels) < most;
}

// Planes in as many phases of their rows: to[phase][row][element / phases].  Writes whole vectors.
template <class T>
void copy_phases(const kernels::KernelTable<T>& kernel, const Stored<T>& from, const TensorStrides& strides,
                 const Extents& extents, int64_t phases, int64_t pitch, T* to) {
    const int64_t rows = extents[0] * extents[1], step = strides.axis[2];
    for (int64_t f = 0; f < phases; ++f)
        reading(kernel, from)
            .copy_rows((from + f * step).at, strides.axis[1], phases * step, rows, ceil_div(extents[2] - f, phases),
                       to + f * rows * pitch, pitch, from.end);
}

// What a thread needs.
template <class T>
struct RepairDots {
    static constexpr int64_t most_vectors = 64;  // of pixels, at once
    static constexpr int64_t most_filters = 32;
    bool used, x_in_place;
    int64_t phases = 1, pitch = 1;  // of x copied (sums)
    int64_t most_columns = 0;  // of the kernel (sums)
    T *x = nullptr, *dy = nullptr, *w = nullptr, *sums = nullptr, *part = nullptr;
    int64_t *offsets = nullptr, *dy_at = nullptr, *filters = nullptr;
    bool* again = nullptr;  // [filter][row of taps]
    kernels::Run* runs = nullptr;
    kernels::VectorAt *rows = nullptr, *at = nullptr;
    unsigned char *skip = nullptr, *count = nullptr;

    RepairDots(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : used(uses_dots(plan, kernel)) {
        const RepairShape shape(plan);
        const int64_t lanes = kernel.lanes, most_pixels = most_vectors * lanes;
        const AxisMap& width = plan.maps[0].map.axis[2];
        x_in_place =
            !plan.converts() && width.source_step == 1 && shape.strides.axis[2] == 1 && shape.extents[2] >= lanes;
        if (!used) return;
        const int64_t source_rows =
            checked_mul(shape.channels, checked_mul(shape.extents[0], shape.extents[1], what), what);
        int64_t vectors = 2 * most_vectors;
        if (plan.pass == Pass::weight_grad) {
            const Extents taps = tap_extents(plan.maps[0].map);
            const int64_t pairs = checked_mul(shape.channels, taps[0] * taps[1], what);
            const int64_t most = std::min(most_filters, shape.result_channels);
            constexpr int64_t most_sums = int64_t(1) << 16;
            most_columns = std::clamp<int64_t>(most_sums / checked_mul(most, pairs, what), 1, taps[2]);
            phases = std::clamp<int64_t>(width.source_step, 1, std::max<int64_t>(shape.extents[2], 1));
            pitch = round_up(ceil_div(shape.extents[2], phases), lanes);
            x = carver.take<T>(x_in_place ? 0 : checked_mul(source_rows, phases * pitch, what) + lanes);
            dy = carver.take<T>(most * most_pixels + 2 * lanes);
            sums = carver.take<T>(checked_mul(most_columns, most * pairs, what));
            part = carver.take<T>(most * pairs);
            offsets = carver.take<int64_t>(pairs);
            again = carver.take<bool>(most_columns * most * taps[0] * taps[1]);
            filters = carver.take<int64_t>(most);
            dy_at = carver.take<int64_t>(most_pixels);
            runs = carver.take<kernels::Run>(std::max(most_vectors, most_filters));
            rows = carver.take<kernels::VectorAt>(most_vectors);
        } else {
            int64_t taps = 0, tap_rows = 0, copied = 0;
            for (const MapPlan& m : plan.maps) {
                const Extents each = tap_extents(m.map);
                taps = std::max(taps, m.map.taps());
                tap_rows = std::max(tap_rows, each[0] * each[1] * ceil_div(each[2], lanes));
                const int64_t apart = phases_of(m.map.axis[2], shape.extents[2]);
                copied = std::max(copied, apart * round_up(ceil_div(shape.extents[2], apart), lanes));
            }
            x = carver.take<T>(checked_mul(source_rows, copied, what) + lanes);
            w = carver.take<T>(checked_mul(shape.channels * shape.result_channels, taps, what) + lanes);
            part = carver.take<T>(shape.result_channels * most_vectors);
            offsets = carver.take<int64_t>(most_vectors);
            vectors = checked_mul(shape.channels, tap_rows, what);
        }
        at = carver.take<kernels::VectorAt>(vectors);
        skip = carver.take<unsigned char>(vectors);
        count = carver.take<unsigned char>(vectors);
    }

    // How far apart neighbouring taps read: a copy has so many planes, in each of which they read neighbours.
    static int64_t phases_of(const AxisMap& width, int64_t extent) {
        const int64_t step = std::abs(SourceSteps(width, 1).tap);
        return std::clamp<int64_t>(step, 1, std::max<int64_t>(extent, 1));
    }

    // Vector i begins `behind` a row's first element; so many of its lanes count.
    void put(int64_t i, const kernels::VectorAt& row, int64_t behind, int64_t skipped, int64_t counted) const {
        at[i] = {row.source + behind, row.result + behind};
        skip[i] = static_cast<unsigned char>(skipped);
        count[i] = static_cast<unsigned char>(counted);
    }

private:
    static constexpr const char* what = "the workspace";
};

}  // namespace convpp
