// From the name of an instruction set to pooling's kernels (as machine/cpu.cpp does for the others).
#include <stdexcept>
#include <string>

#include "pool/kernels/contract.hpp"

// One declaration for each ISA that CMake compiles pool/kernels/kernels.cpp for.
namespace convpp::kernels {
namespace scalar {
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace scalar
#if CONVPP_HAVE_AVX2
namespace avx2 {
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace avx2
#endif
#if CONVPP_HAVE_AVX512
namespace avx512 {
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace avx512
#endif
#if CONVPP_HAVE_NEON
namespace neon {
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace neon
#endif

namespace {

// Made when they are first asked for.
template <class T, PoolKernels<T> (*make)()>
const PoolKernels<T>& made() {
    static const PoolKernels<T> table = make();
    return table;
}

[[noreturn]] void missing(Isa isa) {
    throw std::invalid_argument(std::string("isa is ") + name(isa) + ", which this build does not have");
}

}  // namespace

template <>
const PoolKernels<float>& pool_kernels<float>(Isa isa) {
    switch (isa) {
        case Isa::scalar: return made<float, &scalar::pool_float32>();
#if CONVPP_HAVE_AVX2
        case Isa::avx2: return made<float, &avx2::pool_float32>();
#endif
#if CONVPP_HAVE_AVX512
        case Isa::avx512: return made<float, &avx512::pool_float32>();
#endif
#if CONVPP_HAVE_NEON
        case Isa::neon: return made<float, &neon::pool_float32>();
#endif
        default: missing(isa);
    }
}

template <>
const PoolKernels<double>& pool_kernels<double>(Isa isa) {
    switch (isa) {
        case Isa::scalar: return made<double, &scalar::pool_float64>();
#if CONVPP_HAVE_AVX2
        case Isa::avx2: return made<double, &avx2::pool_float64>();
#endif
#if CONVPP_HAVE_AVX512
        case Isa::avx512: return made<double, &avx512::pool_float64>();
#endif
#if CONVPP_HAVE_NEON
        case Isa::neon: return made<double, &neon::pool_float64>();
#endif
        default: missing(isa);
    }
}

}  // namespace convpp::kernels
