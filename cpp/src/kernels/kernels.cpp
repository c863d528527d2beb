// All kernels of one instruction set.  CMake compiles this file once per ISA, with that ISA's flags and
//   CONVPP_ISA           the ISA's name, which is the namespace of everything compiled here
//   CONVPP_VECTOR_BYTES  the bytes of its vectors
// Nothing from the standard library is instantiated here: a function that the linker could choose to share with the
// rest of the program must not contain this ISA's instructions (a test checks the object's symbols).
// Read contract.hpp first.
#if defined(__F16C__)
#include <immintrin.h>  // the conversions of float16, which are no operators everywhere (move/stored.hpp)
#endif

#include "convpp/half.hpp"
#include "kernels/contract.hpp"

namespace convpp::kernels::CONVPP_ISA {

#include "kernels/tile/tile_shapes.hpp"
#include "kernels/vector.hpp"
#include "kernels/move/stored.hpp"
#include "kernels/tile/tile.hpp"
#include "kernels/tile/slide_sums.hpp"
#include "kernels/tile/slide.hpp"
#include "kernels/move/pack.hpp"
#include "kernels/tile/dot.hpp"
#include "kernels/channel/channel.hpp"
#include "kernels/channel/pixels.hpp"
#include "kernels/winograd/transforms.hpp"
#include "kernels/winograd/winograd.hpp"
#include "kernels/fft/fft.hpp"
#include "kernels/fft/spectra.hpp"
#include "kernels/epilogue/activation_polynomials.hpp"
#include "kernels/epilogue/epilogue.hpp"

template <class S>
Readers<Computed<S>> readers() {
    return {&copy_panel<S>, &transpose_panel<S>, &copy_rows<S>, &copy_bands<S>, &split_channels<S>, &dot_rows<S>};
}

template <class T>
KernelTable<T> make_table() {
    KernelTable<T> table{};
    table.lanes = lanes_of<T>;
    fill_tiles<T, wide_rows, wide_vectors>(table.tiles[0]);
    fill_tiles<T, tall_rows, tall_vectors>(table.tiles[1]);
    fill_tiles<T, third_rows, third_vectors>(table.tiles[2]);
    fill_tiles<T, single_rows, 1>(table.tiles[3]);
    fill_row_tiles<T, wide_rows, accumulators>(table);
    fill_slides<T, accumulators * 2 / 3>(table.slide);
    table.store_rows = &store_rows<T>;
    table.interleave_rows = &interleave_rows<T>;
    table.transpose_rows = &transpose_rows<T>;
    table.dot_tile_rows = dot_tile_rows;
    table.dot_tile_columns = accumulators / dot_tile_rows;
    table.read[static_cast<int>(Storage::plain)] = readers<T>();
    if constexpr (sizeof(T) == sizeof(float)) {
        table.read[static_cast<int>(Storage::bfloat16)] = readers<bfloat16>();
        table.read[static_cast<int>(Storage::float16)] = readers<float16>();
        fill_slides<bfloat16, accumulators * 2 / 3>(table.slide_bfloat16);
        fill_slides<float16, accumulators * 2 / 3>(table.slide_float16);
        fill_channel_pixels<bfloat16>(table.channel_pixels_bfloat16);
        fill_channel_pixels<float16>(table.channel_pixels_float16);
    }
    fill_channel_tiles<T>(table);
    fill_channel_pixels<T>(table.channel_pixels);
    fill_winograd<T>(table);
    table.fourier = fourier_kernels<T>();
    fill_epilogue<T>(table);
    table.multiply_derivative = &multiply_derivative<T>;
    table.add = &add<T>;
    table.multiply_add_rounds = &multiply_add_rounds<T>;
    return table;
}

KernelTable<float> table_float32() { return make_table<float>(); }
KernelTable<double> table_float64() { return make_table<double>(); }

}  // namespace convpp::kernels::CONVPP_ISA
