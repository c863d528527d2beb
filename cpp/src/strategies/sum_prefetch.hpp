// What a box of pixels of the weight gradient will read, for tiles to ask for while they multiply the box before.
//
// In:  a Plan, a product, a box of pixels, the operands.   Out: kernels::Prefetch.   Next: source/prefetch.hpp, which lists it.
#pragma once

#include <algorithm>
#include <array>

#include "source/layout.hpp"
#include "source/prefetch.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// What a box reads of x, and of dy.  Rows that tiles read where they lie, planes of channels_first, are left out: these
// the processor foresees (asked for, they cost 1x1 layers 2 to 5 % of the peak).
template <class T>
kernels::Prefetch prefetch_of(const Plan& plan, const SumProduct& product, const Operands<T>& operands,
                              const Box& pixels, int64_t tiles, int64_t depth, kernels::Stretch* room) {
    const MapPlan& m = plan.maps[0];
    const PatchBlock& block = product.block;
    const bool by_patch = plan.tile.pixels_are_columns;
    PrefetchList prefetch(room);
    if (by_patch || !m.in_place || plan.channels_last() || m.map.axis[2].source_step > 1) {
        std::array<int64_t, 4> count{pixels.extent(0), 1, 1, 1};
        std::array<int64_t, 3> step{1, 1, 1};
        Stored<T> x = first_x(plan, product, operands) + block.channel_lo * plan.source.strides.channel +
                      pixels.lo[0] * plan.source.strides.batch;
        for (size_t a = 0; a < 3; ++a) {
            const AxisMap& axis = m.map.axis[a];
            const ReadRange range = read_range(m.map, a, pixels, block.taps);
            if (block.taps.extent(a + 1) == 1) step[a] = axis.source_step;
            const int64_t lo = range.lo + std::max<int64_t>(0, ceil_div(-range.lo, step[a])) * step[a];
            const int64_t hi = std::min(range.lo + range.length, axis.source_extent);
            count[a + 1] = std::max<int64_t>(0, ceil_div(hi - lo, step[a]));
            x += lo * plan.source.strides.axis[a];
        }
        prefetch.add(x, plan.source.strides, count, step, block.channel_hi - block.channel_lo);
    }
    if (!by_patch || plan.channels_last()) {
        Stored<T> dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel +
                       pixels.lo[0] * plan.result.batch;
        for (size_t a = 0; a < 3; ++a) dy += pixels.lo[a + 1] * plan.result.axis[a];
        prefetch.add(dy, plan.result, {pixels.extent(0), pixels.extent(1), pixels.extent(2), pixels.extent(3)}, {1, 1, 1},
                  product.channels);
    }
    return prefetch.over(tiles, depth);
}

}  // namespace convpp
