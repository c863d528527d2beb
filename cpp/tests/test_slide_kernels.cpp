// Tiles of rows that slide over rows of the source (kernels/tile/slide.hpp, slide_sums.hpp), on every instruction set
// of this machine and as all types are stored, against the plain loop of their contract (kernels/contract.hpp).
#include <utility>

#include "kernel_cases.hpp"
#include "strategies/sliding/strip.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Onto;
using kernels::Strip;

// A strip of `count` results in each of `rows` rows of some planes, which it may reach beyond on all sides.
template <class S>
struct StripCase {
    using T = Computed<S>;
    int64_t lanes, stride;
    Array<S> planes;  // with room around them: what vectors reach beyond them
    Array<T> weights;
    Array<S> result;
    std::vector<T> bias;
    Strip<T, S> strip{};

    StripCase(const KernelTable<T>& table, int64_t lines, int64_t columns, int64_t step, int64_t count, int64_t rows,
              int64_t plane_count, Random& random)
        : lanes(table.lanes),
          stride(step),
          planes(planes_most * rows_most * pitch()),
          weights(planes_most * lines * columns),
          result(plane_count * rows * (count + random.integer(0, 1) * 3), guards) {
        const bool upwards = random.chance(2), mirrored = stride == 1 && random.chance(2);
        strip.row_step = pitch();
        strip.height = random.integer(1, rows_most);
        strip.width = random.integer(1, 5 * lanes);
        strip.direction = upwards ? -1 : 1;
        strip.first_row = random.integer(-3, 3) + (upwards ? strip.height : 0);
        strip.first_tap = mirrored ? random.integer(0, room) : random.integer(-room, 1);
        strip.tap_step = mirrored ? -1 : 1;
        strip.lines = lines;
        strip.columns = columns;
        strip.source = planes.data() + 2 * room;
        strip.weights = weights.data();
        strip.count = count;
        strip.rows = rows;
        strip.planes = plane_count;
        strip.source_plane = rows_most * pitch();
        strip.weights_plane = lines * columns;
        strip.result_plane = result.size() / plane_count;
        const int64_t result_pitch = strip.result_plane / rows;
        strip.result_step = upwards ? -result_pitch : result_pitch;
        strip.result = result.data() + (upwards ? (rows - 1) * result_pitch : 0);
        for (int64_t plane = 0; plane < plane_count; ++plane) bias.push_back(static_cast<T>(random.integer(-9, 9)));
        strip.bias = bias.data();
    }

    static constexpr int64_t room = 16, rows_most = 20, planes_most = 3;
    int64_t pitch() const { return 12 * lanes + 4 * room; }

    std::vector<S> expected(Onto onto, bool fused) const {
        std::vector<S> all = contents(result);
        for (int64_t plane = 0; plane < strip.planes; ++plane)
            for (int64_t r = 0; r < strip.rows; ++r)
                for (int64_t i = 0; i < strip.count; ++i) {
                    const T sum = sum_of(plane, r, i, fused);
                    const int64_t at =
                        strip.result - result.data() + plane * strip.result_plane + r * strip.result_step + i;
                    S& to = all.at(static_cast<size_t>(at));
                    T whole = value_of(to);
                    add_onto(onto, bias[static_cast<size_t>(plane)], sum, whole);
                    to = made<S>(static_cast<double>(whole));
                }
        return all;
    }

private:
    T sum_of(int64_t plane, int64_t r, int64_t i, bool fused) const {
        T sum = T(0);
        for (int64_t line = 0; line < strip.lines; ++line)
            for (int64_t t = 0; t < strip.columns; ++t) {
                const int64_t h = strip.first_row + strip.direction * (r * stride + line);
                const int64_t w = strip.first_tap + t * strip.tap_step + i * stride;
                if (h < 0 || h >= strip.height) continue;  // left out
                const bool inside = w >= 0 && w < strip.width;
                const S* const row = strip.source + plane * strip.source_plane + h * strip.row_step;
                sum = multiply_add(weights[plane * strip.weights_plane + line * strip.columns + t],
                                   inside ? value_of(row[w]) : T(0), sum, fused);
            }
        return sum;
    }
};

// Results that a tile of a width has at least and at most.
std::pair<int64_t, int64_t> counts_of(int width, int64_t lanes) {
    if (width == 0) return {1, lanes / 2};
    if (width == 1) return {lanes / 2 + 1, lanes};
    return {lanes + 1, 2 * lanes};
}

}  // namespace

