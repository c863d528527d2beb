// The kernels of every instruction set of this machine, in all types, against the plain loop of their contract
// (kernels/kernel_table.hpp): packed tiles, row tiles, packing, dot products.  Sources end at a fence, results lie
// between guards.  The others: test_row_kernels.cpp, test_channel_kernels.cpp.
#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Run;
using kernels::Start;
using kernels::TileKernels;

// The operands of a tile: panels, C with its gaps, a bias for each start.
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

    const T* bias(Start start) const {
        return start == Start::row_bias ? row_bias.data() : start == Start::column_bias ? column_bias.data() : nullptr;
    }

    // The tile by its definition, one sum after the other in the order of k; what is not in the tile stays.
    std::vector<T> expected(Start start, bool fused) const {
        std::vector<T> result(c.data(), c.data() + c.size());
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < columns; ++j) {
                T& sum = result[static_cast<size_t>(i * ldc + j)];
                if (start == Start::zero) sum = T(0);
                if (start == Start::row_bias) sum = row_bias[i];
                if (start == Start::column_bias) sum = column_bias[j];
                for (int64_t k = 0; k < depth; ++k)
                    sum = multiply_add(a[k * panel_rows + i], b[k * panel_columns + j], sum, fused);
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

// A random layout of runs within `width`: in order, mostly without gaps, short and long ones.
std::vector<Run> random_runs(Random& random, int64_t width, int64_t lanes) {
    std::vector<Run> runs;
    int64_t dst = random.chance(4) ? random.integer(0, width - 1) : 0;
    while (dst < width) {
        const int64_t wanted =
            random.pick({1, 1, 2, 3, lanes / 4, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes, width});
        const int64_t count = std::clamp<int64_t>(wanted, 1, width - dst);
        runs.push_back({random.integer(0, 40), dst, count});
        dst += count + (random.chance(5) ? random.integer(1, 5) : 0);
        if (random.chance(12)) break;
    }
    return runs;
}

// One past the last source element that is asked for.
int64_t source_elems(const std::vector<int64_t>& offsets, const std::vector<Run>& runs) {
    int64_t end = 0;
    for (const int64_t offset : offsets)
        for (const Run& run : runs) end = std::max(end, offset + run.src + run.count);
    return end;
}

// `spare`: elements that follow the source, so that whole vectors may be read there.
template <class S, class T>
void check_copy(const KernelTable<T>& table, const std::vector<int64_t>& offsets, const std::vector<Run>& runs,
                int64_t width, int64_t spare, Random& random) {
    const auto rows = static_cast<int64_t>(offsets.size());
    Array<S> source(source_elems(offsets, runs) + spare);
    source.fill_integers(random, 1000);
    const bool some = rows > 0 && !runs.empty();
    const int64_t end = some ? (rows - 1) * width + runs.back().dst + runs.back().count : 0;
    Array<T> panel(some ? end + table.lanes - 1 : 0, guards);
    Panel<T> expected(panel.size());
    for (int64_t k = 0; k < rows; ++k)
        for (const Run& run : runs)
            for (int64_t i = 0; i < run.count; ++i)
                expected.set(k * width + run.dst + i, value_of(source[offsets[static_cast<size_t>(k)] + run.src + i]));
    readers_of<S>(table).copy_panel(source.data(), offsets.data(), rows, runs.data(), static_cast<int64_t>(runs.size()),
                                    panel.data(), width, source.data() + source.size());
    CHECK(expected.first_difference(panel) == -1);
    CHECK(panel.guards_intact());
    if (some) CHECK(all_nan(panel, 0, runs.front().dst));
}

template <class S, class T>
void check_transpose(const KernelTable<T>& table, const std::vector<int64_t>& offsets, const std::vector<Run>& runs,
                     int64_t width, int64_t spare, Random& random) {
    const auto columns = static_cast<int64_t>(offsets.size());
    Array<S> source(source_elems(offsets, runs) + spare);
    source.fill_integers(random, 1000);
    const int64_t last_row = runs.back().dst + runs.back().count - 1;
    Array<T> panel(last_row * width + columns + table.lanes - 1, guards);
    Panel<T> expected(panel.size());
    // Zeros fill up the last vector, unless it is cut by the next row's begin.
    const int64_t filled = std::min(width, (columns + table.lanes - 1) / table.lanes * table.lanes);
    for (const Run& run : runs)
        for (int64_t i = 0; i < run.count; ++i)
            for (int64_t j = 0; j < filled; ++j)
                expected.set((run.dst + i) * width + j,
                             j < columns ? value_of(source[offsets[static_cast<size_t>(j)] + run.src + i]) : T(0));
    readers_of<S>(table).transpose_panel(source.data(), offsets.data(), columns, runs.data(),
                                         static_cast<int64_t>(runs.size()), panel.data(), width,
                                         source.data() + source.size());
    CHECK(expected.first_difference(panel) == -1);
    CHECK(panel.guards_intact());
    CHECK(all_nan(panel, 0, runs.front().dst * width));
    // Beyond the last vector of a row, nothing is touched.
    for (int64_t row = runs.front().dst; row < last_row && filled < width; ++row)
        if (!all_nan(panel, row * width + filled, (row + 1) * width)) FAIL_CHECK("row " << row);
}

// Widths of the panels of a table's families, and odd ones.
template <class T>
std::vector<int64_t> panel_widths(const KernelTable<T>& table) {
    std::vector<int64_t> widths{1, 3, 5, 13, 37, 3 * int64_t(table.lanes) + 1};
    for (const TileKernels<T>& tiles : table.tiles) {
        widths.push_back(tiles.rows);
        widths.push_back(int64_t(tiles.vectors) * table.lanes);
    }
    return widths;
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
                    for (const Start start : all_starts) {
                        // C is not read unless the tile starts from it: then it holds NaN.
                        if (start == Start::from_c) fill_c(operands, [&] { return random.integer(-9, 9); });
                        else operands.c.fill_nan();
                        const std::vector<T> expected = operands.expected(start, is_fused(isa));
                        tiles.fn[rows - 1][vectors - 1](depth, operands.a.data(), operands.b.data(), operands.c.data(),
                                                         operands.ldc, start, operands.bias(start));
                        CAPTURE(depth);
                        CAPTURE(static_cast<int>(start));
                        CHECK(operands.c_is(expected));
                        CHECK(operands.c.guards_intact());
                    }
                }
        });
    });
}

