// Where the tiles of a box lie: in the source, transformed, and in the results.
//
// In:  a Plan of this strategy, a box of units, the source.   Out: offsets of its tiles; the source transformed.
// Next: product.hpp, grad.hpp.
//
// A box's source is copied, one vector of channels at a time, with its padding (source/lanes.hpp).  Transformed, it is
// [point][place][channel]: a place is a tile, with all source elements of the axes that are not transformed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/lanes.hpp"
#include "source/prefetch.hpp"
#include "strategies/product_loop.hpp"
#include "strategies/winograd/axes.hpp"

namespace convpp {

inline const WinogradPlan& winograd_of(const Plan& plan) { return own<WinogradPlan>(plan); }

// Strides that are multiples of many cache sets would let the points of a tile push each other out of the caches: an
// odd number of cache lines apart, they do not.
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
        const int64_t count = m.map.axis[a].count, lo = axis.result_at(units.lo[a + 1]);
        results.lo[a + 1] = std::min(lo, count);
        results.hi[a + 1] = std::min(lo + axis.result_length(units.extent(a + 1)), count);
    }
    return results;
}

// What a box of units reads and writes, one vector of channels of it.
struct WinogradBox {
    Box units;
    CopyLayout source, results;            // dense, in vectors
    std::array<int64_t, 4> places, tiles;  // of each axis, samples first

    WinogradBox(const WinogradPlan& plan, const Box& box, int64_t lanes) : units(box) {
        places[0] = tiles[0] = box.extent(0);
        for (size_t a = 0; a < 3; ++a) {
            const WinogradAxis& axis = plan.axis[a];
            const int64_t lo = box.lo[a + 1], count = box.extent(a + 1);
            source.range[a] = {axis.first + lo * axis.step, axis.source_length(count)};
            results.range[a] = {axis.result_at(lo), axis.result_length(count)};
            places[a + 1] = axis.places(count);
            tiles[a + 1] = axis.tiles(count);
        }
        for (CopyLayout* const layout : {&source, &results}) layout->lay_out(box.extent(0), 1, lanes);
    }

    int64_t place_count() const { return places[0] * places[1] * places[2] * places[3]; }
    int64_t tile_count() const { return tiles[0] * tiles[1] * tiles[2] * tiles[3]; }

    // Where the places begin in the copy of the source.
    void find_places(const WinogradPlan& plan, int64_t* at) const {
        find(places, source.strides, [&](size_t a, int64_t place) { return plan.axis[a].place_at(place); }, at);
    }
    // Where the tiles begin in the results.
    void find_tiles(const WinogradPlan& plan, int64_t* at) const {
        find(tiles, results.strides, [&](size_t a, int64_t tile) { return plan.axis[a].tile_at(tile); }, at);
    }
    // The first place that each tile reads; places are `pitch` apart.
    void find_first_places(const WinogradPlan& plan, int64_t* at, int64_t pitch = 1) const {
        const auto first = [&](size_t a, int64_t tile) { return plan.axis[a].first_place(tile); };
        find(tiles, place_strides(pitch), first, at);
    }
    // From there to the places of the taps that are not transformed.
    void find_taps(const WinogradPlan& plan, int64_t* at, int64_t pitch = 1) const {
        const auto offset = [&](size_t a, int64_t tap) { return plan.axis[a].offset_of_tap(tap); };
        find({1, plan.taps(0), plan.taps(1), plan.taps(2)}, place_strides(pitch), offset, at);
    }
    // From element to element of a tile.
    static kernels::TileSteps steps(const WinogradPlan& plan, const CopyLayout& layout) {
        const auto step = [&](size_t a) { return plan.axis[a].spacing * layout.strides.axis[a]; };
        return {step(plan.along_a), step(plan.along_b)};
    }

private:
    TensorStrides place_strides(int64_t pitch) const {
        return dense_strides(pitch, {places[1], places[2], places[3]}, "the transformed input");
    }
    // Where all elements of a grid lie, given the position of each along an axis.
    template <class Position>
    static void find(const std::array<int64_t, 4>& counts, const TensorStrides& s, const Position& position,
                     int64_t* at) {
        for_each_index(counts, [&](int64_t n, int64_t a, int64_t b, int64_t c) {
            *at++ = n * s.batch + position(0, a) * s.axis[0] + position(1, b) * s.axis[1] + position(2, c) * s.axis[2];
        });
    }
};

// A box of the plan.  The first one is the largest: buffers are made for it.
inline WinogradBox box_of(const Plan& plan, int64_t index, int64_t lanes) {
    return {winograd_of(plan), plan.maps[0].boxes.box(index), lanes};
}

// The taps of a kernel that lies in vectors, one `pitch` behind the other, in the order in which they meet the source.
struct KernelTaps {
    int64_t first = 0;
    std::array<int64_t, 3> step{}, outer{};  // along each axis; `outer`: how many are not transformed

