// The largest elements and the sums of windows, along rows and then over the lines that this leaves.
//
// In:  rows (WindowRows), lines (WindowLines).   Out: lines, results.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: contract.hpp.   Next: spread.hpp.
#pragma once

// number_argument: where no element is NaN.
enum class Of { maximum, argument, number_argument, sum };

template <class T>
using TapVector = Vector<Tap<T>>;

// Of a vector of windows, what the taps so far left.
template <Of What, class T>
struct Windows {
    Vector<T> value;
    TapVector<T> tap;

    // A NaN is larger than all, also than a NaN before it; of equal ones the first stays.
    inline __attribute__((always_inline)) void meet(Vector<T> v, TapVector<T> number) {
        if constexpr (What == Of::sum) {
            value += v;
        } else {
            auto larger = v > value;
            if constexpr (What != Of::number_argument) larger |= v != v;
            value = larger ? v : value;
            if constexpr (What != Of::maximum) tap = larger ? number : tap;
        }
    }
};

template <class T>
inline constexpr T lowest = -static_cast<T>(__builtin_inff());

// Before any tap.
template <Of What, class T>
inline __attribute__((always_inline)) Windows<What, T> no_windows(TapVector<T> first) {
    return {Vector<T>{} + (What == Of::sum ? T(0) : lowest<T>), first};
}

// Fewer elements than a vector has.
template <class T>
inline __attribute__((always_inline)) void store_first(T* p, int64_t count, Vector<T> v) {
    T buffer[lanes_of<T>];
    store(buffer, v);
    for (int64_t i = 0; i < count; ++i) p[i] = buffer[i];
}

template <class S>
void stage_rows(const void* from, int64_t src_pitch, int64_t rows, int64_t count, const void* from_end,
                Computed<S> fill, Computed<S>* dst, int64_t dst_pitch) {
    using T = Computed<S>;
    constexpr int lanes = lanes_of<T>;
    const S *src = static_cast<const S*>(from), *const src_end = static_cast<const S*>(from_end);
    const int64_t full = count / lanes * lanes, rest = count - full;
    const auto mask = lane_mask<T>(0, static_cast<int>(rest), LanesOf<lanes>{});
    for (int64_t i = 0; i < rows; ++i, src += src_pitch, dst += dst_pitch) {
        for (int64_t j = 0; j < full; j += lanes) store(dst + j, read(src + j));
        if (rest > 0) store(dst + full, mask ? read_before(src + full, src_end) : Vector<T>{} + fill);
    }
}

// Elements of up to `count` neighbouring windows, which lie `step` apart: 1, 2, or (0) any number.
template <int Step, class T, int... J>
inline __attribute__((always_inline)) Vector<T> elements(const T* p, int64_t step, int64_t count, Lanes<J...>) {
    constexpr int64_t lanes = sizeof...(J);
    if constexpr (Step == 1) return load(p);
    if constexpr (Step == 2) return __builtin_shufflevector(load(p), load(p + lanes), (2 * J)...);
    if (count >= lanes) return Vector<T>{p[J * step]...};
    T buffer[lanes] = {};
    for (int64_t i = 0; i < count; ++i) buffer[i] = p[i * step];
    return load(buffer);
}

template <Of What, int Step, int Taps, class T>
inline void lanes_of_windows(const WindowRows<T> w) {
    constexpr int lanes = lanes_of<T>;
    const int64_t taps = Taps > 0 ? Taps : w.taps;
    for (int64_t i = 0; i < w.rows; ++i) {
        const T* const row = w.source + w.row_at[i];
        for (int64_t j = 0; j < w.windows; j += lanes) {
            const T* at = row + j * w.step;
            const int64_t left = w.windows - j;
            // (Where the first tap lies in the padding, its -Inf stands for that of the first one inside.)
            Windows<What, T> windows{elements<Step>(at, w.step, left, LanesOf<lanes>{}), TapVector<T>{}};
            if constexpr (What == Of::argument) windows.tap = load(w.first + j);
            TapVector<T> number{};
#pragma GCC unroll 4
            for (int64_t t = 1; t < taps; ++t) {
                at += w.tap_step;
                number += Tap<T>(1);
                windows.meet(elements<Step>(at, w.step, left, LanesOf<lanes>{}), number);
            }
            store(w.values + i * w.pitch + j, windows.value);
            if constexpr (What == Of::argument) store(w.tap_of + i * w.pitch + j, windows.tap);
        }
    }
}

template <Of What, class T>
void windows_of_lanes(const WindowRows<T>& w) {
    if (w.step == 2 && w.taps == 2) return lanes_of_windows<What, 2, 2>(w);
    if (w.step == 2 && w.taps == 3) return lanes_of_windows<What, 2, 3>(w);
    if (w.step == 2) return lanes_of_windows<What, 2, 0>(w);
    if (w.step == 1) return lanes_of_windows<What, 1, 0>(w);
    lanes_of_windows<What, 0, 0>(w);
}

