// Packing: memory of any shape becomes panels that the register tile reads from front to back.
//
// In: a source as its user stores it (stored.hpp), offsets and runs (see contract.hpp).  Out: panels with rows
// `width` apart.
//
// Two motions are enough for every operand of every pass and layout:
//   copy       the panel's width runs along consecutive source elements (pixels of a row, channels of a pixel);
//   transpose  the panel's depth does.
// Both move whole vectors: a run is written with ceil(count/lanes) stores, and what a store writes past the run's end
// is overwritten by what follows it (runs and rows are written in ascending order).  The last row needs slack behind.
#pragma once

// The vectors of a panel's row, as far as one loop keeps their addresses in registers.
constexpr int most_moves = 12;

template <class S, int Moves>
void copy_moves(const S* src, const int64_t* offsets, int64_t rows, const int64_t* from, const int64_t* to,
                Computed<S>* dst, int64_t width) {
    int64_t at[Moves], into[Moves];
#pragma GCC unroll 12
    for (int m = 0; m < Moves; ++m) at[m] = from[m], into[m] = to[m];
    for (int64_t k = 0; k < rows; ++k, dst += width) {
        const S* s = src + offsets[k];
#pragma GCC unroll 12
        for (int m = 0; m < Moves; ++m) store(dst + into[m], read(s + at[m]));
    }
}

// copy_moves for `count` moves, 1 .. most_moves.
template <class S, int Moves = most_moves>
void copy_moves_of(int count, const S* src, const int64_t* offsets, int64_t rows, const int64_t* from,
                   const int64_t* to, Computed<S>* dst, int64_t width) {
    if (count == Moves) return copy_moves<S, Moves>(src, offsets, rows, from, to, dst, width);
    if constexpr (Moves > 1) copy_moves_of<S, Moves - 1>(count, src, offsets, rows, from, to, dst, width);
}

template <class S>
void copy_panel(const void* from_src, const int64_t* offsets, int64_t rows, const Run* runs, int64_t run_count,
                Computed<S>* dst, int64_t width, const void* from_end) {
    const S *const src = static_cast<const S*>(from_src), *const src_end = static_cast<const S*>(from_end);
    constexpr int lanes = lanes_of<Computed<S>>;
    int64_t from[most_moves], to[most_moves], moves = 0;
    int64_t reach = 0, largest = 0;  // the last element that whole vectors touch, relative to src
    for (int64_t r = 0; r < run_count; ++r)
        for (int64_t i = 0; i < runs[r].count; i += lanes, ++moves) {
            if (moves < most_moves) {
                from[moves] = runs[r].src + i;
                to[moves] = runs[r].dst + i;
            }
            const int64_t end = runs[r].src + i + lanes;
            if (moves == 0 || end > reach) reach = end;
        }
    for (int64_t k = 0; k < rows; ++k)
        if (k == 0 || offsets[k] > largest) largest = offsets[k];
    const bool inside = reach + largest <= src_end - src;
    if (inside && moves > 0 && moves <= most_moves)
        return copy_moves_of<S>(static_cast<int>(moves), src, offsets, rows, from, to, dst, width);
    for (int64_t k = 0; k < rows; ++k, dst += width) {
        const S* s = src + offsets[k];
        for (int64_t r = 0; r < run_count; ++r) {
            const S* run = s + runs[r].src;
            Computed<S>* into = dst + runs[r].dst;
            for (int64_t i = 0; i < runs[r].count; i += lanes) store(into + i, read_before(run + i, src_end));
        }
    }
}

