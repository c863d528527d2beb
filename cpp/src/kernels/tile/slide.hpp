// Tiles of a depthwise layer whose kernel slides over rows of pixels: a plane's rows one after the other.
//
// In:  some planes of the source where they lie, their weights.   Out: rows of results.  (contract.hpp: Strip)
//
//   Where a result channel reads one source channel, there is no second row of weights that a loaded vector could
//   serve.  But a row of the source is read by as many rows of results as the kernel is high:
//
//        source row 0:  result row 0 (line 0)
//                   1:  result row 0 (line 1), 1 (line 0)
//                   2:  result row 0 (line 2), 1 (line 1), 2 (line 0)
//                   3:                         1 (line 2), 2 (line 1), 3 (line 0)          ... for 3 lines
//
//   So the sums of the rows that are under way stay in registers.  A source row is added to all of them, then the
//   oldest one is whole, is stored, and makes room for the next.  Each result is one sum in the order of the taps, and
//   each vector of the source is loaded once for each column of the kernel.  (Measured, Zen 4: 0.75 to 0.97 of the
//   multiply-adds' peak for 3x3 to 9x9 kernels.)
//
// With a stride of 2, two neighbouring vectors are parted into the columns of two taps, and half as many rows are under
// way.  Rows of up to half a vector are half vectors, which the cores compute two of at once.
// Nothing is copied and padded before: source rows outside the plane are left out, columns outside it blanked as they
// are loaded.  Halves are converted as they are loaded, and as they are stored: while sums wait for each other, that
// costs less than a pass of its own.   Next: slide_sums.hpp, the weight gradient.
#pragma once

// Vectors of `Bytes` bytes: whole ones, or halves of them.  S: how memory has them.
template <class S, int Bytes>
struct SlideVector {
    using T = Computed<S>;
    static constexpr bool plain = sizeof(S) == sizeof(T);
    using V = typename VectorOf<T, Bytes>::type;
    using Mask = decltype(V{} < V{});
    static constexpr int lanes = VectorOf<T, Bytes>::lanes;
    using All = LanesOf<lanes>;

    static inline __attribute__((always_inline)) V load(const S* p) {
        if constexpr (plain) return *reinterpret_cast<const typename VectorOf<T, Bytes>::unaligned*>(p);
        else return from_half(p, *reinterpret_cast<const typename VectorOf<uint16_t, Bytes / 2>::unaligned*>(p));
    }
    static inline __attribute__((always_inline)) void store(S* p, V v) {
        if constexpr (plain) *reinterpret_cast<typename VectorOf<T, Bytes>::unaligned*>(p) = v;
        else *reinterpret_cast<typename VectorOf<uint16_t, Bytes / 2>::unaligned*>(p) = to_half(p, v);
    }
    // The lanes of [lo, hi), which may lie anywhere.
    template <int... J>
    static inline __attribute__((always_inline)) Mask between(int64_t lo, int64_t hi, Lanes<J...>) {
        using Lane = decltype(Mask{}[0] + 0);
        const Mask lane{static_cast<Lane>(J)...};
        const auto clamped = [](int64_t i) { return static_cast<Lane>(i < 0 ? 0 : i > lanes ? lanes : i); };
        return (lane >= clamped(lo)) & (lane < clamped(hi));
    }
    // The others become 0, whatever they held.
    static inline __attribute__((always_inline)) V only(V v, Mask mask) {
        return reinterpret_cast<V>(reinterpret_cast<Mask>(v) & mask);
    }
    // Elements 0, 2, .. and 1, 3, .. of two vectors.
    template <int... J>
    static inline __attribute__((always_inline)) void part(const S* p, V& even, V& odd, Lanes<J...>) {
        if constexpr (plain) {
            const V a = load(p), b = load(p + lanes);
            even = __builtin_shufflevector(a, b, (2 * J)...);
            odd = __builtin_shufflevector(a, b, (2 * J + 1)...);
        } else {
            using Pairs = typename VectorOf<uint32_t, Bytes>::type;
            Pairs both;
            __builtin_memcpy(&both, p, sizeof both);
            even = from_lower_half(p, both);
            odd = from_lower_half(p, both >> 16);
        }
    }
};

template <int From, class V, int... J>
inline __attribute__((always_inline)) auto lanes_from(V v, Lanes<J...>) {
    return __builtin_shufflevector(v, v, (From + J)...);
}

