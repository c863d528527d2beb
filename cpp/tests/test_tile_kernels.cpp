// Packed tiles and row tiles of every instruction set of this machine, in both types, against the plain loop of
// their contract (kernels/contract.hpp).  Sources end at a fence, results lie between guards.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

constexpr int64_t runs_of = 23;  // steps

using kernels::KernelTable;
using kernels::Onto;
using kernels::TileKernels;

// The operands of a tile: panels, C with its gaps, a bias for each onto.
template <class T>
struct TileOperands {
    int rows, columns, panel_rows, panel_columns;
    int64_t depth, ldc;
    Array<T> a, b, c, row_bias, column_bias;

    TileOperands(const KernelTable<T>& table, const TileKernels<T>& tiles, int tile_rows, int vectors, int64_t kc,
                 int gap)
        : rows(tile_rows),
          columns(vectors * table.lanes),
          panel_rows(tiles.rows),
          panel_columns(tiles.vectors * table.lanes),
          depth(kc),
          ldc(columns + gap),
          a(kc * panel_rows),
          b(kc * panel_columns),
          c((rows - 1) * ldc + columns, guards),
          row_bias(rows),
          column_bias(columns) {}

    const T* bias(Onto onto) const {
        return onto == Onto::row_bias ? row_bias.data() : onto == Onto::column_bias ? column_bias.data() : nullptr;
    }

    // The tile by its definition, runs in the order of k; what is not in the tile stays.
    std::vector<T> expected(Onto onto, bool fused) const {
        std::vector<T> result(c.data(), c.data() + c.size());
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) {
                SumOfRuns<T> sums{runs_of};
                for (int64_t k = 0; k < depth; ++k)
                    sums.add(k, [&](T sum) {
                        return multiply_add(a[k * panel_rows + i], b[k * panel_columns + j], sum, fused);
                    });
                add_onto(onto, onto == Onto::row_bias ? row_bias[i] : column_bias[j], sums.all(),
                         result[static_cast<size_t>(i * ldc + j)]);
            }
        return result;
    }

    bool c_is(const std::vector<T>& values) const {
        return std::memcmp(values.data(), c.data(), values.size() * sizeof(T)) == 0;
    }
};

// C of the tile's own elements; the gaps between its rows stay NaN.
template <class T, class Value>
void fill_c(TileOperands<T>& operands, const Value& value) {
    operands.c.fill_nan();
    for (int i = 0; i < operands.rows; ++i)
        for (int j = 0; j < operands.columns; ++j) operands.c[i * operands.ldc + j] = static_cast<T>(value());
}

// Row tiles of all shapes, with all rows in each step, or with those of `active`: the others meet no element of a step,
// not even one that is not finite.
template <class T>
void check_row_tiles(const KernelTable<T>& table, Isa isa, bool some, Random& random) {
    const int64_t lanes = table.lanes, panel_rows = table.tiles[0].rows;
    for (int64_t rows = 1; rows <= panel_rows; ++rows)
        for (int64_t count = 1; count <= table.row_tile_vectors[rows - 1]; ++count)
            for (const int64_t depth : {0, 1, 2, 7, 64, 65, 130})
                for (const Onto onto : {Onto::zero, Onto::c, Onto::row_bias}) {
                    // Sources may overlap, results lie apart and in any order.
                    std::vector<int64_t> offsets = random_offsets(random, depth);
                    std::vector<kernels::VectorAt> vectors;
                    int64_t source_end = 0;
                    for (int64_t v = 0; v < count; ++v) {
                        vectors.push_back({random.integer(0, 50), (count - 1 - v) * (lanes + 3)});
                        for (const int64_t offset : offsets)
                            source_end = std::max(source_end, offset + vectors.back().source + lanes);
                    }
                    const int64_t ldc = count * (lanes + 3) + 2;
                    Array<T> a(depth * panel_rows), b(source_end), bias(rows);
                    Array<T> c((rows - 1) * ldc + (count - 1) * (lanes + 3) + lanes, guards);
                    for (Array<T>* array : {&a, &b, &bias}) array->fill_reals(random);
                    if (onto == Onto::c) c.fill_reals(random);
                    std::vector<unsigned char> active;
                    for (int64_t k = 0; k < depth; ++k)
                        active.push_back(static_cast<unsigned char>(random.integer(0, (1 << rows) - 1)));
                    const auto takes_part = [&](int64_t k, int64_t r) {
                        return !some || (active[static_cast<size_t>(k)] >> r & 1) != 0;
                    };
                    std::vector<T> expected(c.data(), c.data() + c.size());
                    for (int64_t r = 0; r < rows; ++r)
                        for (const kernels::VectorAt& vector : vectors)
                            for (int64_t lane = 0; lane < lanes; ++lane) {
                                SumOfRuns<T> sums{runs_of};
                                for (int64_t k = 0; k < depth; ++k)
                                    sums.add(k, [&](T sum) {
                                        if (!takes_part(k, r)) return sum;
                                        return multiply_add(a[k * panel_rows + r],
                                                            b[offsets[static_cast<size_t>(k)] + vector.source + lane],
                                                            sum, is_fused(isa));
                                    });
                                add_onto(onto, bias[r], sums.all(),
                                         expected[static_cast<size_t>(r * ldc + vector.result + lane)]);
                            }
                    for (int64_t k = 0; k < depth; ++k)
                        for (int64_t r = 0; r < rows; ++r)
                            if (!takes_part(k, r)) a[k * panel_rows + r] = std::numeric_limits<T>::quiet_NaN();
                    table.row_tile[rows - 1][count - 1]({depth, runs_of}, a.data(), panel_rows, b.data(),
                                                        offsets.data(), some ? active.data() : nullptr, vectors.data(),
                                                        c.data(), ldc, onto,
                                                        onto == Onto::row_bias ? bias.data() : nullptr);
                    CAPTURE(rows);
                    CAPTURE(count);
                    CAPTURE(depth);
                    CAPTURE(static_cast<int>(onto));
                    CHECK(std::memcmp(expected.data(), c.data(), expected.size() * sizeof(T)) == 0);
                    CHECK(c.guards_intact());
                }
}

}  // namespace