TEST_CASE_TEMPLATE("each element is one sum in the order of k: the same bits from every tile and every fused ISA", T,
                   float, double) {
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            Random random(2);
            TileOperands<T> operands(table, tiles, rows, vectors, 61, 3);
            operands.a.fill_reals(random);
            operands.b.fill_reals(random);
            operands.row_bias.fill_reals(random);
            operands.column_bias.fill_reals(random);
            for (const Start start : all_starts) {
                fill_c(operands, [&] { return random.real(); });
                const std::vector<T> expected = operands.expected(start, is_fused(isa));
                tiles.fn[rows - 1][vectors - 1](operands.depth, operands.a.data(), operands.b.data(),
                                                 operands.c.data(), operands.ldc, start, operands.bias(start));
                CAPTURE(static_cast<int>(start));
                CHECK(operands.c_is(expected));
            }
        });
    });
}

TEST_CASE_TEMPLATE("a tile without products is its start, to the sign of zero", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            TileOperands<T> operands(table, tiles, rows, vectors, 0, 0);
            std::fill_n(operands.row_bias.data(), operands.row_bias.size(), T(-0.0));
            std::fill_n(operands.column_bias.data(), operands.column_bias.size(), T(-0.0));
            for (const Start start : all_starts) {
                std::fill_n(operands.c.data(), operands.c.size(), T(-0.0));
                tiles.fn[rows - 1][vectors - 1](0, operands.a.data(), operands.b.data(), operands.c.data(),
                                                 operands.ldc, start, operands.bias(start));
                const T* const c = operands.c.data();
                CHECK(std::all_of(c, c + operands.c.size(),
                                  [&](T v) { return v == T(0) && std::signbit(v) == (start != Start::zero); }));
            }
        });
    });
}

