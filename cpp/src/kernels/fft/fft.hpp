// Fourier transforms of vectors: each lane is a transform of its own, so nothing is ever shuffled.
//
// In:  points, a vector of real and one of imaginary parts each; radices and factors (contract.hpp).   Out: the same
// points transformed, in place.   Included only by kernels.cpp.   Next: spectra.hpp, which multiplies them.
//
// Forward, each pass splits a transform of R*m points into R of m (decimation in frequency): point k*m + j holds what
// belongs to the frequencies that leave k when they are divided by R.  So frequencies end up in the order of their
// digits, and the inverse begins from there (decimation in time).  Nobody sorts them: a product of spectra only has to
// meet the same frequency in both.
#pragma once

template <class T>
struct Complex {
    Vector<T> re, im;
};

template <class T>
inline __attribute__((always_inline)) Complex<T> load_point(const T* p) {
    return {load(p), load(p + lanes_of<T>)};
}

template <class T>
inline __attribute__((always_inline)) void store_point(T* p, Complex<T> z) {
    store(p, z.re);
    store(p + lanes_of<T>, z.im);
}

template <class T>
inline __attribute__((always_inline)) Complex<T> plus(Complex<T> a, Complex<T> b) {
    return {a.re + b.re, a.im + b.im};
}

template <class T>
inline __attribute__((always_inline)) Complex<T> minus(Complex<T> a, Complex<T> b) {
    return {a.re - b.re, a.im - b.im};
}

// a -/+ i*b: forward, or inverse.
template <bool Inverse, class T>
inline __attribute__((always_inline)) Complex<T> minus_turned(Complex<T> a, Complex<T> b) {
    if constexpr (Inverse) return {a.re - b.im, a.im + b.re};
    else return {a.re + b.im, a.im - b.re};
}
template <bool Inverse, class T>
inline __attribute__((always_inline)) Complex<T> plus_turned(Complex<T> a, Complex<T> b) {
    return minus_turned<!Inverse>(a, b);
}

// Times a factor (forward) or its conjugate.
template <bool Inverse, class T>
inline __attribute__((always_inline)) Complex<T> times_factor(Complex<T> a, const T* factor) {
    const T c = factor[0], s = factor[1];
    if constexpr (Inverse) return {a.re * c + a.im * s, a.im * c - a.re * s};
    else return {a.re * c - a.im * s, a.im * c + a.re * s};
}

template <class T>
inline __attribute__((always_inline)) Complex<T> scaled(Complex<T> a, T by) {
    return {a.re * by, a.im * by};
}

// The transform of R points, exp(-2 pi i / R) or (inverse) its conjugate.
template <bool Inverse, class T>
inline __attribute__((always_inline)) void butterfly(Complex<T> (&z)[2]) {
    const Complex<T> a = z[0];
    z[0] = plus(a, z[1]);
    z[1] = minus(a, z[1]);
}

template <bool Inverse, class T>
inline __attribute__((always_inline)) void butterfly(Complex<T> (&z)[3]) {
    constexpr T half_sqrt3 = T(0.86602540378443864676);
    const Complex<T> sum = plus(z[1], z[2]), turned = scaled(minus(z[1], z[2]), half_sqrt3);
    const Complex<T> mid{z[0].re - T(0.5) * sum.re, z[0].im - T(0.5) * sum.im};
    z[0] = plus(z[0], sum);
    z[1] = minus_turned<Inverse>(mid, turned);
    z[2] = plus_turned<Inverse>(mid, turned);
}

template <bool Inverse, class T>
inline __attribute__((always_inline)) void butterfly(Complex<T> (&z)[4]) {
    const Complex<T> a = plus(z[0], z[2]), b = minus(z[0], z[2]), c = plus(z[1], z[3]), d = minus(z[1], z[3]);
    z[0] = plus(a, c);
    z[2] = minus(a, c);
    z[1] = minus_turned<Inverse>(b, d);
    z[3] = plus_turned<Inverse>(b, d);
}

