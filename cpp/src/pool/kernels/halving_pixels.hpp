// As halving.hpp, of pixels: vectors hold channels, and the windows beside one are the pixels beside one.
//
// In:  a plane of x and of dy (Halving).   Out: the plane of dx, each element written once.
// For each row of windows the two rows of x that are new are read, then the rows of dx that are complete are written: what
// passes between is a few rows, which stay in the nearest cache.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.
#pragma once

template <int Kernel, int Pad, bool Numbers, class T>
struct HalvingPixels {
    static constexpr int lanes = lanes_of<T>;
    static constexpr bool shares = Kernel == 3;
    using Row = Windows<Numbers ? Of::number_argument : Of::argument, T>;

    Halving<T> h;  // a copy, which nothing written is part of
    int64_t row_elems;
    int64_t ahead;  // rows of x and dx that are asked for: those of the next windows

    explicit HalvingPixels(const Halving<T>& halving)
        : h(halving), row_elems(h.windows_in_row * h.unit), ahead(4 * h.width * h.unit) {}

    // Of two rows in turn: what windows took, and what a row of x left for the windows that begin with it.
    int64_t turn(int64_t p) const { return p % 2 * (row_elems + lanes); }
    Tap<T>* taps_of(int64_t p) const { return h.near_tap + turn(p); }
    T* kept_values(int64_t p) const { return h.near_dy + turn(p); }
    Tap<T>* kept_taps(int64_t p) const { return h.row_tap + turn(p); }

    // The largest of a window's columns in a row of x, for the elements at `at` of the window's first column.
    template <bool Safe>
    inline __attribute__((always_inline)) Row of_row(const T* at, int first, int last, Vector<T>& spoiled) const {
        const auto element = [&](int s) {
            const Vector<T> v = Safe ? load(at + s * h.unit) : load_before(at + s * h.unit, h.x_end);
            if (Numbers && s >= Pad) spoiled += v * T(0);  // (column 0 is the last one of the window before)
            return v;
        };
        if (first == 0 && last == Kernel) {
            Row best{element(0), TapVector<T>{}};
            best.meet(element(1), TapVector<T>{} + Tap<T>(1));
            if constexpr (shares) best.meet(element(2), TapVector<T>{} + Tap<T>(2));
            return best;
        }
        Row best{element(first), TapVector<T>{} + Tap<T>(first)};
        for (int s = first + 1; s < last; ++s) best.meet(element(s), TapVector<T>{} + Tap<T>(s));
        return best;
    }

    // Of a row of windows, from the rows of x that are new; the last one is kept for the next.
    template <bool Safe>
    void take_row(int64_t p, Vector<T>& all_spoiled) const {
        Vector<T> spoiled = all_spoiled;
        const int64_t top = 2 * p - Pad, unit = h.unit;
        const bool kept = shares && top >= 0, second = top + 1 < h.height, third = shares && top + 2 < h.height;
        Tap<T>* const taps = taps_of(p);
        for (int64_t q = 0; q < h.windows_in_row; ++q) {
            const int64_t column = 2 * q - Pad, left = h.width - column;
            const int first = column < 0 ? 1 : 0, last = left < Kernel ? static_cast<int>(left) : Kernel;
            const T* const at = h.x + (top * h.width + column) * unit;
            for (int64_t e = q * unit, i = 0; i < unit; e += lanes, i += lanes) {
                Row best{};
                if constexpr (shares) {
                    if (kept) best = {load(kept_values(p) + e), load(kept_taps(p) + e)};
                } else {
                    best = of_row<Safe>(at + i, first, last, spoiled);
                }
                if (second) {
                    const Row row = of_row<Safe>(at + h.width * unit + i, first, last, spoiled);
                    const TapVector<T> number = row.tap + Tap<T>(Kernel);
                    if (!shares || kept) best.meet(row.value, number);
                    else best = {row.value, number};
                }
                if (third) {
                    const Row row = of_row<Safe>(at + 2 * h.width * unit + i, first, last, spoiled);
                    best.meet(row.value, row.tap + Tap<T>(2 * Kernel));
                    store(kept_values(p + 1) + e, row.value);
                    store(kept_taps(p + 1) + e, row.tap);
                }
                store(taps + e, best.tap);
            }
        }
        all_spoiled = spoiled;
    }

    // What a pixel of dx is the sum of, in this order.
    struct Pixel {
        int count = 0;
        const T* dy[4];
        const Tap<T>* taps[4];
        Tap<T> tap[4];
    };
    inline __attribute__((always_inline)) void list(Pixel& pixel, int64_t p, int64_t q, int tap) const {
        if (q < 0 || q >= h.windows_in_row) return;
        pixel.dy[pixel.count] = h.dy + p * row_elems + q * h.unit;
        pixel.taps[pixel.count] = taps_of(p) + q * h.unit;
        pixel.tap[pixel.count++] = static_cast<Tap<T>>(tap);
    }
    // Pixel 2j (or 2j + 1) of a row that is row r of windows p.
    inline __attribute__((always_inline)) void list_even(Pixel& pixel, int64_t p, int r, int64_t j) const {
        if constexpr (shares && Pad == 0) list(pixel, p, j - 1, r * Kernel + 2);
        list(pixel, p, j, r * Kernel + Pad);
    }
    inline __attribute__((always_inline)) void list_odd(Pixel& pixel, int64_t p, int r, int64_t j) const {
        list(pixel, p, j, r * Kernel + Pad + 1);
        if constexpr (Pad == 1) list(pixel, p, j + 1, r * Kernel);
    }

