// What Winograd's algorithm makes of a pass: which axes are transformed, how tiles lie, how large blocks are.
//
// In:  an IndexMap whose results lie together (weight_grad: the forward map).   Out: a WinogradPlan.
// Next: strategy.cpp (when it is chosen), tiles.hpp (where tiles lie in memory).
//
// An axis with as many taps as a transform has, at unit stride, is cut into tiles of `outputs` results, computed from
// `points` products.  The taps of any other axis are part of the contraction, as in the direct algorithm.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "plan/plan.hpp"

namespace convpp {

// An axis as units: the tiles of all phases of a dilation, which lie between each other; or, where the axis is not
// transformed, single results.
struct WinogradAxis {
    bool transformed = false;
    int64_t outputs = 1, points = 1;  // of a tile
    int64_t spacing = 1, phases = 1;  // dilation: elements of a tile are `spacing` apart
    int64_t units = 0;
    int64_t step = 1;                 // from unit to unit, in the source
    int64_t first = 0;                // source element that unit 0 reads first
    int64_t taps = 1;                 // that are not transformed: of one, if transformed
    int64_t first_tap = 0, apart = 0;  // where the first of them reads from there, and how much further on the next one
    int64_t reach = 0;  // how far the last element lies from there
    bool reversed = false;  // transformed: the kernel's first tap reads the last element

    int64_t tiles(int64_t unit_count) const { return unit_count * phases; }
    int64_t tile_at(int64_t tile) const { return tile / phases * outputs * spacing + tile % phases; }
    // Results of some units, and the source elements that they read.
    int64_t result_length(int64_t unit_count) const {
        return transformed ? (unit_count - 1) * outputs * spacing + (outputs - 1) * spacing + phases : unit_count;
    }
    int64_t source_length(int64_t unit_count) const {
        if (transformed) return result_length(unit_count) + (points - outputs) * spacing;
        return (unit_count - 1) * step + reach + 1;
    }
    int64_t result_at(int64_t unit) const { return transformed ? unit * step : unit; }
    // Places that are transformed: tiles; or source elements.
    int64_t places(int64_t unit_count) const { return transformed ? tiles(unit_count) : source_length(unit_count); }
    int64_t place_at(int64_t place) const { return transformed ? tile_at(place) : place; }
    int64_t offset_of_tap(int64_t tap) const { return first_tap + tap * apart; }
    int64_t first_place(int64_t tile) const { return transformed ? tile : tile * step; }  // that it reads
};

struct WinogradPlan : StrategyPlan {
    int size = 0;  // index into the tables' winograd
    size_t along_a = 1, along_b = 2;  // the transformed axes; the same if there is one
    std::array<WinogradAxis, 3> axis;
    int64_t source_block = 0;  // source channels that are transformed before they are multiplied
    double weight_share = 0;  // of the time, an estimate

    bool planes() const { return along_a != along_b; }
    // Of a tile.
    int64_t points() const { return axis[along_b].points * (planes() ? axis[along_a].points : 1); }
    int64_t outputs() const { return axis[along_b].outputs * (planes() ? axis[along_a].outputs : 1); }
    // Of a sample.
    int64_t tiles() const { return phases() * axis[0].units * axis[1].units * axis[2].units; }
    int64_t phases() const { return axis[0].phases * axis[1].phases * axis[2].phases; }
    int64_t taps(size_t a) const { return axis[a].taps; }  // that are not transformed
    int64_t outer_taps() const { return taps(0) * taps(1) * taps(2); }
};

// Blocks and tasks.  Boxes are of units, and a box stands for the results of their tiles.
void plan_winograd_products(Plan& plan, WinogradPlan& w, const Setting& setting);
void plan_winograd_sums(Plan& plan, WinogradPlan& w, const Setting& setting);

// The axes for the transform of index `size` in the kernel tables; empty text, or why the map is not served.
std::string winograd_axes(const IndexMap& map, int size, WinogradPlan& plan);

}  // namespace convpp
