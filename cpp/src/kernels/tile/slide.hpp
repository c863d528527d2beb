// Tiles of a depthwise layer whose kernel is three columns wide: the rows of a tile are neighbouring rows of pixels.
//
// In:  a plane of the source where it lies, taps in lines of three.   Out: rows of results.  (contract.hpp: Strip)
//
//   Where a result channel reads one source channel, there is no second row of weights that a loaded vector could
//   serve.  But a row of the source is read by as many rows of results as the kernel is high:
//
//        source row 0:  result row 0 (line 0)
//                   1:  result row 0 (line 1), 1 (line 0)
//                   2:  result row 0 (line 2), 1 (line 1), 2 (line 0)          ... for 3 lines
//
//   A tile goes through the source rows in turn and adds each vector, loaded once, to all result rows it is for.  So
//   each result is one sum in the order of the taps.  7 rows and 3 lines load 9 vectors for 21
//   multiply-adds of a column.
//
// Nothing is copied and padded before: source rows outside the plane are left out, columns outside it blanked as they
// are loaded.
#pragma once

// Source row Q of `Lines` lines, and those behind it.
template <class T, int Lines, int Q, int Rows, int Vectors, class Mask>
inline __attribute__((always_inline)) void add_source_rows(Vector<T> (&acc)[Rows][Vectors], const Strip<T>& strip,
                                                           const Mask (&inside)[Vectors][strip_taps],
                                                           const Vector<T> (&w)[Lines * strip_taps], int64_t row) {
    constexpr int first = Q < Lines ? 0 : Q - Lines + 1, end = Q < Rows ? Q + 1 : Rows;  // of the result rows
    if (row >= 0 && row < strip.height) {
        const T* const from = strip.source + row * strip.row_step;
#pragma GCC unroll 3
        for (int s = 0; s < strip_taps; ++s) {
            Vector<T> column[Vectors];
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v)
                column[v] = only_lanes<T>(load(from + strip.column[v] + strip.tap[s]), inside[v][s]);
#pragma GCC unroll 8
            for (int r = first; r < end; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += w[(Q - r) * strip_taps + s] * column[v];
        }
    }
    if constexpr (Q + 2 < Rows + Lines) add_source_rows<T, Lines, Q + 1>(acc, strip, inside, w, row + strip.direction);
}

template <class T, int PanelRows, int Lines, int Rows, int Vectors, class Mask>
inline __attribute__((always_inline)) void add_lines(Vector<T> (&acc)[Rows][Vectors], const Strip<T>& strip,
                                                     const Mask (&inside)[Vectors][strip_taps], int64_t line,
                                                     int64_t row) {
    Vector<T> w[Lines * strip_taps];
#pragma GCC unroll 9
    for (int k = 0; k < Lines * strip_taps; ++k)
        w[k] = strip.weights[(line * strip_taps + k) * PanelRows] - Vector<T>{};
    add_source_rows<T, Lines, 0>(acc, strip, inside, w, strip.first_row + strip.direction * (row + line));
}

template <class T, int PanelRows, int Rows, int Vectors>
void slide_tiles(const Strip<T>& strip, int64_t first_row, int64_t tiles, Onto onto, const T* bias) {
    using Mask = decltype(lane_mask<T>(0, 0, LanesOf<lanes_of<T>>{}));
    Mask inside[Vectors][strip_taps];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v)
#pragma GCC unroll 3
        for (int s = 0; s < strip_taps; ++s) {
            const int64_t at = strip.column[v] + strip.tap[s];
            inside[v][s] = lanes_between<T>(-at, strip.width - at, LanesOf<lanes_of<T>>{});
        }
    for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t row = first_row + (strip.direction > 0 ? tile : tiles - 1 - tile) * Rows;  // ascending in memory
        const auto at = [&](int r, int v) __attribute__((always_inline)) {
            return strip.result + (row + r) * strip.result_step + strip.column[v];
        };
        Vector<T> acc[Rows][Vectors] = {};
        // The rows below, which the next tile reads, and its results are asked for while this one is computed.
        const int64_t below =
            strip.direction > 0 ? strip.first_row + row + Rows + strip.lines - 1 : strip.first_row - row + 1;
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v) {
                __builtin_prefetch(strip.source + (below + r) * strip.row_step + strip.column[v]);
                __builtin_prefetch(strip.result + (row + r) * strip.result_step + strip.column[v], 1);
            }
        int64_t line = 0;
        for (; line + most_slide_lines <= strip.lines; line += most_slide_lines)
            add_lines<T, PanelRows, most_slide_lines>(acc, strip, inside, line, row);
        for (; line < strip.lines; ++line) add_lines<T, PanelRows, 1>(acc, strip, inside, line, row);
        if (onto == Onto::row_bias) {  // of the one result channel, for all rows
#pragma GCC unroll 8
            for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += *bias;
        } else if (onto == Onto::c) {
            add_onto<T>(acc, Onto::c, bias, at);
        }
        store_sums<T>(acc, at);
    }
}

