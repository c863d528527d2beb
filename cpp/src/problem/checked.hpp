// 64-bit arithmetic that throws ShapeError instead of wrapping around.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "convpp/error.hpp"

namespace convpp {

inline int64_t checked_mul(int64_t a, int64_t b, const char* what) {
    int64_t result = 0;
    if (__builtin_mul_overflow(a, b, &result))
        throw ShapeError(std::string(what) + " is too large: " + std::to_string(a) + " * " + std::to_string(b) +
                         " does not fit 64 bits");
    return result;
}

inline int64_t checked_add(int64_t a, int64_t b, const char* what) {
    int64_t result = 0;
    if (__builtin_add_overflow(a, b, &result))
        throw ShapeError(std::string(what) + " is too large: " + std::to_string(a) + " + " + std::to_string(b) +
                         " does not fit 64 bits");
    return result;
}

// Of numbers, none of them negative, where more than fit count as the most: extents of an empty batch may be more.
inline int64_t saturated_mul(int64_t a, int64_t b) {
    int64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<int64_t>::max() : result;
}

inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
inline int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace convpp
