// Gradients go back to the elements that windows read: all of them, or those that were taken.
//
// In:  rows of dy, and of each window the tap that it took (Spread).   Out: rows of dx, each written once.
// An element of dx is the sum over the windows that read it, in their order: no two tasks ever add to the same one.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.
#pragma once

// The sum for a vector of pixels (or of a pixel's elements) of one phase.
template <bool Chosen, class T>
inline __attribute__((always_inline)) Vector<T> gathered(const Spread<T>& s, const Line<T>* line, const Line<T>* end,
                                                         int64_t phase, int64_t at) {
    Vector<T> sum{};
    const Reach<T>*const first = s.reaches + s.reach_begin[phase], *const last = s.reaches + s.reach_begin[phase + 1];
    for (; line != end; ++line)
        for (const Reach<T>* reach = first; reach != last; ++reach) {
            const int64_t from = line->at + at + reach->shift;
            const Vector<T> dy = load(s.dy + from);
            if constexpr (Chosen) sum += load(s.tap_of + from) == line->tap + reach->tap ? dy : Vector<T>{};
            else sum += dy;
        }
    return sum;
}

template <class T>
inline __attribute__((always_inline)) void store_in_room(T* p, int64_t count, int64_t room, Vector<T> v) {
    if (__builtin_expect(room >= lanes_of<T>, 1)) store(p, v);
    else if (count > 0) store_first(p, count < lanes_of<T> ? count : lanes_of<T>, v);
}

template <class T, int... J>
inline __attribute__((always_inline)) Vector<T> lower_pairs(Vector<T> even, Vector<T> odd, Lanes<J...>) {
    constexpr int n = sizeof...(J);
    return __builtin_shufflevector(even, odd, (J / 2 + J % 2 * n)...);
}
template <class T, int... J>
inline __attribute__((always_inline)) Vector<T> upper_pairs(Vector<T> even, Vector<T> odd, Lanes<J...>) {
    constexpr int n = sizeof...(J);
    return __builtin_shufflevector(even, odd, (n / 2 + J / 2 + J % 2 * n)...);
}

// Pixels of one element.  `room`: as many elements may be written from the row's first on.
template <bool Chosen, class T>
inline void spread_lanes(const Spread<T>& s, const Line<T>* line, const Line<T>* end, T* row, int64_t room) {
    constexpr int lanes = lanes_of<T>;
    if (s.step == 1) {
        for (int64_t j = 0; j < s.pixels; j += lanes)
            store_in_room(row + j, s.pixels - j, room - j, gathered<Chosen>(s, line, end, 0, j));
        return;
    }
    if (s.step == 2) {
        for (int64_t j = 0; 2 * j < s.pixels; j += lanes) {
            const Vector<T> even = gathered<Chosen>(s, line, end, 0, j), odd = gathered<Chosen>(s, line, end, 1, j);
            T* const to = row + 2 * j;
            const int64_t left = s.pixels - 2 * j, free = room - 2 * j;
            store_in_room(to, left, free, lower_pairs<T>(even, odd, LanesOf<lanes>{}));
            store_in_room(to + lanes, left - lanes, left > lanes ? free - lanes : 0,
                          upper_pairs<T>(even, odd, LanesOf<lanes>{}));
        }
        return;
    }
    for (int64_t phase = 0; phase < s.step && phase < s.pixels; ++phase)
        for (int64_t j = 0; s.step * j + phase < s.pixels; j += lanes) {
            T buffer[lanes];
            store(buffer, gathered<Chosen>(s, line, end, phase, j));
            T* to = row + s.step * j + phase;
            for (int64_t i = 0; i < lanes && s.step * (j + i) + phase < s.pixels; ++i, to += s.step) *to = buffer[i];
        }
}

template <bool Chosen, class T>
void spread(const Spread<T>& s) {
    constexpr int lanes = lanes_of<T>;
    for (int64_t i = 0; i < s.rows; ++i) {
        const Line<T>*const line = s.lines + s.line_begin[i], *const end = s.lines + s.line_begin[i + 1];
        T* const row = s.dx + i * s.dx_pitch;
        const int64_t row_elems = s.pixels * s.unit;
        const int64_t room = s.dx_pitch == row_elems ? (s.rows - i) * row_elems : row_elems;
        if (s.unit == 1) {
            spread_lanes<Chosen>(s, line, end, row, room);
            continue;
        }
        int64_t phase = 0, j = 0;
        for (int64_t w = 0; w < s.pixels; ++w) {
            for (int64_t e = 0; e < s.unit; e += lanes)
                store_in_room(row + w * s.unit + e, s.unit - e, room - w * s.unit - e,
                              gathered<Chosen>(s, line, end, phase, j * s.unit + e));
            if (++phase == s.step) phase = 0, ++j;
        }
    }
}