// As many accumulators as the registers hold beside nine weights and the vectors of a source row.
template <class T, int PanelRows, int Registers, int Index = 0, int Vectors = 1>
void fill_slide_tiles(KernelTable<T>& table) {
    constexpr int rows = slide_rows[Index];
    table.slide_tiles[Index][Vectors - 1] = &slide_tiles<T, PanelRows, rows, Vectors>;
    table.slide_vectors[Index] = Vectors;
    if constexpr (Vectors < max_slide_vectors && rows * (Vectors + 1) <= Registers)
        fill_slide_tiles<T, PanelRows, Registers, Index, Vectors + 1>(table);
    else if constexpr (Index + 1 < slide_sizes) fill_slide_tiles<T, PanelRows, Registers, Index + 1, 1>(table);
}

// The weight gradient of `Lines` lines: a source row meets the rows of dy that it was read for, which stay in registers
// from one source row to the next.
template <class T, int Lines>
void slide_sums_of(const Strip<T>& strip, int64_t line, const T* dy, int64_t dy_step, const T* dy_end, int64_t rows,
                   int64_t columns, int64_t run, T* sums) {
    constexpr int lanes = lanes_of<T>;
    using Mask = decltype(lane_mask<T>(0, 0, LanesOf<lanes>{}));
    Vector<T> acc[Lines][strip_taps] = {};
    const auto end_run = [&]() __attribute__((always_inline)) {
#pragma GCC unroll 3
        for (int i = 0; i < Lines; ++i) add_vectors<T>(acc[i], sums + (line + i) * strip_taps * lanes);
    };
    int64_t of_run = 0;
    for (int64_t column = 0; column < columns; column += lanes) {
        const int64_t count = columns - column;
        const Mask counts = lanes_between<T>(0, count, LanesOf<lanes>{});
        Mask inside[strip_taps];
#pragma GCC unroll 3
        for (int s = 0; s < strip_taps; ++s) {
            const int64_t at = column + strip.tap[s], end = strip.width - at;
            inside[s] = lanes_between<T>(-at, end < count ? end : count, LanesOf<lanes>{});
        }
        Vector<T> d[Lines] = {};  // of dy rows q, q - 1, ..
        for (int64_t q = 0; q < rows + Lines - 1; ++q) {
#pragma GCC unroll 3
            for (int i = Lines - 1; i > 0; --i) d[i] = d[i - 1];
            if (q < rows) d[0] = only_lanes<T>(load_before(dy + q * dy_step + column, dy_end), counts);
            const int64_t row = strip.first_row + strip.direction * (q + line);
            if (row < 0 || row >= strip.height) continue;
            const T* const from = strip.source + row * strip.row_step + column;
            __builtin_prefetch(from + 8 * strip.row_step);
            __builtin_prefetch(dy + (q + 8) * dy_step + column);
            Vector<T> x[strip_taps];
#pragma GCC unroll 3
            for (int s = 0; s < strip_taps; ++s) x[s] = only_lanes<T>(load(from + strip.tap[s]), inside[s]);
#pragma GCC unroll 3
            for (int i = 0; i < Lines; ++i) {
                if (q < i || q - i >= rows) continue;
#pragma GCC unroll 3
                for (int s = 0; s < strip_taps; ++s) acc[i][s] += d[i] * x[s];
            }
        }
        of_run += rows;
        if (of_run < run) continue;
        of_run = 0;
        end_run();
    }
    end_run();
}

template <class T>
void slide_sums(const Strip<T>& strip, const T* dy, int64_t dy_step, const T* dy_end, int64_t rows, int64_t columns,
                int64_t run, T* sums) {
    int64_t line = 0;
    for (; line + most_slide_lines <= strip.lines; line += most_slide_lines)
        slide_sums_of<T, most_slide_lines>(strip, line, dy, dy_step, dy_end, rows, columns, run, sums);
    for (; line < strip.lines; ++line) slide_sums_of<T, 1>(strip, line, dy, dy_step, dy_end, rows, columns, run, sums);
}