// The elements of a window of pixels.  Taps: 2, 3, or (0) any number; Safe: whole vectors may be read.
template <Of What, int Taps, bool Safe, class T>
inline __attribute__((always_inline)) void window_of_pixels(const WindowRows<T>& w, const T* pixel, TapRange inside,
                                                            T* value, Tap<T>* tap) {
    constexpr int lanes = lanes_of<T>;
    const int64_t taps = Taps > 0 ? Taps : inside.hi - inside.lo, unit = w.unit, tap_step = w.tap_step;
    const T* const end = w.source_end;
    const TapVector<T> first = TapVector<T>{} + static_cast<Tap<T>>(taps > 0 ? inside.lo : no_tap);
    // What spills behind a pixel is overwritten by the next ones.
    for (int64_t e = 0; e < unit; e += lanes) {
        const T* at = pixel + e;
        auto windows = no_windows<What, T>(first);
        if (Taps > 0 || taps > 0) windows.value = Safe ? load(at) : load_before(at, end);
        TapVector<T> number = first;
#pragma GCC unroll 4
        for (int64_t t = 1; t < taps; ++t) {
            at += tap_step;
            number += Tap<T>(1);
            windows.meet(Safe ? load(at) : load_before(at, end), number);
        }
        store(value + e, windows.value);
        if constexpr (What == Of::argument) store(tap + e, windows.tap);
    }
}

template <Of What, class T>
void windows_of_pixels(const WindowRows<T>& given) {
    const WindowRows<T> w = given;  // what is written is none of it
    const int64_t pixel_room = (w.unit + lanes_of<T> - 1) / lanes_of<T> * lanes_of<T>;
    for (int64_t i = 0; i < w.rows; ++i) {
        T* value = w.values + i * w.pitch;
        Tap<T>* tap = What == Of::argument ? w.tap_of + i * w.pitch : nullptr;
        const int64_t row_end = w.row_at[i] + (w.windows - 1) * w.step + (w.taps - 1) * w.tap_step + pixel_room;
        const bool safe = row_end <= w.source_end - w.source;
        for (int64_t j = 0; j < w.windows; ++j, value += w.unit) {
            const TapRange inside = w.inside[j];
            const T* const pixel = w.source + w.row_at[i] + j * w.step + inside.lo * w.tap_step;
            if (!safe) window_of_pixels<What, 0, false>(w, pixel, inside, value, tap);
            else if (inside.hi - inside.lo == 2) window_of_pixels<What, 2, true>(w, pixel, inside, value, tap);
            else if (inside.hi - inside.lo == 3) window_of_pixels<What, 3, true>(w, pixel, inside, value, tap);
            else window_of_pixels<What, 0, true>(w, pixel, inside, value, tap);
            if constexpr (What == Of::argument) tap += w.unit;
        }
    }
}

template <Of What, class T>
void windows_of_lines(const WindowLines<T>& given) {
    const WindowLines<T> w = given;  // what is written is none of it
    constexpr int lanes = lanes_of<T>;
    for (int64_t i = 0; i < w.rows; ++i) {
        const Line<T>*const begin = w.lines + w.line_begin[i], *const end = w.lines + w.line_begin[i + 1];
        const int64_t room = w.result_pitch == w.count ? (w.rows - i) * w.count : w.count;
        for (int64_t j = 0; j < w.count; j += lanes) {
            auto windows = no_windows<What, T>(TapVector<T>{} + static_cast<Tap<T>>(no_tap));
            const Line<T>* line = begin;
            if (What != Of::sum && line != end) {  // (the sum of zeros is +0)
                windows.value = load(w.values + line->at + j);
                if constexpr (What == Of::argument) windows.tap = load(w.tap_of + line->at + j) + line->tap;
                ++line;
            }
            for (; line != end; ++line)
                windows.meet(load(w.values + line->at + j),
                             What == Of::argument ? load(w.tap_of + line->at + j) + line->tap : TapVector<T>{});
            if constexpr (What == Of::sum)
                if (w.row_divisor != nullptr) windows.value /= w.row_divisor[i] * load(w.divisor + j);
            if constexpr (What == Of::argument) {
                const auto there =
                    lane_mask<T>(0, w.count - j < lanes ? static_cast<int>(w.count - j) : lanes, LanesOf<lanes>{});
                store(w.result_tap + i * w.tap_pitch + j, there ? windows.tap : TapVector<T>{} + Tap<T>(no_tap));
                if (w.result == nullptr) continue;
            }
            T* const to = w.result + i * w.result_pitch + j;
            if (__builtin_expect(room - j >= lanes, 1)) store(to, windows.value);
            else store_first(to, w.count - j < lanes ? w.count - j : lanes, windows.value);
        }
        if constexpr (What == Of::argument)
            for (int64_t j = (w.count + lanes - 1) / lanes * lanes; j < w.tap_room; j += lanes)
                store(w.result_tap + i * w.tap_pitch + j, TapVector<T>{} + Tap<T>(no_tap));
    }
}
