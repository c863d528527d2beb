// Fourier transforms and products of spectra (kernels/fft/), on every instruction set of this machine and in both types,
// against plain loops; the contract is in kernels/contract.hpp.
#include <complex>

#include "kernel_cases.hpp"
#include "strategies/fft/axes.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using Complex = std::complex<double>;

constexpr double pi = 3.14159265358979323846;

// Of a transform's error, relative to the largest of its elements.
template <class T>
constexpr double rounding = sizeof(T) == sizeof(float) ? 2e-6 : 4e-15;

bool is_length(int64_t n) {
    for (const int64_t p : {2, 3, 5})
        while (n % p == 0) n /= p;
    return n == 1;
}

// exp(-2 pi i k / n)
Complex root(int64_t k, int64_t n) {
    const double angle = -2 * pi * static_cast<double>(k % n) / static_cast<double>(n);
    return {std::cos(angle), std::sin(angle)};
}

template <class T>
void make_tables(FourierTables<T>& tables, int64_t heights, int64_t widths) {
    std::array<FourierAxis, 3> axis;
    axis[1].length = heights;
    axis[2].length = widths;
    tables.make(axis);
}

// Lines of points, some elements apart, ending at a fence; what is between them is not touched.
template <class T>
struct Lines {
    int64_t lanes, points, step, lines, line_step;
    Array<T> z;

    Lines(const KernelTable<T>& table, int64_t n, Random& random)
        : lanes(table.lanes),
          points(n),
          step(2 * lanes * random.integer(1, 3)),
          lines(random.integer(1, 3)),
          line_step(n * step),
          z(lines * line_step - step + 2 * lanes, guards) {
        z.fill_reals(random);
    }
    T& at(int64_t line, int64_t point, int64_t lane, bool imaginary) {
        return z[line * line_step + point * step + (imaginary ? lanes : 0) + lane];
    }
    Complex value(int64_t line, int64_t point, int64_t lane) {
        return {static_cast<double>(at(line, point, lane, false)), static_cast<double>(at(line, point, lane, true))};
    }
};

// Frequencies as passes leave them: where each ends up, found by transforming a single wave.
std::vector<int64_t> digits_of(const std::vector<int>& radices, int64_t n) {
    std::vector<int64_t> frequency_at(static_cast<size_t>(n));
    for (int64_t at = 0; at < n; ++at) {
        int64_t weight = 1, length = n, rest = at, frequency = 0;
        for (const int radix : radices) {
            length /= radix;
            frequency += rest / length * weight;
            rest %= length;
            weight *= radix;
        }
        frequency_at[static_cast<size_t>(at)] = frequency;
    }
    return frequency_at;
}

template <class T>
std::vector<int> radices_of(const kernels::FourierPasses<T>& passes) {
    return {passes.radix, passes.radix + passes.count};
}

std::vector<int64_t> lengths() {
    std::vector<int64_t> all;
    for (int64_t n = 1; n <= 64; ++n)
        if (is_length(n)) all.push_back(n);
    for (const int64_t n : {75, 81, 125, 128, 243, 250, 256, 360, 625, 1024, 1500}) all.push_back(n);
    return all;
}

}  // namespace

TEST_CASE_TEMPLATE("complex transforms are those of the definition, and come back", T, float, double) {
    Random random(140);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (const int64_t n : lengths()) {
            CAPTURE(n);
            FourierTables<T> tables;
            make_tables(tables, n, 2);
            const kernels::FourierPasses<T>& passes = tables.passes[1];
            REQUIRE(passes.points == n);
            const std::vector<int64_t> frequency_at = digits_of(radices_of(passes), n);
            Lines<T> lines(table, n, random);
            Array<T> before(lines.z.size());
            std::memcpy(before.data(), lines.z.data(), static_cast<size_t>(before.size()) * sizeof(T));
            const int64_t lane = random.integer(0, table.lanes - 1), line = random.integer(0, lines.lines - 1);
            std::vector<Complex> source;
            for (int64_t i = 0; i < n; ++i) source.push_back(lines.value(line, i, lane));
            table.fourier.forward(passes, lines.z.data(), lines.step, lines.lines, lines.line_step);
            const double most =
                rounding<T> * 2 * std::sqrt(static_cast<double>(n)) * std::log2(2.0 * static_cast<double>(n));
            for (int64_t at = 0; at < n; at += std::max<int64_t>(1, n / 40)) {
                Complex sum = 0;
                for (int64_t i = 0; i < n; ++i)
                    sum += source[static_cast<size_t>(i)] * root(i * frequency_at[static_cast<size_t>(at)], n);
                CHECK(std::abs(lines.value(line, at, lane) - sum) <= most);
            }
            table.fourier.inverse(passes, lines.z.data(), lines.step, lines.lines, lines.line_step);
            for (int64_t i = 0; i < lines.z.size(); ++i) {  // n times what it was; between the points, the same
                const bool is_point = i % lines.line_step % lines.step < 2 * table.lanes;
                const double got = static_cast<double>(lines.z[i]), was = static_cast<double>(before[i]);
                if (is_point) CHECK(std::fabs(got / static_cast<double>(n) - was) <= most);
                else CHECK(lines.z[i] == before[i]);
            }
            CHECK(lines.z.guards_intact());
        }
    });
}

