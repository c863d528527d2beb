// Operands as users store them: vectors and elements of half types become float as they are loaded.
//
// In:  memory of a stored type S (float, double, bfloat16, float16).   Out: vectors and elements of Computed<S>.
// Included only by kernels.cpp, inside the namespace of one ISA.   Next: pack.hpp, whose kernels read with these.
#pragma once

// The bits of so many halves, and of a vector's.
template <int Count>
using HalvesOf = typename VectorOf<uint16_t, 2 * Count>::type;
using HalfVector = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
using HalfBits = typename HalfVector::type;
#if CONVPP_VECTOR_BYTES == 64
constexpr uint16_t all_lanes = 0xffff;  // (GCC warns of what intrinsics without a mask leave undefined)
#endif

template <class S>
inline __attribute__((always_inline)) HalfBits half_bits(const S* p) {
    return *reinterpret_cast<const typename HalfVector::unaligned*>(p);
}

template <class Float, class Bits>
inline __attribute__((always_inline)) Float of_bits(Bits bits) {
    static_assert(sizeof(Float) == sizeof(Bits));
    Float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

// Vectors of bits: those of a whole vector, or of half of one.
template <class Bits>
inline constexpr int halves_in = static_cast<int>(sizeof(Bits) / sizeof(uint16_t));
template <int Count>
using FloatsOf = typename VectorOf<float, 4 * Count>::type;
template <int Count>
using BitsOf32 = typename VectorOf<uint32_t, 4 * Count>::type;

// bfloat16: the upper half of a float32, whose lower half rounds to the nearest, ties to even.
template <class Bits>
inline __attribute__((always_inline)) auto from_half(const bfloat16*, Bits bits) {
    if constexpr (sizeof(Bits) == sizeof(uint16_t)) return of_bits<float>(uint32_t(bits) << 16);
    else return of_bits<FloatsOf<halves_in<Bits>>>(__builtin_convertvector(bits, BitsOf32<halves_in<Bits>>) << 16);
}
template <class Floats>
inline __attribute__((always_inline)) auto to_half(const bfloat16*, Floats v) {
    constexpr int count = sizeof v / sizeof(float);
    const auto f = reinterpret_cast<BitsOf32<count>>(v);
    const auto rounded = (f + 0x7fffU + (f >> 16 & 1U)) >> 16;
    return __builtin_convertvector(v != v ? f >> 16 | 0x40U : rounded, HalvesOf<count>);
}

// float16: exact, also of subnormal numbers and where a program has them flushed to zero; to the nearest, ties to even;
// a NaN stays one, and is quiet.  By the CPU's instruction where all CPUs of the instruction set have it.
#if defined(__F16C__)
template <class Bits>
inline __attribute__((always_inline)) auto from_half(const float16*, Bits bits) {
    if constexpr (sizeof(Bits) == sizeof(uint16_t)) return _cvtsh_ss(bits);
    else if constexpr (sizeof(Bits) == 16) return _mm256_cvtph_ps(reinterpret_cast<__m128i>(bits));
    else if constexpr (sizeof(Bits) == 8) return _mm_cvtph_ps(__m128i{of_bits<long long>(bits), 0});
#if CONVPP_VECTOR_BYTES == 64
    else return _mm512_maskz_cvtph_ps(all_lanes, reinterpret_cast<__m256i>(bits));
#endif
}
template <class Floats>
inline __attribute__((always_inline)) auto to_half(const float16*, Floats v) {
    using Halves = HalvesOf<static_cast<int>(sizeof v / sizeof(float))>;
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT;
    if constexpr (sizeof v == 32) return reinterpret_cast<Halves>(_mm256_cvtps_ph(v, nearest));
    else if constexpr (sizeof v == 16) return of_bits<Halves>(_mm_cvtps_ph(v, nearest)[0]);
#if CONVPP_VECTOR_BYTES == 64
    else return reinterpret_cast<Halves>(_mm512_maskz_cvtps_ph(all_lanes, v, nearest));
#endif
}
#elif defined(__aarch64__)
template <class Bits>
inline __attribute__((always_inline)) auto from_half(const float16*, Bits bits) {
    if constexpr (sizeof(Bits) == sizeof(uint16_t)) return static_cast<float>(of_bits<__fp16>(bits));
    else
        return __builtin_convertvector(reinterpret_cast<typename VectorOf<__fp16, sizeof bits>::type>(bits),
                                       FloatsOf<halves_in<Bits>>);
}
template <class Floats>
inline __attribute__((always_inline)) auto to_half(const float16*, Floats v) {
    using Halves = typename VectorOf<__fp16, sizeof v / 2>::type;
    return reinterpret_cast<HalvesOf<static_cast<int>(sizeof v / sizeof(float))>>(__builtin_convertvector(v, Halves));
}
#else
template <class Float, class Bits>
inline __attribute__((always_inline)) Float from_float16(Bits bits) {
    constexpr uint32_t exponent = 1U << 23;  // in the place of a float32's
    const Bits sign = (bits & 0x8000U) << 16, f = (bits & 0x7fffU) << 13;
    const Bits shifted = f + (f >= 31U * exponent ? Bits{} + 224U * exponent : Bits{} + 112U * exponent);
    const Bits quiet = f > 31U * exponent ? Bits{} + (1U << 22) : Bits{};
    // (A float32 of the same bits times 2^112 would be simpler, but not where subnormal operands count as zero.)
    const Float least = of_bits<Float>(Bits{} + 113U * exponent);  // 2^-14
    const Float subnormal = of_bits<Float>(f + 113U * exponent) - least;
    Bits subnormal_bits;
    __builtin_memcpy(&subnormal_bits, &subnormal, sizeof subnormal_bits);
    return of_bits<Float>((f < exponent ? subnormal_bits : shifted | quiet) | sign);
}
template <class Bits>
inline __attribute__((always_inline)) auto from_half(const float16*, Bits bits) {
    if constexpr (sizeof(Bits) == sizeof(uint16_t)) return from_float16<float>(uint32_t(bits));
    else return from_float16<FloatsOf<halves_in<Bits>>>(__builtin_convertvector(bits, BitsOf32<halves_in<Bits>>));
}
template <class Floats>
inline __attribute__((always_inline)) auto to_half(const float16*, Floats v) {
    constexpr int count = sizeof v / sizeof(float);
    using Bits = BitsOf32<count>;
    const Bits bits = reinterpret_cast<Bits>(v), sign = bits >> 16 & 0x8000U, f = bits & 0x7fffffffU;
    const Bits normal = (f + 0xfffU + (f >> 13 & 1U) - (112U << 23)) >> 13;
    // A half's least bit is the least one of 0.5: adding that rounds.
    const Floats sum = of_bits<Floats>(f) + 0.5F;
    const Bits subnormal = reinterpret_cast<Bits>(sum) - 0x3f000000U;
    const Bits finite = f < 0x38800000U ? subnormal : normal;
    const Bits large = f > 0x7f800000U ? 0x7e00U | (f >> 13 & 0x3ffU) : Bits{} + 0x7c00U;
    return __builtin_convertvector((f >= 0x47800000U ? large : finite) | sign, HalvesOf<count>);
}
#endif

// The half in the lower half of each 32 bits.
template <class S, class Pairs>
inline __attribute__((always_inline)) auto from_lower_half(const S* p, Pairs both) {
    return from_half(p, __builtin_convertvector(both & 0xffffU, HalvesOf<static_cast<int>(sizeof both / 4)>));
}

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
        return from_lower_half(p, both);
    }
}

template <class V, int... J>
inline __attribute__((always_inline)) V even_elements(V a, V b, Lanes<J...>) {
    return __builtin_shufflevector(a, b, (2 * J)...);
}

template <class S, int... J>
inline __attribute__((always_inline)) Vector<Computed<S>> every_third(const S* p, Lanes<J...>) {
    constexpr int n = sizeof...(J);
    const Vector<Computed<S>> a = read(p), b = read(p + n), c = read(p + 2 * n);
    const Vector<Computed<S>> of_two = __builtin_shufflevector(a, b, (3 * J < 2 * n ? 3 * J : 0)...);
    return __builtin_shufflevector(of_two, c, (3 * J < 2 * n ? J : 3 * J - n)...);
}

// Elements that lie a small step apart: a vector of them from `step` vectors.
constexpr int64_t most_vector_step = 4;
template <class S>
inline __attribute__((always_inline)) Vector<Computed<S>> every_nth(const S* p, int64_t step) {
    constexpr LanesOf<lanes_of<Computed<S>>> lanes;
    if (step == 2) return every_second(p, lanes);
    if (step == 3) return every_third(p, lanes);
    return even_elements(every_second(p, lanes), every_second(p + 2 * lanes_of<Computed<S>>, lanes), lanes);
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
