// Results of whole arrays: filled where sums have no terms, and given their epilogue where sums were computed apart.
//
// In:  a Plan, the operands of a call, or whole sums.   Out: results.   Next: epilogue.hpp, which does so task by task.
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// result = activation(sums + residual), rounded to how it is stored.
template <class T>
void apply_epilogue_to_all(const Plan& plan, const T* sums, int64_t size, const Epilogue<T>& epilogue,
                           const Results<T>& result, int threads) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    parallel_parts(size, size, threads, [&](int64_t lo, int64_t count) {
        apply_epilogue(kernel, epilogue.from(lo), {sums + lo, count, 1, count}, result + lo, count);
    });
}

// Every result is its bias, or zero, after the epilogue.
template <class T>
void fill_results(const Plan& plan, const Operands<T>& operands, int threads) {
    const Geometry& g = plan.problem.geometry();
    const Stored<T>& bias = operands.bias;
    if (plan.pass == Pass::weight_grad) {
        std::fill_n(operands.result.plain(), plan.problem.w_elems(), T(0));
        return;
    }
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const bool last = plan.channels_last();
    const int64_t channels = result_channels(g, plan.pass), elems = result_elems(plan.problem, plan.pass);
    constexpr int64_t piece = 256;  // in L1
    // Rows of results whose biases are alike: some pixels, or one channel's plane.
    const int64_t pixels = std::max<int64_t>(piece / std::max<int64_t>(channels, 1), 1);
    const int64_t row = last ? pixels * channels : elems == 0 ? 0 : elems / g.batch / channels;
    const int64_t rows = row == 0 ? 0 : ceil_div(elems, row);
    parallel_parts(rows, elems, threads, [&](int64_t row_lo, int64_t row_count) {
        T sums[piece] = {};
        const bool once = last && row <= piece;  // all rows begin alike
        for (int64_t c = 0; bias && once && c < row; ++c) sums[c] = bias[c % channels / plan.bias_elems];
        for (int64_t i = row_lo; i < row_lo + row_count; ++i) {
            if (bias && !last) std::fill_n(sums, piece, bias[i % channels / plan.bias_elems]);
            const int64_t length = std::min(row, elems - i * row);
            for (int64_t j = 0; j < length; j += piece) {
                const int64_t count = std::min(piece, length - j), at = i * row + j;
                for (int64_t c = 0; bias && last && !once && c < count; ++c) sums[c] = bias[(j + c) / plan.bias_elems];
                apply_epilogue(kernel, operands.epilogue.from(at), {sums, count, 1, count}, operands.result + at,
                               count);
            }
        }
    });
}

}  // namespace convpp
