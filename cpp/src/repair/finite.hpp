// Whether numbers are finite.
//
// In:  an array, however it is stored.   Out: whether it has neither NaN nor Inf.   Next: nonfinite.hpp.
#pragma once

#include <cstdint>

#include "source/stored.hpp"

namespace convpp {

template <class T>
bool is_finite(T value) {
    return value - value == T(0);
}

template <class T>
bool all_finite(const Stored<T>& values, int64_t count);

// What is not finite, and what then has the last word.
inline constexpr unsigned char kind_inf = 1, kind_nan = 2;

// kinds[i] becomes the kind of value i, unless it is larger.
template <class T>
void add_kinds(const Stored<T>& values, int64_t count, unsigned char* kinds);

}  // namespace convpp
