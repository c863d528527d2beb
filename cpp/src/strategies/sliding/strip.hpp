// Strips of rows that slide (kernels/tile/slide.hpp): the part of a box of pixels, and the source that it reads.
//
// In:  a map, a box of pixels, the source.   Out: a Strip without weights and result, its source kept inside the
// tensor.
// Next: product.hpp (forward, input_grad), grad.hpp (weight_grad).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#include "plan/tasks.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

// How far outside of its source row a vector may begin.
inline constexpr int64_t slide_reach = 16;

// From a row of the source to the next one; of one row, perhaps of a whole plane (joined_rows), its elements.
inline int64_t slide_row(const Plan& plan) {
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    return axis[1].source_extent > 1 ? plan.source.strides.axis[1] : axis[2].source_extent;
}

// Elements that the rows of some planes take, copied, with room before and behind for vectors that reach beyond them:
// `before` is at most slide_reach; `behind` that, a vector or two, and what results are more than source elements, at
// most 2*slide_reach (strategy.cpp).
inline int64_t slide_source_elems(const Plan& plan, int64_t planes, int64_t lanes) {
    const MapPlan& m = plan.maps[0];
    const AxisMap& height = m.map.axis[1];
    const int64_t rows = (m.boxes.box(0).extent(2) - 1) * height.source_step + height.taps.size();
    return planes * std::min(rows, height.source_extent) * slide_row(plan) + 4 * slide_reach +
           m.map.axis[2].source_step * lanes;
}

// The tiles for a source and results that are stored as S.
template <class S, class T>
const kernels::SlideTiles<T, S>& slide_tiles(const kernels::KernelTable<T>& kernel) {
    if constexpr (std::is_same_v<S, bfloat16>) return kernel.slide_bfloat16;
    else if constexpr (std::is_same_v<S, float16>) return kernel.slide_float16;
    else return kernel.slide;
}

// S: how the strip's source is stored, where it lies or copied; the tensor may hold halves, which are converted then.
template <class T, class S = T>
struct SlideStrip {
    kernels::Strip<T, S> strip{};
    bool upwards;  // later lines read earlier rows: result rows are numbered from the last one
    int64_t lo, hi;  // rows of the source that are read
    int64_t before, behind;  // elements that vectors read before a row's first one, and behind its last

    // Columns are counted from the box's first one.
    SlideStrip(const Plan& plan, const MapPlan& m, const Box& pixels, int64_t lanes) {
        const AxisMap &height = m.map.axis[1], &width = m.map.axis[2];
        const Span lines = height.taps.offsets(0, height.taps.size()), taps = width.taps.offsets(0, width.taps.size());
        const int64_t first_column = pixels.lo[3] * width.source_step;
        upwards = height.taps.back().offset < height.taps.front().offset;
        strip.row_step = slide_row(plan);
        strip.height = height.source_extent;
        strip.width = width.source_extent;
        strip.direction = upwards ? -1 : 1;
        strip.first_row = (upwards ? pixels.hi[2] - 1 : pixels.lo[2]) * height.source_step + height.taps.front().offset;
        strip.first_tap = first_column + width.taps.front().offset;
        strip.tap_step = width.taps.size() > 1 ? width.taps.apart() : 1;
        strip.lines = height.taps.size();
        strip.columns = width.taps.size();
        lo = std::clamp<int64_t>(pixels.lo[2] * height.source_step + lines.lo, 0, strip.height);
        hi = std::clamp<int64_t>((pixels.hi[2] - 1) * height.source_step + lines.hi + 1, lo, strip.height);
        before = std::max<int64_t>(0, -(first_column + taps.lo));
        behind = std::max<int64_t>(
            0, first_column + width.source_step * round_up(pixels.extent(3), lanes) + taps.hi - strip.width);
    }

    // Whether vectors of the plane that begins at `plane` stay inside the tensor, which begins at `tensor`.
    bool in_place(const Stored<T>& plane, const Stored<T>& tensor) const {
        if (lo >= hi) return true;
        const Stored<T> first = plane + lo * strip.row_step, last = plane + hi * strip.row_step;
        const int64_t bytes = plane.elem_bytes();
        return plane.as == storage_of<S> && first.at - tensor.at >= before * bytes &&
               plane.end - last.at >= behind * bytes;
    }

    // Sets the strip's source: some planes, `plane_step` apart, or a copy of their rows.
    void read_in_place(const Stored<T>& first, int64_t planes, int64_t plane_step) {
        strip.planes = planes;
        strip.source = reinterpret_cast<const S*>(first.at);
        strip.source_plane = plane_step;
    }
    void copy(const kernels::KernelTable<T>& kernel, const Stored<T>& first, int64_t planes, int64_t plane_step,
              S* to) {
        const int64_t elems = (hi - lo) * strip.row_step;
        const Stored<T> from = first + lo * strip.row_step;
        if constexpr (std::is_same_v<S, T>) {
            const bool one_row = elems == plane_step;  // planes follow each other
            const int64_t rows = one_row ? 1 : planes, of_row = one_row ? planes * elems : elems;
            reading(kernel, from).copy_rows(from.at, plane_step, 1, rows, of_row, to + before, of_row, from.end);
        } else {
            for (int64_t plane = 0; plane < planes; ++plane)
                std::copy_n(reinterpret_cast<const S*>(from.at) + plane * plane_step, elems,
                            to + before + plane * elems);
        }
        strip.planes = planes;
        strip.source = to + before - lo * strip.row_step;
        strip.source_plane = elems;
    }
};

}  // namespace convpp
