// Gradients go back to the elements that windows read: all of them, or those that were taken.
//
// In:  rows of dy, and of each window the tap that it took (Spread).   Out: rows of dx, each written once.
// An element of dx is the sum over the windows that read it, in their order: no two tasks ever add to the same one.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.
#pragma once

// What the pixels of one phase of a row are the sum of: pairs of a line and a reach, in their order.
inline constexpr int most_terms = 4, most_phases = 4;
template <class T>
struct Terms {
    int64_t count;  // or more than are listed
    int64_t from[most_terms];
    Tap<T> tap[most_terms];
};

template <class T>
inline __attribute__((always_inline)) Terms<T> terms_of(const Spread<T>& s, const Line<T>* line, const Line<T>* end,
                                                        int64_t phase) {
    const Reach<T>*const first = s.reaches + s.reach_begin[phase], *const last = s.reaches + s.reach_begin[phase + 1];
    Terms<T> terms;
    terms.count = (end - line) * (last - first);
    if (terms.count > most_terms) return terms;
    int i = 0;
    for (; line != end; ++line)
        for (const Reach<T>* reach = first; reach != last; ++reach, ++i) {
            terms.from[i] = line->at + reach->shift;
            terms.tap[i] = line->tap + reach->tap;
        }
    return terms;
}

// (Sums begin with +0, and are never -0: to add 0 where another element was taken would change nothing.)
template <class Mask, class V>
inline __attribute__((always_inline)) V add_where(Mask mask, V sum, V v) {
    return mask ? sum + v : sum;
}

template <bool Chosen, class T>
inline __attribute__((always_inline)) Vector<T> with_term(const Spread<T>& s, int64_t from, Tap<T> tap, Vector<T> sum) {
    const Vector<T> dy = load(s.dy + from);
    if constexpr (Chosen) return add_where(load(s.tap_of + from) == tap, sum, dy);
    else return sum + dy;
}

