// What lies beyond the ends of x, where its boundary is not zeros: from where it is filled into a copy of a part of x.
//
// In:  an index map, the layout of a copy.   Out: a BorderMap, found once and used for all samples and channels.
// Next: staged.hpp, padded.hpp and lanes.hpp, which fill their copies by it.
//
// They copy what lies inside x, and write zeros around it.  Then the elements outside are filled from those of x
// that they are folded to.  Folding goes axis by axis, so the lists are as long as the copy's axes, not as its volume:
// a position is named by a slice (depth), a row and a stretch of columns.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "machine/workspace.hpp"
#include "problem/index_map.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

// A slice or a row: where it begins in the copy and in the source.  `inside`: it lies inside x.
struct BorderLine {
    int64_t to, from;
    bool inside;
};

// Some columns: `count` elements, which lie `step` apart in the source.
struct BorderStretch {
    int64_t to, from, step, count;
    bool inside;
};

// Memory for the lists is taken from a Carver; with none taken (no axis folds), there is nothing to fill.
class BorderMap {
public:
    BorderMap() = default;
    // For as many positions of each axis, at most.
    BorderMap(Carver& carver, const std::array<int64_t, 3>& most)
        : lines_{carver.take<BorderLine>(most[0]), carver.take<BorderLine>(most[1])},
          columns_(carver.take<BorderStretch>(most[2])),
          used_(true) {}

    bool used() const { return used_; }

    void find(const IndexMap& map, const TensorStrides& source, const CopyLayout& layout) {
        // visit(to, from, inside) for the positions of an axis that read an element of x.
        const auto for_each_position = [&](size_t a, const auto& visit) {
            const ReadRange& range = layout.range[a];
            for (int64_t phase = 0; phase < range.phases; ++phase)
                for (int64_t l = 0; l < range.length; ++l) {
                    const int64_t at = range.first(phase) + l * range.step;
                    const int64_t from = border_element(map.axis[a].boundary, at, map.axis[a].source_extent);
                    if (from >= 0)
                        visit(phase * layout.phase_step[a] + l * layout.strides.axis[a], from * source.axis[a],
                              from == at);
                }
        };
        for (size_t a = 0; a < 2; ++a) {
            line_count_[a] = 0;
            for_each_position(
                a, [&](int64_t to, int64_t from, bool inside) { lines_[a][line_count_[a]++] = {to, from, inside}; });
        }
        column_count_ = 0;
        column_step_ = layout.strides.axis[2];
        leaves_columns_ = false;
        for_each_position(2, [&](int64_t to, int64_t from, bool inside) {
            leaves_columns_ |= !inside;
            if (column_count_ > 0 && joins(columns_[column_count_ - 1], to, from, inside)) return;
            columns_[column_count_++] = {to, from, 0, 1, inside};
        });
    }

    // fill(stretch) for all stretches outside x: its `to` and `from` are relative to the copy's and the source's
    // first element of a sample's channel.
    template <class Fill>
    void for_each_outside(const Fill& fill) const {
        for (int64_t d = 0; d < line_count_[0]; ++d)
            for (int64_t h = 0; h < line_count_[1]; ++h) {
                const BorderLine &slice = lines_[0][d], &row = lines_[1][h];
                const bool inside = slice.inside && row.inside;
                if (inside && !leaves_columns_) continue;
                for (int64_t i = 0; i < column_count_; ++i) {
                    BorderStretch stretch = columns_[i];
                    if (inside && stretch.inside) continue;
                    stretch.to += slice.to + row.to;
                    stretch.from += slice.from + row.from;
                    fill(stretch);
                }
            }
    }

private:
    // Lengthens a stretch by the next position if it follows.
    bool joins(BorderStretch& last, int64_t to, int64_t from, bool inside) const {
        if (last.inside != inside || to != last.to + last.count * column_step_) return false;
        if (last.count == 1) last.step = from - last.from;
        if (from != last.from + last.count * last.step) return false;
        ++last.count;
        return true;
    }

    std::array<BorderLine*, 2> lines_{};
    std::array<int64_t, 2> line_count_{};
    BorderStretch* columns_ = nullptr;
    int64_t column_count_ = 0, column_step_ = 0;
    bool leaves_columns_ = false;  // some columns lie outside
    bool used_ = false;
};

// `count` elements, `step` apart, as what is computed with.
template <class T, class S>
void copy_elements(const S* from, int64_t step, int64_t count, T* to, int64_t to_step) {
    if constexpr (std::is_same_v<S, T>) {
        if (step == 1 && to_step == 1) std::copy_n(from, count, to);
        else
            for (int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * step];
    } else {
        for (int64_t i = 0; i < count; ++i) to[i * to_step] = static_cast<T>(static_cast<float>(from[i * step]));
    }
}

// Elements that are bf16 pairs of two planes, as a pointer to them.
struct PairElements {
    const bfloat16* at;
    int64_t distance;
    PairElements operator+(int64_t elems) const { return {at + elems, distance}; }
    uint32_t operator[](int64_t i) const { return at[i].bits | uint32_t(at[i + distance].bits) << 16; }
};

template <class T>
void copy_elements(PairElements from, int64_t step, int64_t count, T* to, int64_t to_step) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t pair = from[i * step];
        std::memcpy(to + i * to_step, &pair, sizeof pair);
    }
}

// Fills what lies outside x in a copy of a part of it.
template <class T>
void fill_outside(const BorderMap& border, const SourcePart<T>& part, const CopyLayout& layout, T* copy) {
    const int64_t step = layout.strides.axis[2], channel_step = part.strides.channel;
    const auto fill = [&](const auto elements, int64_t width, T* block) {  // `width` channels of a sample
        border.for_each_outside([&](const BorderStretch& stretch) {
            const auto from = elements + stretch.from;
            T* const to = block + stretch.to;
            if (width == 1) copy_elements(from, stretch.step, stretch.count, to, step);
            else if (channel_step == 1 && stretch.step == width && step == width)
                copy_elements(from, 1, stretch.count * width, to, 1);
            else
                for (int64_t i = 0; i < stretch.count; ++i)
                    copy_elements(from + i * stretch.step, channel_step, width, to + i * step, 1);
        });
    };
    for (int64_t c = 0; c < part.channels; c += layout.width, copy += layout.elems)
        for (int64_t n = 0; n < layout.samples; ++n) {
            const Stored<T> from = part.first + (c * channel_step + n * part.strides.batch);
            const int64_t width = std::min(layout.width, part.channels - c);
            T* const block = copy + n * layout.strides.batch;
            if (from.partner_distance != 0)
                fill(PairElements{reinterpret_cast<const bfloat16*>(from.at), from.partner_distance}, width, block);
            else with_elements(from, [&](const auto* elements) { fill(elements, width, block); });
        }
}

}  // namespace convpp
