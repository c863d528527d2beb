// The product of rows that are read where they lie with packed panels of columns, tile by tile.
//
// In:  pointers to rows, offsets common to them, panels.   Out: c[row][column].
// Next: product.hpp, grad.hpp, and Winograd's product, whose points are multiplied so.   kernels/tile/tile.hpp has the tile.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "problem/checked.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// A product of rows that are read where they lie, c[row][column], with panels of columns.
template <class T>
struct IndirectProduct {
    int64_t depth = 0;
    const T* const* rows = nullptr;  // and `offsets` common to all
    const int64_t* offsets = nullptr;
    int64_t row_count = 0;
    const T* panels = nullptr;       // `pitch` apart
    int64_t pitch = 0, columns = 0;
    bool whole_vectors = false;      // c has room for the last vector of each row
    Beginning<T> beginning;
    T* const* c = nullptr;
    T* tail = nullptr;               // of a tile whose last vector is partly filled
    kernels::Prefetch* prefetch = nullptr;  // what full tiles ask for, if anything
};

// One tile after the other.
template <class T>
void multiply_indirect(const kernels::KernelTable<T>& kernel, const kernels::TileKernels<T>& tiles,
                       const IndirectProduct<T>& of) {
    const int64_t width = int64_t(tiles.vectors) * kernel.lanes, depth = of.depth;
    const kernels::Start start = of.beginning.start;
    const T* panel = of.panels;
    std::array<T*, kernels::max_tile_rows> in_tail;
    for (int64_t i = 0; i < tiles.rows; ++i) in_tail[static_cast<size_t>(i)] = of.tail + i * width;
    for (int64_t column = 0; column < of.columns; column += width, panel += of.pitch) {
        const int64_t valid = std::min(width, of.columns - column), vectors = ceil_div(valid, kernel.lanes);
        const T* const bias = of.beginning.bias != nullptr ? of.beginning.bias + column : nullptr;
        const bool whole = of.whole_vectors || valid == vectors * kernel.lanes;
        for (int64_t row = 0; row < of.row_count; row += tiles.rows) {
            const int64_t rows = std::min<int64_t>(tiles.rows, of.row_count - row);
            const auto tile = tiles.indirect[rows - 1][vectors - 1];
            if (whole && of.prefetch != nullptr && rows == tiles.rows && vectors == tiles.vectors) {
                tiles.prefetching(depth, of.rows + row, of.offsets, panel, of.c + row, column, start, bias,
                                  *of.prefetch);
                continue;
            }
            if (whole) {
                tile(depth, of.rows + row, of.offsets, panel, of.c + row, column, start, bias);
                continue;
            }
            if (start == kernels::Start::from_c)
                for (int64_t i = 0; i < rows; ++i) {
                    std::fill_n(of.tail + i * width, width, T(0));
                    std::copy_n(of.c[row + i] + column, valid, of.tail + i * width);
                }
            tile(depth, of.rows + row, of.offsets, panel, in_tail.data(), 0, start, bias);
            for (int64_t i = 0; i < rows; ++i) std::copy_n(of.tail + i * width, valid, of.c[row + i] + column);
        }
    }
}

}  // namespace convpp
