// The gradient of max pooling that halves a plane: kernels of 2 or 3 at stride 2, in one go from x and dy to dx.
//
// In:  a plane of x and of dy (Halving).   Out: the plane of dx, each element written once.
// What the general kernels leave in memory between their steps stays in registers here: strips of a vector of windows go
// down the plane, and take the last row of one window along as the first of the next.  Elements meet in the same order, and
// gradients are added in the same order, as there.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.   Next: spread.hpp.
#pragma once

template <class T>
inline __attribute__((always_inline)) bool is_nan(T value) {
    return value != value;
}

template <class V, int... J>
inline __attribute__((always_inline)) V of_next_lane(V v, Lanes<J...>) {
    return __builtin_shufflevector(v, v, (J + 1 < static_cast<int>(sizeof...(J)) ? J + 1 : J)...);
}
template <class V, int... J>
inline __attribute__((always_inline)) V of_last_lane(V v, Lanes<J...>) {
    return __builtin_shufflevector(v, v, (J > 0 ? J - 1 : 0)...);
}
template <class T, int... J>
inline __attribute__((always_inline)) Vector<T> even_lanes(Vector<T> a, Vector<T> b, Lanes<J...>) {
    return __builtin_shufflevector(a, b, (2 * J)...);
}
template <class T, int... J>
inline __attribute__((always_inline)) Vector<T> odd_lanes(Vector<T> a, Vector<T> b, Lanes<J...>) {
    return __builtin_shufflevector(a, b, (2 * J + 1)...);
}

// A row of windows: what each took, and dy; of their neighbours, with whom they share a column, the same.
template <class T>
struct Taken {
    TapVector<T> tap, near_tap;
    Vector<T> dy, near_dy;
};

// Windows of a strip, which begins at window `window`.  Kernel 3 with a padding of 1 shares a window's first column with
// the window before, without padding its last one with the window behind; kernel 2 shares nothing.
//
// Numbers: NaN is not looked for but found, in `spoiled`: the plane is then computed again.
template <int Kernel, int Pad, bool Numbers, class T>
struct HalvingStrip {
    static constexpr int lanes = lanes_of<T>;
    static constexpr bool shares = Kernel == 3;
    using Row = Windows<Numbers ? Of::number_argument : Of::argument, T>;
    static constexpr LanesOf<lanes> all{};
    static constexpr int64_t ahead = 2048 / static_cast<int>(sizeof(T));

    const Halving<T>& h;
    int64_t window;
    bool alone;  // there is no other strip
    bool whole;  // all columns of the strip are there
    decltype(lane_mask<T>(0, 0, all)) evens, odds, lasts, there;
    TapVector<T> first;  // tap inside

    HalvingStrip(const Halving<T>& halving, int64_t at, bool the_only_one)
        : h(halving), window(at), alone(the_only_one) {
        const int64_t left = h.width - 2 * window;
        whole = left >= 2 * lanes + (shares && Pad == 0);
        evens = lanes_between<T>(0, (left + 1) / 2, all);
        odds = lanes_between<T>(0, left / 2, all);
        lasts = lanes_between<T>(0, left > 2 ? (left - 1) / 2 : 0, all);
        there = lanes_between<T>(0, h.windows_in_row - window, all);
        first = TapVector<T>{};
        if (Pad == 1 && window == 0) first[0] = 1;
    }

    inline __attribute__((always_inline)) Vector<T> inside(Vector<T> v, decltype(evens) mask) const {
        return whole ? v : mask ? v : Vector<T>{} + lowest<T>;
    }

    // The largest of each window's columns in a row of x.
    inline __attribute__((always_inline)) Row of_row(int64_t row, Vector<T>& spoiled) const {
        const T* const at = h.x + row * h.width + 2 * window;
        // The next plane lies in a page of its own, where no hardware looks ahead.
        __builtin_prefetch(at + ahead);
        __builtin_prefetch(at + ahead + lanes);
        const Vector<T> a = whole ? load(at) : load_some_before(at),
                        b = whole ? load(at + lanes) : load_some_before(at + lanes);
        if constexpr (Numbers) spoiled += a * T(0) + b * T(0);
        const Vector<T> even = inside(even_lanes<T>(a, b, all), evens), odd = inside(odd_lanes<T>(a, b, all), odds);
        const TapVector<T> one = TapVector<T>{} + Tap<T>(1), two = TapVector<T>{} + Tap<T>(2);
        if constexpr (Pad == 1) {
            Vector<T> before = of_last_lane(odd, all);
            before[0] = window > 0 ? at[-1] : lowest<T>;
            Row best{before, first};
            best.meet(even, one);
            best.meet(odd, two);
            return best;
        }
        Row best{even, first};
        best.meet(odd, one);
        if constexpr (shares) {
            Vector<T> behind = of_next_lane(even, all);
            behind[lanes - 1] = whole ? at[2 * lanes] : lowest<T>;
            best.meet(inside(behind, lasts), two);
        }
        return best;
    }
    inline __attribute__((always_inline)) Vector<T> load_some_before(const T* at) const {
        return at < h.x_end ? load_before(at, h.x_end) : Vector<T>{};
    }