// 0 < count <= 2*Piece elements, by at most two copies.
template <class T, int Piece>
inline __attribute__((always_inline)) void copy_ends(const T* src, int64_t count, T* dst) {
    if (count >= Piece) {
        __builtin_memcpy(dst, src, Piece * sizeof(T));
        __builtin_memcpy(dst + count - Piece, src + count - Piece, Piece * sizeof(T));
    } else if constexpr (Piece > 1) {
        copy_ends<T, Piece / 2>(src, count, dst);
    }
}

// The first `count` elements, 0 < count < lanes, and nothing behind them.  (Of 64 bytes, a half at a time: what is
// loaded across the halves of such a store waits for it.  Measured: 25 cycles a row.)
template <class T, int Bytes>
inline __attribute__((always_inline)) void store_first(T* to, typename VectorOf<T, Bytes>::type v, int64_t count) {
    constexpr int half = VectorOf<T, Bytes>::lanes / 2;
    if constexpr (Bytes <= 32) {
        alignas(Bytes) T all[2 * half];
        SlideVector<T, Bytes>::store(all, v);
        copy_ends<T, half>(all, count, to);
    } else {
        auto part = lanes_from<0>(v, LanesOf<half>{});
        if (count >= half) {
            SlideVector<T, Bytes / 2>::store(to, part);
            if (count == half) return;
            to += half;
            count -= half;
            part = lanes_from<half>(v, LanesOf<half>{});
        }
        store_first<T, Bytes / 2>(to, part, count);
    }
}

// The same of sums that are stored as S.
template <class S, int Bytes, class V>
inline __attribute__((always_inline)) void store_first_as(S* to, V v, int64_t count) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) store_first<S, Bytes>(to, v, count);
    else store_first<uint16_t, Bytes / 2>(reinterpret_cast<uint16_t*>(to), to_half(to, v), count);
}

// Results of a row, `last` of them in the last vector; or all of it, where others overwrite them.
template <class S, int Bytes, int Vectors, class T = Computed<S>>
inline __attribute__((always_inline)) void write_row(typename VectorOf<T, Bytes>::type (&sum)[Vectors], S* to,
                                                     int64_t last, bool spills, Onto onto, const T* bias) {
    using R = SlideVector<S, Bytes>;
    constexpr int lanes = R::lanes;
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v, to += lanes) {
        const bool whole = v + 1 < Vectors || last == lanes;
        if (onto == Onto::row_bias) {
            sum[v] += *bias;
        } else if (R::plain && onto == Onto::c) {
            alignas(Bytes) S before[lanes] = {};
            for (int64_t i = 0; !whole && i < last; ++i) before[i] = to[i];
            sum[v] += R::load(whole ? to : before);
        }
        if (whole || spills) R::store(to, sum[v]);
        else store_first_as<S, Bytes>(to, sum[v], last);
    }
}

