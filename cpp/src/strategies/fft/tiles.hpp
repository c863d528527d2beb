// Tiles on their way into transforms and out of them: a vector's lanes are tiles of any place, channel and group.
//
// In:  where each lane's tile lies, the tensor.   Out: spectra; or, from spectra, elements of the tensor.
// Next: call.hpp.   Before: axes.hpp.
//
// A tile is `length` rows of rows of elements, of which a part is read or written; all other elements are zero.  Where
// all lanes' rows lie together in memory they are transposed from there, else each is copied into a line first.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "machine/dispatch.hpp"
#include "machine/workspace.hpp"
#include "source/stored.hpp"
#include "strategies/fft/axes.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Elements [lo, hi) of a tile's axis are first + i*step of the tensor's.
struct TileLine {
    int64_t first = 0, step = 1, lo = 0, hi = 0;
    int64_t at(int64_t i) const { return first + i * step; }
    bool has(int64_t i) const { return i >= lo && i < hi; }
};

struct LaneTile {
    int64_t at = 0;  // of the tensor's element that axes are counted from
    std::array<TileLine, 3> line;
    bool used = false;
    int64_t sample = 0;
};

// What the tiles of all lanes have in common.
struct TileTensor {
    Extents steps{0, 0, 0};  // of the tensor, in elements
    Extents limit{0, 0, 0};  // elements of a tile that may be other than zero
    const IndexMap* beyond = nullptr;  // where elements outside are folded to, if that is not zero
    int64_t lanes_together = 0;  // lanes are so many neighbours in memory, of the same tile; 0: they are not
};

// A grid's item, of one map.
struct FourierItem {
    int64_t sample = 0;
    std::array<int64_t, 3> strand{0, 0, 0}, tile{0, 0, 0};

    FourierItem(const FourierMap& m, int64_t index) {
        for (size_t a = 3; a-- > 0;) {
            const int64_t along = m.axis[a].items(), of_strand = m.axis[a].tiles + m.axis[a].parts - 1;
            const int64_t at = index % along;
            index /= along;
            strand[a] = at / of_strand;
            tile[a] = at % of_strand;
        }
        sample = index;
    }
};

// The elements of [0, extent) that positions first + i*step, i < limit, are.
inline TileLine line_inside(int64_t first, int64_t step, int64_t extent, int64_t limit) {
    TileLine line{first, step, 0, 0};
    line.lo = std::clamp<int64_t>(first < 0 ? ceil_div(-first, step) : 0, 0, limit);
    line.hi = std::clamp<int64_t>(first < extent ? ceil_div(extent - first, step) : 0, line.lo, limit);
    return line;
}

// What an item's tile reads, of one phase of the taps.
inline LaneTile source_tile(const IndexMap& map, const FourierMap& m, const FourierItem& item, int64_t phase) {
    LaneTile tile;
    for (size_t a = 3; a-- > 0;) {
        const FourierAxis& axis = m.axis[a];
        const AxisMap& of = map.axis[a];
        const int64_t own = phase % axis.phases, taps = ceil_div(of.taps.size() - own, axis.phases);
        phase /= axis.phases;
        const int64_t base = std::min(of.taps.offset(own), of.taps.offset(own + axis.phases * (taps - 1)));
        const int64_t step = of.source_step * axis.spread;
        const int64_t first = step * item.tile[a] * axis.hop + of.source_step * item.strand[a] + base;
        tile.line[a] = line_inside(first, step, of.source_extent, axis.reach());
    }
    tile.used = true;
    tile.sample = item.sample;
    return tile;
}

// The results of an item's tile.
inline LaneTile result_tile(const IndexMap& map, const FourierMap& m, const FourierItem& item) {
    LaneTile tile;
    tile.used = true;
    for (size_t a = 0; a < 3; ++a) {
        const FourierAxis& axis = m.axis[a];
        const AxisMap& of = map.axis[a];
        const int64_t lo = axis.spread * item.tile[a] * axis.hop + item.strand[a];
        const int64_t count = item.tile[a] < axis.tiles && lo < of.count ? ceil_div(of.count - lo, axis.spread) : 0;
        tile.line[a] = {of.result_start + of.result_step * lo, of.result_step * axis.spread, 0,
                        std::min(count, axis.hop)};
        tile.used = tile.used && count > 0;
    }
    tile.sample = item.sample;
    return tile;
}

