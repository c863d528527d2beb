// The epilogue of sums: a residual is added, an activation applied, and the result stored; and activations'
// derivatives.
//
// In:  rows of sums.   Out: rows of results.   Called for what a task has just computed and still has in its caches.
// Included only by kernels.cpp, inside the namespace of one ISA.   Contract: kernels/contract.hpp.
#pragma once

// The integers of a vector's bits.
template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
    using type = int32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: added, it leaves the nearest integer in the low bits
    static constexpr float least = -110.0f, most = 100.0f;  // exp of less is 0, of more infinite
    static constexpr float ln2_hi = 0.693359375f,
                           ln2_lo = -2.12194440e-4f;  // the first has 9 bits: n * ln2_hi is exact
    static constexpr int32_t upper = int32_t(0xfffff000);  // the upper half of the significand
};
template <>
struct BitsOf<double> {
    using type = int64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double rounder = 6755399441055744.0;
    static constexpr double least = -760.0, most = 720.0;
    static constexpr double ln2_hi = 0.693147180369123816490, ln2_lo = 1.90821492927058770002e-10;
    static constexpr int64_t upper = int64_t(0xfffffffff8000000);
};

template <class T>
using Bits = typename VectorOf<typename BitsOf<T>::type, CONVPP_VECTOR_BYTES>::type;

template <class T>
inline __attribute__((always_inline)) Vector<T> splat(T value) {
    return Vector<T>{} + value;
}

template <class T, int N>
inline __attribute__((always_inline)) Vector<T> horner(const T (&coefficients)[N], Vector<T> x) {
    Vector<T> sum = splat(coefficients[0]);
#pragma GCC unroll 32
    for (int i = 1; i < N; ++i) sum = sum * x + coefficients[i];
    return sum;
}

// exp(x + rest), where rest is small.
template <class T>
inline __attribute__((always_inline)) Vector<T> exp_of(Vector<T> x, Vector<T> rest = Vector<T>{}) {
    using B = BitsOf<T>;
    x = x < B::least ? splat(B::least) : x;  // (a NaN is neither)
    x = x > B::most ? splat(B::most) : x;
    const Vector<T> shifted = x * static_cast<T>(1.44269504088896340736) + B::rounder, n = shifted - B::rounder;
    const Vector<T> r = (x - n * B::ln2_hi) - n * B::ln2_lo + rest;
    const Bits<T> power = reinterpret_cast<Bits<T>>(shifted) - reinterpret_cast<Bits<T>>(splat<T>(B::rounder));
    // In two steps, which reach what is less than normal, and infinity.
    const Bits<T> first = power >> 1, second = power - first;
    const Bits<T> one = (first + B::bias) << B::mantissa, two = (second + B::bias) << B::mantissa;
    return horner(Polynomials<T>::exp_polynomial, r) * reinterpret_cast<Vector<T>>(one) *
           reinterpret_cast<Vector<T>>(two);
}

// exp(-x^2/2) to all bits: the rounding of x^2 would be magnified by the exponential.
template <class T>
inline __attribute__((always_inline)) Vector<T> gauss(Vector<T> x) {
    const Bits<T> upper = reinterpret_cast<Bits<T>>(x) & BitsOf<T>::upper;
    const Vector<T> hi = reinterpret_cast<Vector<T>>(upper);
    return exp_of<T>(hi * hi * T(-0.5), (x - hi) * (x + hi) * T(-0.5));
}

// The normal distribution at x, given gauss(x).
template <class T>
inline __attribute__((always_inline)) Vector<T> normal_distribution(Vector<T> x, Vector<T> of_gauss) {
    const Vector<T> positive = x < T(0) ? -x : x, z = positive * static_cast<T>(0.70710678118654752440);
    const T k = static_cast<T>(erfc_center);
    // Two quotients by one division: t, and 1/(2 (1 + 2z)).
    const Vector<T> sum = z + k, twice = z * T(4) + T(2), inverse = T(1) / (sum * twice);
    const Vector<T> t = (z - k) * twice * inverse;
    const Vector<T> tail = of_gauss * horner(Polynomials<T>::erfc_polynomial, t) * sum * inverse;
    return x < T(0) ? tail : T(1) - tail;
}

// Beyond this, tails are 0; and -inf * 0 would be NaN.
template <class T>
inline constexpr T tail_end = T(40);

