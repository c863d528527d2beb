// What strategies' estimates are made of: the costs of tiles and of moving memory, in slots of a multiply-add unit.
//
// In:  the shapes of tiles, a draft of the plan, an index map with its blocks.   Out: costs.
// They need not be right, only order the strategies as measurements do.   Next: strategies/*/strategy.cpp, which add
// them up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "machine/dispatch.hpp"
#include "plan/plan.hpp"
#include "problem/checked.hpp"

namespace convpp {

struct Estimate {
    TileChoice tile;
    double cost = std::numeric_limits<double>::infinity();
};

namespace costs {

inline constexpr double packed_row = 10.0;  // a packed vector (or part of one) of pixels, most of them in short runs
// A vector of results that tiles load, add to and store in the result itself, once for each further block of the
// contraction: planes lie in pages of their own.  (Measured, 1x1 of 512 to 1536 channels at 20x20 and 28x28: 12 to 50.)
inline constexpr double added_vector = 12.0;
inline constexpr double strided_store = 2.0;  // an element that is stored on its own
inline constexpr double filled_vector = 20.0;  // of results that are filled in, and come back from memory
inline constexpr double copied_vector = 2.5;  // of a row that is copied with its padding
inline constexpr double strided_vector = 30.0;  // of a row that is split into phases: its lines are half used
inline constexpr double transposed_vector = 7.0;  // a load, log2(lanes) shuffles, a store

// A vector of weights that is packed.  (Measured, AVX-512: 10 to 13 cycles, each of them a slot.)
inline constexpr double weight_vector = 12.0;

inline double f(int64_t n) { return static_cast<double>(n); }

// Slots that `rows x columns` results take for one step of the contraction, tile by tile.
template <class Slots>
double tile_cost(const TileShape& shape, int64_t rows, int64_t columns, const Slots& slots) {
    const auto of = [&](int64_t r, int64_t v) { return r == 0 || v == 0 ? 0.0 : slots(r, v); };
    const int64_t vectors = ceil_div(columns, shape.lanes);
    const int64_t full_rows = rows / shape.rows, rest_rows = rows % shape.rows;
    const int64_t full_vectors = vectors / shape.vectors, rest_vectors = vectors % shape.vectors;
    return f(full_rows) * f(full_vectors) * of(shape.rows, shape.vectors) +
           f(full_vectors) * of(rest_rows, shape.vectors) + f(full_rows) * of(shape.rows, rest_vectors) +
           of(rest_rows, rest_vectors);
}

// Packed tiles: full ones are bound by multiply-adds, small ones by loads (one for each row and vector) or by the
// latency of the sum.
double packed_slots(int64_t rows, int64_t vectors);

// Indirect tiles load a pointer more for each row.  Measured: 8x3 and 7x4 reach 99 % of the packed tile, 14x2 95 %,
// 14x1 85 %.
double indirect_slots(int64_t rows, int64_t vectors);

// The cheapest shape and orientation; equals are decided by the weights' panels, the less filled up the better.
template <class Cost>
Estimate cheapest(const KernelShapes& kernels, int64_t channels, std::initializer_list<bool> orientations,
                  const Cost& cost_of) {
    constexpr double filled_up = 0.002;  // more than remainders of pixels make up
    Estimate best;
    for (int index = 0; index < kernels::tile_shapes; ++index) {
        const TileShape& shape = kernels.shape[index];
        for (const bool pixels_are_columns : orientations) {
            const int64_t width = pixels_are_columns ? shape.rows : shape.vectors * shape.lanes;
            const double waste = f(round_up(channels, width)) / f(channels) - 1.0;
            const double cost = cost_of(shape, pixels_are_columns) * (1.0 + filled_up * waste);
            if (cost < best.cost) best = {{index, pixels_are_columns, shape.rows, shape.vectors * shape.lanes}, cost};
        }
    }
    return best;
}

// Rows of pixels that are loaded as vectors: a load that crosses a cache line takes two slots.
double row_slots(int64_t rows, int64_t vectors);

// Whether such rows are better computed as one, flat: they are short, not consecutive in the result, or of residue
// classes that share them.
bool rows_are_better_flat(const Plan& plan, int64_t lanes);

inline int64_t pixels_of_map(const Plan& plan, const MapPlan& m) { return m.map.pixels() * plan.batch(); }
inline int64_t terms_of(const MapPlan& m) { return m.map.taps() * m.patches.channels; }
inline int64_t rows_of(const Plan& plan, const MapPlan& m) {
    return plan.batch() * m.map.axis[0].count * m.map.axis[1].count;
}
inline bool together(const Plan& plan, const MapPlan& m) {
    return m.map.axis[2].result_step == 1 && plan.result.axis[2] == 1;
}

// Elements of the source that a map's taps read, padding included, of all samples and one channel; each at least once.
double read_elems(const Plan& plan, const MapPlan& m);

// Vectors of results that are filled in before: a stride beyond the kernel's reach leaves most of them without terms.
// (Single pixels write those with their own, unless they are too many for a task.)
double filled_vectors(const Plan& plan, const MapPlan& m, int64_t lanes);

// Staging splits a source with strides into phases: the vectors of pixels of all rows of a channel that it walks
// through.
double split_vectors(const MapPlan& m, double vectors);

// What panels of a tile's rows cost more than such of vectors, which no estimate has, since all pack them: squares are
// transposed of which a panel takes only its rows.
double row_panels(const Plan& plan, const TileShape& shape, double terms);

// The map that has the most work.
const MapPlan& heaviest_map(const Plan& plan);

}  // namespace costs
}  // namespace convpp
