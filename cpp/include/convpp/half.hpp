// The two types that take half the memory of float32: how they are stored, and what they convert to and from.
//
// In:  a float.   Out: the nearest half (ties to even; too large is Inf, NaN stays NaN), and back, which is exact.
// convpp stores in them and computes in float32: every result is rounded once.
//
//   bfloat16   1 sign, 8 exponent, 7 mantissa bits: a float32 without its last 16 bits
//   float16    1 sign, 5 exponent, 10 mantissa bits: IEEE 754's binary16, 6e-8 to 65504
#pragma once

#include <cstdint>
#include <cstring>

namespace convpp {

namespace half {

inline uint32_t bits_of(float value) noexcept {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) noexcept {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace half

// Plain memory, like uint16_t: no constructors.  bfloat16::from(1.5F), static_cast<float>(b).
struct bfloat16 {
    uint16_t bits;

    static bfloat16 from(float value) noexcept {
        const uint32_t f = half::bits_of(value);
        if ((f & 0x7fffffffU) > 0x7f800000U) return {static_cast<uint16_t>(f >> 16 | 0x40U)};  // NaN
        return {static_cast<uint16_t>((f + 0x7fffU + (f >> 16 & 1U)) >> 16)};
    }
    explicit operator float() const noexcept { return half::float_of(uint32_t(bits) << 16); }
};

struct float16 {
    uint16_t bits;

    static float16 from(float value) noexcept {
        const uint32_t f = half::bits_of(value) & 0x7fffffffU, sign = half::bits_of(value) >> 16 & 0x8000U;
        return {static_cast<uint16_t>(sign | magnitude(f))};
    }
    explicit operator float() const noexcept {
        const uint32_t sign = uint32_t(bits & 0x8000U) << 16, f = uint32_t(bits & 0x7fffU) << 13;
        if (f < 1U << 23) {  // zero or subnormal: a multiple of 2^-24
            constexpr float unit = 1.0F / 16777216.0F;
            return half::float_of(half::bits_of(static_cast<float>(bits & 0x3ffU) * unit) | sign);
        }
        return half::float_of((f + ((f >= 31U << 23 ? 224U : 112U) << 23)) | sign);
    }

private:
    static uint32_t magnitude(uint32_t f) noexcept {
        if (f > 0x7f800000U) return 0x7e00U | (f >> 13 & 0x3ffU);  // NaN
        if (f >= 0x47800000U) return 0x7c00U;  // 65536 and more
        if (f >= 0x38800000U) return (f + 0xfffU + (f >> 13 & 1U) - (112U << 23)) >> 13;
        if (f < 0x33000000U) return 0;  // less than half of the least one
        const uint32_t mantissa = (f & 0x7fffffU) | 0x800000U, shift = 126U - (f >> 23);
        const uint32_t whole = mantissa >> shift, rest = mantissa & ((1U << shift) - 1U), middle = 1U << (shift - 1U);
        return whole + (rest > middle || (rest == middle && (whole & 1U) != 0U) ? 1U : 0U);
    }
};

// What is computed with, where operands are stored as S.
template <class S>
struct ComputedWith {
    using type = S;
};
template <>
struct ComputedWith<bfloat16> {
    using type = float;
};
template <>
struct ComputedWith<float16> {
    using type = float;
};
template <class S>
using Computed = typename ComputedWith<S>::type;

}  // namespace convpp
