// Which instruction sets were compiled in, which of them this CPU runs, and their kernels.
#include <atomic>
#include <stdexcept>

#include "dispatch.hpp"

// One declaration for each ISA that CMake compiles kernels.cpp for.
namespace convpp::kernels {
namespace scalar {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
}  // namespace scalar
#if CONVPP_HAVE_AVX2
namespace avx2 {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
}  // namespace avx2
#endif
#if CONVPP_HAVE_AVX512
namespace avx512 {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
}  // namespace avx512
#endif
#if CONVPP_HAVE_AVX512_BF16
namespace avx512_bf16 {
void add_twins(KernelTable<float>& table);
}  // namespace avx512_bf16
#endif
#if CONVPP_HAVE_NEON
namespace neon {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
}  // namespace neon
#endif
}  // namespace convpp::kernels

namespace convpp {
namespace {

struct Tables {
    kernels::KernelTable<float> float32;
    kernels::KernelTable<double> float64;
};

const Tables& tables(Isa isa) {
    static const Tables scalar{kernels::scalar::table_float32(), kernels::scalar::table_float64()};
    switch (isa) {
        case Isa::scalar: return scalar;
        case Isa::avx2: {
#if CONVPP_HAVE_AVX2
            static const Tables avx2{kernels::avx2::table_float32(), kernels::avx2::table_float64()};
            return avx2;
#else
            break;
#endif
        }
        case Isa::avx512: {
#if CONVPP_HAVE_AVX512
            static const Tables avx512 = [] {
                Tables both{kernels::avx512::table_float32(), kernels::avx512::table_float64()};
#if CONVPP_HAVE_AVX512_BF16
                if (__builtin_cpu_supports("avx512bf16")) kernels::avx512_bf16::add_twins(both.float32);
#endif
                return both;
            }();
            return avx512;
#else
            break;
#endif
        }
        case Isa::neon: {
#if CONVPP_HAVE_NEON
            static const Tables neon{kernels::neon::table_float32(), kernels::neon::table_float64()};
            return neon;
#else
            break;
#endif
        }
    }
    throw std::invalid_argument(std::string("isa is ") + name(isa) + ", which this build does not have");
}

}  // namespace

const char* name(Isa isa) noexcept {
    switch (isa) {
        case Isa::scalar: return "scalar";
        case Isa::avx2: return "avx2";
        case Isa::avx512: return "avx512";
        case Isa::neon: return "neon";
    }
    return "?";
}

std::vector<Isa> available_isas() {
    std::vector<Isa> isas{Isa::scalar};
#if CONVPP_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) isas.push_back(Isa::avx2);
#endif
#if CONVPP_HAVE_AVX512
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        isas.push_back(Isa::avx512);
#endif
#if CONVPP_HAVE_NEON
    isas.push_back(Isa::neon);  // part of every AArch64 CPU
#endif
    return isas;
}

template <>
const kernels::KernelTable<float>& kernel_table<float>(Isa isa) {
    return tables(isa).float32;
}

template <>
const kernels::KernelTable<double>& kernel_table<double>(Isa isa) {
    return tables(isa).float64;
}

namespace {

template <class T>
KernelShapes shapes_of(const kernels::KernelTable<T>& table) {
    KernelShapes shapes;
    for (int f = 0; f < kernels::tile_families; ++f)
        shapes.shape[f] = {table.family[f].rows, table.family[f].vectors, table.lanes};
    for (int r = 0; r < kernels::max_row_tile_rows; ++r) shapes.row_tile_vectors[r] = table.row_tile_vectors[r];
    shapes.dot_rows = table.dot_tile_rows;
    shapes.dot_columns = table.dot_tile_columns;
    return shapes;
}

std::atomic<bool> twins_allowed{true};

}  // namespace

void allow_bf16_pairs(bool allowed) { twins_allowed.store(allowed, std::memory_order_relaxed); }

KernelShapes kernel_shapes(Isa isa, DType dtype) {
    if (dtype == DType::float64) return shapes_of(tables(isa).float64);
    KernelShapes shapes = shapes_of(tables(isa).float32);
    shapes.twins =
        dtype == DType::bfloat16 && tables(isa).float32.has_twins && twins_allowed.load(std::memory_order_relaxed);
    return shapes;
}

}  // namespace convpp