template <class T>
inline __attribute__((always_inline)) Vector<T> within_tail(Vector<T> x) {
    x = x < -tail_end<T> ? splat(-tail_end<T>) : x;
    return x > tail_end<T> ? splat(tail_end<T>) : x;
}

// 1 / (1 + exp(-z)), whose exponential never overflows.
template <class T>
inline __attribute__((always_inline)) Vector<T> sigmoid(Vector<T> z) {
    const Vector<T> e = exp_of<T>(z < T(0) ? z : -z);
    return (z < T(0) ? e : splat(T(1))) / (T(1) + e);
}

template <Activation::Kind Kind, class T>
inline __attribute__((always_inline)) Vector<T> activated(Vector<T> z, T lo, T hi) {
    if constexpr (Kind == Activation::Kind::relu) return z < T(0) ? Vector<T>{} : z;
    else if constexpr (Kind == Activation::Kind::leaky_relu) return z < T(0) ? z * lo : z;
    else if constexpr (Kind == Activation::Kind::clip) {
        z = z < lo ? splat(lo) : z;
        return z > hi ? splat(hi) : z;
    } else if constexpr (Kind == Activation::Kind::silu) {
        const Vector<T> bounded = z < BitsOf<T>::least ? splat(BitsOf<T>::least) : z;  // (-inf * 0 would be NaN)
        return bounded * sigmoid<T>(bounded);
    } else if constexpr (Kind == Activation::Kind::gelu) {
        const Vector<T> bounded = within_tail<T>(z);
        const Vector<T> y = bounded * normal_distribution<T>(bounded, gauss<T>(bounded));
        return z > tail_end<T> ? z : y;
    } else return z;
}

// The derivative, of y for relu, leaky_relu and clip, of z for silu and gelu.  A NaN stays a NaN.
template <Activation::Kind Kind, class T>
inline __attribute__((always_inline)) Vector<T> derivative(Vector<T> value, T lo, T hi) {
    if constexpr (Kind == Activation::Kind::relu)
        return value <= T(0) ? Vector<T>{} : value > T(0) ? splat(T(1)) : value;
    else if constexpr (Kind == Activation::Kind::leaky_relu)
        return value <= T(0) ? splat(lo) : value > T(0) ? splat(T(1)) : value;
    else if constexpr (Kind == Activation::Kind::clip) {
        const Vector<T> above = value <= lo ? Vector<T>{} : value > lo ? splat(T(1)) : value;
        return value >= hi ? Vector<T>{} : above;
    } else if constexpr (Kind == Activation::Kind::silu) {
        Vector<T> bounded = value < BitsOf<T>::least ? splat(BitsOf<T>::least) : value;
        bounded = bounded > -BitsOf<T>::least ? splat(-BitsOf<T>::least) : bounded;
        return sigmoid<T>(bounded) * (T(1) + bounded * sigmoid<T>(-bounded));
    } else if constexpr (Kind == Activation::Kind::gelu) {
        const Vector<T> bounded = within_tail<T>(value), g = gauss<T>(bounded);
        return normal_distribution<T>(bounded, g) + bounded * g * static_cast<T>(0.39894228040143267794);
    } else return value == value ? splat(T(1)) : value;
}

// use(Kind) for the activation's.
template <Activation::Kind Kind>
struct KindOf {
    static constexpr Activation::Kind kind = Kind;
};
template <class Use>
inline void with_kind(Activation::Kind kind, const Use& use) {
    switch (kind) {
        case Activation::Kind::none: return use(KindOf<Activation::Kind::none>{});
        case Activation::Kind::relu: return use(KindOf<Activation::Kind::relu>{});
        case Activation::Kind::leaky_relu: return use(KindOf<Activation::Kind::leaky_relu>{});
        case Activation::Kind::silu: return use(KindOf<Activation::Kind::silu>{});
        case Activation::Kind::gelu: return use(KindOf<Activation::Kind::gelu>{});
        case Activation::Kind::clip: return use(KindOf<Activation::Kind::clip>{});
    }
}

// use(offset, elements) for the vectors of a row, the last of them perhaps partly filled.
template <class T, class Use>
inline __attribute__((always_inline)) void for_each_vector(int64_t count, const Use& use) {
    constexpr int64_t lanes = lanes_of<T>;
    int64_t j = 0;
    for (; j + lanes <= count; j += lanes) use(j, lanes);
    if (j < count) use(j, count - j);
}

