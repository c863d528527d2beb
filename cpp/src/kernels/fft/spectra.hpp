// Products of spectra, frequency by frequency.
//
// In:  spectra as contract.hpp lays them out.   Out: their products (y, dx), or sums of them over all lanes (dw).
// Included only by kernels.cpp.   Before: fft.hpp.
#pragma once

// Rows x Vectors products of one frequency: y = sum over terms of x * conj(w).
template <class T, int Rows, int Vectors, bool EachLane>
inline __attribute__((always_inline)) void multiply_point(const SpectraProduct<T>& s, const T* x, const T* w, T* y) {
    Complex<T> sum[Rows][Vectors];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v)
            sum[r][v] = s.onto ? Complex<T>{load(y + r * s.y_row + v * s.y_vector),
                                            load(y + r * s.y_row + v * s.y_vector + s.y_half)}
                               : Complex<T>{};
    for (int64_t t = 0; t < s.terms; ++t) {
        const T* const from = x + s.x_at[t];
        Complex<T> source[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v)
            source[v] = {load(from + v * s.x_vector), load(from + v * s.x_vector + s.x_half)};
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
            const T* const weight = w + r * s.w_row + t * s.w_term;
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) {
                Complex<T> by;
                if constexpr (EachLane) {
                    by = {load(weight + v * s.w_vector), load(weight + v * s.w_vector + s.w_half)};
                } else {
                    by = {Vector<T>{} + weight[0], Vector<T>{} + weight[s.w_half]};
                }
                sum[r][v].re += source[v].re * by.re;
                sum[r][v].im += source[v].im * by.re;
                sum[r][v].re += source[v].im * by.im;
                sum[r][v].im -= source[v].re * by.im;
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; ++v) {
            store(y + r * s.y_row + v * s.y_vector, sum[r][v].re);
            store(y + r * s.y_row + v * s.y_vector + s.y_half, sum[r][v].im);
        }
}

template <class T, int Rows, int Vectors, bool EachLane>
inline void multiply_rows(const SpectraProduct<T>& s, const T* x, const T* w, T* y, int64_t& v) {
    for (; v + Vectors <= s.vectors; v += Vectors) {
        int64_t r = 0;
        for (; r + Rows <= s.rows; r += Rows)
            multiply_point<T, Rows, Vectors, EachLane>(s, x + v * s.x_vector, w + r * s.w_row + v * s.w_vector,
                                                       y + r * s.y_row + v * s.y_vector);
        for (; r < s.rows; ++r)
            multiply_point<T, 1, Vectors, EachLane>(s, x + v * s.x_vector, w + r * s.w_row + v * s.w_vector,
                                                    y + r * s.y_row + v * s.y_vector);
    }
}

template <class T, bool EachLane>
void multiply_spectra(const SpectraProduct<T>& s) {
    const T *x = s.x, *w = s.w;
    T* y = s.y;
    for (int64_t f = 0; f < s.points; ++f, x += s.x_point, w += s.w_point, y += s.y_point) {
        int64_t v = 0;
        multiply_rows<T, 2, 2, EachLane>(s, x, w, y, v);
        multiply_rows<T, 4, 1, EachLane>(s, x, w, y, v);
    }
}

// Sums over the lanes of some frequencies at once, as many as fill a vector with their real and imaginary parts.
template <class T>
void sum_spectra(const SpectraSums<T>& s) {
    constexpr int lanes = lanes_of<T>, at_once = lanes / 2;
    for (int64_t f = 0; f < s.points; f += at_once) {
        const int64_t left = s.points - f;
        const T *const x = s.x + f * s.x_point, *const y = s.y + f * s.y_point;
        for (int64_t r = 0; r < s.rows; ++r)
            for (int64_t t = 0; t < s.terms; ++t) {
                Vector<T> sum[lanes] = {};
#pragma GCC unroll 8
                for (int i = 0; i < at_once; ++i) {
                    if (i >= left) break;
                    const T* a = x + i * s.x_point + s.x_at[t];
                    const T* b = y + i * s.y_point + r * s.y_row;
                    Complex<T> own{};
                    for (int64_t v = 0; v < s.vectors; ++v, a += s.x_vector, b += s.y_vector) {
                        const Complex<T> p{load(a), load(a + s.x_half)}, q{load(b), load(b + s.y_half)};
                        own.re += p.re * q.re;
                        own.im += p.im * q.re;
                        own.re += p.im * q.im;
                        own.im -= p.re * q.im;
                    }
                    sum[2 * i] = own.re;
                    sum[2 * i + 1] = own.im;
                }
                transpose(sum);
            // Halves are added until one vector is left, as in sum_of_lanes.
#pragma GCC unroll 4
                for (int half = lanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
                    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
                T* const to = s.sums + (r * s.terms + t) * s.pair + 2 * f;
                store(to, load(to) + sum[0]);
            }
    }
}

template <class T>
constexpr FourierKernels<T> fourier_kernels() {
    return {&fourier_lines<T, false>,    &fourier_lines<T, true>,    &fourier_real_rows<T>, &fourier_rows_real<T>,
            &multiply_spectra<T, false>, &multiply_spectra<T, true>, &sum_spectra<T>};
}
