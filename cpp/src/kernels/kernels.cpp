// All kernels of one instruction set.  CMake compiles this file once per ISA, with that ISA's flags and
//   CONVPP_ISA           the ISA's name, which is the namespace of everything compiled here
//   CONVPP_VECTOR_BYTES  the bytes of its vectors
// Nothing from the standard library is instantiated here: a function that the linker could choose to share with the
// rest of the program must not contain this ISA's instructions (a test checks the object's symbols).
// Read kernel_table.hpp first.
#include "convpp/half.hpp"
#include "kernels/kernel_table.hpp"

namespace convpp::kernels::CONVPP_ISA {

// Tile shapes: as many accumulators as the registers hold beside one row of B.  32 registers (AVX-512, NEON): 8x3 uses
// 24 + 3 and loads 0.46 operands a multiply-add; 14x2 uses 28 + 2 and wastes fewer lanes where a panel of 3 vectors
// does not fit; 7x4 uses 28 + 4 and is the best where columns come in fours.  16 registers (SSE2, AVX2): 4x3, 6x2 and
// 3x3 (there is none with four vectors).  How near each comes to the peak: docs/architecture.md.
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__AVX512F__)
inline constexpr int wide_rows = 4, tall_rows = 6, third_rows = 3, third_vectors = 3, accumulators = 12,
                     dot_tile_rows = 3;
#else
inline constexpr int wide_rows = 8, tall_rows = 14, third_rows = 7, third_vectors = 4, accumulators = 24,
                     dot_tile_rows = 4;
#endif

#include "kernels/vector.hpp"
#include "kernels/stored.hpp"
#include "kernels/tile.hpp"
#include "kernels/slide.hpp"
#include "kernels/pack.hpp"
#include "kernels/dot.hpp"
#include "kernels/channel.hpp"
#include "kernels/winograd_transforms.hpp"
#include "kernels/winograd.hpp"
#include "kernels/activation_polynomials.hpp"
#include "kernels/finish.hpp"

template <class S>
Readers<Computed<S>> readers() {
    return {&copy_panel<S>, &transpose_panel<S>, &copy_rows<S>, &copy_bands<S>, &split_channels<S>};
}

template <class T>
KernelTable<T> make_table() {
    KernelTable<T> table{};
    table.lanes = lanes_of<T>;
    fill_family<T, wide_rows, 3>(table.family[0]);
    fill_family<T, tall_rows, 2>(table.family[1]);
    fill_family<T, third_rows, third_vectors>(table.family[2]);
    fill_row_tiles<T, wide_rows, accumulators>(table);
    fill_slide_tiles<T, wide_rows, accumulators * 2 / 3>(table);
    table.slide_sums = &slide_sums<T>;
    table.store_rows = &store_rows<T>;
    table.interleave_rows = &interleave_rows<T>;
    table.transpose_rows = &transpose_rows<T>;
    table.dot_tile_rows = dot_tile_rows;
    table.dot_tile_columns = accumulators / dot_tile_rows;
    table.dot_rows = &dot_rows<T>;
    table.read[static_cast<int>(Storage::plain)] = readers<T>();
    if constexpr (sizeof(T) == sizeof(float)) {
        table.read[static_cast<int>(Storage::bfloat16)] = readers<bfloat16>();
        table.read[static_cast<int>(Storage::float16)] = readers<float16>();
    }
    fill_channel_tiles<T>(table);
    fill_winograd<T>(table);
    fill_finish<T>(table);
    table.multiply_derivative = &multiply_derivative<T>;
    table.add = &add<T>;
    table.multiply_add_rounds = &multiply_add_rounds<T>;
    return table;
}

KernelTable<float> table_float32() { return make_table<float>(); }
KernelTable<double> table_float64() { return make_table<double>(); }

}  // namespace convpp::kernels::CONVPP_ISA
