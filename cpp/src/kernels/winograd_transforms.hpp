// Matrices of Winograd's minimal filtering, F(Outputs, Taps).  Written by tools/winograd_transforms.py, which says how
// and why with these points: change them there, and run it.  Included only by kernels.cpp, inside the namespace of one
// ISA.
//
//     y = A^T [ (G g) . (B^T d) ]                          y[i] = sum over j of g[j] d[i + j]
//     dw = G^T [ sum of (A dy) . (B^T x) ]                 its gradient in g
//
// In two dimensions each matrix is applied along both.  The products' points are 0, +a, -a, +b, -b, ..., infinity.
// Rows 1 and 2, 3 and 4, ... of B^T, G and A are mirrored: with E from the even columns and O from the odd ones,
// the first of the pair is E + O and the second E - O, exactly.
#pragma once

// clang-format off: a row of a matrix is a line
template <int Outputs, int Taps>
struct WinogradTransform;

template <>
struct WinogradTransform<2, 3> {
    static constexpr int points = 4;
    static constexpr double source[4][4] = {  // B^T
        {-1.0, 0.0, 1.0, 0.0},
        {0.0, 1.0, 1.0, 0.0},
        {0.0, -1.0, 1.0, 0.0},
        {0.0, -1.0, 0.0, 1.0},
    };
    static constexpr double weights[4][3] = {  // G
        {-1.0, 0.0, 0.0},
        {0.5, 0.5, 0.5},
        {0.5, -0.5, 0.5},
        {0.0, 0.0, 1.0},
    };
    static constexpr double results[2][4] = {  // A^T
        {1.0, 1.0, 1.0, 0.0},
        {0.0, 1.0, -1.0, 1.0},
    };
};

template <>
struct WinogradTransform<4, 3> {
    static constexpr int points = 6;
    static constexpr double source[6][6] = {  // B^T
        {4.0, 0.0, -5.0, 0.0, 1.0, 0.0},
        {0.0, -4.0, -4.0, 1.0, 1.0, 0.0},
        {0.0, 4.0, -4.0, -1.0, 1.0, 0.0},
        {0.0, -2.0, -1.0, 2.0, 1.0, 0.0},
        {0.0, 2.0, -1.0, -2.0, 1.0, 0.0},
        {0.0, 4.0, 0.0, -5.0, 0.0, 1.0},
    };
    static constexpr double weights[6][3] = {  // G
        {0.25, 0.0, 0.0},
        {-1.0 / 6, -1.0 / 6, -1.0 / 6},
        {-1.0 / 6, 1.0 / 6, -1.0 / 6},
        {1.0 / 24, 1.0 / 12, 1.0 / 6},
        {1.0 / 24, -1.0 / 12, 1.0 / 6},
        {0.0, 0.0, 1.0},
    };
    static constexpr double results[4][6] = {  // A^T
        {1.0, 1.0, 1.0, 1.0, 1.0, 0.0},
        {0.0, 1.0, -1.0, 2.0, -2.0, 0.0},
        {0.0, 1.0, 1.0, 4.0, 4.0, 0.0},
        {0.0, 1.0, -1.0, 8.0, -8.0, 1.0},
    };
};

template <>
struct WinogradTransform<2, 5> {
    static constexpr int points = 6;
    static constexpr double source[6][6] = {  // B^T
        {4.0, 0.0, -5.0, 0.0, 1.0, 0.0},
        {0.0, -4.0, -4.0, 1.0, 1.0, 0.0},
        {0.0, 4.0, -4.0, -1.0, 1.0, 0.0},
        {0.0, -2.0, -1.0, 2.0, 1.0, 0.0},
        {0.0, 2.0, -1.0, -2.0, 1.0, 0.0},
        {0.0, 4.0, 0.0, -5.0, 0.0, 1.0},
    };
    static constexpr double weights[6][5] = {  // G
        {0.25, 0.0, 0.0, 0.0, 0.0},
        {-1.0 / 6, -1.0 / 6, -1.0 / 6, -1.0 / 6, -1.0 / 6},
        {-1.0 / 6, 1.0 / 6, -1.0 / 6, 1.0 / 6, -1.0 / 6},
        {1.0 / 24, 1.0 / 12, 1.0 / 6, 1.0 / 3, 2.0 / 3},
        {1.0 / 24, -1.0 / 12, 1.0 / 6, -1.0 / 3, 2.0 / 3},
        {0.0, 0.0, 0.0, 0.0, 1.0},
    };
    static constexpr double results[2][6] = {  // A^T
        {1.0, 1.0, 1.0, 1.0, 1.0, 0.0},
        {0.0, 1.0, -1.0, 2.0, -2.0, 1.0},
    };
};

// clang-format on
