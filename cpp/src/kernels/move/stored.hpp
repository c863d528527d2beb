// Operands as users store them: vectors and elements of half types become float as they are loaded.
//
// In:  memory of a stored type S (float, double, bfloat16, float16).   Out: vectors and elements of Computed<S>.
// Included only by kernels.cpp, inside the namespace of one ISA.   Next: pack.hpp, whose kernels read with these.
#pragma once

// A vector's halves.
using HalfVector = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
using HalfBits = typename HalfVector::type;

template <class S>
inline __attribute__((always_inline)) HalfBits half_bits(const S* p) {
    return *reinterpret_cast<const typename HalfVector::unaligned*>(p);
}

template <class Float, class Bits>
inline __attribute__((always_inline)) Float as_float(Bits bits) {
    static_assert(sizeof(Float) == sizeof(Bits));
    Float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

// bfloat16: the upper half of a float32, whose lower half rounds to the nearest, ties to even.
inline __attribute__((always_inline)) Vector<float> from_half(const bfloat16*, HalfBits bits) {
    return as_float<Vector<float>>(__builtin_convertvector(bits, Vector<uint32_t>) << 16);
}
inline __attribute__((always_inline)) float from_half(const bfloat16*, uint16_t bits) {
    return as_float<float>(uint32_t(bits) << 16);
}
inline __attribute__((always_inline)) HalfBits to_half(const bfloat16*, Vector<float> v) {
    const Vector<uint32_t> f = reinterpret_cast<Vector<uint32_t>>(v);
    const Vector<uint32_t> rounded = (f + 0x7fffU + (f >> 16 & 1U)) >> 16;
    return __builtin_convertvector(v != v ? f >> 16 | 0x40U : rounded, HalfBits);
}

// float16: exact, also of subnormal numbers and where a program has them flushed to zero; to the nearest, ties to even;
// a NaN stays one, and is quiet.  By the CPU's instruction where all CPUs of the instruction set have it.
#if defined(__F16C__)
constexpr uint16_t all_lanes = 0xffff;  // (of 16: GCC warns of what the intrinsics without a mask leave undefined)
inline __attribute__((always_inline)) Vector<float> from_half(const float16*, HalfBits bits) {
#if CONVPP_VECTOR_BYTES == 64
    return _mm512_maskz_cvtph_ps(all_lanes, reinterpret_cast<__m256i>(bits));
#else
    return _mm256_cvtph_ps(reinterpret_cast<__m128i>(bits));
#endif
}
inline __attribute__((always_inline)) float from_half(const float16*, uint16_t bits) { return _cvtsh_ss(bits); }
inline __attribute__((always_inline)) HalfBits to_half(const float16*, Vector<float> v) {
#if CONVPP_VECTOR_BYTES == 64
    return reinterpret_cast<HalfBits>(_mm512_maskz_cvtps_ph(all_lanes, v, _MM_FROUND_TO_NEAREST_INT));
#else
    return reinterpret_cast<HalfBits>(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#endif
}
#elif defined(__aarch64__)
using Float16Vector = typename VectorOf<__fp16, CONVPP_VECTOR_BYTES / 2>::type;
inline __attribute__((always_inline)) Vector<float> from_half(const float16*, HalfBits bits) {
    return __builtin_convertvector(reinterpret_cast<Float16Vector>(bits), Vector<float>);
}
inline __attribute__((always_inline)) float from_half(const float16*, uint16_t bits) {
    return static_cast<float>(as_float<__fp16>(bits));
}
inline __attribute__((always_inline)) HalfBits to_half(const float16*, Vector<float> v) {
    return reinterpret_cast<HalfBits>(__builtin_convertvector(v, Float16Vector));
}
#else
template <class Float, class Bits>
inline __attribute__((always_inline)) Float from_float16(Bits bits) {
    constexpr uint32_t exponent = 1U << 23;  // in the place of a float32's
    const Bits sign = (bits & 0x8000U) << 16, f = (bits & 0x7fffU) << 13;
    const Bits shifted = f + (f >= 31U * exponent ? Bits{} + 224U * exponent : Bits{} + 112U * exponent);
    const Bits quiet = f > 31U * exponent ? Bits{} + (1U << 22) : Bits{};
    // (A float32 of the same bits times 2^112 would be simpler, but not where subnormal operands count as zero.)
    const Float least = as_float<Float>(Bits{} + 113U * exponent);  // 2^-14
    const Float subnormal = as_float<Float>(f + 113U * exponent) - least;
    Bits subnormal_bits;
    __builtin_memcpy(&subnormal_bits, &subnormal, sizeof subnormal_bits);
    return as_float<Float>((f < exponent ? subnormal_bits : shifted | quiet) | sign);
}
inline __attribute__((always_inline)) Vector<float> from_half(const float16*, HalfBits bits) {
    return from_float16<Vector<float>>(__builtin_convertvector(bits, Vector<uint32_t>));
}
inline __attribute__((always_inline)) float from_half(const float16*, uint16_t bits) {
    return from_float16<float>(uint32_t(bits));
}
inline __attribute__((always_inline)) HalfBits to_half(const float16*, Vector<float> v) {
    const Vector<uint32_t> bits = reinterpret_cast<Vector<uint32_t>>(v);
    const Vector<uint32_t> sign = bits >> 16 & 0x8000U, f = bits & 0x7fffffffU;
    const Vector<uint32_t> normal = (f + 0xfffU + (f >> 13 & 1U) - (112U << 23)) >> 13;
    // A half's least bit is the least one of 0.5: adding that rounds.
    const Vector<float> sum = as_float<Vector<float>>(f) + 0.5F;
    const Vector<uint32_t> subnormal = reinterpret_cast<Vector<uint32_t>>(sum) - 0x3f000000U;
    const Vector<uint32_t> finite = f < 0x38800000U ? subnormal : normal;
    const Vector<uint32_t> large = f > 0x7f800000U ? 0x7e00U | (f >> 13 & 0x3ffU) : Vector<uint32_t>{} + 0x7c00U;
    return __builtin_convertvector((f >= 0x47800000U ? large : finite) | sign, HalfBits);
}
#endif

template <class S>
inline __attribute__((always_inline)) Vector<Computed<S>> read(const S* p) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) return load(p);
    else return from_half(p, half_bits(p));
}

template <class S>
inline __attribute__((always_inline)) Computed<S> read_one(const S* p) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) return *p;
    else return from_half(p, p->bits);
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

// Every second element of two vectors.  (Of halves, each lies in the lower half of 32 bits.)
template <class S, int... J>
inline __attribute__((always_inline)) Vector<Computed<S>> every_second(const S* p, Lanes<J...>) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) {
        return __builtin_shufflevector(load(p), load(p + sizeof...(J)), (2 * J)...);
    } else {
        Vector<uint32_t> both;
        __builtin_memcpy(&both, p, sizeof both);
        return from_half(p, __builtin_convertvector(both & 0xffffU, HalfBits));
    }
}

// Element `at` of each column: by single loads, which no store forwards to a vector.
template <class S, int... J>
inline __attribute__((always_inline)) Vector<Computed<S>> gather(const S* const* columns, int64_t at, Lanes<J...>) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) return Vector<S>{columns[J][at]...};
    else return from_half(columns[0], HalfBits{columns[J][at].bits...});
}

// A vector, rounded to what is stored.
template <class S>
inline __attribute__((always_inline)) void write(S* p, Vector<Computed<S>> v) {
    if constexpr (sizeof(S) == sizeof(Computed<S>)) {
        store(p, v);
    } else {
        *reinterpret_cast<typename HalfVector::unaligned*>(p) = to_half(p, v);
    }
}
