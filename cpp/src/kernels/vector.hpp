// The compilers' own vector types (GCC and Clang): load, store, transpose.  No intrinsics, so one source serves all
// instruction sets.  Included only by kernels.cpp, inside the namespace of one ISA.  Next: tile.hpp, pack.hpp.
#pragma once

template <class T, int Bytes>
struct VectorOf {
    typedef T type __attribute__((vector_size(Bytes)));
    typedef T unaligned __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
    static constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
};

template <class T>
using Vector = typename VectorOf<T, CONVPP_VECTOR_BYTES>::type;

template <class T>
inline constexpr int lanes_of = VectorOf<T, CONVPP_VECTOR_BYTES>::lanes;

template <class T>
inline __attribute__((always_inline)) Vector<T> load(const T* p) {
    return *reinterpret_cast<const typename VectorOf<T, CONVPP_VECTOR_BYTES>::unaligned*>(p);
}

template <class T>
inline __attribute__((always_inline)) void store(T* p, Vector<T> v) {
    *reinterpret_cast<typename VectorOf<T, CONVPP_VECTOR_BYTES>::unaligned*>(p) = v;
}

// The elements before `end`; the rest of the vector is 0.  For the last elements of memory that is not ours.
template <class T>
inline __attribute__((always_inline)) Vector<T> load_before(const T* p, const T* end) {
    constexpr int lanes = lanes_of<T>;
    if (__builtin_expect(end - p >= lanes, 1)) return load(p);
    T buffer[lanes] = {};
    for (int64_t i = 0; i < end - p; ++i) buffer[i] = p[i];
    return load(buffer);
}

// The numbers 0 .. N-1 as a pack, for shuffles.
template <int... J>
struct Lanes {};
template <int N, int... J>
struct CountLanes : CountLanes<N - 1, N - 1, J...> {};
template <int... J>
struct CountLanes<0, J...> {
    using type = Lanes<J...>;
};
template <int N>
using LanesOf = typename CountLanes<N>::type;

// lanes x lanes transpose in registers: log2(lanes) rounds, each swaps the off-diagonal blocks of size Distance.
template <int Distance, class V, int... J>
inline __attribute__((always_inline)) void swap_blocks(V& a, V& b, Lanes<J...>) {
    constexpr int n = sizeof...(J);
    const V upper = __builtin_shufflevector(a, b, ((J & Distance) ? n + J - Distance : J)...);
    b = __builtin_shufflevector(a, b, ((J & Distance) ? n + J : J + Distance)...);
    a = upper;
}

template <int Distance, int N, class V>
inline __attribute__((always_inline)) void transpose_round(V (&row)[N]) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i)
        if ((i & Distance) == 0) swap_blocks<Distance>(row[i], row[i + Distance], LanesOf<N>{});
}

template <int N, class V>
inline __attribute__((always_inline)) void transpose(V (&row)[N]) {
    transpose_round<1>(row);
    if constexpr (N > 2) transpose_round<2>(row);
    if constexpr (N > 4) transpose_round<4>(row);
    if constexpr (N > 8) transpose_round<8>(row);
}

// The sum of a vector's elements: halves are added until one element is left, so the order is fixed.
template <class V, int... J>
inline __attribute__((always_inline)) auto sum_of_halves(V v, Lanes<J...>) {
    constexpr int half = sizeof...(J);
    const auto sum = __builtin_shufflevector(v, v, J...) + __builtin_shufflevector(v, v, (half + J)...);
    if constexpr (half > 2) return sum_of_halves(sum, LanesOf<half / 2>{});
    else return sum[0] + sum[1];
}
template <class T>
inline __attribute__((always_inline)) T sum_of_lanes(Vector<T> v) {
    if constexpr (lanes_of<T> > 2) return sum_of_halves(v, LanesOf<lanes_of<T> / 2>{});
    else return v[0] + v[1];
}

// Those of up to `lanes` vectors, as one vector: each the sum that sum_of_lanes makes.  In each round, two vectors of
// partial sums, blocks of 2*Half lanes, become one with blocks of Half.
template <int Half, class V, int... J>
inline __attribute__((always_inline)) V add_halves(V a, V b, Lanes<J...>) {
    return __builtin_shufflevector(a, b, (J / Half * 2 * Half + J % Half)...) +
           __builtin_shufflevector(a, b, (J / Half * 2 * Half + Half + J % Half)...);
}
template <int Half, int Count, class V>
inline __attribute__((always_inline)) V sums_of_blocks(const V (&v)[Count]) {
    constexpr int pairs = (Count + 1) / 2;
    V sums[pairs];
#pragma GCC unroll 8
    for (int i = 0; i < pairs; ++i)
        sums[i] = add_halves<Half>(v[2 * i], v[2 * i + 1 < Count ? 2 * i + 1 : 2 * i],
                                   LanesOf<static_cast<int>(sizeof(V) / sizeof(v[0][0]))>{});
    if constexpr (Half > 1) return sums_of_blocks<Half / 2>(sums);
    else return sums[0];
}
template <class T, int Count>
inline __attribute__((always_inline)) Vector<T> sums_of_lanes(const Vector<T> (&v)[Count]) {
    static_assert(Count <= lanes_of<T>);
    return sums_of_blocks<lanes_of<T> / 2>(v);
}

// A mask of the lanes of [skip, skip + count), and a vector's lanes of a mask; the others become 0, whatever they held.
template <class T, int... J>
inline __attribute__((always_inline)) auto lane_mask(int skip, int count, Lanes<J...>) {
    const Vector<T> lane{static_cast<T>(J)...};
    return (lane >= static_cast<T>(skip)) & (lane < static_cast<T>(skip + count));
}

// The lanes of [lo, hi), which may lie anywhere.
template <class T, int... J>
inline __attribute__((always_inline)) auto lanes_between(int64_t lo, int64_t hi, Lanes<J...> all) {
    constexpr int64_t lanes = sizeof...(J);
    const int64_t skip = lo < 0 ? 0 : lo > lanes ? lanes : lo, end = hi < skip ? skip : hi > lanes ? lanes : hi;
    return lane_mask<T>(static_cast<int>(skip), static_cast<int>(end - skip), all);
}

template <class T, class Mask>
inline __attribute__((always_inline)) Vector<T> only_lanes(Vector<T> v, Mask mask) {
    return mask ? v : Vector<T>{};
}