TEST_CASE_TEMPLATE("tables have tiles of all heights and strides, of one vector at least", S, float, double, bfloat16,
                   float16) {
    using T = Computed<S>;
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        for (const auto& of_stride : slide_tiles<S>(table).of)
            for (int64_t lines = 1; lines <= kernels::most_slide_lines; ++lines) {
                CHECK((of_stride[1][lines - 1] != nullptr));
                // Half of a vector of 16 bytes is none.
                CHECK((of_stride[0][lines - 1] != nullptr) == (table.lanes * sizeof(T) >= 32));
                CHECK((lines > 4 || of_stride[2][lines - 1] != nullptr));
            }
    });
}

TEST_CASE_TEMPLATE("rows that slide sum in the order of lines, then taps, and write nothing else", S, float, double,
                   bfloat16, float16) {
    using T = Computed<S>;
    Random random(51);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for (int64_t stride = 1; stride <= kernels::slide_strides; ++stride)
            for (int width = 0; width < kernels::slide_widths; ++width)
                for (int64_t lines = 1; lines <= kernels::most_slide_lines; ++lines)
                    for (const Onto onto : {Onto::zero, Onto::c, Onto::row_bias})
                        for (int repeat = 0; repeat < 8; ++repeat) {
                            const auto tile = slide_tiles<S>(table).of[stride - 1][width][lines - 1];
                            if (tile == nullptr || (onto == Onto::c && sizeof(S) < sizeof(T))) continue;
                            const auto [least, most] = counts_of(width, table.lanes);
                            const int64_t columns =
                                random.chance(3) ? 3 : random.integer(1, kernels::most_slide_columns);
                            StripCase<S> one(table, lines, columns, stride, random.integer(least, most),
                                             random.integer(1, 9), random.integer(1, 3), random);
                            one.planes.fill_reals(random);
                            one.weights.fill_reals(random);
                            one.result.fill_nan();
                            if (onto == Onto::c) one.result.fill_reals(random);
                            const std::vector<S> expected = one.expected(onto, is_fused(isa));
                            tile(one.strip, onto);
                            CAPTURE(stride);
                            CAPTURE(width);
                            CAPTURE(lines);
                            CAPTURE(columns);
                            CAPTURE(one.strip.count);
                            CAPTURE(static_cast<int>(onto));
                            CHECK(holds(one.result, expected));
                            CHECK(one.result.guards_intact());
                        }
    });
}

TEST_CASE_TEMPLATE("sums of rows that slide are exact on integers, and read no dy beyond its end", S, float, double,
                   bfloat16, float16) {
    using T = Computed<S>;
    Random random(52);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (int repeat = 0; repeat < 300; ++repeat) {
            const int64_t rows = random.integer(1, 12), columns = random.integer(1, 4 * table.lanes + 1);
            StripCase<S> one(table, random.integer(1, 7), kernels::strip_taps, 1, 1, rows, 1, random);
            Strip<T, S>& strip = one.strip;
            strip.first_tap = strip.tap_step < 0 ? 1 : -2;
            const int64_t pitch = columns + random.integer(0, 3);
            Array<S> dy((rows - 1) * pitch + columns);
            Array<T> sums(strip.lines * kernels::strip_taps * table.lanes, guards);
            for (Array<S>* array : {&one.planes, &dy}) array->fill_integers(random);
            sums.fill_integers(random);
            std::vector<T> expected = contents(sums);
            const S* const first = dy.data() + (strip.direction < 0 ? (rows - 1) * pitch : 0);
            const int64_t step = strip.direction * pitch;
            for (int64_t line = 0; line < strip.lines; ++line)
                for (int64_t t = 0; t < kernels::strip_taps; ++t)
                    for (int64_t r = 0; r < rows; ++r)
                        for (int64_t column = 0; column < columns; ++column) {
                            const int64_t h = strip.first_row + strip.direction * (r + line);
                            const int64_t w = column + strip.first_tap + t * strip.tap_step,
                                          k = line * kernels::strip_taps + t;
                            if (h < 0 || h >= strip.height || w < 0 || w >= strip.width) continue;
                            expected.at(static_cast<size_t>(k * table.lanes + column % table.lanes)) +=
                                value_of(first[r * step + column]) * value_of(strip.source[h * strip.row_step + w]);
                        }
            slide_tiles<S>(table).sums(strip, first, step, dy.data() + dy.size(), rows, columns, 5, sums.data());
            CAPTURE(rows);
            CAPTURE(columns);
            CAPTURE(strip.lines);
            CHECK(first_difference(sums.data(), expected.data(), sums.size()) == -1);
            CHECK(sums.guards_intact());
        }
    });
}

}  // namespace convpp::test