template <class S>
void transpose_panel(const void* from_src, const int64_t* offsets, int64_t columns, const Run* runs, int64_t run_count,
                     Computed<S>* dst, int64_t width, const void* from_end) {
    using T = Computed<S>;
    const S *const src = static_cast<const S*>(from_src), *const src_end = static_cast<const S*>(from_end);
    constexpr int lanes = lanes_of<T>;
    // Below this many elements of a run a gather by scalars is cheaper than a transpose of a whole square.
    constexpr int shortest_run = lanes / 4;
    // Weights: what is packed after this mostly follows in each column (the next block of pairs), and nothing else
    // foresees lines of so many pages.  (Measured, one sample, 3x3 at stride 2, 512-512 at 14x14: 1.2 times as fast
    // forward, 1.3 to 1.5 times the input gradient.  Where columns are pixels, hardware does, and asking costs 10 %.)
    constexpr int64_t other_page = 2048 / static_cast<int64_t>(sizeof(S));
    const auto apart = [](int64_t a, int64_t b) { return b - a >= other_page; };
    const bool asks =
        (columns > 1 && apart(offsets[0], offsets[1])) || (run_count > 1 && apart(runs[0].src, runs[1].src));
    const int64_t ahead = asks ? runs[run_count - 1].src + runs[run_count - 1].count - runs[0].src : 0;
    // The last block of columns goes first: what its stores spill into the next row is overwritten by the first block.
    for (int64_t block = (columns - 1) / lanes; block >= 0; --block) {
        const int64_t first = block * lanes;
        const int64_t valid = columns - first < lanes ? columns - first : lanes;
        const S* column[lanes];  // those that fill up the last vector read the first one, and are blanked
        for (int j = 0; j < lanes; ++j) column[j] = src + offsets[j < valid ? first + j : first];
        const auto there = lane_mask<T>(0, static_cast<int>(valid), LanesOf<lanes>{});
        for (int64_t r = 0; r < run_count; ++r) {
            for (int64_t i = 0; i < runs[r].count; i += lanes) {
                const int64_t left = runs[r].count - i, count = left < lanes ? left : lanes;
                const int64_t at = runs[r].src + i;
                T* to = dst + (runs[r].dst + i) * width + first;
                if (count <= shortest_run) {
                    if (asks)
#pragma GCC unroll 16
                        for (int j = 0; j < lanes; j += 2) __builtin_prefetch(column[j] + at + ahead, 0, 2);
                    for (int64_t t = 0; t < count; ++t)
                        store(to + t * width, only_lanes<T>(gather(column, at + t, LanesOf<lanes>{}), there));
                    continue;
                }
                if (asks)
#pragma GCC unroll 16
                    for (int j = 0; j < lanes; ++j) __builtin_prefetch(column[j] + at + ahead, 0, 2);
                Vector<T> square[lanes];
#pragma GCC unroll 16
                for (int j = 0; j < lanes; ++j)
                    square[j] = j < valid ? read_before(column[j] + at, src_end) : Vector<T>{};
                transpose(square);
                if (count == lanes) {
#pragma GCC unroll 16
                    for (int t = 0; t < lanes; ++t) store(to + t * width, square[t]);
                } else {
#pragma GCC unroll 16
                    for (int t = 0; t < lanes; ++t)
                        if (t < count) store(to + t * width, square[t]);
                }
            }
        }
    }
}

// One square of the transpose: `height` rows, `width` columns of them, at most lanes each.
template <class T>
inline void transpose_square(const T* const* rows, int64_t column, int64_t height, int64_t width, T* dst,
                             int64_t dst_pitch) {
    constexpr int lanes = lanes_of<T>;
    Vector<T> square[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) square[i] = i < height ? load(rows[i] + column) : Vector<T>{};
    transpose(square);
    if (height == lanes && width == lanes) {
#pragma GCC unroll 16
        for (int j = 0; j < lanes; ++j) store(dst + j * dst_pitch, square[j]);
        return;
    }
    T line[lanes];
#pragma GCC unroll 16
    for (int j = 0; j < lanes; ++j)
        if (j < width) {
            if (height == lanes) {
                store(dst + j * dst_pitch, square[j]);
            } else {
                store(line, square[j]);
                for (int64_t i = 0; i < height; ++i) dst[j * dst_pitch + i] = line[i];
            }
        }
}

template <class T>
void transpose_rows(const T* const* rows, int64_t count, int64_t columns, T* dst, int64_t dst_pitch) {
    constexpr int lanes = lanes_of<T>;
    for (int64_t column = 0; column < columns; column += lanes) {
        const int64_t width = columns - column < lanes ? columns - column : lanes;
        T* const to = dst + column * dst_pitch;
        for (int64_t i = 0; i < count; i += lanes) {
            // The last rows are moved together with some before them, if there are: whole vectors are stored.
            const int64_t first = count - i >= lanes || count < lanes ? i : count - lanes;
            const int64_t height = count - first < lanes ? count - first : lanes;
            transpose_square(rows + first, column, height, width, to + first, dst_pitch);
        }
    }
}

