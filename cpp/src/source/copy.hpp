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
#include "source/view.hpp"

namespace convpp {

// What copies need at most.
struct CopySizes {
    int64_t elems = 0;
    int64_t pitch = 0;  // of a copy's rows
    int64_t rows = 0, columns = 0, bands = 0;
    std::array<int64_t, 3> border{};  // positions of each axis, where x goes on beyond its ends

    CopySizes() = default;
    // Of all that is not read in place: layout_of(map, i) is that of a largest box of pixels and the i-th box of taps.
    template <class Maps, class LayoutOf>
    CopySizes(const Maps& maps, const LayoutOf& layout_of) {
        for (const MapPlan& m : maps) {
            if (m.in_place || m.patches.taps.count() == 0) continue;
            const BoxSplit& taps = m.patches.taps;
            const size_t cut = taps.cut_axis();
            const bool alike = cut == 0 || taps.largest_extent(cut) == 1 || reaches_alike(m.map.axis[cut - 1]);
            const int64_t last = taps.parts() - 1;
            for (int64_t i = 0; i <= last; i = alike && i < last ? last : i + 1)
                add(layout_of(m, i), m.map.has_border());
        }
    }
    void add(const CopyLayout& layout, bool has_border) {
        elems = std::max(elems, layout.total());
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

    SourceView<T> view_of(const MapPlan& m, const Box& pixels, const PatchBlock& block,
                          const CopyLayout& layout) const {
        return view_of_copy<T>(m, pixels, block, layout, {at, layout.total()}, offsets);
    }
    // Fills what lies outside x, where x goes on beyond its ends.
    void fill_border(const IndexMap& map, const SourcePart<T>& part, const CopyLayout& layout) const {
        if (!border.used()) return;
        BorderMap found = border;
        found.find(map, part.strides, layout);
        fill_outside(found, part, layout, at);
    }
};

}  // namespace convpp