// The taps of a part and a phase, in the kernel as it is stored.
inline LaneTile kernel_tile(const IndexMap& map, const FourierMap& m, int64_t part, int64_t phase) {
    LaneTile tile;
    tile.used = true;
    for (size_t a = 3; a-- > 0;) {
        const FourierAxis& axis = m.axis[a];
        const Taps& taps = map.axis[a].taps;
        const int64_t own = phase % axis.phases, count = ceil_div(taps.size() - own, axis.phases);
        const int64_t lo = part % axis.parts * axis.part;
        phase /= axis.phases;
        part /= axis.parts;
        const int64_t first = own + axis.phases * (axis.reversed ? count - 1 - lo : lo);
        const int64_t step = taps.size() > 1 ? axis.phases * (taps.weight(1) - taps.weight(0)) : 1;
        const int64_t weight = taps.weight(0) + first * (taps.size() > 1 ? taps.weight(1) - taps.weight(0) : 1);
        tile.line[a] = {weight, axis.reversed ? -step : step, 0, std::clamp<int64_t>(count - lo, 0, axis.part)};
        tile.used = tile.used && tile.line[a].hi > 0;
    }
    return tile;
}

// Elements of a lane's tile that are moved at once: those of 16 float32 lanes are then 16 KiB, half of L1.
inline constexpr int64_t most_moved = 256;

template <class T>
struct TileBuffer {
    T* lines = nullptr;  // [lane][row][column]
    int64_t* offsets = nullptr;  // of lanes, or of columns
    int64_t* line_offsets = nullptr;  // of the lines
    const T** rows = nullptr;  // of a spectrum
    kernels::Run* runs = nullptr;
    LaneTile* tiles = nullptr;  // of the lanes
    int64_t pitch;

    TileBuffer(Carver& carver, const kernels::KernelTable<T>& kernel) : pitch(most_moved + kernel.lanes) {
        lines = carver.take<T>((kernel.lanes + 1) * pitch);
        offsets = carver.take<int64_t>(std::max<int64_t>(most_moved, kernel.lanes));
        line_offsets = carver.take<int64_t>(kernel.lanes);
        rows = carver.take<const T*>(most_moved);
        runs = carver.take<kernels::Run>(most_moved);
        tiles = carver.take<LaneTile>(kernel.lanes);
    }
};

// Some rows of a tile's plane, and some of their columns.
struct TilePart {
    int64_t plane, row, rows, column, columns;
};

// Calls use(part) for parts that together are all of `limit`, as many rows at once as can be moved.
template <class Use>
void for_each_part(int64_t plane, const Extents& limit, const Use& use) {
    const int64_t columns = std::min(limit[2], most_moved), rows = std::max<int64_t>(most_moved / columns, 1);
    for (int64_t row = 0; row < limit[1]; row += rows)
        for (int64_t column = 0; column < limit[2]; column += columns)
            use(TilePart{plane, row, std::min(rows, limit[1] - row), column, std::min(columns, limit[2] - column)});
}

// Brings parts of the tiles of all lanes, as vectors.
template <class T>
class TileSource {
public:
    TileSource(const kernels::KernelTable<T>& kernel, const Stored<T>& source, const TileTensor& tensor,
               const TileBuffer<T>& buffer)
        : kernel_(kernel), source_(source), tensor_(tensor), buffer_(buffer) {}