    template <int Count, bool Safe>
    inline __attribute__((always_inline)) void write_sum(const Pixel& pixel, T* to, int64_t room) const {
        for (int64_t i = 0; i < h.unit; i += lanes) {
            Vector<T> sum{};
#pragma GCC unroll 4
            for (int k = 0; k < Count; ++k) {
                const T* const dy = pixel.dy[k] + i;
                const auto taken = load(pixel.taps[k] + i) == pixel.tap[k];
                sum = add_where(taken, sum, Safe ? load(dy) : load_before(dy, h.dy_end));
            }
            __builtin_prefetch(to + i + ahead, 1);
            __builtin_prefetch(h.x + (to - h.dx) + i + ahead);
            store_in_room(to + i, h.unit - i, room - i, sum);
        }
    }
    template <bool Safe>
    inline __attribute__((always_inline)) void write_pixel(const Pixel& pixel, T* to, int64_t room) const {
        if (pixel.count == 1) write_sum<1, Safe>(pixel, to, room);
        else if (pixel.count == 2) write_sum<2, Safe>(pixel, to, room);
        else if (pixel.count == 4) write_sum<4, Safe>(pixel, to, room);
        else if (pixel.count == 0) write_sum<0, Safe>(pixel, to, room);
        else write_sum<3, Safe>(pixel, to, room);
    }

    // A row of dx from rows of windows: row r of windows p, after row 2 of those above where they share it.
    template <bool Safe>
    void write_row(int64_t row, int64_t p, int r) const {
        const bool above = shares && r == 0 && p > 0, below = p < h.rows_of_windows;
        T* to = h.dx + row * h.width * h.unit;
        int64_t room = (h.height - row) * h.width * h.unit;  // vectors may spill into what is written later
        for (int64_t j = 0; 2 * j < h.width; ++j) {
            Pixel even, odd;
            if (above) list_even(even, p - 1, 2, j);
            if (below) list_even(even, p, r, j);
            write_pixel<Safe>(even, to, room);
            to += h.unit;
            room -= h.unit;
            if (2 * j + 1 == h.width) break;
            if (above) list_odd(odd, p - 1, 2, j);
            if (below) list_odd(odd, p, r, j);
            write_pixel<Safe>(odd, to, room);
            to += h.unit;
            room -= h.unit;
        }
    }
    void write_row(int64_t row, int64_t p, int r) const {
        // (Windows p are the last that it reads of.)
        if ((p + 1) * row_elems + lanes <= h.dy_end - h.dy) write_row<true>(row, p, r);
        else write_row<false>(row, p, r);
    }

    // What is NaN where an element was NaN, or infinite.
    Vector<T> run() const {
        Vector<T> spoiled{};
        const int64_t read = (h.height * h.width + Kernel) * h.unit + lanes;
        const bool safe = read <= h.x_end - h.x;
        if constexpr (shares && Pad == 0) first_row(spoiled);
        for (int64_t p = 0; 2 * p - Pad < h.height; ++p) {
            if (p < h.rows_of_windows) {
                if (safe) take_row<true>(p, spoiled);
                else take_row<false>(p, spoiled);
            }
            const int64_t top = 2 * p - Pad;
            if (top >= 0) write_row(top, p, 0);
            if (top + 1 < h.height) write_row(top + 1, p, 1);
        }
        return spoiled;
    }

    // The row of x that no windows above have read.
    void first_row(Vector<T>& spoiled) const {
        for (int64_t q = 0; q < h.windows_in_row; ++q) {
            const int64_t left = h.width - 2 * q;
            const T* const at = h.x + 2 * q * h.unit;
            for (int64_t i = 0; i < h.unit; i += lanes) {
                const Row row = of_row<false>(at + i, 0, left < Kernel ? static_cast<int>(left) : Kernel, spoiled);
                store(kept_values(0) + q * h.unit + i, row.value);
                store(kept_taps(0) + q * h.unit + i, row.tap);
            }
        }
    }
};

template <int Kernel, int Pad, class T>
void halve_pixels(const Halving<T>& plane) {
    const Vector<T> spoiled = HalvingPixels<Kernel, Pad, true, T>(plane).run();
    if (is_nan(sum_of_lanes<T>(spoiled))) HalvingPixels<Kernel, Pad, false, T>(plane).run();
}
