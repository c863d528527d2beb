// What a box of pixels of the weight gradient will read, for tiles to ask for while they multiply the box before.
//
// In:  a Plan, a product, a box of pixels, the operands.   Out: kernels::Prefetch.   Next: source/prefetch.hpp, which
// lists it.
#pragma once

#include <array>

#include "source/prefetch.hpp"
#include "source/view.hpp"
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
        std::array<ReadRange, 3> ranges;
        for (size_t a = 0; a < 3; ++a) {
            ranges[a] = read_range(m, a, pixels, block.taps);
            if (block.taps.extent(a + 1) == 1)  // nothing between the pixels
                ranges[a] = {ranges[a].lo, pixels.extent(a + 1), m.map.axis[a].source_step};
        }
        const Patches patches{m, plan.source.strides, pixels, block};
        prefetch.add(patches.part(first_x(plan, product, operands)), ranges);
    }
    if (!by_patch || plan.channels_last()) {
        std::array<ReadRange, 3> ranges;
        for (size_t a = 0; a < 3; ++a) ranges[a] = {pixels.lo[a + 1], pixels.extent(a + 1)};
        prefetch.add(part_of(first_dy(plan, product, operands), plan.result, pixel_extents(m.map), pixels,
                             product.channel_lo, product.channels),
                     ranges);
    }
    return prefetch.over(tiles, depth);
}

}  // namespace convpp
