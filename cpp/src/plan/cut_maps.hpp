// Index maps cut by what their pixels read: where most products would be with padding, they are left out.
//
// In:  the index map of a pass, what its products cost.   Out: the maps that it is cut into, where that pays.
// Next: select.cpp, which plans them.
//
// Along an axis, the taps that read inside follow each other, and so do the pixels that read inside at a tap.  In the
// plane of pixels and taps they fill a band.  A map multiplies by all of a rectangle; so the band is covered with some
// smaller rectangles, of a stretch of pixels with the taps that any of them reads (of a weight gradient: a stretch of
// taps with the pixels that any of them is read at).  Each combination of stretches of the axes is a map of its own.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "problem/index_map.hpp"

namespace convpp {

// Pixels of an axis, and the taps that they are multiplied at.
struct Stretch {
    Span pixels, taps;
};

// What products cost, in slots of a multiply-add unit for each vector of results and source channel.
struct CutCosts {
    double samples = 1;  // whose pixels are multiplied together
    double channels = 0;  // weight_grad: of the source, whose sums are found together; else 0
    double vectors = 1;  // of result channels
    double of_map = 0;  // of a map's own tasks
};

// The best stretches of each axis; one of each, of all pixels and taps, where nothing is cut.
struct MapCut {
    std::array<std::vector<Stretch>, 3> axis;
    double share = 1;  // of the cost that remains

    bool cuts() const { return share < 1; }
    std::vector<IndexMap> maps(const IndexMap& whole) const;
};
MapCut best_cut(const IndexMap& map, const CutCosts& costs);

}  // namespace convpp