    // `to`: the part's first vector; its rows are `pitch` elements apart.
    void bring(const TilePart& part, T* to, int64_t pitch) const {
        if (tensor_.lanes_together > 0) {
            for (int64_t r = 0; r < part.rows; ++r) bring_together(part, part.row + r, to + r * pitch);
            return;
        }
        const int64_t lanes = kernel_.lanes, row_step = buffer_.tiles[0].line[1].step * tensor_.steps[1];
        bool together = true;
        for (int64_t l = 0; l < lanes && together; ++l) {
            const LaneTile& tile = buffer_.tiles[l];
            together = is_inside(tile, part) && tile.line[2].step * tensor_.steps[2] == 1 &&
                       tile.line[1].step * tensor_.steps[1] == row_step;
            if (together) buffer_.offsets[l] = first_of(tile, part);
        }
        const auto move = [&](const kernels::Readers<T>& read, const void* from, const int64_t* offsets, int64_t step,
                              const void* end) {
            for (int64_t r = 0; r < part.rows; ++r) buffer_.runs[r] = {r * step, r * (pitch / lanes), part.columns};
            read.transpose_panel(from, offsets, lanes, buffer_.runs, part.rows, to, lanes, end);
        };
        if (together) return move(reading(kernel_, source_), source_.at, buffer_.offsets, row_step, source_.end);
        for (int64_t l = 0; l < lanes; ++l) {
            buffer_.line_offsets[l] = l * buffer_.pitch;
            copy(buffer_.tiles[l], part, buffer_.lines + l * buffer_.pitch);
        }
        move(kernel_.read[static_cast<int>(Storage::plain)], buffer_.lines, buffer_.line_offsets, part.columns,
             buffer_.lines + (lanes + 1) * buffer_.pitch);
    }

private:
    static bool is_inside(const LaneTile& tile, const TilePart& part) {
        return tile.used && tile.line[0].has(part.plane) && tile.line[1].lo <= part.row &&
               tile.line[1].hi >= part.row + part.rows && tile.line[2].lo <= part.column &&
               tile.line[2].hi >= part.column + part.columns;
    }
    int64_t first_of(const LaneTile& tile, const TilePart& part) const {
        return tile.at + tile.line[0].at(part.plane) * tensor_.steps[0] + tile.line[1].at(part.row) * tensor_.steps[1] +
               tile.line[2].at(part.column) * tensor_.steps[2];
    }
    // Where a lane's row begins; -1: it has none.
    int64_t row_at(const LaneTile& tile, int64_t i, int64_t j) const {
        if (!tile.used) return -1;
        const std::array<int64_t, 2> of{i, j};
        int64_t at = tile.at;
        for (size_t a = 0; a < 2; ++a) {
            const int64_t element = element_at(tile.line[a], a, of[a]);
            if (element < 0) return -1;
            at += element * tensor_.steps[a];
        }
        return at;
    }
    int64_t element_at(const TileLine& line, size_t a, int64_t i) const {
        if (line.has(i)) return line.at(i);
        if (tensor_.beyond == nullptr) return -1;
        const AxisMap& axis = tensor_.beyond->axis[a];
        return axis.has_border() ? border_element(axis.boundary, line.at(i), axis.source_extent) : -1;
    }

    // A lane's part, rows of `columns` elements one behind the other.
    void copy(const LaneTile& tile, const TilePart& part, T* to) const {
        const int64_t step = tile.line[2].step * tensor_.steps[2];
        const auto& read = reading(kernel_, source_);
        if (step > 0 && is_inside(tile, part)) {
            const Stored<T> from = source_ + first_of(tile, part);
            read.copy_rows(from.at, tile.line[1].step * tensor_.steps[1], step, part.rows, part.columns, to,
                           part.columns, source_.end);
            return;
        }
        for (int64_t r = 0; r < part.rows; ++r, to += part.columns) {
            const int64_t at = row_at(tile, part.plane, part.row + r);
            if (at < 0) {
                std::fill(to, to + part.columns, T(0));
                continue;
            }
            const TileLine& line = tile.line[2];
            const int64_t lo = std::clamp<int64_t>(line.lo - part.column, 0, part.columns),
                          hi = std::clamp<int64_t>(line.hi - part.column, lo, part.columns);
            const auto fill = [&](int64_t first, int64_t end) {
                for (int64_t c = first; c < end; ++c) {
                    const int64_t element = element_at(line, 2, part.column + c);
                    to[c] = element < 0 ? T(0) : source_[at + element * tensor_.steps[2]];
                }
            };
            fill(0, lo);
            const Stored<T> first = source_ + (at + line.at(part.column + lo) * tensor_.steps[2]);
            if (hi > lo && step > 0) read.copy_rows(first.at, 0, step, 1, hi - lo, to + lo, 0, source_.end);
            else
                for (int64_t c = lo; c < hi; ++c) to[c] = first[(c - lo) * step];
            fill(hi, part.columns);
        }
    }

