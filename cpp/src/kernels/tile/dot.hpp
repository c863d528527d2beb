// Sums over pixels of products of two sets of rows: the weight gradient where channels are few.
//
// In:  rows of dy and of x, the vectors that the pixels consist of.   Out: sums[row of dy][row of x].
// The pixels run along the lanes; the accumulators' lanes are added at the end, once, those of as many accumulators
// together as fill a vector with their sums.  Both operands are read where they lie: `Rows + Columns` loads for
// `Rows * Columns` products.
#pragma once

// sums[row][column] += the sum of the lanes of each accumulator; from the `First`-th on.
template <class T, int Rows, int Columns, int First = 0>
inline __attribute__((always_inline)) void add_lanes(const Vector<T> (&acc)[Rows][Columns], T* sums, int64_t pitch) {
    constexpr int left = Rows * Columns - First, count = left < lanes_of<T> ? left : lanes_of<T>;
    Vector<T> some[count];
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) some[i] = acc[(First + i) / Columns][(First + i) % Columns];
    T of_some[lanes_of<T>];
    store(of_some, sums_of_lanes<T>(some));
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) sums[(First + i) / Columns * pitch + (First + i) % Columns] += of_some[i];
    if constexpr (count < left) add_lanes<T, Rows, Columns, First + count>(acc, sums, pitch);
}

// S: how x is stored.
template <class S, int Rows, int Columns, class T = Computed<S>>
void dot_tile(const T* dy, int64_t dy_pitch, const T* dy_end, const S* x, const int64_t* offsets,
              const RowVectors& vectors, int64_t run, T* sums, int64_t pitch) {
    Vector<T> acc[Rows][Columns] = {};
    alignas(64) T memory[RunSums<T, Rows, Columns>::elems];
    RunSums<T, Rows, Columns> runs{memory};
    const auto multiply = [&](const Vector<T>(&a)[Rows], const Vector<T>(&b)[Columns]) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
            for (int j = 0; j < Columns; ++j) acc[r][j] += a[r] * b[j];
    };
    Vector<T> a[Rows], b[Columns];
    for (int64_t v = 0; v < vectors.whole;) {
        if (v > 0) runs.next(acc);
        for (const int64_t end = vectors.whole - v < run ? vectors.whole : v + run; v < end; ++v) {
            const T* const y = dy + vectors.at[v].result;
            const S* const from = x + vectors.at[v].source;
#pragma GCC unroll 8
            for (int r = 0; r < Rows; ++r) a[r] = load(y + r * dy_pitch);
#pragma GCC unroll 16
            for (int j = 0; j < Columns; ++j) b[j] = read(from + offsets[j]);
            multiply(a, b);
        }
    }
    for (int64_t v = vectors.whole; v < vectors.total; ++v) {
        const T* const y = dy + vectors.at[v].result;
        const S* const from = x + vectors.at[v].source;
        const auto mask = lane_mask<T>(vectors.skip[v], vectors.count[v], LanesOf<lanes_of<T>>{});
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) a[r] = only_lanes<T>(load_before(y + r * dy_pitch, dy_end), mask);
#pragma GCC unroll 16
        for (int j = 0; j < Columns; ++j) b[j] = only_lanes<T>(read(from + offsets[j]), mask);
        multiply(a, b);
    }
    runs.end(acc);
    add_lanes<T>(acc, sums, pitch);
}

// All tiles of rows x columns: as many columns at once as the registers hold.
template <class S, int Rows, int Columns, class T = Computed<S>>
void dot_columns(const T* dy, int64_t dy_pitch, const T* dy_end, const S* x, const int64_t* offsets, int64_t columns,
                 const RowVectors& vectors, int64_t run, T* sums, int64_t pitch) {
    for (; columns >= Columns; columns -= Columns, offsets += Columns, sums += Columns)
        dot_tile<S, Rows, Columns>(dy, dy_pitch, dy_end, x, offsets, vectors, run, sums, pitch);
    if constexpr (Columns > 1)
        if (columns > 0)
            dot_columns<S, Rows, Columns / 2>(dy, dy_pitch, dy_end, x, offsets, columns, vectors, run, sums, pitch);
}

template <class S, class T = Computed<S>>
void dot_rows(const T* dy, int64_t dy_pitch, const T* dy_end, int64_t rows, const void* from_x, const int64_t* offsets,
              int64_t columns, const RowVectors& vectors, int64_t run, T* sums, int64_t pitch) {
    const S* const x = static_cast<const S*>(from_x);
    for (; rows >= dot_tile_rows; rows -= dot_tile_rows, dy += dot_tile_rows * dy_pitch, sums += dot_tile_rows * pitch)
        dot_columns<S, dot_tile_rows, accumulators / dot_tile_rows>(dy, dy_pitch, dy_end, x, offsets, columns, vectors,
                                                                    run, sums, pitch);
    for (; rows >= 2; rows -= 2, dy += 2 * dy_pitch, sums += 2 * pitch)
        dot_columns<S, 2, 6>(dy, dy_pitch, dy_end, x, offsets, columns, vectors, run, sums, pitch);
    constexpr int of_one_row = lanes_of<T> > 8 ? lanes_of<T> : 8;
    if (rows > 0) dot_columns<S, 1, of_one_row>(dy, dy_pitch, dy_end, x, offsets, columns, vectors, run, sums, pitch);
}
