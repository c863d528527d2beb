// Tiles of rows that slide over rows of the source (kernels/tile/slide.hpp), on every instruction set of this machine
// and in both types, against the plain loop of their contract (kernels/contract.hpp).
#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Onto;
using kernels::Strip;

// A strip of `vectors` vectors and `rows` rows of results, over a plane that it may reach beyond on all sides.
template <class T>
struct StripCase {
    int64_t panel, lanes, rows;
    Array<T> plane, weights, result;  // the plane with room around it: what vectors reach beyond it
    T bias;
    Strip<T> strip{};
    int64_t vectors;

    StripCase(const KernelTable<T>& table, int64_t vector_count, int64_t row_count, Random& random)
        : panel(table.tiles[0].rows),
          lanes(table.lanes),
          rows(row_count),
          plane(rows_most * pitch()),
          weights(lines_most * kernels::strip_taps * panel),
          result(row_count * (vector_count * lanes + 3), guards),
          bias(static_cast<T>(random.integer(-9, 9))),
          vectors(vector_count) {
        const bool upwards = random.chance(2), mirrored = random.chance(2);
        strip.row_step = pitch();
        strip.height = random.integer(1, rows_most);
        strip.width = random.integer(1, 5 * lanes);
        strip.direction = upwards ? -1 : 1;
        strip.first_row = random.integer(-3, 3) + (upwards ? strip.height : 0);
        for (int64_t t = 0; t < kernels::strip_taps; ++t) strip.tap[t] = (mirrored ? -t : t) + (mirrored ? 1 : -2);
        for (int64_t v = 0; v < vectors; ++v) strip.column[v] = v * lanes;
        strip.lines = random.integer(1, lines_most);
        strip.source = plane.data() + room;
        strip.weights = weights.data();
        const int64_t step = vectors * lanes + 3;
        strip.result_step = upwards ? -step : step;
        strip.result = result.data() + (upwards ? (rows - 1) * step : 0);
    }

    static constexpr int64_t room = 8, rows_most = 20, lines_most = 7;
    int64_t pitch() const { return 10 * lanes + 2 * room; }

    std::vector<T> expected(Onto onto, bool fused) const {
        std::vector<T> all = contents(result);
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t column = 0; column < vectors * lanes; ++column) {
                T sum = T(0);
                for (int64_t line = 0; line < strip.lines; ++line)
                    for (int64_t t = 0; t < kernels::strip_taps; ++t) {
                        const int64_t h = strip.first_row + strip.direction * (r + line), w = column + strip.tap[t];
                        if (h < 0 || h >= strip.height) continue;  // left out
                        const bool inside = w >= 0 && w < strip.width;
                        sum = multiply_add(inside ? strip.source[h * strip.row_step + w] : T(0),
                                           weights[(line * kernels::strip_taps + t) * panel], sum, fused);
                    }
                add_onto(onto, bias, sum,
                         all.at(static_cast<size_t>(strip.result - result.data() + r * strip.result_step + column)));
            }
        return all;
    }
};

}  // namespace

TEST_CASE_TEMPLATE("tables have tiles of all heights, as wide as the registers allow", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        for (int size = 0; size < kernels::slide_sizes; ++size) {
            REQUIRE(table.slide_vectors[size] >= 1);
            for (int v = 0; v < kernels::max_slide_vectors; ++v)
                CHECK((table.slide_tiles[size][v] != nullptr) == (v < table.slide_vectors[size]));
        }
    });
}

TEST_CASE_TEMPLATE("slide_tiles sum in the order of lines, then taps, and write nothing else", T, float, double) {
    Random random(51);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for (int size = 0; size < kernels::slide_sizes; ++size)
            for (int64_t vectors = 1; vectors <= table.slide_vectors[size]; ++vectors)
                for (const Onto onto : {Onto::zero, Onto::c, Onto::row_bias})
                    for (int repeat = 0; repeat < 12; ++repeat) {
                        const int64_t tiles = random.integer(1, 2), height = kernels::slide_rows[size];
                        StripCase<T> one(table, vectors, tiles * height, random);
                        one.plane.fill_reals(random);
                        one.weights.fill_reals(random);
                        one.result.fill_nan();
                        if (onto == Onto::c) one.result.fill_reals(random);
                        const std::vector<T> expected = one.expected(onto, is_fused(isa));
                        table.slide_tiles[size][vectors - 1](one.strip, 0, tiles, onto, &one.bias);
                        CAPTURE(size);
                        CAPTURE(vectors);
                        CAPTURE(static_cast<int>(onto));
                        CAPTURE(one.strip.lines);
                        CHECK(holds(one.result, expected));
                        CHECK(one.result.guards_intact());
                    }
    });
}

TEST_CASE_TEMPLATE("slide_sums are exact on integers, and read no dy beyond its end", T, float, double) {
    Random random(52);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (int repeat = 0; repeat < 300; ++repeat) {
            const int64_t rows = random.integer(1, 12), columns = random.integer(1, 4 * table.lanes + 1);
            StripCase<T> one(table, 1, rows, random);
            const Strip<T>& strip = one.strip;
            const int64_t pitch = columns + random.integer(0, 3);
            Array<T> dy((rows - 1) * pitch + columns), sums(strip.lines * kernels::strip_taps * table.lanes, guards);
            for (Array<T>* array : {&one.plane, &dy, &sums}) array->fill_integers(random);
            std::vector<T> expected = contents(sums);
            const T* const first = dy.data() + (strip.direction < 0 ? (rows - 1) * pitch : 0);
            const int64_t step = strip.direction * pitch;
            for (int64_t line = 0; line < strip.lines; ++line)
                for (int64_t t = 0; t < kernels::strip_taps; ++t)
                    for (int64_t r = 0; r < rows; ++r)
                        for (int64_t column = 0; column < columns; ++column) {
                            const int64_t h = strip.first_row + strip.direction * (r + line);
                            const int64_t w = column + strip.tap[t], k = line * kernels::strip_taps + t;
                            if (h < 0 || h >= strip.height || w < 0 || w >= strip.width) continue;
                            expected.at(static_cast<size_t>(k * table.lanes + column % table.lanes)) +=
                                first[r * step + column] * strip.source[h * strip.row_step + w];
                        }
            table.slide_sums(strip, first, step, dy.data() + dy.size(), rows, columns, 5, sums.data());
            CAPTURE(rows);
            CAPTURE(columns);
            CAPTURE(strip.lines);
            CHECK(first_difference(sums.data(), expected.data(), sums.size()) == -1);
            CHECK(sums.guards_intact());
        }
    });
}

}  // namespace convpp::test