// use(sum): a function from an element of the phase to the vector that begins there.
template <bool Chosen, int Count, class T>
inline __attribute__((always_inline)) Vector<T> sum_of_terms(const Spread<T>& s, const Terms<T>& terms, int64_t at) {
    Vector<T> sum{};
#pragma GCC unroll 4
    for (int i = 0; i < Count; ++i) sum = with_term<Chosen>(s, terms.from[i] + at, terms.tap[i], sum);
    return sum;
}
template <bool Chosen, class T, class Use>
inline __attribute__((always_inline)) void with_sums(const Spread<T>& s, const Terms<T>& terms, const Line<T>* line,
                                                     const Line<T>* end, int64_t phase, const Use& use) {
    switch (terms.count) {
        case 0: return use([](int64_t) { return Vector<T>{}; });
        case 1: return use([&](int64_t at) { return sum_of_terms<Chosen, 1>(s, terms, at); });
        case 2: return use([&](int64_t at) { return sum_of_terms<Chosen, 2>(s, terms, at); });
        case 3: return use([&](int64_t at) { return sum_of_terms<Chosen, 3>(s, terms, at); });
        case 4: return use([&](int64_t at) { return sum_of_terms<Chosen, 4>(s, terms, at); });
        default: break;
    }
    const Reach<T>*const first = s.reaches + s.reach_begin[phase], *const last = s.reaches + s.reach_begin[phase + 1];
    use([&](int64_t at) {
        Vector<T> sum{};
        for (const Line<T>* l = line; l != end; ++l)
            for (const Reach<T>* reach = first; reach != last; ++reach)
                sum = with_term<Chosen>(s, l->at + at + reach->shift, l->tap + reach->tap, sum);
        return sum;
    });
}
template <bool Chosen, class T>
inline __attribute__((always_inline)) Vector<T> gathered(const Spread<T>& s, const Terms<T>& terms, const Line<T>* line,
                                                         const Line<T>* end, int64_t phase, int64_t at) {
    Vector<T> sum;
    with_sums<Chosen>(s, terms, line, end, phase, [&](const auto& sums) { sum = sums(at); });
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
inline void spread_lanes(const Spread<T> s, const Line<T>* line, const Line<T>* end, T* row, int64_t room) {
    constexpr int lanes = lanes_of<T>;
    if (s.step == 1) {
        with_sums<Chosen>(s, terms_of(s, line, end, 0), line, end, 0, [&](const auto& sums) {
            for (int64_t j = 0; j < s.pixels; j += lanes) store_in_room(row + j, s.pixels - j, room - j, sums(j));
        });
        return;
    }
    if (s.step == 2) {
        const Terms<T> evens = terms_of(s, line, end, 0), odds = terms_of(s, line, end, 1);
        for (int64_t j = 0; 2 * j < s.pixels; j += lanes) {
            const Vector<T> even = gathered<Chosen>(s, evens, line, end, 0, j);
            const Vector<T> odd = gathered<Chosen>(s, odds, line, end, 1, j);
            T* const to = row + 2 * j;
            const int64_t left = s.pixels - 2 * j, free = room - 2 * j;
            store_in_room(to, left, free, lower_pairs<T>(even, odd, LanesOf<lanes>{}));
            store_in_room(to + lanes, left - lanes, left > lanes ? free - lanes : 0,
                          upper_pairs<T>(even, odd, LanesOf<lanes>{}));
        }
        return;
    }
    for (int64_t phase = 0; phase < s.step && phase < s.pixels; ++phase) {
        const Terms<T> terms = terms_of(s, line, end, phase);
        const int64_t count = (s.pixels - 1 - phase) / s.step + 1;  // (a product with a step may not fit 64 bits)
        for (int64_t j = 0; j < count; j += lanes) {
            T buffer[lanes];
            store(buffer, gathered<Chosen>(s, terms, line, end, phase, j));
            for (int64_t i = 0; i < lanes && j + i < count; ++i) row[s.step * (j + i) + phase] = buffer[i];
        }
    }
}

// Pixels of some elements.  `room` as above.
template <bool Chosen, class T>
inline void spread_pixels(const Spread<T> s, const Line<T>* line, const Line<T>* end, T* row, int64_t room) {
    constexpr int lanes = lanes_of<T>;
    const auto write = [&](const auto& sums, int64_t w, int64_t from, int64_t free) {
        for (int64_t e = 0; e < s.unit; e += lanes)
            store_in_room(row + w * s.unit + e, s.unit - e, free - e, sums(from + e));
    };
    if (s.step <= most_phases) {
        Terms<T> terms[most_phases];
        for (int64_t phase = 0; phase < s.step && phase < s.pixels; ++phase)
            terms[phase] = terms_of(s, line, end, phase);
        int64_t phase = 0, from = 0;
        for (int64_t w = 0; w < s.pixels; ++w) {
            with_sums<Chosen>(s, terms[phase], line, end, phase,
                              [&](const auto& sums) { write(sums, w, from, room - w * s.unit); });
            if (++phase == s.step) phase = 0, from += s.unit;
        }
        return;
    }
    for (int64_t phase = 0; phase < s.step && phase < s.pixels; ++phase)
        with_sums<Chosen>(s, terms_of(s, line, end, phase), line, end, phase, [&](const auto& sums) {
            // (The next pixel is of another phase: nothing may spill there.)
            int64_t from = 0;
            for (int64_t w = phase; w < s.pixels; w += s.step, from += s.unit) write(sums, w, from, s.unit);
        });
}

template <bool Chosen, class T>
void spread(const Spread<T>& given) {
    const Spread<T> s = given;  // what is written is none of it
    for (int64_t i = 0; i < s.rows; ++i) {
        const Line<T>*const line = s.lines + s.line_begin[i], *const end = s.lines + s.line_begin[i + 1];
        T* const row = s.dx + i * s.dx_pitch;
        const int64_t row_elems = s.pixels * s.unit;
        const int64_t room = s.dx_pitch == row_elems ? (s.rows - i) * row_elems : row_elems;
        if (s.unit == 1) {
            spread_lanes<Chosen>(s, line, end, row, room);
            continue;
        }
        spread_pixels<Chosen>(s, line, end, row, room);
    }
}
