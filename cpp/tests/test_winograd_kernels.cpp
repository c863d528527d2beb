// Winograd's transforms (kernels/winograd/), on every instruction set of this machine and in both types, against plain
// loops over the matrices; the contract is in kernels/contract.hpp.
#include <limits>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

#include "kernels/winograd/transforms.hpp"

using kernels::KernelTable;
using kernels::TileSteps;
using kernels::TransformFn;
using kernels::WinogradKernels;

// A matrix of a transform, or its transpose.
struct Matrix {
    int64_t rows = 0, columns = 0;
    std::vector<double> elements;

    template <size_t Rows, size_t Columns>
    explicit Matrix(const double (&from)[Rows][Columns]) : rows(Rows), columns(Columns) {
        for (const auto& row : from) elements.insert(elements.end(), row, row + Columns);
    }
    double at(int64_t i, int64_t j) const { return elements[static_cast<size_t>(i * columns + j)]; }
    Matrix transposed() const {
        Matrix other = *this;
        std::swap(other.rows, other.columns);
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < columns; ++j) other.elements[static_cast<size_t>(j * rows + i)] = at(i, j);
        return other;
    }
};

template <class T>
struct Transform {
    const char* name;
    Matrix matrix;
    TransformFn<T> WinogradKernels<T>::* function;
};

template <class T, class F>
std::vector<Transform<T>> transforms_of() {
    using K = WinogradKernels<T>;
    return {{"source", Matrix(F::source), &K::source},
            {"weights", Matrix(F::weights), &K::weights},
            {"results", Matrix(F::results), &K::results},
            {"results_adjoint", Matrix(F::results).transposed(), &K::results_adjoint},
            {"weights_adjoint", Matrix(F::weights).transposed(), &K::weights_adjoint}};
}

template <class T>
std::vector<Transform<T>> transforms_of(int size) {
    if (size == 0) return transforms_of<T, WinogradTransform<2, 3>>();
    if (size == 1) return transforms_of<T, WinogradTransform<4, 3>>();
    return transforms_of<T, WinogradTransform<2, 5>>();
}

// Tiles that lie anywhere, their elements anyhow apart, in and out of order.
template <class T>
struct Tiles {
    int64_t count, lanes;
    int64_t in_a, out_a;  // extents along the first axis: 1 for tiles along one axis
    int64_t in_b, out_b;
    TileSteps in{}, out{};
    std::vector<int64_t> from, to;
    Array<T> source, bias, result;

    Tiles(const Matrix& matrix, bool planes, int64_t lane_count, int64_t tiles, Random& random)
        : count(tiles),
          lanes(lane_count),
          in_a(planes ? matrix.columns : 1),
          out_a(planes ? matrix.rows : 1),
          in_b(matrix.columns),
          out_b(matrix.rows),
          source(tiles * (in_a * in_b + 3) * lanes * 2),
          bias(lanes),
          result(tiles * (out_a * out_b + 1) * lanes, guards) {
        // Rows that overlap in the source; columns or rows that are next to each other in the result.
        in = {random.integer(1, in_b) * lanes, random.integer(1, 2) * lanes};
        out = random.chance(2) ? TileSteps{out_b * lanes, lanes} : TileSteps{lanes, out_a * lanes};
        const int64_t reach = (in_a - 1) * in.a + (in_b - 1) * in.b + lanes;
        for (const int64_t place : shuffled(random, tiles)) {
            from.push_back(random.integer(0, source.size() - reach));
            to.push_back(place * (out_a * out_b + 1) * lanes);
        }
        from.back() = source.size() - reach;  // up to the fence
        source.fill_reals(random);
        bias.fill_reals(random);
    }

    double input(int64_t tile, int64_t i, int64_t j, int64_t lane) const {
        return static_cast<double>(source[from[static_cast<size_t>(tile)] + i * in.a + j * in.b + lane]);
    }
    int64_t output_at(int64_t tile, int64_t i, int64_t j) const {
        return to[static_cast<size_t>(tile)] + i * out.a + j * out.b;
    }
    int64_t written() const { return count * out_a * out_b * lanes; }
};

// The element (i, j) of the transformed tile, and the sum of its terms' magnitudes.
template <class T>
std::pair<double, double> transformed(const Matrix& m, const Tiles<T>& tiles, int64_t tile, int64_t i, int64_t j,
                                      int64_t lane) {
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < tiles.in_a; ++k)
        for (int64_t l = 0; l < tiles.in_b; ++l) {
            const double factor = (tiles.in_a > 1 ? m.at(i, k) : 1.0) * m.at(j, l);
            const double term = factor == 0 ? 0 : factor * tiles.input(tile, k, l, lane);
            sum += term;
            magnitude += std::fabs(term);
        }
    return {sum, magnitude};
}

// body(transform, function, planes, lanes) for all of a table.
template <class T, class Body>
void for_each_transform(const KernelTable<T>& table, const Body& body) {
    for (int size = 0; size < kernels::winograd_sizes; ++size)
        for (const Transform<T>& transform : transforms_of<T>(size))
            for (const bool planes : {false, true}) {
                CAPTURE(size);
                CAPTURE(std::string(transform.name));
                CAPTURE(planes);
                body(transform.matrix, table.winograd[size][planes ? 1 : 0].*transform.function, planes);
            }
}

}  // namespace

