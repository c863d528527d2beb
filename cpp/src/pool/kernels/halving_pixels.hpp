// As halving.hpp, of pixels: vectors hold channels, and the windows beside one are the pixels beside one.
//
// In:  a plane of x and of dy (Halving).   Out: the plane of dx, each element written once.
// For each row of windows the two rows of x that are new are read, then the rows of dx that are complete are written: what
// passes between is a few rows, which stay in the nearest cache.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.
#pragma once

template <int Kernel, int Pad, class T>
struct HalvingPixels {
    static constexpr int lanes = lanes_of<T>;
    static constexpr bool shares = Kernel == 3;
    using Row = Windows<Of::argument, T>;

    Halving<T> h;  // a copy, which nothing written is part of
    int64_t row_elems;

    explicit HalvingPixels(const Halving<T>& halving) : h(halving), row_elems(h.windows_in_row * h.unit) {}

    // Of two rows in turn: what windows took, and what a row of x left for the windows that begin with it.
    int64_t turn(int64_t p) const { return p % 2 * (row_elems + lanes); }
    Tap<T>* taps_of(int64_t p) const { return h.near_tap + turn(p); }
    T* kept_values(int64_t p) const { return h.near_dy + turn(p); }
    Tap<T>* kept_taps(int64_t p) const { return h.row_tap + turn(p); }

    // The largest of a window's columns in a row of x, for the elements at `at` of the window's first column.
    template <bool Safe>
    inline __attribute__((always_inline)) Row of_row(const T* at, int first, int last) const {
        const auto element = [&](int s) {
            return Safe ? load(at + s * h.unit) : load_before(at + s * h.unit, h.x_end);
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
    void take_row(int64_t p) const {
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
                    best = of_row<Safe>(at + i, first, last);
                }
                if (second) {
                    const Row row = of_row<Safe>(at + h.width * unit + i, first, last);
                    const TapVector<T> number = row.tap + Tap<T>(Kernel);
                    if (!shares || kept) best.meet(row.value, number);
                    else best = {row.value, number};
                }
                if (third) {
                    const Row row = of_row<Safe>(at + 2 * h.width * unit + i, first, last);
                    best.meet(row.value, row.tap + Tap<T>(2 * Kernel));
                    store(kept_values(p + 1) + e, row.value);
                    store(kept_taps(p + 1) + e, row.tap);
                }
                store(taps + e, best.tap);
            }
        }
    }

    // Adds what a pixel of dx has from row r of windows p, by column s of window q.
    inline __attribute__((always_inline)) Vector<T> add(Vector<T> sum, int64_t p, int64_t q, int tap, int64_t i) const {
        const int64_t e = q * h.unit + i;
        const T* const dy = h.dy + p * row_elems + e;
        return add_where(load(taps_of(p) + e) == Tap<T>(tap), sum, load_before(dy, h.dy_end));
    }
    inline __attribute__((always_inline)) Vector<T> even(Vector<T> sum, int64_t p, int r, int64_t j, int64_t i) const {
        const int tap = r * Kernel;
        if constexpr (shares && Pad == 0) {
            if (j > 0 && j - 1 < h.windows_in_row) sum = add(sum, p, j - 1, tap + 2, i);
        }
        return j < h.windows_in_row ? add(sum, p, j, tap + Pad, i) : sum;
    }
    inline __attribute__((always_inline)) Vector<T> odd(Vector<T> sum, int64_t p, int r, int64_t j, int64_t i) const {
        const int tap = r * Kernel;
        if (j < h.windows_in_row) sum = add(sum, p, j, tap + Pad + 1, i);
        if constexpr (Pad == 1) {
            if (j + 1 < h.windows_in_row) sum = add(sum, p, j + 1, tap, i);
        }
        return sum;
    }

    // A row of dx from rows of windows: row r of windows p, after row 2 of those above where they share it.
    void write_row(int64_t row, int64_t p, int r) const {
        const bool above = shares && r == 0 && p > 0, below = p < h.rows_of_windows;
        T* to = h.dx + row * h.width * h.unit;
        int64_t room = (h.height - row) * h.width * h.unit;  // vectors may spill into what is written later
        for (int64_t j = 0; 2 * j < h.width; ++j) {
            const auto write = [&](const auto& sums) {
                for (int64_t i = 0; i < h.unit; i += lanes) {
                    Vector<T> sum{};
                    if (above) sum = sums(sum, p - 1, 2, i);
                    if (below) sum = sums(sum, p, r, i);
                    store_in_room(to + i, h.unit - i, room - i, sum);
                }
                to += h.unit;
                room -= h.unit;
            };
            write([&](Vector<T> sum, int64_t of, int line, int64_t i) { return even(sum, of, line, j, i); });
            if (2 * j + 1 < h.width)
                write([&](Vector<T> sum, int64_t of, int line, int64_t i) { return odd(sum, of, line, j, i); });
        }
    }

    void run() const {
        const int64_t read = (h.height * h.width + Kernel) * h.unit + lanes;
        const bool safe = read <= h.x_end - h.x;
        if constexpr (shares && Pad == 0) first_row();
        for (int64_t p = 0; 2 * p - Pad < h.height; ++p) {
            if (p < h.rows_of_windows) {
                if (safe) take_row<true>(p);
                else take_row<false>(p);
            }
            const int64_t top = 2 * p - Pad;
            if (top >= 0) write_row(top, p, 0);
            if (top + 1 < h.height) write_row(top + 1, p, 1);
        }
    }

    // The row of x that no windows above have read.
    void first_row() const {
        for (int64_t q = 0; q < h.windows_in_row; ++q) {
            const int64_t left = h.width - 2 * q;
            const T* const at = h.x + 2 * q * h.unit;
            for (int64_t i = 0; i < h.unit; i += lanes) {
                const Row row = of_row<false>(at + i, 0, left < Kernel ? static_cast<int>(left) : Kernel);
                store(kept_values(0) + q * h.unit + i, row.value);
                store(kept_taps(0) + q * h.unit + i, row.tap);
            }
        }
    }
};

template <int Kernel, int Pad, class T>
void halve_pixels(const Halving<T>& plane) {
    HalvingPixels<Kernel, Pad, T>(plane).run();
}