TEST_CASE_TEMPLATE("rows of real numbers become half of a spectrum, and come back", T, float, double) {
    Random random(141);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t h : lengths()) {
            CAPTURE(h);
            FourierTables<T> tables;
            make_tables(tables, 1, 2 * h);
            const std::vector<int64_t> frequency_at = digits_of(radices_of(tables.passes[2]), h);
            constexpr int64_t rows = 2;
            const int64_t row_step = (h + 2) * 2 * lanes, lane = random.integer(0, lanes - 1);
            Array<T> z(rows * row_step, guards);
            z.fill_reals(random);
            const auto element = [&](int64_t row, int64_t i) {
                return static_cast<double>(z[row * row_step + i * lanes + lane]);
            };
            std::vector<double> source;
            for (int64_t i = 0; i < 2 * h; ++i) source.push_back(element(1, i));
            table.fourier.real_rows(tables.passes[2], tables.halves, T(0.25), z.data(), rows, row_step);
            const double most =
                rounding<T> * 2 * std::sqrt(static_cast<double>(h)) * std::log2(4.0 * static_cast<double>(h));
            for (int64_t at = 0; at <= h; at += std::max<int64_t>(1, h / 40)) {
                const int64_t frequency = at < h ? frequency_at[static_cast<size_t>(at)] : h;
                Complex sum = 0;
                for (int64_t i = 0; i < 2 * h; ++i) sum += source[static_cast<size_t>(i)] * root(i * frequency, 2 * h);
                const Complex got{element(1, 2 * at), element(1, 2 * at + 1)};
                CHECK(std::abs(got - 0.5 * sum) <= most);
            }
            table.fourier.rows_real(tables.passes[2], tables.halves, z.data(), rows, row_step);
            for (int64_t i = 0; i < 2 * h; ++i)  // 2h times half of what it was
                CHECK(std::fabs(element(1, i) / static_cast<double>(h) - source[static_cast<size_t>(i)]) <= most);
            CHECK(z.guards_intact());
        }
    });
}

// Products and sums of small whole numbers: exact.
TEST_CASE_TEMPLATE("products of spectra, by numbers and by vectors, and their sums over lanes", T, float, double) {
    Random random(142);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (int trial = 0; trial < 60; ++trial) {
            const int64_t points = random.integer(1, 2 * lanes), rows = random.integer(1, 9),
                          terms = random.integer(1, 5), vectors = random.integer(1, 5);
            CAPTURE(points);
            CAPTURE(rows);
            CAPTURE(terms);
            CAPTURE(vectors);
            std::vector<int64_t> x_at = random_offsets(random, terms);
            const int64_t x_half = largest_of(x_at) + vectors * lanes, w_half = rows * terms * vectors * lanes;
            const int64_t y_half = rows * vectors * lanes;
            Array<T> x(2 * points * x_half), w(2 * points * w_half), y(2 * points * y_half, guards);
            for (Array<T>* const array : {&x, &w, &y}) array->fill_integers(random);
            const auto at = [](const Array<T>& of, int64_t half, int64_t f, int64_t i) {
                return Complex(static_cast<double>(of[2 * f * half + i]),
                               static_cast<double>(of[(2 * f + 1) * half + i]));
            };
            for (const bool by_lanes : {false, true})
                for (const bool onto : {false, true}) {
                    Array<T> got(y.size(), guards);
                    std::memcpy(got.data(), y.data(), static_cast<size_t>(y.size()) * sizeof(T));
                    const kernels::SpectraProduct<T> product{points,
                                                             rows,
                                                             terms,
                                                             vectors,
                                                             x.data(),
                                                             x_at.data(),
                                                             2 * x_half,
                                                             x_half,
                                                             lanes,
                                                             w.data(),
                                                             2 * w_half,
                                                             w_half,
                                                             by_lanes ? rows * terms * lanes : 0,
                                                             terms * (by_lanes ? lanes : 1),
                                                             by_lanes ? lanes : 1,
                                                             got.data(),
                                                             2 * y_half,
                                                             y_half,
                                                             lanes,
                                                             vectors * lanes,
                                                             onto};
                    if (by_lanes) table.fourier.multiply_lanes(product);
                    else table.fourier.multiply(product);
                    bool right = true;
                    for (int64_t f = 0; f < points; ++f)
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t i = 0; i < vectors * lanes; ++i) {
                                const int64_t v = i / lanes, l = i % lanes, to = r * vectors * lanes + i;
                                Complex sum = onto ? at(y, y_half, f, to) : 0;
                                for (int64_t t = 0; t < terms; ++t)
                                    sum += at(x, x_half, f, x_at[static_cast<size_t>(t)] + i) *
                                           std::conj(
                                               at(w, w_half, f,
                                                  by_lanes ? ((v * rows + r) * terms + t) * lanes + l : r * terms + t));
                                right = right && sum == at(got, y_half, f, to);
                            }
                    CHECK(right);
                    CHECK(got.guards_intact());
                }
            const int64_t pair = round_up(2 * points, lanes) + lanes;
            Array<T> sums(rows * terms * pair, guards);
            sums.fill_integers(random);
            Array<T> before(sums.size());
            std::memcpy(before.data(), sums.data(), static_cast<size_t>(sums.size()) * sizeof(T));
            table.fourier.sum({points, rows, terms, vectors, x.data(), x_at.data(), 2 * x_half, x_half, lanes, y.data(),
                               2 * y_half, y_half, lanes, vectors * lanes, sums.data(), pair});
            bool right = true;
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t t = 0; t < terms; ++t)
                    for (int64_t f = 0; f < points; ++f) {
                        const int64_t to = (r * terms + t) * pair + 2 * f;
                        Complex sum{static_cast<double>(before[to]), static_cast<double>(before[to + 1])};
                        for (int64_t i = 0; i < vectors * lanes; ++i)
                            sum += at(x, x_half, f, x_at[static_cast<size_t>(t)] + i) *
                                   std::conj(at(y, y_half, f, r * vectors * lanes + i));
                        right = right && sum.real() == static_cast<double>(sums[to]) &&
                                sum.imag() == static_cast<double>(sums[to + 1]);
                    }
            CHECK(right);
            CHECK(sums.guards_intact());
        }
    });
}

}  // namespace convpp::test
