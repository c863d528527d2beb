// The weight gradient of a depthwise layer whose kernel is three columns wide: rows of x slide past rows of dy.
//
// In:  a plane of x where it lies, rows of dy.   Out: sums[tap][lane].  (contract.hpp: Strip)
// Like slide.hpp, it copies and pads nothing.   Next: strategies/sliding/grad.hpp.
#pragma once

inline constexpr int slide_sum_lines = 3;  // at once

// The weight gradient of `Lines` lines: a source row meets the rows of dy that it was read for, which stay in registers
// from one source row to the next.
template <class S, int Lines, class T = Computed<S>>
void slide_sums_of(const Strip<T, S>& strip, int64_t line, const S* dy, int64_t dy_step, const S* dy_end, int64_t rows,
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
            const int64_t at = column + strip.first_tap + s * strip.tap_step, end = strip.width - at;
            inside[s] = lanes_between<T>(-at, end < count ? end : count, LanesOf<lanes>{});
        }
        Vector<T> d[Lines] = {};  // of dy rows q, q - 1, ..
        for (int64_t q = 0; q < rows + Lines - 1; ++q) {
#pragma GCC unroll 3
            for (int i = Lines - 1; i > 0; --i) d[i] = d[i - 1];
            if (q < rows) d[0] = only_lanes<T>(read_before(dy + q * dy_step + column, dy_end), counts);
            const int64_t row = strip.first_row + strip.direction * (q + line);
            if (row < 0 || row >= strip.height) continue;
            const S* const from = strip.source + row * strip.row_step + column + strip.first_tap;
            __builtin_prefetch(from + 8 * strip.row_step);
            __builtin_prefetch(dy + (q + 8) * dy_step + column);
            Vector<T> x[strip_taps];
#pragma GCC unroll 3
            for (int s = 0; s < strip_taps; ++s) x[s] = only_lanes<T>(read(from + s * strip.tap_step), inside[s]);
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

template <class S, class T = Computed<S>>
void slide_sums(const Strip<T, S>& strip, const S* dy, int64_t dy_step, const S* dy_end, int64_t rows, int64_t columns,
                int64_t run, T* sums) {
    int64_t line = 0;
    for (; line + slide_sum_lines <= strip.lines; line += slide_sum_lines)
        slide_sums_of<S, slide_sum_lines>(strip, line, dy, dy_step, dy_end, rows, columns, run, sums);
    for (; line < strip.lines; ++line) slide_sums_of<S, 1>(strip, line, dy, dy_step, dy_end, rows, columns, run, sums);
}