namespace {

// Row tiles of all shapes, with all rows in each step, or with those of `active`: the others meet no element of a step, not
// even one that is not finite.
template <class T>
void check_row_tiles(const KernelTable<T>& table, Isa isa, bool some, Random& random) {
    const int64_t lanes = table.lanes, panel_rows = table.tiles[0].rows;
    for (int64_t rows = 1; rows <= panel_rows; ++rows)
        for (int64_t count = 1; count <= table.row_tile_vectors[rows - 1]; ++count)
            for (const int64_t depth : {0, 1, 2, 7, 64, 65, 130})
                for (const Start start : {Start::zero, Start::from_c, Start::row_bias}) {
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
                    if (start == Start::from_c) c.fill_reals(random);
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
                                T& sum = expected[static_cast<size_t>(r * ldc + vector.result + lane)];
                                if (start == Start::zero) sum = T(0);
                                if (start == Start::row_bias) sum = bias[r];
                                for (int64_t k = 0; k < depth; ++k)
                                    if (takes_part(k, r))
                                        sum = multiply_add(a[k * panel_rows + r],
                                                           b[offsets[static_cast<size_t>(k)] + vector.source + lane],
                                                           sum, is_fused(isa));
                            }
                    for (int64_t k = 0; k < depth; ++k)
                        for (int64_t r = 0; r < rows; ++r)
                            if (!takes_part(k, r)) a[k * panel_rows + r] = std::numeric_limits<T>::quiet_NaN();
                    table.row_tile[rows - 1][count - 1](depth, a.data(), b.data(), offsets.data(),
                                                        some ? active.data() : nullptr, vectors.data(), c.data(), ldc,
                                                        start, start == Start::row_bias ? bias.data() : nullptr);
                    CAPTURE(rows);
                    CAPTURE(count);
                    CAPTURE(depth);
                    CAPTURE(static_cast<int>(start));
                    CHECK(std::memcmp(expected.data(), c.data(), expected.size() * sizeof(T)) == 0);
                    CHECK(c.guards_intact());
                }
}

}  // namespace

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

TEST_CASE_TEMPLATE("copy_rows", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(8);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t step : {1, 2, 3, 5})
            for (const int64_t rows : {0, 1, 2, 5})
                for (int64_t count = 1; count <= 3 * lanes + 1; ++count)
                    for (const int64_t padding : {int64_t(0), int64_t(1), lanes - 1, lanes, lanes + 1})
                        for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                            const int64_t read = (count - 1) * step + 1, src_pitch = read + random.integer(0, 9);
                            const int64_t dst_pitch = count + padding;
                            Array<S> source(rows == 0 ? 0 : (rows - 1) * src_pitch + read + spare);
                            source.fill_integers(random, 1000);
                            Array<T> plane(rows == 0 ? 0 : rows * dst_pitch + lanes - 1, guards);
                            Panel<T> expected(plane.size());
                            for (int64_t i = 0; i < rows; ++i)
                                for (int64_t j = 0; j < dst_pitch; ++j)
                                    expected.set(i * dst_pitch + j,
                                                 j < count ? value_of(source[i * src_pitch + j * step]) : T(0));
                            readers_of<S>(table).copy_rows(source.data(), src_pitch, step, rows, count, plane.data(),
                                                           dst_pitch, source.data() + source.size());
                            CAPTURE(step);
                            CAPTURE(rows);
                            CAPTURE(count);
                            CAPTURE(dst_pitch);
                            CAPTURE(spare);
                            CHECK(expected.first_difference(plane) == -1);
                            CHECK(plane.guards_intact());
                        }
    });
}