// What is copied after this lies `ahead` elements on, and is asked for meanwhile.
template <class S>
inline void copy_rows_before(const S* src, int64_t src_pitch, int64_t step, int64_t rows, int64_t count,
                             Computed<S>* dst, int64_t dst_pitch, const S* src_end, int64_t prefetch) {
    using T = Computed<S>;
    constexpr int lanes = lanes_of<T>;
    if (step == 1) {
        const int64_t full = count / lanes * lanes, rest = count - full;
        const auto mask = lane_mask<T>(0, static_cast<int>(rest), LanesOf<lanes>{});
        for (int64_t i = 0; i < rows; ++i, src += src_pitch, dst += dst_pitch) {
            for (int64_t j = 0; j < full; j += lanes) {
                __builtin_prefetch(src + j + prefetch);
                store(dst + j, read(src + j));
            }
            if (rest > 0) store(dst + full, only_lanes<T>(read_before(src + full, src_end), mask));
            for (int64_t j = full + (rest > 0 ? lanes : 0); j < dst_pitch; j += lanes) store(dst + j, Vector<T>{});
        }
        return;
    }
    for (int64_t i = 0; i < rows; ++i, src += src_pitch, dst += dst_pitch) {
        int64_t j = 0;
        if (step <= most_vector_step)
            for (; j < count && src_end - (src + step * j) >= step * lanes; j += lanes)
                store(dst + j, every_nth(src + step * j, step));
        for (; j < count; ++j) dst[j] = read_one(src + j * step);
        for (j = count; j < dst_pitch; j += lanes) store(dst + j, Vector<T>{});
    }
}

template <class S>
void copy_rows(const void* src, int64_t src_pitch, int64_t step, int64_t rows, int64_t count, Computed<S>* dst,
               int64_t dst_pitch, const void* src_end) {
    // Rows of planes lie in pages of their own, where no hardware looks ahead; of pixels that lie far apart (groups in
    // channels_last), few lines each, more are asked for.  (Measured, 16 channels of 512: weight gradient 1.1 times as
    // fast.)
    constexpr int64_t pixels_ahead = 16;
    const int64_t rows_ahead = rows > pixels_ahead && src_pitch >= 4 * count ? pixels_ahead : 4;
    copy_rows_before(static_cast<const S*>(src), src_pitch, step, rows, count, dst, dst_pitch,
                     static_cast<const S*>(src_end), rows > rows_ahead ? rows_ahead * src_pitch : 0);
}

// Zeros in whole vectors: what follows is written later.
template <class T>
inline void zero_vectors(T* dst, int64_t count) {
    for (int64_t j = 0; j < count; j += lanes_of<T>) store(dst + j, Vector<T>{});
}

// Rows of at most a vector: the first of them, whose vectors end before src_end.  Returns their number.
template <class S>
inline int64_t copy_short_rows(const S* src, int64_t src_pitch, int64_t step, int64_t rows, int64_t count,
                               Computed<S>* dst, int64_t dst_pitch, const S* src_end) {
    using T = Computed<S>;
    constexpr int lanes = lanes_of<T>;
    if (count > lanes || step > most_vector_step) return 0;
    const auto mask = lane_mask<T>(0, static_cast<int>(count), LanesOf<lanes>{});
    const S* const last = src_end - step * lanes;
    int64_t i = 0;
    for (; i < rows && src <= last; ++i, src += src_pitch, dst += dst_pitch) {
        const Vector<T> row = step == 1 ? read(src) : every_nth(src, step);
        store(dst, only_lanes<T>(row, mask));
        for (int64_t j = lanes; j < dst_pitch; j += lanes) store(dst + j, Vector<T>{});
    }
    return i;
}

