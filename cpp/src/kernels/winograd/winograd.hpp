// Winograd's transforms: out = M in M^T for tiles of vectors, where M is one of a transform's matrices, or its
// transpose.
//
// In:  tiles of vectors, each some steps apart in memory.   Out: the same.   Contract: kernels/contract.hpp.
// One template serves all five uses: of the source, the weights and the results, and (transposed) of the results' and
// the weights' gradients; along one axis or two.  The matrices come from transforms.hpp; zeros in them cost nothing,
// ones no multiplication, and of rows (or columns) that mirror each other, +a and -a, the common parts are computed
// once.
#pragma once

template <class F>
struct SourceMatrix {
    static constexpr int rows = F::points, columns = F::points;
    static constexpr double at(int i, int j) { return F::source[i][j]; }
};

template <class F>
struct WeightsMatrix {
    static constexpr int rows = F::points, columns = sizeof(F::weights[0]) / sizeof(double);
    static constexpr double at(int i, int j) { return F::weights[i][j]; }
};

template <class F>
struct ResultsMatrix {
    static constexpr int rows = sizeof(F::results) / sizeof(F::results[0]), columns = F::points;
    static constexpr double at(int i, int j) { return F::results[i][j]; }
};

template <class M>
struct Transposed {
    static constexpr int rows = M::columns, columns = M::rows;
    static constexpr double at(int i, int j) { return M::at(j, i); }
};

// Rows i and i + 1 differ in signs alone.
template <class M>
constexpr bool mirrored_rows(int i) {
    if (i % 2 == 0 || i + 2 >= M::rows) return false;
    for (int j = 0; j < M::columns; ++j)
        if (M::at(i, j) != M::at(i + 1, j) && M::at(i, j) != -M::at(i + 1, j)) return false;
    return true;
}

// The terms that rows i and i + 1 have in common, or with opposite signs.
template <class M, bool Odd>
struct MirroredPart {
    static constexpr int rows = M::rows, columns = M::columns;
    static constexpr double at(int i, int j) { return (M::at(i, j) == M::at(i + 1, j)) == Odd ? 0.0 : M::at(i, j); }
};

// The matrix that takes the sums and differences of columns j and j + 1 in their place.
template <class M>
struct Folded {
    static constexpr int rows = M::rows, columns = M::columns;
    static constexpr double at(int i, int j) {
        if (j == 0 || j + 1 == columns) return M::at(i, j);
        const int first = j - (j + 1) % 2;
        const bool same = M::at(i, first) == M::at(i, first + 1);
        return same == (j == first) ? M::at(i, first) : 0.0;
    }
};

// The sum over j of at(I, j) * in[j].
template <class T, class M, int I, int J = 0, bool Begun = false>
inline __attribute__((always_inline)) Vector<T> row_sum(const Vector<T>* in, Vector<T> sum = Vector<T>{}) {
    if constexpr (J == M::columns) {
        return sum;
    } else {
        constexpr T factor = static_cast<T>(M::at(I, J));
        if constexpr (factor == 0) return row_sum<T, M, I, J + 1, Begun>(in, sum);
        else if constexpr (!Begun && factor == 1) return row_sum<T, M, I, J + 1, true>(in, in[J]);
        else if constexpr (!Begun) return row_sum<T, M, I, J + 1, true>(in, in[J] * factor);
        else if constexpr (factor == 1) return row_sum<T, M, I, J + 1, true>(in, sum + in[J]);
        else if constexpr (factor == -1) return row_sum<T, M, I, J + 1, true>(in, sum - in[J]);
        else return row_sum<T, M, I, J + 1, true>(in, sum + in[J] * factor);
    }
}