// A vector whose first elements are there.
template <class T>
inline __attribute__((always_inline)) Vector<T> load_some(const T* p, int64_t count) {
    return load_before(p, p + count);
}
template <class T>
inline __attribute__((always_inline)) void store_some(T* p, int64_t count, Vector<T> v) {
    if (__builtin_expect(count == lanes_of<T>, 1)) return store(p, v);
    T buffer[lanes_of<T>];
    store(buffer, v);
    store_part(buffer, count, p);
}

template <class S>
inline __attribute__((always_inline)) Vector<Computed<S>> read_some(const S* p, int64_t count) {
    return read_before(p, p + count);
}
// Rounds.
template <class S>
inline __attribute__((always_inline)) void write_some(S* p, int64_t count, Vector<Computed<S>> v) {
    if (__builtin_expect(count == lanes_of<Computed<S>>, 1)) return write(p, v);
    S buffer[lanes_of<Computed<S>>];
    write(buffer, v);
    store_part<S, lanes_of<Computed<S>> / 2>(buffer, count, p);
}

// S: how the result is stored; A: the residual.
template <class S, class A, class T = Computed<S>>
void apply_epilogue(const T* src, int64_t src_pitch, const void* residual, void* result, int64_t pitch, int64_t rows,
                    int64_t count, const Activation& activation) {
    if (src_pitch == count && pitch == count) count *= rows, rows = 1;
    const T lo = static_cast<T>(activation.lo), hi = static_cast<T>(activation.hi);
    const A* const add = static_cast<const A*>(residual);
    S* const dst = static_cast<S*>(result);
    with_kind(activation.kind, [&](auto of) {
        constexpr Activation::Kind kind = decltype(of)::kind;
        int64_t i = 0;
        // What spills behind a row is overwritten by the next ones, if they follow and are long enough together.
        if (add == nullptr && pitch == count)
            for (; i < rows && (rows - 1 - i) * count >= lanes_of<T>; ++i)
                for (int64_t j = 0; j < count; j += lanes_of<T>)
                    write(dst + i * pitch + j, activated<kind, T>(load(src + i * src_pitch + j), lo, hi));
        for (; i < rows; ++i)
            for_each_vector<T>(count, [&](int64_t j, int64_t some) {
                Vector<T> z = load_some(src + i * src_pitch + j, some);
                if (add != nullptr) z += read_some(add + i * pitch + j, some);
                write_some(dst + i * pitch + j, some, activated<kind, T>(z, lo, hi));
            });
    });
}

template <class T>
void multiply_derivative(const T* dy, const T* value, int64_t count, const Activation& activation, T* dz) {
    const T lo = static_cast<T>(activation.lo), hi = static_cast<T>(activation.hi);
    with_kind(activation.kind, [&](auto of) {
        constexpr Activation::Kind kind = decltype(of)::kind;
        for_each_vector<T>(count, [&](int64_t j, int64_t some) {
            const Vector<T> slope = derivative<kind, T>(load_some(value + j, some), lo, hi);
            const Vector<T> product = load_some(dy + j, some) * slope;
            store_some(dz + j, some, slope == T(0) ? Vector<T>{} : product);  // (inf * 0 would be NaN)
        });
    });
}

template <class T>
void fill_epilogue(KernelTable<T>& table) {
    constexpr int plain = static_cast<int>(Storage::plain);
    table.apply_epilogue[plain][plain] = &apply_epilogue<T, T>;
    if constexpr (sizeof(T) == sizeof(float)) {
        constexpr int brain = static_cast<int>(Storage::bfloat16), half = static_cast<int>(Storage::float16);
        table.apply_epilogue[brain][brain] = &apply_epilogue<bfloat16, bfloat16>;
        table.apply_epilogue[brain][plain] = &apply_epilogue<bfloat16, float>;
        table.apply_epilogue[plain][brain] = &apply_epilogue<float, bfloat16>;
        table.apply_epilogue[half][half] = &apply_epilogue<float16, float16>;
        table.apply_epilogue[half][plain] = &apply_epilogue<float16, float>;
        table.apply_epilogue[plain][half] = &apply_epilogue<float, float16>;
    }
}
