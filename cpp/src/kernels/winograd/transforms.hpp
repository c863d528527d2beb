// Matrices of Winograd's minimal filtering, F(Outputs, Taps).  Written by tools/winograd_transforms.py: change it
// there, and run it.  It says how they are made, and why with these points: they round least.  Included only by
// kernels.cpp, inside the namespace of one ISA.
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
        {0.87890625, 0.0, -2.640625, 0.0, 1.0, 0.0},
        {0.0, -1.40625, -2.25, 0.625, 1.0, 0.0},
        {0.0, 1.40625, -2.25, -0.625, 1.0, 0.0},
        {0.0, -0.5859375, -0.390625, 1.5, 1.0, 0.0},
        {0.0, 0.5859375, -0.390625, -1.5, 1.0, 0.0},
        {0.0, 0.87890625, 0.0, -2.640625, 0.0, 1.0},
    };
    static constexpr double weights[6][3] = {  // G
        {256.0 / 225, 0.0, 0.0},
        {-2048.0 / 2975, -256.0 / 595, -32.0 / 119},
        {-2048.0 / 2975, 256.0 / 595, -32.0 / 119},
        {128.0 / 1071, 64.0 / 357, 32.0 / 119},
        {128.0 / 1071, -64.0 / 357, 32.0 / 119},
        {0.0, 0.0, 1.0},
    };
    static constexpr double results[4][6] = {  // A^T
        {1.0, 1.0, 1.0, 1.0, 1.0, 0.0},
        {0.0, 0.625, -0.625, 1.5, -1.5, 0.0},
        {0.0, 0.390625, 0.390625, 2.25, 2.25, 0.0},
        {0.0, 0.244140625, -0.244140625, 3.375, -3.375, 1.0},
    };
};

template <>
struct WinogradTransform<2, 5> {
    static constexpr int points = 6;
    static constexpr double source[6][6] = {  // B^T
        {0.87890625, 0.0, -2.640625, 0.0, 1.0, 0.0},
        {0.0, -1.40625, -2.25, 0.625, 1.0, 0.0},
        {0.0, 1.40625, -2.25, -0.625, 1.0, 0.0},
        {0.0, -0.5859375, -0.390625, 1.5, 1.0, 0.0},
        {0.0, 0.5859375, -0.390625, -1.5, 1.0, 0.0},
        {0.0, 0.87890625, 0.0, -2.640625, 0.0, 1.0},
    };
    static constexpr double weights[6][5] = {  // G
        {256.0 / 225, 0.0, 0.0, 0.0, 0.0},
        {-2048.0 / 2975, -256.0 / 595, -32.0 / 119, -20.0 / 119, -25.0 / 238},
        {-2048.0 / 2975, 256.0 / 595, -32.0 / 119, 20.0 / 119, -25.0 / 238},
        {128.0 / 1071, 64.0 / 357, 32.0 / 119, 48.0 / 119, 72.0 / 119},
        {128.0 / 1071, -64.0 / 357, 32.0 / 119, -48.0 / 119, 72.0 / 119},
        {0.0, 0.0, 0.0, 0.0, 1.0},
    };
    static constexpr double results[2][6] = {  // A^T
        {1.0, 1.0, 1.0, 1.0, 1.0, 0.0},
        {0.0, 0.625, -0.625, 1.5, -1.5, 1.0},
    };
};

// clang-format on