    // dy and what the windows of row p took, of whose rows `count` have been met.
    inline __attribute__((always_inline)) Taken<T> taken(int64_t p, TapVector<T> tap) const {
        Taken<T> row;
        row.tap = there ? tap : TapVector<T>{} + Tap<T>(no_tap);
        const T* const dy = h.dy + p * h.windows_in_row + window;
        row.dy = window < h.windows_in_row ? load_before(dy, h.dy_end) : Vector<T>{};
        if constexpr (shares) {
            constexpr int edge = Pad == 1 ? lanes - 1 : 0;
            if constexpr (Pad == 1) row.near_tap = of_next_lane(row.tap, all), row.near_dy = of_next_lane(row.dy, all);
            else row.near_tap = of_last_lane(row.tap, all), row.near_dy = of_last_lane(row.dy, all);
            if (alone) {
                row.near_tap[edge] = no_tap;
            } else {
                row.near_tap[edge] = h.near_tap[p];
                row.near_dy[edge] = h.near_dy[p];
                h.near_tap[p] = row.tap[lanes - 1 - edge];
                h.near_dy[p] = row.dy[lanes - 1 - edge];
            }
        }
        return row;
    }

    // Adds what a row of dx has from row r of these windows.
    template <int R>
    static inline __attribute__((always_inline)) void add(const Taken<T>& of, Vector<T>& even, Vector<T>& odd) {
        constexpr int tap = R * Kernel;
        if constexpr (!shares) {
            even = add_where(of.tap == Tap<T>(tap), even, of.dy);
            odd = add_where(of.tap == Tap<T>(tap + 1), odd, of.dy);
        } else if constexpr (Pad == 1) {
            even = add_where(of.tap == Tap<T>(tap + 1), even, of.dy);
            odd = add_where(of.tap == Tap<T>(tap + 2), odd, of.dy);
            odd = add_where(of.near_tap == Tap<T>(tap), odd, of.near_dy);
        } else {
            even = add_where(of.near_tap == Tap<T>(tap + 2), even, of.near_dy);
            even = add_where(of.tap == Tap<T>(tap), even, of.dy);
            odd = add_where(of.tap == Tap<T>(tap + 1), odd, of.dy);
        }
    }
    inline __attribute__((always_inline)) void write(int64_t row, Vector<T> even, Vector<T> odd) const {
        T* const to = h.dx + row * h.width + 2 * window;
        __builtin_prefetch(to + ahead, 1);
        __builtin_prefetch(to + ahead + lanes, 1);
        const Vector<T> lower = lower_pairs<T>(even, odd, all), upper = upper_pairs<T>(even, odd, all);
        const int64_t left = h.width - 2 * window;
        if (left <= 0) return;
        if (__builtin_expect(left >= 2 * lanes, 1)) {
            store(to, lower);
            store(to + lanes, upper);
            return;
        }
        // What spills is overwritten by rows and strips that follow: strips come from the right, or there is one alone.
        const bool spills = Pad == 1 || window == 0;
        const int64_t room = spills ? (h.height - row) * h.width - 2 * window : left;
        store_in_room(to, left, room, lower);
        store_in_room(to + lanes, left - lanes, left > lanes ? room - lanes : 0, upper);
    }

    // What is NaN where an element was NaN, or infinite.
    Vector<T> run() const {
        Vector<T> spoiled{};
        Taken<T> before{};  // the row of windows above
        before.tap = before.near_tap = TapVector<T>{} + Tap<T>(no_tap);
        Row shared{};  // the row of x that it shares with the next
        bool has_shared = false;
        if (shares && Pad == 0) shared = of_row(0, spoiled), has_shared = true;
        for (int64_t p = 0; 2 * p - Pad < h.height; ++p) {
            Taken<T> now{};
            now.tap = now.near_tap = TapVector<T>{} + Tap<T>(no_tap);
            const int64_t top = 2 * p - Pad;
            if (p < h.rows_of_windows) {
                Row best{};
                bool any = has_shared;
                if constexpr (shares) best = shared;
                const auto meet = [&](const Row& row, int r) {
                    const TapVector<T> number = row.tap + Tap<T>(r * Kernel);
                    if (any) best.meet(row.value, number);
                    else best = {row.value, number};
                    any = true;
                };
                if constexpr (!shares) any = false, meet(of_row(top, spoiled), 0);
                if (top + 1 < h.height) meet(of_row(top + 1, spoiled), 1);
                if constexpr (shares) {
                    has_shared = top + 2 < h.height;
                    if (has_shared) {
                        shared = of_row(top + 2, spoiled);
                        meet(shared, 2);
                    }
                }
                now = taken(p, best.tap);
            }
            if (top >= 0) {
                Vector<T> even{}, odd{};
                if constexpr (shares) add<2>(before, even, odd);
                add<0>(now, even, odd);
                write(top, even, odd);
            }
            if (top + 1 < h.height) {
                Vector<T> even{}, odd{};
                add<1>(now, even, odd);
                write(top + 1, even, odd);
            }
            before = now;
        }
        return spoiled;
    }
};

template <int Kernel, int Pad, bool Numbers, class T>
bool halve_strips(const Halving<T>& h) {
    constexpr int64_t lanes = lanes_of<T>;
    // (A last window may begin in the last column, and be of a strip that has no more.)
    const int64_t of_columns = (h.width + 2 * lanes - 1) / (2 * lanes),
                  of_windows = (h.windows_in_row + lanes - 1) / lanes;
    const int64_t strips = of_columns > of_windows ? of_columns : of_windows;
    for (int64_t p = 0; Kernel == 3 && p < h.rows_of_windows; ++p) h.near_tap[p] = no_tap, h.near_dy[p] = 0;
    Vector<T> spoiled{};
    for (int64_t i = 0; i < strips; ++i)
        spoiled += HalvingStrip<Kernel, Pad, Numbers, T>(h, (Pad == 1 ? strips - 1 - i : i) * lanes, strips == 1).run();
    return is_nan(sum_of_lanes<T>(spoiled));
}

template <int Kernel, int Pad, class T>
void halve(const Halving<T>& plane) {
    if (halve_strips<Kernel, Pad, true>(plane)) halve_strips<Kernel, Pad, false>(plane);
}
