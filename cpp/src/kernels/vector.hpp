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

// lanes x lanes transpose in registers: log2(lanes) rounds, each swaps the off-diagonal blocks of size Distance.
template <int Distance, int... J>
struct BlockSwap {
    static constexpr int n = sizeof...(J);
    template <class V>
    static inline __attribute__((always_inline)) void apply(V& a, V& b) {
        const V upper = __builtin_shufflevector(a, b, ((J & Distance) ? n + J - Distance : J)...);
        b = __builtin_shufflevector(a, b, ((J & Distance) ? n + J : J + Distance)...);
        a = upper;
    }
};

template <int Distance, int N>
struct BlockSwapOf;
template <int Distance>
struct BlockSwapOf<Distance, 2> : BlockSwap<Distance, 0, 1> {};
template <int Distance>
struct BlockSwapOf<Distance, 4> : BlockSwap<Distance, 0, 1, 2, 3> {};
template <int Distance>
struct BlockSwapOf<Distance, 8> : BlockSwap<Distance, 0, 1, 2, 3, 4, 5, 6, 7> {};
template <int Distance>
struct BlockSwapOf<Distance, 16> : BlockSwap<Distance, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15> {};

template <int Distance, int N, class V>
inline __attribute__((always_inline)) void transpose_round(V (&row)[N]) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i)
        if ((i & Distance) == 0) BlockSwapOf<Distance, N>::apply(row[i], row[i + Distance]);
}

template <int N, class V>
inline __attribute__((always_inline)) void transpose(V (&row)[N]) {
    transpose_round<1>(row);
    if constexpr (N > 2) transpose_round<2>(row);
    if constexpr (N > 4) transpose_round<4>(row);
    if constexpr (N > 8) transpose_round<8>(row);
}