    KernelTaps(const Plan& plan, int64_t pitch) {
        const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
        for (size_t a = 3; a-- > 0;) {
            const int64_t count = axis[a].taps.size();
            step[a] = pitch;
            pitch *= count;
            outer[a] = winograd_of(plan).taps(a);
            if (!winograd_of(plan).axis[a].reversed) continue;
            first += (count - 1) * step[a];
            step[a] = -step[a];
        }
    }
    kernels::TileSteps steps(const WinogradPlan& w) const { return {step[w.along_a], step[w.along_b]}; }
    // Calls visit(where its first transformed tap is) for all taps that are not transformed, in order.
    template <class Visit>
    void for_each_outer(const Visit& visit) const {
        for_each_index({1, outer[0], outer[1], outer[2]}, [&](int64_t, int64_t a, int64_t b, int64_t c) {
            visit(first + a * step[0] + b * step[1] + c * step[2]);
        });
    }
};

// Some channels of the source, or of the results, of the samples of a box.
template <class T>
SourcePart<T> source_part(const Plan& plan, const Stored<T>& source, const WinogradBox& box, int64_t channel,
                          int64_t channels) {
    return part_of(source, plan.source.strides, source_extents(plan.maps[0].map), box.units, channel, channels);
}
template <class T>
SourcePart<T> result_part(const Plan& plan, const Stored<T>& results, const WinogradBox& box, int64_t channel,
                          int64_t channels) {
    return part_of(results, plan.result, pixel_extents(plan.maps[0].map), box.units, channel, channels);
}

// What a thread needs to transform the source, and to multiply it.
template <class T>
struct TileBuffers : TaskContext {
    LaneCopy<T> copy;                // of a vector of channels of the source; of the weight gradient, also of dy
    T* v = nullptr;                  // the source transformed: [point][place][channel]
    int64_t pitch, point;            // of V: from place to place, from point to point
    const T** rows = nullptr;        // of a product, in V: tiles, or source channels
    T** row_sums = nullptr;          // and where they go
    T* tail = nullptr;               // of a register tile whose last vector is partly filled
    int64_t* places = nullptr;       // where they begin in the copy
    int64_t* place_to = nullptr;     // and in a point of V
    int64_t* first_place = nullptr;  // of each tile, there
    int64_t* taps = nullptr;         // from there to the places of taps that are not transformed
    int64_t* tiles = nullptr;        // where they begin in a vector of results
    int64_t* tile_at = nullptr;      // and in a point of what is transformed to them, or from them
    // Of what is read next, for tiles to ask for while they multiply.  Only in channels_last, where one vector of
    // channels after the other is copied from pixels that lie far apart, which the processor does not foresee.  Rows of
    // channels_first planes it foresees.  (Measured, 3x3 float32: forward 1.03 to 1.23 times as fast, channels_first
    // 0.95 to 1.0 times; weight gradient of 64-64 at 56x56 and at 224x224 1.14 times, 128-128 at 112x112 1.06 times.)
    kernels::Stretch* stretches = nullptr;

    // `channels`: of V.
    TileBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel, int64_t channels)
        : TileBuffers(carver, plan, kernel, channels, box_of(plan, 0, kernel.lanes)) {}

    // For the tiles of a box, `tile_pitch` apart.
    void find(const WinogradPlan& w, const WinogradBox& box, int64_t tile_pitch) const {
        box.find_places(w, places);
        box.find_first_places(w, first_place, pitch);
        box.find_taps(w, taps, pitch);
        box.find_tiles(w, tiles);
        for (int64_t i = 0; i < box.place_count(); ++i) place_to[i] = i * pitch;
        for (int64_t i = 0; i < box.tile_count(); ++i) tile_at[i] = i * tile_pitch;
    }

private:
    TileBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel, int64_t channels,
                const WinogradBox& box)
        : copy(carver, plan, box.source, plan.pass == Pass::weight_grad ? box.results : box.source, kernel.lanes),
          pitch(channels) {
        constexpr const char* what = "the transformed input";
        const WinogradPlan& w = winograd_of(plan);
        const int64_t row_count =
            plan.pass == Pass::weight_grad ? plan.maps[0].patches.channels_per_block : box.tile_count();
        rows = carver.take<const T*>(row_count);
        row_sums = carver.take<T*>(row_count);
        point = apart_by_odd_lines<T>(checked_mul(box.place_count(), pitch, what));
        v = carver.take<T>(checked_mul(w.points(), point, what));
        tail = carver.take<T>(int64_t(kernel.tiles[plan.tile.shape].rows) * panel_widths(plan, kernel).channels);
        for (int64_t** const list : {&places, &place_to}) *list = carver.take<int64_t>(box.place_count());
        for (int64_t** const list : {&first_place, &tiles, &tile_at}) *list = carver.take<int64_t>(box.tile_count());
        taps = carver.take<int64_t>(w.outer_taps());
        stretches = carver.take<kernels::Stretch>(plan.channels_last() ? most_stretches : 0);
    }
};

// V of the source's channels from `channel` on, for all places of a box.
template <class T>
void transform_source(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& source,
                      const WinogradBox& box, int64_t channel, int64_t channels, const TileBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    for (int64_t c = 0; c < channels; c += kernel.lanes) {
        const int64_t valid = std::min<int64_t>(kernel.lanes, channels - c);
        copy_lanes(plan, kernel, plan.maps[0], source, {box.units, box.source, channel + c, valid}, buffers.copy);
        transforms(plan, kernel)
            .source(buffers.copy.at, buffers.places, WinogradBox::steps(w, box.source), box.place_count(), nullptr,
                    buffers.v + c, buffers.place_to, point_steps(w, buffers.point));
    }
}

}  // namespace convpp
