// Where the tiles of a box lie: in the source, transformed, and in the results.
//
// In:  a Plan of this strategy, a box of units.   Out: offsets of its tiles.
// Next: product.cpp, grad.cpp.
//
// A box's source is copied, one vector of channels at a time, with its padding (source/lanes.hpp).  Transformed, it is
// [point][place][channel]: a place is a tile, with all source elements of the axes that are not transformed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/lanes.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {

inline const WinogradPlan& winograd_of(const Plan& plan) { return own<WinogradPlan>(plan); }

// Strides that are multiples of many cache sets would let the points of a tile push each other out of the caches: an odd
// number of cache lines apart, they do not.
template <class T>
int64_t apart_by_odd_lines(int64_t elems) {
    constexpr int64_t line = cache_line / static_cast<int64_t>(sizeof(T));
    return checked_mul(ceil_div(elems, line) | 1, line, "the transformed input");
}

template <class T>
const kernels::WinogradKernels<T>& transforms(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    return kernel.winograd[winograd_of(plan).size][winograd_of(plan).planes() ? 1 : 0];
}

// From point to point of the tiles, along each axis.
inline kernels::TileSteps point_steps(const WinogradPlan& plan, int64_t pitch) {
    return {plan.axis[plan.along_b].points * pitch, pitch};
}

// Source channels that are transformed before they are multiplied.
struct SourceBlock {
    int64_t index, lo, channels;
    SourceBlock(const Plan& plan, int64_t i)
        : index(i),
          lo(i * winograd_of(plan).source_block),
          channels(std::min(winograd_of(plan).source_block, plan.source.channels - lo)) {}
    static int64_t count(const Plan& plan) { return ceil_div(plan.source.channels, winograd_of(plan).source_block); }
};

// The results of a box of units, as far as there are any.
inline Box results_of(const Plan& plan, const MapPlan& m, const Box& units) {
    Box results = units;
    for (size_t a = 0; a < 3; ++a) {
        const WinogradAxis& axis = winograd_of(plan).axis[a];
        const int64_t count = m.map.axis[a].count;
        const int64_t lo = units.lo[a + 1] * (axis.transformed ? axis.step : 1);
        results.lo[a + 1] = std::min(lo, count);
        results.hi[a + 1] = std::min(lo + axis.result_length(units.extent(a + 1)), count);
    }
    return results;
}

// What a box of units reads and writes, one vector of channels of it.
struct WinogradBox {
    CopyLayout source, results;  // dense, in vectors
    std::array<int64_t, 4> places, tiles;  // of each axis, samples first

    WinogradBox(const WinogradPlan& plan, const Box& box, int64_t lanes) {
        places[0] = tiles[0] = box.extent(0);
        for (size_t a = 0; a < 3; ++a) {
            const WinogradAxis& axis = plan.axis[a];
            const int64_t lo = box.lo[a + 1], units = box.extent(a + 1);
            source.range[a] = {axis.first + lo * axis.step, axis.source_length(units)};
            results.range[a] = {axis.transformed ? lo * axis.step : lo, axis.result_length(units)};
            places[a + 1] = axis.places(units);
            tiles[a + 1] = axis.tiles(units);
        }
        for (CopyLayout* const layout : {&source, &results}) layout->lay_out(box.extent(0), 1, lanes);
    }

    static int64_t product(const std::array<int64_t, 4>& counts) {
        return counts[0] * counts[1] * counts[2] * counts[3];
    }
    int64_t place_count() const { return product(places); }
    int64_t tile_count() const { return product(tiles); }

    // Where the places begin in the copy of the source.
    void find_places(const WinogradPlan& plan, int64_t* at) const {
        const TensorStrides& s = source.strides;
        for_each_index(places, [&](int64_t n, int64_t a, int64_t b, int64_t c) {
            *at++ = n * s.batch + plan.axis[0].place_at(a) * s.axis[0] + plan.axis[1].place_at(b) * s.axis[1] +
                    plan.axis[2].place_at(c) * s.axis[2];
        });
    }
    // Where the tiles begin in the results.
    void find_tiles(const WinogradPlan& plan, int64_t* at) const {
        const TensorStrides& s = results.strides;
        for_each_index(tiles, [&](int64_t n, int64_t a, int64_t b, int64_t c) {
            *at++ = n * s.batch + plan.axis[0].tile_at(a) * s.axis[0] + plan.axis[1].tile_at(b) * s.axis[1] +
                    plan.axis[2].tile_at(c) * s.axis[2];
        });
    }
    // The first place that each tile reads.
    void find_first_places(const WinogradPlan& plan, int64_t* index) const {
        const auto place = [&](size_t a, int64_t tile) {
            return plan.axis[a].transformed ? tile : tile * plan.axis[a].step;
        };
        for_each_index(tiles, [&](int64_t n, int64_t a, int64_t b, int64_t c) {
            *index++ = ((n * places[1] + place(0, a)) * places[2] + place(1, b)) * places[3] + place(2, c);
        });
    }
    // Places from there to those of the taps that are not transformed.
    void find_taps(const WinogradPlan& plan, int64_t* index) const {
        for (const int64_t a : plan.axis[0].offsets)
            for (const int64_t b : plan.axis[1].offsets)
                for (const int64_t c : plan.axis[2].offsets) *index++ = (a * places[2] + b) * places[3] + c;
    }
    // From element to element of a tile.
    static kernels::TileSteps steps(const WinogradPlan& plan, const CopyLayout& layout) {
        const auto step = [&](size_t a) { return plan.axis[a].spacing * layout.strides.axis[a]; };
        return {step(plan.along_a), step(plan.along_b)};
    }
};

}  // namespace convpp
