// Which instruction sets were compiled in, which of them this CPU runs, and their kernels.
#include <atomic>
#include <stdexcept>

#include "machine/dispatch.hpp"
#if CONVPP_HAVE_AVX2 || CONVPP_HAVE_AVX512
#include "machine/x86_features.hpp"
#endif
#include "pool/kernels/contract.hpp"
#include "problem/names.hpp"

// What CMake compiles once for each ISA: kernels.cpp and pool/kernels/kernels.cpp (avx512_bf16: tile/bf16_pairs.cpp).
namespace convpp::kernels {
namespace scalar {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace scalar
#if CONVPP_HAVE_AVX2
namespace avx2 {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace avx2
#endif
#if CONVPP_HAVE_AVX512
namespace avx512 {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace avx512
#endif
#if CONVPP_HAVE_AVX512_BF16
namespace avx512_bf16 {
void add_bf16_pairs(KernelTable<float>& table);
}  // namespace avx512_bf16
#endif
#if CONVPP_HAVE_NEON
namespace neon {
KernelTable<float> table_float32();
KernelTable<double> table_float64();
PoolKernels<float> pool_float32();
PoolKernels<double> pool_float64();
}  // namespace neon
#endif
}  // namespace convpp::kernels

namespace convpp {
namespace {

struct Tables {
    kernels::KernelTable<float> float32;
    kernels::KernelTable<double> float64;
    kernels::PoolKernels<float> pool_float32;
    kernels::PoolKernels<double> pool_float64;
};

// Made when they are first asked for.
template <auto Float32, auto Float64, auto Pool32, auto Pool64>
const Tables& tables_of() {
    static const Tables made{Float32(), Float64(), Pool32(), Pool64()};
    return made;
}

#if CONVPP_HAVE_AVX2 || CONVPP_HAVE_AVX512
const X86Features& this_x86() {
    static const X86Features found = x86_features();
    return found;
}
#endif

#if CONVPP_HAVE_AVX512
kernels::KernelTable<float> avx512_float32() {
    kernels::KernelTable<float> table = kernels::avx512::table_float32();
#if CONVPP_HAVE_AVX512_BF16
    if (this_x86().avx512_bf16) kernels::avx512_bf16::add_bf16_pairs(table);
#endif
    return table;
}
#endif

// What was compiled in, lowest first.
struct Compiled {
    Isa isa;
    bool (*runs_here)();
    const Tables& (*tables)();
};
const Compiled compiled[] = {
    {Isa::scalar, [] { return true; },
     &tables_of<&kernels::scalar::table_float32, &kernels::scalar::table_float64, &kernels::scalar::pool_float32,
                &kernels::scalar::pool_float64>},
#if CONVPP_HAVE_AVX2
    {Isa::avx2, [] { return this_x86().avx2; },
     &tables_of<&kernels::avx2::table_float32, &kernels::avx2::table_float64, &kernels::avx2::pool_float32,
                &kernels::avx2::pool_float64>},
#endif
#if CONVPP_HAVE_AVX512
    {Isa::avx512, [] { return this_x86().avx512; },
     &tables_of<&avx512_float32, &kernels::avx512::table_float64, &kernels::avx512::pool_float32,
                &kernels::avx512::pool_float64>},
#endif
#if CONVPP_HAVE_NEON  // part of every AArch64 CPU
    {Isa::neon, [] { return true; },
     &tables_of<&kernels::neon::table_float32, &kernels::neon::table_float64, &kernels::neon::pool_float32,
                &kernels::neon::pool_float64>},
#endif
};

const Tables& tables(Isa isa) {
    for (const Compiled& of : compiled)
        if (of.isa == isa) return of.tables();
    throw std::invalid_argument(std::string("isa is ") + name(isa) + ", which this build does not have");
}

}  // namespace

const char* name(Isa isa) noexcept { return name_in({"scalar", "avx2", "avx512", "neon"}, isa); }

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
    for (const Compiled& of : compiled)
        if (of.runs_here()) isas.push_back(of.isa);
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

template <>
const kernels::PoolKernels<float>& kernels::pool_kernels<float>(Isa isa) {
    return tables(isa).pool_float32;
}

template <>
const kernels::PoolKernels<double>& kernels::pool_kernels<double>(Isa isa) {
    return tables(isa).pool_float64;
}

namespace {

template <class T>
KernelShapes shapes_of(const kernels::KernelTable<T>& table) {
    KernelShapes shapes;
    for (int f = 0; f < kernels::tile_shapes; ++f)
        shapes.shape[f] = {table.tiles[f].rows, table.tiles[f].vectors, table.lanes};
    for (int r = 0; r < kernels::max_row_tile_rows; ++r) shapes.row_tile_vectors[r] = table.row_tile_vectors[r];
    shapes.dot_rows = table.dot_tile_rows;
    shapes.dot_columns = table.dot_tile_columns;
    return shapes;
}

std::atomic<bool> bf16_pairs_allowed{true};

}  // namespace

void allow_bf16_pairs(bool allowed) { bf16_pairs_allowed.store(allowed, std::memory_order_relaxed); }

std::optional<NarrowVectors> narrow_vectors(Isa isa) {
#if CONVPP_HAVE_AVX2 && CONVPP_HAVE_AVX512
    // Zen 4 carries out an instruction of 64 bytes as two of 32.
    static const double cost = this_x86().amd_family_19 ? 0.5 : 1.0;
    if (isa == Isa::avx512) return NarrowVectors{Isa::avx2, cost};
#else
    static_cast<void>(isa);
#endif
    return std::nullopt;
}

KernelShapes kernel_shapes(Isa isa, DType dtype) {
    if (dtype == DType::float64) return shapes_of(tables(isa).float64);
    KernelShapes shapes = shapes_of(tables(isa).float32);
    shapes.bf16_pairs = dtype == DType::bfloat16 && tables(isa).float32.has_bf16_pairs &&
                        bf16_pairs_allowed.load(std::memory_order_relaxed);
    return shapes;
}

}  // namespace convpp
