// The product of rows that are read where they lie with packed panels of columns, tile by tile.
//
// In:  pointers to rows, offsets common to them, panels.   Out: sums[row][column].
// Next: product.hpp, grad.hpp, and Winograd's product, whose points are multiplied so.   kernels/tile/tile.hpp has the
// tile.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "problem/checked.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Rows that are read where they lie, times panels of columns.
template <class T>
struct IndirectProduct {
    struct Rows {
        const T* const* at;
        const int64_t* offsets;  // of each one's elements, common to all
        int64_t count;
        kernels::Depth depth;
    } rows;
    struct Panels {
        const T* first;
        int64_t pitch, columns;  // from panel to panel; of all of them
    } panels;
    struct Sums {
        T* const* rows;
        T* tail;  // of a tile whose last vector is partly filled
        Addend<T> addend;
        bool whole_vectors;  // each row has room for its last vector
    } sums;
    kernels::Prefetch* prefetch = nullptr;  // what full tiles ask for, if anything
};

// One tile after the other.
template <class T>
void multiply_indirect(const kernels::KernelTable<T>& kernel, const kernels::TileKernels<T>& tiles,
                       const IndirectProduct<T>& of) {
    const auto& [rows, panels, sums, prefetch] = of;
    const bool asks = prefetch != nullptr && prefetch->next != nullptr;
    const int64_t width = int64_t(tiles.vectors) * kernel.lanes;
    const kernels::Onto onto = sums.addend.onto;
    const T* panel = panels.first;
    std::array<T*, kernels::max_tile_rows> in_tail;
    for (int64_t i = 0; i < tiles.rows; ++i) in_tail[static_cast<size_t>(i)] = sums.tail + i * width;
    for (int64_t column = 0; column < panels.columns; column += width, panel += panels.pitch) {
        const int64_t valid = std::min(width, panels.columns - column), vectors = ceil_div(valid, kernel.lanes);
        const T* const bias = sums.addend.bias != nullptr ? sums.addend.bias + column : nullptr;
        const bool whole = sums.whole_vectors || valid == vectors * kernel.lanes;
        for (int64_t row = 0; row < rows.count; row += tiles.rows) {
            const int64_t count = std::min<int64_t>(tiles.rows, rows.count - row);
            const auto tile = tiles.indirect[count - 1][vectors - 1];
            const T* const* const from = rows.at + row;
            T* const* const to = sums.rows + row;
            if (whole && asks && count == tiles.rows && vectors == tiles.vectors) {
                tiles.prefetching(rows.depth, from, rows.offsets, panel, to, column, onto, bias, *prefetch);
                continue;
            }
            if (whole) {
                tile(rows.depth, from, rows.offsets, panel, to, column, onto, bias);
                continue;
            }
            if (onto == kernels::Onto::c)
                for (int64_t i = 0; i < count; ++i) {
                    std::fill_n(in_tail[static_cast<size_t>(i)], width, T(0));
                    std::copy_n(to[i] + column, valid, in_tail[static_cast<size_t>(i)]);
                }
            tile(rows.depth, from, rows.offsets, panel, in_tail.data(), 0, onto, bias);
            for (int64_t i = 0; i < count; ++i) std::copy_n(in_tail[static_cast<size_t>(i)], valid, to[i] + column);
        }
    }
}

}  // namespace convpp