// `Columns`: of the kernel; 0: as the strip says.
template <class S, int Bytes, int Stride, int Lines, int Columns, int Vectors, class T = Computed<S>>
inline __attribute__((always_inline)) void slide_planes(const Strip<T, S>& strip, Onto onto) {
    using R = SlideVector<S, Bytes>;
    using V = typename R::V;
    using All = typename R::All;
    constexpr int lanes = R::lanes, most_columns = Columns > 0 ? Columns : most_slide_columns;
    constexpr int under_way = (Lines + Stride - 1) / Stride;  // rows of results
    const int64_t columns = Columns > 0 ? Columns : strip.columns;
    typename R::Mask inside[most_columns][Vectors];
#pragma GCC unroll 3
    for (int64_t s = 0; s < columns; ++s)
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) {
            const int64_t at = strip.first_tap + s * strip.tap_step + v * lanes * Stride, end = strip.width - at;
            inside[s][v] = R::between((Stride - 1 - at) / Stride, end > 0 ? (end + Stride - 1) / Stride : 0, All{});
        }
    const int64_t last = strip.count - (Vectors - 1) * lanes;
    // Where rows and planes follow each other, what a row's last vector spills is overwritten by the next ones, if they
    // are long enough together: until so many elements are left.
    const bool follow = strip.result_step == strip.count && strip.result_plane == strip.rows * strip.count;
    const int64_t spill = onto != Onto::c && follow ? Vectors * lanes : strip.planes * strip.rows * strip.count + 1;
    int64_t left = strip.planes * strip.rows * strip.count;
    for (int64_t plane = 0; plane < strip.planes; ++plane) {
        const S* const source = strip.source + plane * strip.source_plane + strip.first_tap;
        const T* const weights = strip.weights + plane * strip.weights_plane;
        const T* const bias = onto == Onto::row_bias ? strip.bias + plane : nullptr;
        S* result = strip.result + plane * strip.result_plane;
        V held[Columns > 0 ? Lines * Columns : 1];  // of few taps
#pragma GCC unroll 9
        for (int k = 0; k < Lines * Columns; ++k) held[k] = weights[k] - V{};
        V acc[under_way][Vectors] = {};  // the newest row first
        int64_t row = strip.first_row;
        for (int64_t step = 1 - under_way; step < strip.rows; ++step) {
#pragma GCC unroll 2
            for (int j = 0; j < Stride; ++j, row += strip.direction) {
                if (row < 0 || row >= strip.height) continue;
                // (Of an odd number of lines at stride 2, the last row would be for results that nobody wants.)
                if ((under_way - 1) * Stride + j >= Lines && step + 1 == strip.rows) continue;
                const S* const from = source + row * strip.row_step;
                const auto add = [&](int64_t s, const V(&x)[Vectors]) __attribute__((always_inline)) {
#pragma GCC unroll 9
                    for (int k = 0; k < under_way; ++k) {
                        const int line = k * Stride + j;
                        if (line >= Lines) continue;
#pragma GCC unroll 2
                        for (int v = 0; v < Vectors; ++v) {
                            if constexpr (Columns > 0) acc[k][v] += held[line * Columns + s] * x[v];
                            else acc[k][v] += weights[line * columns + s] * x[v];
                        }
                    }
                };
#pragma GCC unroll 3
                for (int64_t s = 0; s < columns; s += Stride) {
                    const S* const at = from + s * strip.tap_step;
                    V x[Vectors], next[Vectors];
#pragma GCC unroll 2
                    for (int v = 0; v < Vectors; ++v) {
                        if constexpr (Stride == 1) {
                            x[v] = R::only(R::load(at + v * lanes), inside[s][v]);
                        } else {
                            V even, odd;
                            R::part(at + 2 * v * lanes, even, odd, All{});
                            x[v] = R::only(even, inside[s][v]);
                            if (s + 1 < columns) next[v] = R::only(odd, inside[s + 1][v]);
                        }
                    }
                    add(s, x);
                    if constexpr (Stride == 2)
                        if (s + 1 < columns) add(s + 1, next);
                }
            }
            if (step >= 0) {
                write_row<S, Bytes, Vectors>(acc[under_way - 1], result, last, left >= spill, onto, bias);
                left -= strip.count;
                result += strip.result_step;
            }
#pragma GCC unroll 9
            for (int k = under_way - 1; k >= 0; --k)
#pragma GCC unroll 2
                for (int v = 0; v < Vectors; ++v) acc[k][v] = k > 0 ? acc[k > 0 ? k - 1 : 0][v] : V{};
        }
    }
}

// Nine weights are held in registers; of other kernels, they are broadcast as they are multiplied.
template <class S, int Bytes, int Stride, int Lines, int Vectors>
void slide(const Strip<Computed<S>, S>& strip, Onto onto) {
    if constexpr (Lines == 3)
        if (strip.columns == 3) return slide_planes<S, Bytes, Stride, 3, 3, Vectors>(strip, onto);
    slide_planes<S, Bytes, Stride, Lines, 0, Vectors>(strip, onto);
}

template <class S, int Registers, int Stride = 1, int Lines = 1>
void fill_slides(SlideTiles<Computed<S>, S>& tiles) {
    constexpr int bytes = CONVPP_VECTOR_BYTES, under_way = (Lines + Stride - 1) / Stride;
    auto& slides = tiles.of[Stride - 1];
    tiles.sums = &slide_sums<S>;
    if constexpr (bytes >= 32) slides[0][Lines - 1] = &slide<S, bytes / 2, Stride, Lines, 1>;
    slides[1][Lines - 1] = &slide<S, bytes, Stride, Lines, 1>;
    if constexpr (2 * under_way <= Registers) slides[2][Lines - 1] = &slide<S, bytes, Stride, Lines, 2>;
    if constexpr (Lines < most_slide_lines) fill_slides<S, Registers, Stride, Lines + 1>(tiles);
    else if constexpr (Stride < slide_strides) fill_slides<S, Registers, Stride + 1, 1>(tiles);
}
