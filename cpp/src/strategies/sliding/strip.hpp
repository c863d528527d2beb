// Strips of rows that slide (kernels/tile/slide.hpp): the part of a box of pixels, and the source that it reads.
//
// In:  a map, a box of pixels, the source.   Out: a Strip without weights and result, its source kept inside the
// tensor.
// Next: product.hpp (forward, input_grad), grad.hpp (weight_grad).
#pragma once

#include <algorithm>
#include <cstdint>

#include "plan/tasks.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

// How far outside of its source row a vector may begin.
inline constexpr int64_t slide_reach = 16;

// Rows that stay in L1, their source and results, while one strip after the other goes through them, have so many
// elements.
inline constexpr int64_t slide_elems = 4096;

// Elements that the rows of a task's source take, copied, with room before and behind for vectors that reach beyond
// them: `before` is at most slide_reach; `behind` that, a vector, and what results are more than source elements, at
// most 2*slide_reach (strategy.cpp).
inline int64_t slide_source_elems(const Plan& plan, int64_t lanes) {
    const MapPlan& m = plan.maps[0];
    const int64_t lines = m.map.axis[1].taps.size();
    const int64_t rows = std::min(m.boxes.box(0).extent(2) + lines - 1, m.map.axis[1].source_extent);
    return rows * plan.source.strides.axis[1] + 4 * slide_reach + lanes;
}

template <class T>
struct SlideStrip {
    kernels::Strip<T> strip;
    bool upwards;  // later lines read earlier rows: result rows are numbered from the last one
    int64_t lo, hi;  // rows of the source that are read
    int64_t before, behind;  // elements that vectors read before a row's first one, and behind its last

    SlideStrip(const Plan& plan, const MapPlan& m, const Box& pixels, int64_t lanes) {
        const AxisMap &height = m.map.axis[1], &width = m.map.axis[2];
        const int64_t first_tap = height.taps.front().offset, last_tap = height.taps.back().offset;
        upwards = last_tap < first_tap;
        strip.row_step = plan.source.strides.axis[1];
        strip.height = height.source_extent;
        strip.width = width.source_extent;
        strip.direction = upwards ? -1 : 1;
        strip.first_row = (upwards ? pixels.hi[2] - 1 : pixels.lo[2]) + first_tap;
        strip.lines = static_cast<int64_t>(height.taps.size());
        // Columns are counted from the box's first one.
        for (size_t t = 0; t < kernels::strip_taps; ++t) strip.tap[t] = width.taps[t].offset + pixels.lo[3];
        const auto [left, right] = std::minmax({strip.tap[0], strip.tap[1], strip.tap[2]});
        const Segment inside = inside_part(read_range(m, 1, pixels, m.patches.taps.box(0)), strip.height, 0);
        lo = inside.first;
        hi = inside.first + inside.count;
        before = std::max<int64_t>(0, -left);
        behind = std::max<int64_t>(0, round_up(pixels.extent(3), lanes) + right - strip.width);
    }

    // Sets the strip's source: the plane that begins at `plane`, or a copy of its rows where vectors would reach beyond
    // the tensor, which begins at `tensor`, or where they are stored in another type.
    void read(const kernels::KernelTable<T>& kernel, const Stored<T>& plane, const Stored<T>& tensor, T* copy) {
        strip.source = plane.plain();
        if (lo >= hi) return;
        const Stored<T> first = plane + lo * strip.row_step, last = plane + hi * strip.row_step;
        const int64_t bytes = plane.elem_bytes();
        if (plane.as == Storage::plain && first.at - tensor.at >= before * bytes &&
            plane.end - last.at >= behind * bytes)
            return;
        const int64_t elems = (hi - lo) * strip.row_step;
        reading(kernel, plane).copy_rows(first.at, elems, 1, 1, elems, copy + before, elems, plane.end);
        strip.source = copy + before - lo * strip.row_step;
    }
};

}  // namespace convpp
