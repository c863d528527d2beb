// The memory that a thread needs for copies of parts of a source, however they are laid out.
//
// In:  maps with their boxes of pixels and taps, the layout that a copy of each has.   Out: CopySizes, SourceCopy.
// Next: staged.hpp, padded.hpp and lanes.hpp, which fill it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "machine/workspace.hpp"
#include "plan/plan.hpp"
#include "source/border_map.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

// What copies need at most.
struct CopySizes {
    int64_t elems = 0;
    int64_t pitch = 0;  // of a copy's rows
    int64_t rows = 0, columns = 0, bands = 0;
    std::array<int64_t, 3> border{};  // positions of each axis, where x goes on beyond its ends

    CopySizes() = default;
    // Of all that is not read in place.  layout_of(map, taps) is that of a largest box of pixels.
    template <class Maps, class LayoutOf>
    CopySizes(const Maps& maps, const char* what, const LayoutOf& layout_of) {
        for (const MapPlan& m : maps)
            for (int64_t b = 0; !m.in_place && b < m.patches.taps.count(); ++b) {
                const CopyLayout layout = layout_of(m, m.patches.taps.box(b));
                add(layout, layout.copied_elems(m.patches.channels_per_block, what), m.map.has_border());
            }
    }
    void add(const CopyLayout& layout, int64_t copied_elems, bool has_border) {
        elems = std::max(elems, copied_elems);
        pitch = std::max(pitch, layout.strides.axis[1]);
        rows = std::max(rows, layout.range[1].length);
        columns = std::max(columns, layout.range[2].length);
        bands = std::max(bands, layout.bands());
        for (size_t a = 0; has_border && a < 3; ++a) border[a] = std::max(border[a], layout.range[a].positions());
    }
};

// (channel, tap) pairs of a block of some maps, at most.
template <class Maps>
int64_t most_pairs(const Maps& maps) {
    int64_t pairs = 0;
    for (const MapPlan& m : maps) pairs = std::max(pairs, m.patches.largest());
    return pairs;
}

template <class T>
struct SourceCopy {
    T* at = nullptr;
    int64_t* offsets = nullptr;  // of a block's pairs
    BorderMap border;

    SourceCopy() = default;
    // `slack`: elements that may be written behind the last one.
    SourceCopy(Carver& carver, const CopySizes& sizes, int64_t slack, int64_t pairs)
        : at(carver.take<T>(sizes.elems + slack)), offsets(carver.take<int64_t>(pairs)) {
        if (sizes.border[2] > 0) border = BorderMap(carver, sizes.border);
    }

    // Fills what lies outside x in a copy of some channels, where x goes on beyond its ends.
    void fill_border(const IndexMap& map, const CopyLayout& layout, const TensorStrides& strides,
                     const Stored<T>& first, int64_t channels) const {
        if (!border.used()) return;
        BorderMap found = border;
        found.find(map, strides, layout);
        fill_outside(found, layout, strides, first, channels, at);
    }
};

}  // namespace convpp
