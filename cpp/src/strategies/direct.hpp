// What the direct strategies have in common: their line of the table, made from their parts.
//
// In:  a strategy's fit and plan functions, its Product and Sums (product_loop.hpp, sum_loop.hpp).   Out: a Strategy.
#pragma once

#include <type_traits>

#include "plan/product_tasks.hpp"
#include "strategies/product_loop.hpp"
#include "strategies/strategy.hpp"
#include "strategies/sum_loop.hpp"

namespace convpp {

// Of a strategy that refuses weight gradients.
template <class T>
struct NoSums {};

// A pass by whichever of the two loops it needs.
template <class T, template <class> class Product, template <class> class Sums>
constexpr Entry<T> direct_entry() {
    if constexpr (std::is_same_v<Sums<T>, NoSums<T>>)
        return {&measure_products<T, Product<T>>, &prepare_products<T, Product<T>>, &run_products<T, Product<T>>};
    else
        return {[](const Plan& plan, WorkspaceBytes& bytes) {
                    if (plan.pass == Pass::weight_grad) measure_sums<T, Sums<T>>(plan, bytes);
                    else measure_products<T, Product<T>>(plan, bytes);
                },
                &prepare_products<T, Product<T>>,
                [](const Plan& plan, const Operands<T>& operands, const RunContext& run) {
                    if (plan.pass == Pass::weight_grad) run_sums<T, Sums<T>>(plan, operands, run);
                    else run_products<T, Product<T>>(plan, operands, run);
                }};
}

inline bool always_prepares(const Plan&) { return true; }
inline Box pixels_of_map(const Plan&, const MapPlan& m, const Box& box) { return pixels_of(m, box); }

template <template <class> class Product, template <class> class Sums>
constexpr Strategy direct_strategy(const char* name, const char* in_words, unsigned orders,
                                   Fit (*fit)(const Plan&, const Setting&),
                                   void (*plan)(Plan&, const Setting&, const Fit&)) {
    return {name,
            in_words,
            Algorithm::direct,
            orders,
            fit,
            plan,
            &always_prepares,
            &pixels_of_map,
            nullptr,
            direct_entry<float, Product, Sums>(),
            direct_entry<double, Product, Sums>()};
}

// Each map is computed on its own.
inline int64_t alone(size_t) { return 1; }

// Pixels that boxes should not leave over: those of a vector, or the rows of a tile.
inline int64_t waste_unit(const Plan& plan, const Setting& setting) {
    const TileShape& shape = tile_shape(plan, setting);
    return plan.tile.pixels_are_columns ? shape.lanes : shape.rows;
}

}  // namespace convpp
