// The contract of pooling's kernels: rows of memory, windows along them, lines of windows; no samples and no planes.
//
// In:  rows of x or dy.   Out: largest elements, sums, and where they came from.
// A window goes along rows first (of each row, what its columns hold), then over the lines that this left.  So the taps of
// a window are met in the order of its elements in memory, and windows that overlap share their rows.
// Compiled once per instruction set by kernels.cpp; called by windows.hpp and spread.hpp of the folder above.
#pragma once

#include <cstdint>

#include "convpp/runtime.hpp"
#include "kernels/contract.hpp"

namespace convpp::kernels {

// The number of a tap in its window, (d*R + r)*S + s, as wide as an element.
template <class T>
struct TapOf {
    using type = int32_t;
};
template <>
struct TapOf<double> {
    using type = int64_t;
};
template <class T>
using Tap = typename TapOf<T>::type;

// Of a window without elements.  No sum with the number of a line is that of a tap.
inline constexpr int32_t no_tap = -(1 << 30);

// Taps [lo, hi) of a window lie inside.
struct TapRange {
    int64_t lo, hi;
};

// Windows along rows: tap t of window j in row i is the pixel (of `unit` elements) at
// source + row_at[i] + j*step + t*tap_step.
template <class T>
struct WindowRows {
    const T* source;
    const T* source_end;  // nothing is read from here on
    const int64_t* row_at;
    int64_t rows, windows, unit;
    int64_t taps, step, tap_step;
    const TapRange* inside;  // of pixels, the taps of each window that are read
    const Tap<T>* first;  // of lanes (unit 1), which read all taps: the first one inside
    T* values;  // [row][window][unit]
    Tap<T>* tap_of;
    int64_t pitch;
};

// A row that windows left, and the number of its first tap.
template <class T>
struct Line {
    int64_t at;
    Tap<T> tap;
};

// Result i is made of the lines [line_begin[i], line_begin[i + 1]), in their order.
template <class T>
struct WindowLines {
    const T* values;
    const Tap<T>* tap_of;
    const Line<T>* lines;
    const int64_t* line_begin;
    int64_t rows, count;
    T* result;
    int64_t result_pitch;  // where it is `count`, vectors may spill into the rows that follow
    Tap<T>* result_tap;  // in whole vectors; `no_tap` up to tap_room
    int64_t tap_pitch, tap_room;
    const T* row_divisor;  // sums are divided by row_divisor[i] * divisor[j]; null: they are not
    const T* divisor;
};

// The window `shift` elements behind a pixel reads it by tap `tap`.
template <class T>
struct Reach {
    int64_t shift;
    Tap<T> tap;
};

// Rows of dx: pixel step*j + phase is the sum over the row's lines and the reaches [reach_begin[phase],
// reach_begin[phase + 1]) of dy[line + j*unit + reach.shift], where the window took line.tap + reach.tap (or of all).
template <class T>
struct Spread {
    const T* dy;
    const Tap<T>* tap_of;
    const Line<T>* lines;
    const int64_t* line_begin;
    const Reach<T>* reaches;
    const int64_t* reach_begin;
    int64_t rows, pixels, unit, step;
    T* dx;
    int64_t dx_pitch;  // where it is pixels * unit, vectors may spill into the rows that follow
};

// A plane of x, dy and dx: windows of 2 or 3 rows and columns at stride 2.  Kernel 2 has no padding, kernel 3 none or 1 in
// front; behind, windows may lack rows and columns.
template <class T>
struct Halving {
    const T *x, *x_end;  // nothing is read from an end on
    const T *dy, *dy_end;
    T* dx;
    int64_t height, width, unit;
    int64_t rows_of_windows, windows_in_row;
    // Memory.  Of lanes: an element for each row of windows.  Of pixels: two rows of windows, and a vector behind each.
    Tap<T>* near_tap;
    T* near_dy;
    Tap<T>* row_tap;  // of pixels alone
};

template <class T>
struct PoolKernels {
    int64_t lanes;

    // dst[i*dst_pitch + j] = src[i*src_pitch + j] for j < count, and `fill` in the rest of the last vector.  For each
    // Storage of src, which is not read from src_end on.
    void (*stage_rows[storages])(const void* src, int64_t src_pitch, int64_t rows, int64_t count, const void* src_end,
                                 T fill, T* dst, int64_t dst_pitch);

    // Of pixels (1), or of lanes (0), which write whole vectors and read what they want of a padded row.
    void (*max_of_rows[2])(const WindowRows<T>& rows);
    void (*argmax_of_rows[2])(const WindowRows<T>& rows);
    void (*sums_of_rows[2])(const WindowRows<T>& rows);

    void (*max_of_lines)(const WindowLines<T>& lines);
    void (*argmax_of_lines)(const WindowLines<T>& lines);  // taps, and values if there is a result
    void (*sums_of_lines)(const WindowLines<T>& lines);

    // Of lanes (0) or pixels (1), [kernel - 2][padding in front]; null: kernel 2 with padding.
    void (*halve[2][2][2])(const Halving<T>& plane);

    void (*spread_chosen)(const Spread<T>& spread);
    void (*spread_all)(const Spread<T>& spread);
};

template <class T>
const PoolKernels<T>& pool_kernels(Isa isa);

}  // namespace convpp::kernels