    // Each column is a vector in memory, or a part of one.
    void bring_together(const TilePart& part, int64_t row, T* to) const {
        const int64_t lanes = kernel_.lanes;
        const LaneTile& tile = buffer_.tiles[0];
        const int64_t at = row_at(tile, part.plane, row);
        if (at < 0) return zero(to, part.columns * lanes);
        const kernels::Run run{0, 0, tensor_.lanes_together};
        int64_t first = 0, found = 0;
        const auto copy_found = [&] {
            if (found > 0)
                reading(kernel_, source_)
                    .copy_panel(source_.at, buffer_.offsets, found, &run, 1, to + first * lanes, lanes, source_.end);
            found = 0;
        };
        for (int64_t c = 0; c < part.columns; ++c) {
            const int64_t element = element_at(tile.line[2], 2, part.column + c);
            if (element < 0) {
                copy_found();
                zero(to + c * lanes, lanes);
                continue;
            }
            if (found == 0) first = c;
            buffer_.offsets[found++] = at + element * tensor_.steps[2];
        }
        copy_found();
    }

public:
    static void zero(T* to, int64_t elems) {
        if (elems > 0) std::memset(static_cast<void*>(to), 0, static_cast<size_t>(elems) * sizeof(T));
    }

private:
    const kernels::KernelTable<T>& kernel_;
    const Stored<T>& source_;
    const TileTensor& tensor_;
    const TileBuffer<T>& buffer_;
};

// The transforms of one map.
template <class T>
struct Transforms {
    const kernels::KernelTable<T>& kernel;
    const FourierMap& m;
    const FourierTables<T>& tables;

    int64_t point() const { return 2 * kernel.lanes; }

    // The tiles of all lanes, times 2*scale.
    void forward(const Stored<T>& source, const TileTensor& tensor, const TileBuffer<T>& buffer, T scale, T* z) const {
        const TileSource<T> tiles(kernel, source, tensor, buffer);
        const int64_t heights = m.axis[1].length, widths = m.axis[2].length, lanes = kernel.lanes;
        const int64_t row = m.pitch * point(), plane = heights * row;
        const Extents& limit = tensor.limit;
        for (int64_t i = 0; i < m.axis[0].length; ++i) {
            T* const to = z + i * plane;
            if (i >= limit[0]) {
                tiles.zero(to, plane);
                continue;
            }
            for_each_part(i, limit, [&](const TilePart& part) {
                tiles.bring(part, to + part.row * row + part.column * lanes, row);
            });
            for (int64_t j = 0; j < limit[1]; ++j)
                tiles.zero(to + j * row + limit[2] * lanes, (widths - limit[2]) * lanes);
            if (row > (widths + 2) * lanes)  // a point that nobody uses
                for (int64_t j = 0; j < limit[1]; ++j) tiles.zero(to + j * row + (widths + 2) * lanes, point());
            tiles.zero(to + limit[1] * row, (heights - limit[1]) * row);
            kernel.fourier.real_rows(tables.passes[2], tables.halves, scale, to, limit[1], row);
            if (heights > 1) kernel.fourier.forward(tables.passes[1], to, row, m.pitch, point());
        }
        if (m.axis[0].length > 1) kernel.fourier.forward(tables.passes[0], z, plane, heights * m.pitch, point());
    }

    // Back, as far as elements below `limit` need it.
    void inverse(T* z, const Extents& limit) const {
        const int64_t heights = m.axis[1].length, row = m.pitch * point(), plane = heights * row;
        if (m.axis[0].length > 1) kernel.fourier.inverse(tables.passes[0], z, plane, heights * m.pitch, point());
        for (int64_t i = 0; i < limit[0]; ++i) {
            if (heights > 1) kernel.fourier.inverse(tables.passes[1], z + i * plane, row, m.pitch, point());
            kernel.fourier.rows_real(tables.passes[2], tables.halves, z + i * plane, limit[1], row);
        }
    }

    // What transforms of both operands and back multiply by, its inverse.
    T scale() const { return T(1) / static_cast<T>(4 * m.elems()); }
};

}  // namespace convpp
