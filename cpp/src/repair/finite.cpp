// Looks for NaN and Inf.  finite.hpp says what comes in and goes out.
#include "repair/finite.hpp"

#include <cstddef>
#include <cstring>
#include <limits>

namespace convpp {
namespace {

// Integer arithmetic on the bits: the compiler vectorises it, which it must not do with a sum of floats.
template <class Bits>
bool all_finite(const std::byte* values, int64_t count, Bits exponent) {
    constexpr int64_t at_once = 4096;  // enough to be fast, few enough to stop early
    Bits found = 0;
    for (int64_t lo = 0; lo < count && found == 0; lo += at_once)
        for (int64_t i = lo, hi = lo + at_once < count ? lo + at_once : count; i < hi; ++i) {
            Bits bits;
            std::memcpy(&bits, values + i * static_cast<int64_t>(sizeof bits), sizeof bits);
            found |= static_cast<Bits>((bits & exponent) == exponent);
        }
    return found == 0;
}

template <class Bits>
void add_kinds(const std::byte* values, int64_t count, Bits exponent, unsigned char* kinds) {
    constexpr Bits magnitude = std::numeric_limits<Bits>::max();  // signed, as SSE2 compares
    for (int64_t i = 0; i < count; ++i) {
        Bits bits;
        std::memcpy(&bits, values + i * static_cast<int64_t>(sizeof bits), sizeof bits);
        bits = static_cast<Bits>(bits & magnitude);
        const auto kind = static_cast<unsigned char>((bits >= exponent) + (bits > exponent));
        kinds[i] = kind > kinds[i] ? kind : kinds[i];
    }
}

}  // namespace

template <class T>
bool all_finite(const Stored<T>& values, int64_t count) {
    switch (values.as) {
        case Storage::bfloat16: return all_finite(values.at, count, uint16_t(0x7f80));
        case Storage::float16: return all_finite(values.at, count, uint16_t(0x7c00));
        case Storage::plain: break;
    }
    if (sizeof(T) == sizeof(float)) return all_finite(values.at, count, uint32_t(0x7f800000));
    return all_finite(values.at, count, uint64_t(0x7ff0000000000000));
}

template <class T>
void add_kinds(const Stored<T>& values, int64_t count, unsigned char* kinds) {
    switch (values.as) {
        case Storage::bfloat16: return add_kinds(values.at, count, int16_t(0x7f80), kinds);
        case Storage::float16: return add_kinds(values.at, count, int16_t(0x7c00), kinds);
        case Storage::plain: break;
    }
    if (sizeof(T) == sizeof(float)) return add_kinds(values.at, count, int32_t(0x7f800000), kinds);
    return add_kinds(values.at, count, int64_t(0x7ff0000000000000), kinds);
}

template void add_kinds(const Stored<float>&, int64_t, unsigned char*);
template void add_kinds(const Stored<double>&, int64_t, unsigned char*);
template bool all_finite(const Stored<float>&, int64_t);
template bool all_finite(const Stored<double>&, int64_t);

}  // namespace convpp
