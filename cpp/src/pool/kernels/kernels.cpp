// Pooling's kernels for one instruction set, compiled as kernels/kernels.cpp is: once per ISA, with its flags, inside a
// namespace of its name, and without anything of the standard library.   Read contract.hpp first.
#if defined(__F16C__)
#include <immintrin.h>  // the conversions of float16 (kernels/move/stored.hpp)
#endif

#include "convpp/half.hpp"
#include "pool/kernels/contract.hpp"

namespace convpp::kernels::CONVPP_ISA {

#include "kernels/vector.hpp"
#include "kernels/move/stored.hpp"
#include "pool/kernels/windows.hpp"
#include "pool/kernels/spread.hpp"
#include "pool/kernels/halving.hpp"
#include "pool/kernels/halving_pixels.hpp"

template <class T>
PoolKernels<T> make_pool_kernels() {
    PoolKernels<T> table{};
    table.lanes = lanes_of<T>;
    table.stage_rows[static_cast<int>(Storage::plain)] = &stage_rows<T>;
    if constexpr (sizeof(T) == sizeof(float)) {
        table.stage_rows[static_cast<int>(Storage::bfloat16)] = &stage_rows<bfloat16>;
        table.stage_rows[static_cast<int>(Storage::float16)] = &stage_rows<float16>;
    }
    table.max_of_rows[0] = &windows_of_lanes<Of::maximum, T>;
    table.max_of_rows[1] = &windows_of_pixels<Of::maximum, T>;
    table.argmax_of_rows[0] = &windows_of_lanes<Of::argument, T>;
    table.argmax_of_rows[1] = &windows_of_pixels<Of::argument, T>;
    table.sums_of_rows[0] = &windows_of_lanes<Of::sum, T>;
    table.sums_of_rows[1] = &windows_of_pixels<Of::sum, T>;
    table.max_of_lines = &windows_of_lines<Of::maximum, T>;
    table.argmax_of_lines = &windows_of_lines<Of::argument, T>;
    table.sums_of_lines = &windows_of_lines<Of::sum, T>;
    table.halve[0][0][0] = &halve<2, 0, T>;
    table.halve[0][1][0] = &halve<3, 0, T>;
    table.halve[0][1][1] = &halve<3, 1, T>;
    table.halve[1][0][0] = &halve_pixels<2, 0, T>;
    table.halve[1][1][0] = &halve_pixels<3, 0, T>;
    table.halve[1][1][1] = &halve_pixels<3, 1, T>;
    table.spread_chosen = &spread<true, T>;
    table.spread_all = &spread<false, T>;
    return table;
}

PoolKernels<float> pool_float32() { return make_pool_kernels<float>(); }
PoolKernels<double> pool_float64() { return make_pool_kernels<double>(); }

}  // namespace convpp::kernels::CONVPP_ISA
