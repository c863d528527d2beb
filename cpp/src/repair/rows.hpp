// Rows of a source as they lie in memory, and their dot products, for layers that have too few channels for tiles.
//
// In:  rows of elements, however they are stored.   Out: sums.   Next: narrow_products.hpp, narrow_sums.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "problem/index_map.hpp"
#include "source/stored.hpp"

namespace convpp {

// An element as what is computed with.
template <class T, class S>
T computed(S value) {
    if constexpr (std::is_same_v<S, T>) return value;
    else return static_cast<T>(static_cast<float>(value));
}

// Lanes side by side, so that the compiler need not reorder a sum to use vectors.
inline constexpr int64_t dot_lanes = 16;

template <class T, class A, class B>
T strided_dot(const A* a, int64_t a_step, const B* b, int64_t b_step, int64_t count) {
    std::array<T, dot_lanes> lanes{};
    int64_t i = 0;
    for (; i + dot_lanes <= count; i += dot_lanes)
        for (int64_t lane = 0; lane < dot_lanes; ++lane)
            lanes[static_cast<size_t>(lane)] +=
                computed<T>(a[(i + lane) * a_step]) * computed<T>(b[(i + lane) * b_step]);
    constexpr int64_t few = 4;
    for (; i + few <= count; i += few)
        for (int64_t lane = 0; lane < few; ++lane)
            lanes[static_cast<size_t>(lane)] +=
                computed<T>(a[(i + lane) * a_step]) * computed<T>(b[(i + lane) * b_step]);
    T sum = T(0);
    for (; i < count; ++i) sum += computed<T>(a[i * a_step]) * computed<T>(b[i * b_step]);
    for (const T lane : lanes) sum += lane;
    return sum;
}

// The sum of a[i*a_step] * b[i*b_step] for i < count.
template <class T, class A, class B>
T dot(const A* a, int64_t a_step, const B* b, int64_t b_step, int64_t count) {
    if (a_step == 1 && b_step == 1) return strided_dot<T>(a, 1, b, 1, count);
    return strided_dot<T>(a, a_step, b, b_step, count);
}

// Positions of a map's first pixel and tap along an axis of the source, and from one to the next.
struct SourceSteps {
    int64_t first, pixel, tap;

    SourceSteps(const AxisMap& axis, int64_t stride)
        : first(axis.taps[0].offset * stride),
          pixel(axis.source_step * stride),
          tap(axis.taps.size() > 1 ? (axis.taps[1].offset - axis.taps[0].offset) * stride : 0) {}
    int64_t at(int64_t u, int64_t t) const { return first + u * pixel + t * tap; }
};

}  // namespace convpp