template <bool Inverse, class T>
inline __attribute__((always_inline)) void butterfly(Complex<T> (&z)[5]) {
    constexpr T cos1 = T(0.30901699437494742410), cos2 = T(-0.80901699437494742410);
    constexpr T sin1 = T(0.95105651629515357212), sin2 = T(0.58778525229247312917);
    const Complex<T> a = plus(z[1], z[4]), b = plus(z[2], z[3]), c = minus(z[1], z[4]), d = minus(z[2], z[3]);
    const Complex<T> mid1{z[0].re + cos1 * a.re + cos2 * b.re, z[0].im + cos1 * a.im + cos2 * b.im};
    const Complex<T> mid2{z[0].re + cos2 * a.re + cos1 * b.re, z[0].im + cos2 * a.im + cos1 * b.im};
    const Complex<T> turned1{sin1 * c.re + sin2 * d.re, sin1 * c.im + sin2 * d.im};
    const Complex<T> turned2{sin2 * c.re - sin1 * d.re, sin2 * c.im - sin1 * d.im};
    z[0] = plus(z[0], plus(a, b));
    z[1] = minus_turned<Inverse>(mid1, turned1);
    z[4] = plus_turned<Inverse>(mid1, turned1);
    z[2] = minus_turned<Inverse>(mid2, turned2);
    z[3] = plus_turned<Inverse>(mid2, turned2);
}

// A pass over `blocks` transforms of R*m points each.
template <class T, int R, bool Inverse, bool Turned>
void fourier_pass(T* z, int64_t step, int64_t blocks, int64_t m, const T* factors) {
    for (int64_t b = 0; b < blocks; ++b, z += R * m * step) {
        const T* factor = factors;
        for (int64_t j = 0; j < m; ++j, factor += 2 * (R - 1)) {
            T* const at = z + j * step;
            Complex<T> point[R];
#pragma GCC unroll 5
            for (int q = 0; q < R; ++q) {
                point[q] = load_point(at + q * m * step);
                if constexpr (Turned && Inverse)
                    if (q > 0) point[q] = times_factor<true>(point[q], factor + 2 * (q - 1));
            }
            butterfly<Inverse>(point);
#pragma GCC unroll 5
            for (int q = 0; q < R; ++q) {
                if constexpr (Turned && !Inverse)
                    if (q > 0) point[q] = times_factor<false>(point[q], factor + 2 * (q - 1));
                store_point(at + q * m * step, point[q]);
            }
        }
    }
}

template <class T, bool Inverse>
void fourier_pass_of(int radix, T* z, int64_t step, int64_t blocks, int64_t m, const T* factors) {
    const auto pass = [&](auto r) {
        constexpr int R = decltype(r)::value;
        if (m > 1) fourier_pass<T, R, Inverse, true>(z, step, blocks, m, factors);
        else fourier_pass<T, R, Inverse, false>(z, step, blocks, m, factors);
    };
    switch (radix) {
        case 2: return pass(FourierRadix<2>{});
        case 3: return pass(FourierRadix<3>{});
        case 4: return pass(FourierRadix<4>{});
        default: return pass(FourierRadix<5>{});
    }
}

