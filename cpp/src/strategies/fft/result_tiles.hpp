// Results of tiles on their way from vectors to the tensor: looked at, whether they are finite, and stored.
//
// In:  elements of all lanes' tiles, as the inverse transforms leave them.   Out: results; samples that are not finite.
// Next: product.hpp, grad.hpp.   Before: call.hpp.
#pragma once

#include <algorithm>

#include "repair/finite.hpp"
#include "strategies/fft/call.hpp"

namespace convpp {

inline Extents hops_of(const FourierMap& m) { return {m.axis[0].hop, m.axis[1].hop, m.axis[2].hop}; }

// Stores results of all lanes from vectors of elements, row by row.
template <class T>
class ResultTiles {
public:
    // `steps` of the tensor that is written, `limit`: elements of a tile that are.
    ResultTiles(const FourierCall<T>& call, const FourierMap& m, const TileBuffer<T>& buffer, const Extents& steps,
                const Extents& limit, int64_t together)
        : call_(call), m_(m), buffer_(buffer), steps_(steps), limit_(limit), together_(together) {}

    void store(const T* z) const {
        const int64_t lanes = call_.kernel.lanes, row = m_.pitch * 2 * lanes;
        for (int64_t i = 0; i < limit_[0]; ++i)
            for_each_part(i, limit_, [&](const TilePart& part) {
                const T* const from = z + (i * m_.axis[1].length + part.row) * row + part.column * lanes;
                if (together_ > 0) {
                    for (int64_t r = 0; r < part.rows; ++r) store_together(from + r * row, part, part.row + r);
                    return;
                }
                int64_t vectors = 0;
                for (int64_t r = 0; r < part.rows; ++r)
                    for (int64_t c = 0; c < part.columns; ++c) buffer_.rows[vectors++] = from + r * row + c * lanes;
                call_.kernel.transpose_rows(buffer_.rows, vectors, lanes, buffer_.lines, buffer_.pitch);
                for (int64_t l = 0; l < lanes; ++l)
                    store_lines(buffer_.tiles[l], part, buffer_.lines + l * buffer_.pitch);
            });
    }

private:
    int64_t at(const LaneTile& tile, int64_t i, int64_t j, int64_t c) const {
        return tile.at + tile.line[0].at(i) * steps_[0] + tile.line[1].at(j) * steps_[1] +
               tile.line[2].at(c) * steps_[2];
    }
    void look(const LaneTile& tile, bool finite) const {
        if (!finite) call_.not_finite[tile.sample].store(1, std::memory_order_relaxed);
    }

    void store_lines(const LaneTile& tile, const TilePart& part, const T* lines) const {
        if (!tile.used || !tile.line[0].has(part.plane)) return;
        const int64_t rows = std::min(part.rows, tile.line[1].hi - part.row),
                      count = std::min(part.columns, tile.line[2].hi - part.column);
        if (rows <= 0 || count <= 0) return;
        const int64_t elems = (rows - 1) * part.columns + count;
        look(tile, all_finite(Stored<T>(lines, elems), elems));
        const int64_t first = at(tile, part.plane, part.row, part.column), step = tile.line[2].step * steps_[2],
                      row_step = tile.line[1].step * steps_[1];
        if (step == 1) return write({lines, part.columns, rows, count}, first, row_step);
        for (int64_t r = 0; r < rows; ++r) write({lines + r * part.columns, 1, count, 1}, first + r * row_step, step);
    }

    // Columns are vectors of neighbours.
    void store_together(const T* row, const TilePart& part, int64_t j) const {
        const LaneTile& tile = buffer_.tiles[0];
        if (!tile.used || !tile.line[0].has(part.plane) || !tile.line[1].has(j)) return;
        const int64_t lanes = call_.kernel.lanes, count = std::min(part.columns, tile.line[2].hi - part.column);
        if (count <= 0) return;
        bool finite = true;
        if (together_ == lanes) finite = all_finite(Stored<T>(row, count * lanes), count * lanes);
        else
            for (int64_t c = 0; c < count; ++c)
                finite = finite && all_finite(Stored<T>(row + c * lanes, together_), together_);
        look(tile, finite);
        write({row, lanes, count, together_}, at(tile, part.plane, j, part.column), tile.line[2].step * steps_[2]);
    }

    void write(const SumRows<T>& sums, int64_t first, int64_t pitch) const {
        const Operands<T>& operands = call_.operands;
        if (operands.result.as == Storage::plain && operands.epilogue.none()) {
            T* const to = operands.result.plain() + first;
            if (sums.count > 1) return call_.kernel.store_rows(sums.at, sums.pitch, sums.rows, sums.count, to, pitch);
            for (int64_t r = 0; r < sums.rows; ++r) to[r * pitch] = sums.at[r * sums.pitch];
            return;
        }
        apply_epilogue(call_.kernel, operands.epilogue.from(first), sums, operands.result + first, pitch);
    }

    const FourierCall<T>& call_;
    const FourierMap& m_;
    const TileBuffer<T>& buffer_;
    const Extents &steps_, limit_;
    int64_t together_;
};

}  // namespace convpp