template <class T, class M, bool Mirrors, int I = 0>
inline __attribute__((always_inline)) void rows_from(const Vector<T>* in, Vector<T>* out) {
    if constexpr (I < M::rows) {
        if constexpr (Mirrors && mirrored_rows<M>(I)) {
            const Vector<T> even = row_sum<T, MirroredPart<M, false>, I>(in);
            const Vector<T> odd = row_sum<T, MirroredPart<M, true>, I>(in);
            out[I] = even + odd;
            out[I + 1] = even - odd;
            rows_from<T, M, Mirrors, I + 2>(in, out);
        } else {
            out[I] = row_sum<T, M, I>(in);
            rows_from<T, M, Mirrors, I + 1>(in, out);
        }
    }
}

// out = M in, along one axis.
template <class T, class M>
inline __attribute__((always_inline)) void multiply_axis(const Vector<T>* in, Vector<T>* out) {
    if constexpr (mirrored_rows<M>(1)) {
        rows_from<T, M, true>(in, out);
    } else if constexpr (mirrored_rows<Transposed<M>>(1)) {
        Vector<T> folded[M::columns];
        folded[0] = in[0];
        folded[M::columns - 1] = in[M::columns - 1];
#pragma GCC unroll 8
        for (int j = 1; j + 1 < M::columns; j += 2) {
            folded[j] = in[j] + in[j + 1];
            folded[j + 1] = in[j] - in[j + 1];
        }
        rows_from<T, Folded<M>, false>(folded, out);
    } else {
        rows_from<T, M, false>(in, out);
    }
}

template <class T, class M, bool Planes>
bool transform_tiles(const T* src, const int64_t* from, TileSteps in, int64_t count, const T* bias, T* dst,
                     const int64_t* to, TileSteps out) {
    const Vector<T> added = bias != nullptr ? load(bias) : Vector<T>{};
    Vector<T> spoiled{};  // 0 times each result: NaN if one is not finite
    constexpr int in_rows = Planes ? M::columns : 1, out_rows = Planes ? M::rows : 1;
    for (int64_t t = 0; t < count; ++t) {
        const T* const s = src + from[t];
        T* const d = dst + to[t];
        Vector<T> half[out_rows][M::columns];
#pragma GCC unroll 8
        for (int j = 0; j < M::columns; ++j) {
            Vector<T> column[in_rows], result[out_rows];
#pragma GCC unroll 8
            for (int i = 0; i < in_rows; ++i) column[i] = load(s + i * in.a + j * in.b);
            if constexpr (Planes) multiply_axis<T, M>(column, result);
            else result[0] = column[0];
#pragma GCC unroll 8
            for (int i = 0; i < out_rows; ++i) half[i][j] = result[i];
        }
#pragma GCC unroll 8
        for (int i = 0; i < out_rows; ++i) {
            Vector<T> result[M::rows];
            multiply_axis<T, M>(half[i], result);
#pragma GCC unroll 8
            for (int j = 0; j < M::rows; ++j) {
                result[j] += added;
                spoiled += result[j] * T(0);
                store(d + i * out.a + j * out.b, result[j]);
            }
        }
    }
    const T sum = sum_of_lanes<T>(spoiled);
    return sum == sum;
}

template <class T, class F, bool Planes>
constexpr WinogradKernels<T> winograd_kernels() {
    return {&transform_tiles<T, SourceMatrix<F>, Planes>, &transform_tiles<T, WeightsMatrix<F>, Planes>,
            &transform_tiles<T, ResultsMatrix<F>, Planes>, &transform_tiles<T, Transposed<ResultsMatrix<F>>, Planes>,
            &transform_tiles<T, Transposed<WeightsMatrix<F>>, Planes>};
}

template <class T, int Index = 0>
void fill_winograd(KernelTable<T>& table) {
    if constexpr (Index < winograd_sizes) {
        using F = WinogradTransform<winograd_outputs[Index], winograd_taps[Index]>;
        table.winograd[Index][0] = winograd_kernels<T, F, false>();
        table.winograd[Index][1] = winograd_kernels<T, F, true>();
        fill_winograd<T, Index + 1>(table);
    }
}
