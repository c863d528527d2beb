// From the name of an instruction set to its kernels.
//
// In:  an Isa.   Out: its table of kernels, or just their tile shapes (all that a plan needs to know).
#pragma once

#include <optional>

#include "convpp/runtime.hpp"
#include "kernels/contract.hpp"

namespace convpp {

struct TileShape {
    int64_t rows = 1, vectors = 1, lanes = 1;
};

struct KernelShapes {
    TileShape shape[kernels::tile_shapes];
    int row_tile_vectors[kernels::max_row_tile_rows] = {};
    int64_t dot_rows = 1, dot_columns = 1;
    bool bf16_pairs = false;  // bfloat16: tiles that multiply two channels at once
};

KernelShapes kernel_shapes(Isa isa, DType dtype);

// The vectors of an instruction set that are half as long as another one's, and round alike.
struct NarrowVectors {
    Isa isa;
    double cost;  // of a vector's operation beside that of a long one
};
std::optional<NarrowVectors> narrow_vectors(Isa isa);

template <class T>
const kernels::KernelTable<T>& kernel_table(Isa isa);

}  // namespace convpp