TEST_CASE("matrices have the sizes that the tables say, and make correlations") {
    for (int size = 0; size < kernels::winograd_sizes; ++size) {
        const std::vector<Transform<double>> t = transforms_of<double>(size);
        const Matrix &source = t[0].matrix, &weights = t[1].matrix, &results = t[2].matrix;
        const int64_t outputs = kernels::winograd_outputs[size], taps = kernels::winograd_taps[size];
        CHECK(source.rows == outputs + taps - 1);
        CHECK(source.columns == source.rows);
        CHECK(weights.rows == source.rows);
        CHECK(weights.columns == taps);
        CHECK(results.rows == outputs);
        CHECK(results.columns == source.rows);
        // y[i] = d[i + j] for the tap j alone.
        for (int64_t i = 0; i < outputs; ++i)
            for (int64_t j = 0; j < taps; ++j)
                for (int64_t k = 0; k < source.columns; ++k) {
                    double factor = 0;
                    for (int64_t p = 0; p < source.rows; ++p)
                        factor += results.at(i, p) * weights.at(p, j) * source.at(p, k);
                    CHECK(std::fabs(factor - (k == i + j ? 1 : 0)) <= 1e-14);
                }
    }
}

TEST_CASE_TEMPLATE("transformed tiles are the matrix along each axis, plus the bias, and nothing else is written", T,
                   float, double) {
    Random random(61);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for_each_transform<T>(table, [&](const Matrix& matrix, TransformFn<T> function, bool planes) {
            for (int64_t count = 1; count <= 9; count += 4)
                for (const bool with_bias : {false, true}) {
                    Tiles<T> tiles(matrix, planes, table.lanes, count, random);
                    const std::vector<T> before = contents(tiles.source);
                    CAPTURE(count);
                    CAPTURE(with_bias);
                    CHECK(function(tiles.source.data(), tiles.from.data(), tiles.in, count,
                                   with_bias ? tiles.bias.data() : nullptr, tiles.result.data(), tiles.to.data(),
                                   tiles.out));
                    double worst = 0;  // in units of the last place of the terms' magnitudes
                    int64_t written = 0;
                    for (int64_t t = 0; t < count; ++t)
                        for (int64_t i = 0; i < tiles.out_a; ++i)
                            for (int64_t j = 0; j < tiles.out_b; ++j)
                                for (int64_t lane = 0; lane < table.lanes; ++lane) {
                                    auto [sum, magnitude] = transformed(matrix, tiles, t, i, j, lane);
                                    if (with_bias) sum += static_cast<double>(tiles.bias[lane]);
                                    if (with_bias) magnitude += std::fabs(static_cast<double>(tiles.bias[lane]));
                                    T& got = tiles.result[tiles.output_at(t, i, j) + lane];
                                    const double error = std::fabs(static_cast<double>(got) - sum);
                                    const double unit = magnitude * std::numeric_limits<T>::epsilon();
                                    // A chain of up to a dozen roundings; a NaN, of what is not written, is more too.
                                    if (!(error <= 12 * unit)) worst = std::max(worst, unit > 0 ? error / unit : 1e300);
                                    if (!(got == got)) worst = 1e300;
                                    got = std::numeric_limits<T>::quiet_NaN();
                                    ++written;
                                }
                    CHECK(worst == 0);
                    CHECK(written == tiles.written());
                    CHECK(all_nan(tiles.result, 0, tiles.result.size()));  // what lies between is as it was
                    CHECK(tiles.result.guards_intact());
                    CHECK(holds(tiles.source, before));
                }
        });
    });
}

TEST_CASE_TEMPLATE("a tile has the same bits wherever it lies, alone or among others", T, float, double) {
    Random random(62);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for_each_transform<T>(table, [&](const Matrix& matrix, TransformFn<T> function, bool planes) {
            Tiles<T> tiles(matrix, planes, table.lanes, 5, random);
            function(tiles.source.data(), tiles.from.data(), tiles.in, 5, tiles.bias.data(), tiles.result.data(),
                     tiles.to.data(), tiles.out);
            const std::vector<T> together = contents(tiles.result);
            tiles.result.fill_nan();
            for (size_t t = 5; t-- > 0;)
                function(tiles.source.data(), &tiles.from[t], tiles.in, 1, tiles.bias.data(), tiles.result.data(),
                         &tiles.to[t], tiles.out);
            CHECK(holds(tiles.result, together));
        });
    });
}

TEST_CASE_TEMPLATE("one element that is not finite, in any lane of any tile, is told", T, float, double) {
    Random random(63);
    constexpr T infinity = std::numeric_limits<T>::infinity();
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for_each_transform<T>(table, [&](const Matrix& matrix, TransformFn<T> function, bool planes) {
            for (const T value : {infinity, -infinity, std::numeric_limits<T>::quiet_NaN()})
                for (int repeat = 0; repeat < 8; ++repeat) {
                    const int64_t count = random.integer(1, 5), tile = random.integer(0, count - 1);
                    Tiles<T> tiles(matrix, planes, table.lanes, count, random);
                    const int64_t lane = random.integer(0, table.lanes - 1), i = random.integer(0, tiles.in_a - 1);
                    const int64_t j = random.integer(0, tiles.in_b - 1);
                    tiles.source[tiles.from[static_cast<size_t>(tile)] + i * tiles.in.a + j * tiles.in.b + lane] =
                        value;
                    CHECK_FALSE(function(tiles.source.data(), tiles.from.data(), tiles.in, count, nullptr,
                                         tiles.result.data(), tiles.to.data(), tiles.out));
                }
            // Finite numbers of which the sums are not; and the bias.
            Tiles<T> tiles(matrix, planes, table.lanes, 2, random);
            const auto run = [&] {
                return function(tiles.source.data(), tiles.from.data(), tiles.in, 2, tiles.bias.data(),
                                tiles.result.data(), tiles.to.data(), tiles.out);
            };
            CHECK(run());
            tiles.bias[table.lanes - 1] = infinity;
            CHECK_FALSE(run());
            tiles.bias[table.lanes - 1] = -std::numeric_limits<T>::max();
            CHECK(run());
        });
    });
}

}  // namespace convpp::test