TEST_CASE_TEMPLATE("readers convert every half, also one by one", S, bfloat16, float16) {
    constexpr int64_t count = 1 << 16;
    Array<S> source(count);
    for (int64_t i = 0; i < count; ++i) source[i] = {static_cast<uint16_t>(i)};
    for_each_isa<float>([&](const KernelTable<float>& table, Isa) {
        for (const int64_t step : {1, 3}) {  // whole vectors, single elements
            const int64_t elems = (count + step - 1) / step;
            Array<float> copy(elems + table.lanes - 1, guards);
            readers_of<S>(table).copy_rows(source.data(), 0, step, 1, elems, copy.data(), elems, source.data() + count);
            for (int64_t i = 0; i < elems; ++i) {
                const float expected = static_cast<float>(source[i * step]);
                if (std::isnan(expected) ? !std::isnan(copy[i])
                                         : std::memcmp(&copy[i], &expected, sizeof expected) != 0)
                    FAIL_CHECK("bits " << i * step);
            }
        }
    });
}

TEST_CASE_TEMPLATE("copy_panel", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(3);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (const int64_t width : panel_widths(table)) {
            CAPTURE(width);
            for (const int64_t rows : {0, 1, 2, 7, 20}) {
                CAPTURE(rows);
                check_copy<S>(table, random_offsets(random, rows), {}, width, 0, random);
                for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                    CAPTURE(spare);
                    // One run of each length: the commonest panel, with a path of its own.
                    for (int64_t count = 1; count <= width; ++count)
                        check_copy<S>(table, random_offsets(random, rows), {{3, 0, count}}, width, spare, random);
                    for (int i = 0; i < 20; ++i)
                        check_copy<S>(table, random_offsets(random, rows), random_runs(random, width, table.lanes),
                                      width, spare, random);
                }
            }
        }
    });
}

TEST_CASE_TEMPLATE("transpose_panel", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(4);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        std::vector<int64_t> widths = panel_widths(table);
        widths.push_back(3 * lanes);
        for (const int64_t width : widths)
            for (int64_t columns = 1; columns <= std::min(width, 3 * lanes); ++columns) {
                CAPTURE(width);
                CAPTURE(columns);
                for (const int64_t spare : {int64_t(0), guards}) {
                    CAPTURE(spare);
                    for (const int64_t depth : {int64_t(1), (lanes + 3) / 4, lanes, 2 * lanes + 3})
                        check_transpose<S>(table, random_offsets(random, columns), {{2, 0, depth}}, width, spare,
                                           random);
                    check_transpose<S>(table, random_offsets(random, columns), random_runs(random, 40, lanes), width,
                                       spare, random);
                }
            }
    });
}