template <class S>
void copy_bands(const void* from_src, const Band* bands, int64_t band_count, int64_t src_pitch, int64_t step,
                Computed<S>* dst, int64_t dst_pitch, const void* from_end, int64_t prefetch) {
    const S *const src = static_cast<const S*>(from_src), *const src_end = static_cast<const S*>(from_end);
    for (int64_t b = 0; b < band_count; ++b, ++bands) {
        zero_vectors(dst, bands->before);
        Computed<S>* const to = dst + bands->before;
        const S* const from = src + bands->from;
        const int64_t rows = bands->rows;
        const int64_t done = copy_short_rows(from, src_pitch, step, rows, bands->count, to, dst_pitch, src_end);
        if (done < rows)
            copy_rows_before(from + done * src_pitch, src_pitch, step, rows - done, bands->count, to + done * dst_pitch,
                             dst_pitch, src_end, prefetch);
        const int64_t written = bands->before + rows * dst_pitch;
        if (written < bands->elems) zero_vectors(dst + written, bands->elems - written);
        dst += bands->elems;
    }
}

// Fewer elements than a vector has, in pieces of constant sizes.
template <class T, int Piece = lanes_of<T> / 2>
inline __attribute__((always_inline)) void store_part(const T* src, int64_t count, T* dst) {
    if (count & Piece) {
        __builtin_memcpy(dst, src, Piece * sizeof(T));
        src += Piece;
        dst += Piece;
    }
    if constexpr (Piece > 1) store_part<T, Piece / 2>(src, count, dst);
}

// One row, and nothing behind it.
template <class T>
inline void store_row(const T* src, int64_t count, T* dst) {
    constexpr int lanes = lanes_of<T>;
    int64_t j = 0;
    for (; j + lanes <= count; j += lanes) store(dst + j, load(src + j));
    if (j < count && count >= lanes) store(dst + count - lanes, load(src + count - lanes));
    else if (j < count) store_part(src + j, count - j, dst + j);
}

template <class T>
void store_rows(const T* src, int64_t src_pitch, int64_t rows, int64_t count, T* dst, int64_t dst_pitch) {
    constexpr int lanes = lanes_of<T>;
    int64_t i = 0;
    // What spills behind a row is overwritten by the next ones, if they follow at once and are long enough together.
    if (dst_pitch == count)
        for (; i < rows && (rows - 1 - i) * count >= lanes; ++i, src += src_pitch, dst += dst_pitch)
            for (int64_t j = 0; j < count; j += lanes) store(dst + j, load(src + j));
    for (; i < rows; ++i, src += src_pitch, dst += dst_pitch) store_row(src, count, dst);
}

// The lower (Half = 0) or upper halves of two vectors, element by element.
template <int Half, class V, int... J>
inline __attribute__((always_inline)) V interleaved(V a, V b, Lanes<J...>) {
    constexpr int n = sizeof...(J);
    return __builtin_shufflevector(a, b, (Half * n / 2 + J / 2 + J % 2 * n)...);
}

// May change dst up to `room` >= count.
template <class T>
inline void interleave_row(const T* even, const T* odd, int64_t count, int64_t room, T* dst) {
    constexpr int lanes = lanes_of<T>;
    int64_t j = 0;
    for (; j < count && room - j >= 2 * lanes; j += 2 * lanes) {
        const Vector<T> a = load(even + j / 2), b = load(odd + j / 2);
        store(dst + j, interleaved<0>(a, b, LanesOf<lanes>{}));
        store(dst + j + lanes, interleaved<1>(a, b, LanesOf<lanes>{}));
    }
    if (j >= count) return;
    T rest[2 * lanes];
    const Vector<T> a = load(even + j / 2), b = load(odd + j / 2);
    store(rest, interleaved<0>(a, b, LanesOf<lanes>{}));
    store(rest + lanes, interleaved<1>(a, b, LanesOf<lanes>{}));
    store_row(rest, count - j, dst + j);
}

template <class T>
void interleave_rows(const RowPair<T>* classes, int64_t class_count, int64_t rows, int64_t count, T* dst,
                     int64_t dst_pitch) {
    for (int64_t i = 0, left = rows; left > 0; ++i)
        for (int64_t c = 0; c < class_count && left > 0; ++c, dst += dst_pitch) {
            // What spills behind a row is overwritten by the next ones, if they follow at once.
            const int64_t room = dst_pitch == count ? left * count : count;
            interleave_row(classes[c].even + i * classes[c].even_pitch, classes[c].odd + i * classes[c].odd_pitch,
                           count, room, dst);
            --left;
        }
}

template <class T>
void add(const T* src, int64_t count, T* dst) {
    for (int64_t i = 0; i < count; ++i) dst[i] += src[i];
}