TEST_CASE_TEMPLATE("tables hold tiles that fit the largest ones", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa isa) {
        CHECK(table.lanes * sizeof(T) >= 16);
        CHECK(table.lanes <= guards);
        const KernelShapes shapes = kernel_shapes(isa, dtype_of<T>);
        for (int f = 0; f < kernels::tile_shapes; ++f) {
            CHECK(table.tiles[f].rows <= kernels::max_tile_rows);
            CHECK(table.tiles[f].vectors <= kernels::max_tile_vectors);
            CHECK(shapes.shape[f].rows == table.tiles[f].rows);
            CHECK(shapes.shape[f].vectors == table.tiles[f].vectors);
            CHECK(shapes.shape[f].lanes == table.lanes);
        }
        for_each_tile(table, [](const TileKernels<T>& tiles, int rows, int vectors) {
            CHECK((tiles.fn[rows - 1][vectors - 1] != nullptr));
        });
    });
}

TEST_CASE_TEMPLATE("tiles multiply integers exactly and write nothing else", T, float, double) {
    Random random(1);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            for (const int64_t depth : {0, 1, 2, 7, 64})
                for (const int gap : {0, 5}) {
                    TileOperands<T> operands(table, tiles, rows, vectors, depth, gap);
                    operands.a.fill_integers(random);
                    operands.b.fill_integers(random);
                    operands.row_bias.fill_integers(random);
                    operands.column_bias.fill_integers(random);
                    for (const Onto onto : all_starts) {
                        // C is not read unless the tile starts from it: then it holds NaN.
                        if (onto == Onto::c) fill_c(operands, [&] { return random.integer(-9, 9); });
                        else operands.c.fill_nan();
                        const std::vector<T> expected = operands.expected(onto, is_fused(isa));
                        tiles.fn[rows - 1][vectors - 1]({depth, runs_of}, operands.a.data(), operands.b.data(),
                                                        operands.c.data(), operands.ldc, onto, operands.bias(onto));
                        CAPTURE(depth);
                        CAPTURE(static_cast<int>(onto));
                        CHECK(operands.c_is(expected));
                        CHECK(operands.c.guards_intact());
                    }
                }
        });
    });
}

TEST_CASE_TEMPLATE(
    "each element is one sum of runs in the order of k: the same bits from every tile and every fused ISA", T, float,
    double) {
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            Random random(2);
            TileOperands<T> operands(table, tiles, rows, vectors, 61, 3);
            operands.a.fill_reals(random);
            operands.b.fill_reals(random);
            operands.row_bias.fill_reals(random);
            operands.column_bias.fill_reals(random);
            for (const Onto onto : all_starts) {
                fill_c(operands, [&] { return random.real(); });
                const std::vector<T> expected = operands.expected(onto, is_fused(isa));
                tiles.fn[rows - 1][vectors - 1]({operands.depth, runs_of}, operands.a.data(), operands.b.data(),
                                                operands.c.data(), operands.ldc, onto, operands.bias(onto));
                CAPTURE(static_cast<int>(onto));
                CHECK(operands.c_is(expected));
            }
        });
    });
}

TEST_CASE_TEMPLATE("a tile without products leaves what it adds to", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            TileOperands<T> operands(table, tiles, rows, vectors, 0, 0);
            std::fill_n(operands.row_bias.data(), operands.row_bias.size(), T(-1.5));
            std::fill_n(operands.column_bias.data(), operands.column_bias.size(), T(-1.5));
            for (const Onto onto : all_starts) {
                std::fill_n(operands.c.data(), operands.c.size(), T(-1.5));
                tiles.fn[rows - 1][vectors - 1](kernels::Depth(0), operands.a.data(), operands.b.data(),
                                                operands.c.data(), operands.ldc, onto, operands.bias(onto));
                const T* const c = operands.c.data();
                CHECK(std::all_of(c, c + operands.c.size(),
                                  [&](T v) { return v == (onto == Onto::zero ? T(0) : T(-1.5)); }));
            }
        });
    });
}

TEST_CASE_TEMPLATE("row tiles read their columns where they lie, and sum as the packed ones do", T, float, double) {
    Random random(7);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        const int64_t panel_rows = table.tiles[0].rows;
        CHECK(panel_rows <= kernels::max_row_tile_rows);
        for (int64_t rows = 1; rows <= panel_rows; ++rows) {
            const int64_t most = table.row_tile_vectors[rows - 1];
            CHECK(most >= 1);
            CHECK(most <= kernels::max_row_tile_vectors);
            CHECK(kernel_shapes(isa, dtype_of<T>).row_tile_vectors[rows - 1] == most);
        }
        check_row_tiles(table, isa, false, random);
    });
}

TEST_CASE_TEMPLATE("rows of a row tile that take no part in a step do not meet it", T, float, double) {
    Random random(8);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) { check_row_tiles(table, isa, true, random); });
}

}  // namespace convpp::test