TEST_CASE_TEMPLATE("dot_rows adds the products of the lanes that count", T, float, double) {
    Random random(5);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 9})
            for (const int64_t columns : {1, 2, 3, 5, 6, 7, 9, 11, 12, 13, 25})
                for (const int64_t whole : {0, 1, 3})
                    for (const int64_t ragged : {0, 1, 2}) {
                        const std::vector<int64_t> offsets = random_offsets(random, columns);
                        std::vector<kernels::VectorAt> at;
                        std::vector<unsigned char> skip, count;
                        int64_t x_end = 0, dy_end = 0;
                        const int64_t dy_pitch = (whole + ragged) * (lanes + 1) + 3;
                        for (int64_t v = 0; v < whole + ragged; ++v) {
                            at.push_back({random.integer(0, 50), v * (lanes + 1)});
                            const int64_t skipped = v < whole ? 0 : random.integer(0, lanes - 1);
                            const int64_t counted = v < whole ? lanes : random.integer(1, lanes - skipped);
                            skip.push_back(static_cast<unsigned char>(skipped));
                            count.push_back(static_cast<unsigned char>(counted));
                            for (const int64_t offset : offsets)
                                x_end = std::max(x_end, offset + at.back().source + lanes);
                            // The last lanes of dy that do not count are not there.
                            dy_end = (rows - 1) * dy_pitch + at.back().result + skipped + counted;
                        }
                        Array<T> dy(dy_end), x(x_end);
                        x.fill_integers(random);
                        for (int64_t r = 0; r < rows; ++r)  // what does not count stays NaN
                            for (size_t v = 0; v < at.size(); ++v)
                                for (int64_t lane = skip[v]; lane < skip[v] + count[v]; ++lane)
                                    dy[r * dy_pitch + at[v].result + lane] = static_cast<T>(random.integer(-3, 3));
                        const int64_t pitch = columns + random.integer(0, 3);
                        Array<T> sums((rows - 1) * pitch + columns, guards);
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t j = 0; j < columns; ++j)
                                sums[r * pitch + j] = static_cast<T>(random.integer(-9, 9));
                        std::vector<T> expected(sums.data(), sums.data() + sums.size());
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t j = 0; j < columns; ++j)
                                for (size_t v = 0; v < at.size(); ++v)
                                    for (int64_t lane = skip[v]; lane < skip[v] + count[v]; ++lane)
                                        expected[static_cast<size_t>(r * pitch + j)] +=
                                            dy[r * dy_pitch + at[v].result + lane] *
                                            x[offsets[static_cast<size_t>(j)] + at[v].source + lane];
                        const kernels::RowVectors vectors{at.data(), skip.data(), count.data(), whole, whole + ragged};
                        table.dot_rows(dy.data(), dy_pitch, dy.data() + dy.size(), rows, x.data(), offsets.data(),
                                       columns, vectors, sums.data(), pitch);
                        CAPTURE(rows);
                        CAPTURE(columns);
                        CAPTURE(whole);
                        CAPTURE(ragged);
                        CHECK(first_difference(sums.data(), expected.data(), sums.size()) == -1);
                        CHECK(sums.guards_intact());
                    }
    });
}

TEST_CASE_TEMPLATE("dot_rows leaves out lanes of x that are not finite and do not count", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (int64_t skipped = 0; skipped < lanes; ++skipped)
            for (int64_t counted = 1; counted <= lanes - skipped; ++counted) {
                Array<T> x(lanes), dy(skipped + counted), sum(1, guards);  // of NaN
                for (int64_t lane = skipped; lane < skipped + counted; ++lane) x[lane] = T(2), dy[lane] = T(3);
                sum[0] = T(1);
                kernels::VectorAt at{0, 0};
                auto skip = static_cast<unsigned char>(skipped), count = static_cast<unsigned char>(counted);
                const int64_t offset = 0;
                table.dot_rows(dy.data(), 0, dy.data() + dy.size(), 1, x.data(), &offset, 1, {&at, &skip, &count, 0, 1},
                               sum.data(), 1);
                CHECK(sum[0] == static_cast<T>(1 + 6 * counted));
                CHECK(sum.guards_intact());
            }
    });
}

TEST_CASE_TEMPLATE("add", T, float, double) {
    Random random(6);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (int64_t count = 0; count <= 70; ++count) {
            CAPTURE(count);
            Array<T> source(count), result(count, guards);
            source.fill_integers(random, 1000);
            result.fill_integers(random, 1000);
            std::vector<T> expected(static_cast<size_t>(count));
            for (int64_t i = 0; i < count; ++i) expected[static_cast<size_t>(i)] = result[i] + source[i];
            table.add(source.data(), count, result.data());
            CHECK(first_difference(result.data(), expected.data(), count) == -1);
            CHECK(result.guards_intact());
        }
    });
}

TEST_CASE_TEMPLATE("multiply_add_rounds counts two operations for each lane of each chain", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        T sink = T(1);
        const int64_t operations = table.multiply_add_rounds(10, &sink);
        CHECK(operations > 0);
        CHECK(operations % (2 * table.lanes) == 0);
        CHECK(std::isfinite(sink));
        CHECK(sink > T(1));  // so that the rounds cannot be left out
    });
}

}  // namespace convpp::test
