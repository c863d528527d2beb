// The product of packed row panels and column panels, added to results anywhere in memory.
//
// In:  two sides, each packed panels of one width and where each of its rows (columns) lies in the result.
// Out: result[rows.offset[i] + columns.offset[j]] for every pair, written tile by tile.
// A tile whose vectors lie consecutively in the result is written there; any other goes through a small buffer.
#pragma once

#include <cstdint>

#include "problem/checked.hpp"
#include "kernels/contract.hpp"
#include "strategies/operands.hpp"

namespace convpp {

template <class T>
struct Side {
    const T* panels = nullptr;         // panel p at panels + p * pitch
    int64_t pitch = 0, width = 1;
    int64_t count = 0;                 // rows (columns); the last panel may be partly filled
    const int64_t* offset = nullptr;   // of each row (column) in the result
    const unsigned char* regular = nullptr;  // for each panel: its offsets are equally spaced (columns: consecutive)
};

// regular[p]: the offsets of panel p go up in equal steps (of 1 if `unit`), so that a kernel can write them itself.
inline void find_regular(const int64_t* offset, int64_t count, int64_t width, bool unit, unsigned char* regular) {
    for (int64_t first = 0; first < count; first += width, ++regular) {
        const int64_t end = first + width < count ? first + width : count;
        const int64_t step = unit || end - first < 2 ? 1 : offset[first + 1] - offset[first];
        bool equal = true;
        for (int64_t i = first + 1; i < end; ++i) equal &= offset[i] - offset[i - 1] == step;
        *regular = equal;
    }
}

template <class T>
void multiply_panels(const kernels::KernelTable<T>& kernel, int tile_shape, kernels::Depth depth, const Side<T>& rows,
                     const Side<T>& columns, Addend<T> addend, T* result, T* tile_buffer) {
    using kernels::Onto;
    const kernels::TileKernels<T>& tiles = kernel.tiles[tile_shape];
    // A column panel stays in L1 (or streams from L2) while all row panels pass by.
    for (int64_t column = 0, cp = 0; column < columns.count; column += columns.width, ++cp) {
        const int64_t valid_columns = std::min(columns.width, columns.count - column);
        const int64_t vectors = ceil_div(valid_columns, kernel.lanes);
        const int64_t* at_column = columns.offset + column;
        const bool whole = columns.regular[cp] && valid_columns == vectors * kernel.lanes;
        for (int64_t row = 0, rp = 0; row < rows.count; row += rows.width, ++rp) {
            const int64_t valid_rows = std::min(rows.width, rows.count - row);
            const int64_t* at_row = rows.offset + row;
            const auto tile = tiles.fn[valid_rows - 1][vectors - 1];
            const T* a = rows.panels + rp * rows.pitch;
            const T* b = columns.panels + cp * columns.pitch;
            const T* bias = addend.bias;
            if (addend.onto == Onto::row_bias) bias += row;
            if (addend.onto == Onto::column_bias) bias += column;
            if (whole && rows.regular[rp]) {
                const int64_t ldc = valid_rows > 1 ? at_row[1] - at_row[0] : 0;
                tile(depth, a, b, result + at_row[0] + at_column[0], ldc, addend.onto, bias);
                continue;
            }
            const int64_t pitch = vectors * kernel.lanes;
            if (addend.onto == Onto::c)
                for (int64_t i = 0; i < valid_rows; ++i)
                    for (int64_t j = 0; j < pitch; ++j)
                        tile_buffer[i * pitch + j] = j < valid_columns ? result[at_row[i] + at_column[j]] : T(0);
            tile(depth, a, b, tile_buffer, pitch, addend.onto, bias);
            for (int64_t i = 0; i < valid_rows; ++i)
                for (int64_t j = 0; j < valid_columns; ++j)
                    result[at_row[i] + at_column[j]] = tile_buffer[i * pitch + j];
        }
    }
}

}  // namespace convpp
