// Operands as users store them: vectors and elements of half types become float as they are loaded.
//
// In:  memory of a stored type S (float, double, bfloat16, float16).   Out: vectors and elements of Computed<S>.
// Included only by kernels.cpp, inside the namespace of one ISA.   Next: pack.hpp, whose kernels read with these.
#pragma once

// The bits of a vector's halves, each in 32 bits.
template <class S>
inline __attribute__((always_inline)) Vector<uint32_t> half_bits(const S* p) {
    using Halves = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
    const typename Halves::type bits = *reinterpret_cast<const typename Halves::unaligned*>(p);
    return __builtin_convertvector(bits, Vector<uint32_t>);
}

// In the bits of vectors, or of one element: the sums of float16 below are exact, also of those that are subnormal.  (A
// float32 of the same bits times 2^112 would be simpler, but not where a program has subnormals flushed to zero.)
template <class Float, class Bits>
inline __attribute__((always_inline)) Float as_float(Bits bits) {
    static_assert(sizeof(Float) == sizeof(Bits));
    Float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

template <class Float, class Bits>
inline __attribute__((always_inline)) Float from_bits(const bfloat16*, Bits bits) {
    return as_float<Float>(bits << 16);
}

template <class Float, class Bits>
inline __attribute__((always_inline)) Float from_bits(const float16*, Bits bits) {
    constexpr uint32_t exponent = 1U << 23;  // in the place of a float32's
    const Bits sign = (bits & 0x8000U) << 16, f = (bits & 0x7fffU) << 13;
    const Bits shifted = f + (f >= 31U * exponent ? Bits{} + 224U * exponent : Bits{} + 112U * exponent);
    const Float least = as_float<Float>(Bits{} + 113U * exponent);  // 2^-14
    const Float subnormal = as_float<Float>(f + 113U * exponent) - least;
    Bits subnormal_bits;
    __builtin_memcpy(&subnormal_bits, &subnormal, sizeof subnormal_bits);
    return as_float<Float>((f < exponent ? subnormal_bits : shifted) | sign);
}

template <class S>
inline __attribute__((always_inline)) Vector<Computed<S>> read(const S* p) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) return load(p);
    else return from_bits<Vector<float>>(p, half_bits(p));
}

template <class S>
inline __attribute__((always_inline)) Computed<S> read_one(const S* p) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) return *p;
    else return from_bits<float>(p, uint32_t(p->bits));
}

// The elements before `end`; the rest of the vector is 0.  For the last elements of memory that is not ours.
template <class S>
inline __attribute__((always_inline)) Vector<Computed<S>> read_before(const S* p, const S* end) {
    constexpr int lanes = lanes_of<Computed<S>>;
    if (__builtin_expect(end - p >= lanes, 1)) return read(p);
    S buffer[lanes] = {};
    for (int64_t i = 0; i < end - p; ++i) buffer[i] = p[i];
    return read(buffer);
}

// To the nearest half, ties to even.
inline __attribute__((always_inline)) Vector<uint32_t> rounded_bits(const bfloat16*, Vector<uint32_t> f) {
    const Vector<uint32_t> rounded = (f + 0x7fffU + (f >> 16 & 1U)) >> 16;
    return (f & 0x7fffffffU) > 0x7f800000U ? f >> 16 | 0x40U : rounded;  // or a NaN
}

inline __attribute__((always_inline)) Vector<uint32_t> rounded_bits(const float16*, Vector<uint32_t> bits) {
    const Vector<uint32_t> sign = bits >> 16 & 0x8000U, f = bits & 0x7fffffffU;
    const Vector<uint32_t> normal = (f + 0xfffU + (f >> 13 & 1U) - (112U << 23)) >> 13;
    // A half's least bit is the least one of 0.5: adding that rounds.
    const Vector<float> sum = as_float<Vector<float>>(f) + 0.5F;
    const Vector<uint32_t> subnormal = reinterpret_cast<Vector<uint32_t>>(sum) - 0x3f000000U;
    const Vector<uint32_t> finite = f < 0x38800000U ? subnormal : normal;
    const Vector<uint32_t> large = f > 0x7f800000U ? 0x7e00U | (f >> 13 & 0x3ffU) : Vector<uint32_t>{} + 0x7c00U;
    return (f >= 0x47800000U ? large : finite) | sign;
}

// A vector, rounded to what is stored.
template <class S>
inline __attribute__((always_inline)) void write(S* p, Vector<Computed<S>> v) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) {
        store(p, v);
    } else {
        using Halves = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
        const Vector<uint32_t> bits = rounded_bits(p, reinterpret_cast<Vector<uint32_t>>(v));
        *reinterpret_cast<typename Halves::unaligned*>(p) = __builtin_convertvector(bits, typename Halves::type);
    }
}
