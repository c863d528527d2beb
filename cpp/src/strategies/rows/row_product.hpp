// The product of packed weights with rows of pixels that are read where they lie, without packing them.
//
// In:  row panels of weights, a SourceView, the vectors that a box of pixels consists of.
// Out: result[channel * channel_step + pixel], each the same sum in the same order as in packed/panel_product.hpp.
//
// Packing pays where many channels read each packed pixel.  Where they are few (depthwise, grouped and first layers),
// or where rows fill whole vectors, the tile loads its vectors from the rows directly.  All channels pass by a chunk of
// vectors before the next chunk comes; meanwhile the next one's source is asked for (RowPrefetch), which lies in as
// many places as there are channels, and which hardware does not foresee.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "source/staged.hpp"
#include "strategies/operands.hpp"

namespace convpp {

using kernels::RowVectors;

inline int64_t most_vectors(const Box& pixels, int64_t lanes) {
    return pixels.extent(0) * pixels.extent(1) * pixels.extent(2) * ceil_div(pixels.extent(3), lanes);
}

// `rows` has room for an offset of each row.  A row's last vector is shifted back to end with the row:
// `rewrite` says that results may be written twice (they start from nothing that this product writes).
inline void find_row_vectors(const IndexMap& map, const TensorStrides& strides, const Box& pixels,
                             const PixelSteps& step, int64_t lanes, bool rewrite, int64_t* rows, RowVectors& vectors) {
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

// Turns whole sums into results (operands.hpp: Epilogue) while a panel's rows are in the L1 cache: boxes of rows that
// are read in place are larger than the other caches.
template <class T>
struct RowEpilogue {
    const kernels::KernelTable<T>& kernel;
    const Epilogue<T>& epilogue;
    Results<T> first;  // of the whole result, stored as it is computed

    void rows(T* at, int64_t pitch, int64_t count, int64_t columns) const {
        const int64_t offset = at - first.plain();
        apply_epilogue(kernel, epilogue.from(offset), {at, pitch, count, columns}, first + offset, pitch);
    }
    // Those of vectors [lo, end), each element once: vectors may overlap.
    void vectors(const kernels::VectorAt* lo, const kernels::VectorAt* end, T* at, int64_t pitch, int64_t count) const {
        while (lo != end) {
            const int64_t begin = lo->result;
            int64_t stop = begin + kernel.lanes;
            for (++lo; lo != end && lo->result <= stop && lo->result >= begin; ++lo) stop = lo->result + kernel.lanes;
            rows(at + begin, pitch, count, stop - begin);
        }
    }
};

// Some channels' results of the vectors of a box.
template <class T>
struct RowProduct {
    int64_t depth = 0, run = 0;  // pairs, whose `offsets` are from the view's base; of a run of them
    const int64_t* offsets = nullptr;
    const T* weights = nullptr;  // panels, `panel_pitch` apart
    int64_t panel_pitch = 0;
    int64_t channels = 0, channel_step = 0;  // the step between channels in the result
    int64_t result_step = 1;  // and between pixels
    int64_t chunk_bytes = 0;  // of the source's vectors that all channels pass by before the next ones
    int64_t prefetch_every = 0;  // 0: the source is in the L2 cache; else every which pair reads what no other has read
    Addend<T> addend;
    T* result = nullptr;
    T* tile_buffer = nullptr;
    const RowEpilogue<T>* epilogue = nullptr;  // if the sums are whole after this
};

// Asks for the source of some vectors before they are computed, a few cache lines before each tile until then.
template <class T>
class RowPrefetch {
public:
    // Of vectors [first, end), every which pair `of` says; `tiles` are computed meanwhile.
    RowPrefetch(const kernels::KernelTable<T>& kernel, const SourceView<T>& view, const RowProduct<T>& of,
                const RowVectors& vectors, int64_t first, int64_t end, int64_t tiles)
        : base_(view.base.plain()),
          offsets_(of.offsets),
          at_(vectors.at),
          first_(first),
          end_(end),
          step_(std::max<int64_t>(1, cache_line / (kernel.lanes * static_cast<int64_t>(sizeof(T))))),
          last_lane_(kernel.lanes - 1),
          every_(std::max<int64_t>(1, of.prefetch_every)),
          pair_(every_ - 1),
          vector_(first),
          left_(first < end ? of.depth / every_ * ceil_div(end - first, step_) : 0),
          each_(ceil_div(left_, tiles)) {}

    void before_tile() {
        for (int64_t i = std::min(each_, left_); i > 0; --i, --left_) {
            // A vector mostly lies across two lines, and the one before it asks for its first.  Into the L2: in the L1
            // it would take the place of what the tiles read now (measured: 0.87 to 0.95 of the rate for 1x1 layers).
            __builtin_prefetch(base_ + offsets_[pair_] + at_[vector_].source + last_lane_, 0, 2);
            if ((vector_ += step_) < end_) continue;
            vector_ = first_;
            pair_ += every_;
        }
    }

private:
    const T* base_;
    const int64_t* offsets_;
    const kernels::VectorAt* at_;
    int64_t first_, end_, step_, last_lane_, every_, pair_, vector_, left_, each_;
};

template <class T>
void multiply_rows(const kernels::KernelTable<T>& kernel, const SourceView<T>& view, const RowVectors& vectors,
                   const RowProduct<T>& of) {
    const int64_t depth = of.depth, channels = of.channels, channel_step = of.channel_step;
    const int64_t* const offsets = of.offsets;
    const Addend<T>& addend = of.addend;
    T* const result = of.result;
    T* const tile_buffer = of.tile_buffer;
    const RowEpilogue<T>* const epilogue = of.epilogue;
    const T* weights = of.weights;
    const T* const source = view.base.plain();
    const int64_t panel_rows = kernel.tiles[0].rows, lanes = kernel.lanes;
    const int64_t vector_bytes = lanes * static_cast<int64_t>(sizeof(T));
    const int64_t widest = kernel.row_tile_vectors[std::min(panel_rows, channels) - 1];
    // A staged source is in the L2 as it is; there, each panel goes through all vectors, and results are written in
    // long rows (measured: 1.1 times as fast for 3x3 with 3 channels at 224x224).
    const int64_t chunk = of.prefetch_every == 0
                              ? std::max<int64_t>(1, vectors.whole)
                              : std::max<int64_t>(1, of.chunk_bytes / (depth * vector_bytes * widest)) * widest;
    const auto bias_of = [&](int64_t row) { return addend.bias != nullptr ? addend.bias + row : nullptr; };
    for (int64_t first = 0; first < vectors.whole; first += chunk) {
        const int64_t end = std::min(first + chunk, vectors.whole);
        const int64_t prefetch_end = of.prefetch_every > 0 ? std::min(end + chunk, vectors.whole) : end;
        RowPrefetch<T> prefetch(kernel, view, of, vectors, end, prefetch_end,
                                ceil_div(channels, panel_rows) * ceil_div(end - first, widest));
        const T* panel = weights;
        for (int64_t row = 0; row < channels; row += panel_rows, panel += of.panel_pitch) {
            const int64_t rows = std::min(panel_rows, channels - row), most = kernel.row_tile_vectors[rows - 1];
            for (int64_t v = first; v < end; v += most) {
                prefetch.before_tile();
                kernel.row_tile[rows - 1][std::min(most, end - v) - 1](
                    {depth, of.run}, panel, panel_rows, source, offsets, nullptr, vectors.at + v,
                    result + row * channel_step, channel_step, addend.onto, bias_of(row));
            }
            if (epilogue != nullptr)
                epilogue->vectors(vectors.at + first, vectors.at + end, result + row * channel_step, channel_step,
                                  rows);
        }
    }
    if (vectors.whole == vectors.total) return;
    std::array<kernels::VectorAt, kernels::max_row_tile_vectors> in_buffer;
    for (int64_t row = 0; row < channels; row += panel_rows, weights += of.panel_pitch) {
        const int64_t rows = std::min(panel_rows, channels - row), most = kernel.row_tile_vectors[rows - 1];
        T* const to = result + row * channel_step;
        for (int64_t v = vectors.whole; v < vectors.total; v += most) {
            const int64_t count = std::min(most, vectors.total - v), pitch = count * lanes;
            // Calls put(element of the buffer, element of the result) for every result of these vectors.
            const auto results = [&](const auto& put) {
                for (int64_t r = 0; r < rows; ++r)
                    for (int64_t i = 0; i < count; ++i) {
                        T* const from = tile_buffer + r * pitch + i * lanes;
                        T* const at = to + r * channel_step + vectors.at[v + i].result;
                        const int64_t skip = vectors.skip[v + i], end = skip + vectors.count[v + i];
                        for (int64_t lane = skip; lane < end; ++lane) put(from[lane], at[lane * of.result_step]);
                    }
            };
            for (int64_t i = 0; i < count; ++i)
                in_buffer[static_cast<size_t>(i)] = {vectors.at[v + i].source, i * lanes};
            if (addend.onto == kernels::Onto::c) {
                std::fill_n(tile_buffer, rows * pitch, T(0));
                results([](T& in, const T& out) { in = out; });
            }
            kernel.row_tile[rows - 1][count - 1]({depth, of.run}, weights, panel_rows, source, offsets, nullptr,
                                                 in_buffer.data(), tile_buffer, pitch, addend.onto, bias_of(row));
            results([](const T& in, T& out) { out = in; });
            if (epilogue != nullptr) results([&](const T&, T& out) { epilogue->rows(&out, 1, 1, 1); });
        }
    }
}

}  // namespace convpp
