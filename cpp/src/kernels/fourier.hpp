// The part of the kernels' contract that is about Fourier transforms: what they are given, what they write.
//
// In:  spectra, rows of vectors.   Out: the same, transformed; products and sums of spectra.
// Implemented in fft/.   Next: contract.hpp, which has the tables.
#pragma once

#include <cstdint>

namespace convpp::kernels {

// Fourier transforms along one axis: passes of small radices, and their factors exp(-2 pi i j k / n), forward, pass by
// pass: of radix - 1 numbers k for each j < n/radix, real and imaginary part.
inline constexpr int max_fourier_passes = 40;
template <int R>
struct FourierRadix {
    static constexpr int value = R;
};
template <class T>
struct FourierPasses {
    int64_t points = 1;
    int count = 0;
    unsigned char radix[max_fourier_passes] = {};
    const T* factors = nullptr;
};

// Of real rows of 2h elements: where frequencies k and h - k (0 < k <= h/2) of their h points end up, and
// exp(-2 pi i k / 2h).
template <class T>
struct FourierHalves {
    int64_t pairs = 0;
    const int32_t *low = nullptr, *high = nullptr;
    const T* factors = nullptr;
};

// Spectra: of each frequency (`point` elements on), a vector of real parts and, `half` elements on, one of imaginary
// parts; then the next vector of lanes, the next row.
//   y[row][vector] = the sum over terms of x[vector] from x_at[term] on, times the conjugate of w[row][term]
// of all frequencies.  w is one number for all lanes, or a vector for each.  `onto`: added to y.
template <class T>
struct SpectraProduct {
    int64_t points, rows, terms, vectors;
    const T* x;
    const int64_t* x_at;
    int64_t x_point, x_half, x_vector;
    const T* w;
    int64_t w_point, w_half, w_vector, w_row, w_term;
    T* y;
    int64_t y_point, y_half, y_vector, y_row;
    bool onto;
};

// sums[row*terms + term], `pair` elements apart, [frequency][real, imaginary] += the sum over all lanes of x[vector]
// from x_at[term] on, times the conjugate of y[row][vector].  `pair` is a multiple of a vector.
template <class T>
struct SpectraSums {
    int64_t points, rows, terms, vectors;
    const T* x;
    const int64_t* x_at;
    int64_t x_point, x_half, x_vector;
    const T* y;
    int64_t y_point, y_half, y_vector, y_row;
    T* sums;
    int64_t pair;
};

template <class T>
struct FourierKernels {
    // `lines` transforms, `line_step` apart, of points that are `step` apart.
    void (*forward)(const FourierPasses<T>& passes, T* z, int64_t step, int64_t lines, int64_t line_step);
    void (*inverse)(const FourierPasses<T>& passes, T* z, int64_t step, int64_t lines, int64_t line_step);
    // Rows of 2h real vectors become h + 1 points, times 2*scale; and back, times 2h.
    void (*real_rows)(const FourierPasses<T>& passes, const FourierHalves<T>& halves, T scale, T* z, int64_t rows,
                      int64_t row_step);
    void (*rows_real)(const FourierPasses<T>& passes, const FourierHalves<T>& halves, T* z, int64_t rows,
                      int64_t row_step);
    void (*multiply)(const SpectraProduct<T>& spectra);  // by numbers
    void (*multiply_lanes)(const SpectraProduct<T>& spectra);  // by vectors
    void (*sum)(const SpectraSums<T>& spectra);
};

}  // namespace convpp::kernels