// The passes from `pass` on, of one transform of n points.  While that takes more than half of L1 (32 KiB at least), the
// parts that a pass leaves are finished one by one, where they stay.
template <class T, bool Inverse>
void fourier_line(const FourierPasses<T>& passes, int pass, T* z, int64_t step, int64_t n, const T* factors) {
    constexpr int64_t half_of_l1 = 16 << 10, point_bytes = 2 * CONVPP_VECTOR_BYTES;
    if (pass == passes.count) return;
    if (n * point_bytes > half_of_l1) {
        const int radix = passes.radix[pass];
        const int64_t m = n / radix;
        if constexpr (!Inverse) fourier_pass_of<T, Inverse>(radix, z, step, 1, m, factors);
        for (int q = 0; q < radix; ++q)
            fourier_line<T, Inverse>(passes, pass + 1, z + q * m * step, step, m, factors + 2 * (radix - 1) * m);
        if constexpr (Inverse) fourier_pass_of<T, Inverse>(radix, z, step, 1, m, factors);
        return;
    }
    if constexpr (!Inverse) {
        int64_t blocks = 1;
        for (; pass < passes.count; ++pass) {
            const int radix = passes.radix[pass];
            n /= radix;
            fourier_pass_of<T, Inverse>(radix, z, step, blocks, n, factors);
            factors += 2 * (radix - 1) * n;
            blocks *= radix;
        }
    } else {
        const T* own[max_fourier_passes];
        int64_t length[max_fourier_passes], blocks = 1;
        int last = pass;
        for (; last < passes.count; ++last) {
            n /= passes.radix[last];
            own[last] = factors;
            length[last] = n;
            factors += 2 * (passes.radix[last] - 1) * n;
            blocks *= passes.radix[last];
        }
        for (int p = last - 1; p >= pass; --p) {  // the last one first
            blocks /= passes.radix[p];
            fourier_pass_of<T, Inverse>(passes.radix[p], z, step, blocks, length[p], own[p]);
        }
    }
}

template <class T, bool Inverse>
void fourier_lines(const FourierPasses<T>& passes, T* z, int64_t step, int64_t lines, int64_t line_step) {
    for (int64_t i = 0; i < lines; ++i)
        fourier_line<T, Inverse>(passes, 0, z + i * line_step, step, passes.points, passes.factors);
}

// Rows of 2h real vectors become h + 1 points each, times 2*scale: a transform of h points whose imaginary parts are the
// odd elements, taken apart by symmetry.
template <class T>
void fourier_real_rows(const FourierPasses<T>& passes, const FourierHalves<T>& halves, T scale, T* z, int64_t rows,
                       int64_t row_step) {
    constexpr int64_t point = 2 * lanes_of<T>;
    const int64_t h = passes.points;
    for (int64_t i = 0; i < rows; ++i, z += row_step) {
        fourier_line<T, false>(passes, 0, z, point, h, passes.factors);
        const Complex<T> first = load_point(z);
        const T twice = 2 * scale;
        store_point(z, {(first.re + first.im) * twice, Vector<T>{}});
        store_point(z + h * point, {(first.re - first.im) * twice, Vector<T>{}});
        for (int64_t p = 0; p < halves.pairs; ++p) {
            T *const low = z + halves.low[p] * point, *const high = z + halves.high[p] * point;
            const Complex<T> a = scaled(load_point(low), scale), b = scaled(load_point(high), scale);
            const Complex<T> even{a.re + b.re, a.im - b.im}, odd{a.im + b.im, b.re - a.re};
            const Complex<T> turned = times_factor<false>(odd, halves.factors + 2 * p);
            store_point(low, plus(even, turned));
            store_point(high, {even.re - turned.re, turned.im - even.im});
        }
    }
}

// And back, times 2h of what real numbers they came from.
template <class T>
void fourier_rows_real(const FourierPasses<T>& passes, const FourierHalves<T>& halves, T* z, int64_t rows,
                       int64_t row_step) {
    constexpr int64_t point = 2 * lanes_of<T>;
    const int64_t h = passes.points;
    for (int64_t i = 0; i < rows; ++i, z += row_step) {
        const Vector<T> first = load(z), last = load(z + h * point);
        store_point(z, {first + last, first - last});
        for (int64_t p = 0; p < halves.pairs; ++p) {
            T *const low = z + halves.low[p] * point, *const high = z + halves.high[p] * point;
            const Complex<T> a = load_point(low), b = load_point(high);
            const Complex<T> even{a.re + b.re, a.im - b.im}, turned{a.re - b.re, a.im + b.im};
            const Complex<T> odd = times_factor<true>(turned, halves.factors + 2 * p);
            store_point(low, {even.re - odd.im, even.im + odd.re});
            store_point(high, {even.re + odd.im, odd.re - even.im});
        }
        fourier_line<T, true>(passes, 0, z, point, h, passes.factors);
    }
}
