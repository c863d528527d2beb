// The product of packed weights with rows of pixels that are read where they lie, without packing them.
//
// In:  row panels of weights, a PatchView, the vectors that a box of pixels consists of.
// Out: result[channel * channel_step + pixel], each element the same sum in the same order as in panel_product.hpp.
//
// Packing pays where many channels read each packed pixel.  Where they are few (depthwise, grouped and first layers), or
// where rows fill whole vectors, the tile loads its vectors from the rows directly.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "algorithms/panel_product.hpp"
#include "algorithms/patches.hpp"

namespace convpp {

using kernels::RowVectors;

inline int64_t most_vectors(const Box& pixels, int64_t lanes) {
    return pixels.extent(0) * pixels.extent(1) * pixels.extent(2) * ceil_div(pixels.extent(3), lanes);
}

// `rows` has room for an offset of each row.  A row's last vector is shifted back to end with the row:
// `rewrite` says that results may be written twice (they start from nothing that this product writes).
inline void find_row_vectors(const IndexMap& map, const TensorStrides& strides, const Box& pixels,
                             const std::array<int64_t, 3>& step, int64_t lanes, bool rewrite, int64_t* rows,
                             RowVectors& vectors) {
    const int64_t result_step = map.axis[2].result_step * strides.axis[2];
    int64_t row_count = 0;
    for_each_result_row(map, strides, pixels, [&](int64_t first) { rows[row_count++] = first; });
    const int64_t length = pixels.extent(3);
    int64_t found = 0;
    const auto put = [&](int64_t source, int64_t to, int64_t skip, int64_t count) {
        vectors.at[found] = {source, to};
        vectors.skip[found] = static_cast<unsigned char>(skip);
        vectors.count[found++] = static_cast<unsigned char>(count);
    };
    const bool together = result_step == 1;
    for (const bool whole : {true, false}) {
        int64_t row = 0;
        for_each_row(pixels, step, [&](int64_t alpha, int64_t) {
            const int64_t to = rows[row++];
            int64_t j = 0;
            for (; j + lanes <= length; j += lanes)
                if (whole == together) put(alpha + j, to + j * result_step, 0, lanes);
            if (j == length) return;
            if (length < lanes) {
                if (!whole) put(alpha, to, 0, length);
            } else if (whole == (together && rewrite)) {
                const int64_t back = length - lanes, skip = whole ? 0 : j - back;
                put(alpha + back, to + back * result_step, skip, lanes - skip);
            }
        });
        if (whole) vectors.whole = found;
    }
    vectors.total = found;
}

template <class T>
void multiply_rows(const kernels::KernelTable<T>& kernel, int64_t depth, const T* weights, int64_t panel_pitch,
                   int64_t channels, int64_t channel_step, const PatchView<T>& view, const int64_t* offsets,
                   const RowVectors& vectors, int64_t result_step, Beginning<T> beginning, T* result, T* tile_buffer) {
    const int64_t panel_rows = kernel.family[0].rows, lanes = kernel.lanes;
    std::array<kernels::VectorAt, kernels::max_row_tile_vectors> in_buffer;
    for (int64_t row = 0; row < channels; row += panel_rows, weights += panel_pitch) {
        const int64_t rows = std::min(panel_rows, channels - row), most = kernel.row_tile_vectors[rows - 1];
        const auto* tiles = kernel.row_tile[rows - 1];
        const T* bias = beginning.bias != nullptr ? beginning.bias + row : nullptr;
        T* const to = result + row * channel_step;
        for (int64_t v = 0; v < vectors.whole; v += most) {
            const int64_t count = std::min(most, vectors.whole - v);
            tiles[count - 1](depth, weights, view.base, offsets, nullptr, vectors.at + v, to, channel_step,
                             beginning.start, bias);
        }
        for (int64_t v = vectors.whole; v < vectors.total; v += most) {
            const int64_t count = std::min(most, vectors.total - v), pitch = count * lanes;
            // Calls put(element of the buffer, element of the result) for every result of these vectors.
            const auto results = [&](const auto& put) {
                for (int64_t r = 0; r < rows; ++r)
                    for (int64_t i = 0; i < count; ++i) {
                        T* const from = tile_buffer + r * pitch + i * lanes;
                        T* const at = to + r * channel_step + vectors.at[v + i].result;
                        const int64_t skip = vectors.skip[v + i], end = skip + vectors.count[v + i];
                        for (int64_t lane = skip; lane < end; ++lane) put(from[lane], at[lane * result_step]);
                    }
            };
            for (int64_t i = 0; i < count; ++i)
                in_buffer[static_cast<size_t>(i)] = {vectors.at[v + i].source, i * lanes};
            if (beginning.start == kernels::Start::from_c) {
                std::fill_n(tile_buffer, rows * pitch, T(0));
                results([](T& in, const T& out) { in = out; });
            }
            tiles[count - 1](depth, weights, view.base, offsets, nullptr, in_buffer.data(), tile_buffer, pitch,
                             beginning.start, bias);
            results([](const T& in, T& out) { out = in; });
        }
    }
}

}  // namespace convpp
