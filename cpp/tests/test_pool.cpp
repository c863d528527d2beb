// Pooling on every instruction set, against loops over windows: random geometries in all types and both layouts, exact;
// NaN, infinities and equal elements; the same bits for every number of threads; refusals.
//
// Operands end at fences, results lie between guards (support.hpp).
#include "convpp/pool.hpp"

#include <cmath>
#include <limits>

#include "convolution_cases.hpp"

namespace convpp::test {
namespace {

// Calls use(window, tap, element) for the elements of each window, in order; places in plane `plane`.
struct Loops {
    const PoolProblem& problem;

    bool last() const { return problem.geometry().layout == Layout::channels_last; }
    int64_t at(const Extents& extents, int64_t n, int64_t c, int64_t place) const {
        const int64_t pixels = extents[0] * extents[1] * extents[2], channels = problem.geometry().channels;
        return last() ? (n * pixels + place) * channels + c : (n * channels + c) * pixels + place;
    }
    // use(n, c, window, count with padding, places of its elements)
    template <class Use>
    void each(const Use& use) const {
        const PoolGeometry& g = problem.geometry();
        const Extents& out = problem.output();
        for (int64_t n = 0; n < g.batch; ++n)
            for (int64_t c = 0; c < g.channels; ++c)
                for (int64_t window = 0; window < out[0] * out[1] * out[2]; ++window) {
                    const Extents p{window / (out[1] * out[2]), window / out[2] % out[1], window % out[2]};
                    std::vector<int64_t> places;
                    int64_t padded = 1;
                    for (size_t a = 0; a < 3; ++a) {
                        const int64_t first = p[a] * g.stride[a] - g.pad_lo[a];
                        padded *= std::min(first + g.kernel[a], g.input[a] + g.pad_hi[a]) - first;
                    }
                    for (int64_t tap = 0; tap < g.kernel[0] * g.kernel[1] * g.kernel[2]; ++tap) {
                        const Extents r{tap / (g.kernel[1] * g.kernel[2]), tap / g.kernel[2] % g.kernel[1],
                                        tap % g.kernel[2]};
                        int64_t place = 0;
                        bool inside = true;
                        for (size_t a = 0; a < 3; ++a) {
                            const int64_t i = p[a] * g.stride[a] - g.pad_lo[a] + r[a] * g.dilation[a];
                            inside = inside && i >= 0 && i < g.input[a];
                            place = place * g.input[a] + i;
                        }
                        if (inside) places.push_back(place);
                    }
                    use(n, c, window, padded, places);
                }
    }
};

PoolGeometry drawn(Random& random, bool halving) {
    for (;;) {
        PoolGeometry g;
        g.rank = halving ? 2 : static_cast<int>(random.integer(1, 3));
        g.batch = random.integer(0, 3);
        g.channels = random.pick({0, 1, 1, 2, 3, 8, 16, 17, 33});
        g.ceil_mode = random.chance(2);
        g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
        const int64_t kernel = random.integer(2, 3), pad = kernel == 3 ? random.integer(0, 1) : 0;
        constexpr int64_t longest[3]{90, 24, 8};
        for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) {
            g.input[a] = random.integer(1, halving ? 70 : longest[g.rank - 1]);
            g.kernel[a] = halving ? kernel : random.integer(1, 6);
            g.stride[a] = halving ? 2 : random.pick({1, 2, 2, 3, 5, g.kernel[a]});
            g.dilation[a] = halving ? 1 : random.pick({1, 1, 2, 3});
            g.pad_lo[a] = halving ? pad : random.integer(0, g.kernel[a] / 2);
            g.pad_hi[a] = random.integer(0, g.kernel[a] / 2);
        }
        if (message_of<ShapeError>([&] { PoolProblem{g}; }).empty()) return g;
    }
}

template <class T>
void fill(Array<T>& array, Random& random, bool special) {
    constexpr double inf = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < array.size(); ++i) {
        const int64_t kind = special ? random.integer(0, 12) : 12;
        const double value = static_cast<double>(random.integer(-3, 3));
        array[i] = made<T>(kind == 0 ? std::nan("") : kind == 1 ? inf : kind == 2 ? -inf : kind == 3 ? -0.0 : value);
    }
}

template <class T>
void check(const PoolGeometry& g, Random& random, int threads) {
    const PoolProblem problem(g);
    const Loops loops{problem};
    const bool special = random.chance(2);
    Array<T> x(problem.x_elems()), dy(problem.y_elems()), y(problem.y_elems(), guards), dx(problem.x_elems(), guards);
    Array<T> same(problem.y_elems(), guards), y_wanted(problem.y_elems()), dx_wanted(problem.x_elems());
    std::vector<int64_t> indices(static_cast<size_t>(problem.y_elems()), -7);
    std::vector<double> gradient(static_cast<size_t>(problem.x_elems()));
    fill(x, random, special);
    dy.fill_integers(random);
    Execution how;
    how.threads = threads;
    max_pool<T, T>(problem, x.in(), y.out(), {}, how);
    max_pool<T, T>(problem, x.in(), same.out(), indices, how);
    max_pool_input_grad<T, T>(problem, dy.in(), x.in(), dx.out(), how);
    CHECK(same_bits(y, same));
    int64_t wrong_places = 0;
    loops.each([&](int64_t n, int64_t c, int64_t window, int64_t, const std::vector<int64_t>& places) {
        const int64_t at = loops.at(problem.output(), n, c, window);
        int64_t best = -1;
        for (const int64_t place : places) {
            const auto v = value_of(x[loops.at(g.input, n, c, place)]);
            if (best < 0 || v > value_of(x[loops.at(g.input, n, c, best)]) || v != v) best = place;
        }
        y_wanted[at] = best < 0 ? made<T>(-std::numeric_limits<double>::infinity()) : x[loops.at(g.input, n, c, best)];
        wrong_places += indices[static_cast<size_t>(at)] == best ? 0 : 1;
        if (best >= 0)
            gradient[static_cast<size_t>(loops.at(g.input, n, c, best))] += static_cast<double>(value_of(dy[at]));
    });
    for (int64_t i = 0; i < dx.size(); ++i) dx_wanted[i] = made<T>(gradient[static_cast<size_t>(i)]);
    CHECK(first_difference(y, y_wanted) == -1);
    CHECK(wrong_places == 0);
    CHECK(first_difference(dx, dx_wanted) == -1);
    how.accumulate = true;  // to what is there: twice the gradient, once rounded
    dx.fill_nan();
    for (int64_t i = 0; i < dx.size(); ++i) dx[i] = made<T>(1);
    max_pool_input_grad<T, T>(problem, dy.in(), x.in(), dx.out(), how);
    for (int64_t i = 0; i < dx.size(); ++i) dx_wanted[i] = made<T>(gradient[static_cast<size_t>(i)] + 1);
    CHECK(first_difference(dx, dx_wanted) == -1);
    CHECK(y.guards_intact());
    CHECK(dx.guards_intact());
}

// Means: of whole numbers one division; gradients with a divisor that rounds nothing.
template <class T>
void check_average(PoolGeometry g, Random& random, int threads) {
    g.dilation = {1, 1, 1};
    if (!message_of<ShapeError>([&] { PoolProblem{g}; }).empty()) return;
    const PoolProblem problem(g);
    const Loops loops{problem};
    Array<T> x(problem.x_elems()), dy(problem.y_elems()), y(problem.y_elems(), guards), dx(problem.x_elems(), guards);
    Array<T> y_wanted(problem.y_elems()), dx_wanted(problem.x_elems());
    std::vector<double> gradient(static_cast<size_t>(problem.x_elems()));
    x.fill_integers(random);
    dy.fill_integers(random);
    Average average;
    average.count_include_pad = random.chance(2);
    Execution how;
    how.threads = threads;
    avg_pool<T, T>(problem, average, x.in(), y.out(), how);
    avg_pool_input_grad<T, T>(problem, {true, -4}, dy.in(), dx.out(), how);
    loops.each([&](int64_t n, int64_t c, int64_t window, int64_t padded, const std::vector<int64_t>& places) {
        const int64_t at = loops.at(problem.output(), n, c, window);
        using C = Computed<T>;
        C sum = 0;
        for (const int64_t place : places) {
            const int64_t from = loops.at(g.input, n, c, place);
            sum += value_of(x[from]);
            gradient[static_cast<size_t>(from)] += static_cast<double>(value_of(dy[at])) / -4;
        }
        const int64_t count = average.count_include_pad ? padded : static_cast<int64_t>(places.size());
        y_wanted[at] = made<T>(static_cast<double>(sum / static_cast<C>(count)));
    });
    for (int64_t i = 0; i < dx.size(); ++i) dx_wanted[i] = made<T>(gradient[static_cast<size_t>(i)]);
    CHECK(first_difference(y, y_wanted) == -1);
    CHECK(first_difference(dx, dx_wanted) == -1);
    CHECK(y.guards_intact());
    CHECK(dx.guards_intact());
}

}  // namespace

TEST_CASE_TEMPLATE("pooling of random geometries is what loops over windows say", T, float, double, bfloat16, float16) {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        Random random(31);
        for (int i = 0; i < 150; ++i) {
            const PoolGeometry g = drawn(random, i % 2 == 0);
            INFO(std::string(name(isa)), " rank ", g.rank, " N ", g.batch, " C ", g.channels, " H ", g.input[1], " W ",
                 g.input[2], " kernel ", g.kernel[1], " ", g.kernel[2], " stride ", g.stride[1], " ", g.stride[2],
                 " padding ", g.pad_lo[1], " ", g.pad_lo[2], " ", std::string(name(g.layout)));
            check<T>(g, random, i % 3 + 1);
            check_average<T>(g, random, i % 3 + 1);
        }
    }
}

TEST_CASE_TEMPLATE("pooling has the same bits for every number of threads", T, float, double) {
    Random random(32);
    for (const Layout layout : both_layouts)
        for (const int64_t kernel : {2, 3, 5}) {
            PoolGeometry g;
            g.batch = 2;
            g.channels = 40;
            g.input = {1, 70, 61};
            g.kernel = {1, kernel, kernel};
            g.stride = {1, 2, 2};
            g.pad_lo = g.pad_hi = {0, kernel / 3, kernel / 3};
            g.layout = layout;
            const PoolProblem problem(g);
            Array<T> x(problem.x_elems()), dy(problem.y_elems());
            x.fill_reals(random);
            dy.fill_reals(random);
            const auto passes = [&](int threads) {
                Execution how;
                how.threads = threads;
                std::vector<Array<T>> results;
                for (const int64_t size : {problem.y_elems(), problem.x_elems(), problem.y_elems(), problem.x_elems()})
                    results.emplace_back(size, guards);
                max_pool<T, T>(problem, x.in(), results[0].out(), {}, how);
                max_pool_input_grad<T, T>(problem, dy.in(), x.in(), results[1].out(), how);
                avg_pool<T, T>(problem, {}, x.in(), results[2].out(), how);
                avg_pool_input_grad<T, T>(problem, {}, dy.in(), results[3].out(), how);
                return results;
            };
            const auto one = passes(1);
            for (const int threads : {2, 3, 5}) {
                const auto several = passes(threads);
                for (size_t i = 0; i < one.size(); ++i) CHECK(same_bits(several[i], one[i]));
            }
        }
}

TEST_CASE("pooling refuses what does not fit") {
    PoolGeometry g;
    g.channels = 3;
    g.input = {1, 8, 9};
    g.kernel = g.stride = {1, 2, 2};
    const PoolProblem problem(g);
    Array<float> x(problem.x_elems()), y(problem.y_elems(), guards), dx(problem.x_elems(), guards);
    std::vector<int64_t> places(3);
    using F = View<const float>;
    CHECK(problem.y_elems() == 3 * 4 * 4);
    check_refused<ShapeError>(y, "x has 5 elements, expected 216",
                              [&] { max_pool<float, float>(problem, F{x.data(), 5}, y.out()); });
    check_refused<ShapeError>(y, "indices has 3 elements, expected 48",
                              [&] { max_pool<float, float>(problem, x.in(), y.out(), places); });
    check_refused<ShapeError>(y, "y has 3 elements, expected 48",
                              [&] { avg_pool<float, float>(problem, {}, x.in(), {y.data(), 3}); });
    check_refused<std::invalid_argument>(
        dx, "dy is null", [&] { avg_pool_input_grad<float, float>(problem, {}, F{nullptr, 48}, dx.out()); });
    check_refused<ShapeError>(dx, "dy has 216 elements, expected 48",
                              [&] { max_pool_input_grad<float, float>(problem, x.in(), x.in(), dx.out()); });
    const auto refused = [&](const std::string& text, const auto& change) {
        PoolGeometry changed = g;
        change(changed);
        check_refused<ShapeError>(y, text, [&] { PoolProblem{changed}; });
    };
    constexpr int64_t huge = int64_t(1) << 40;
    refused("at most half of the kernel extent: 1", [](PoolGeometry& c) { c.pad_lo[1] = 2; });
    refused("padding of axis 1 is -1", [](PoolGeometry& c) { c.pad_hi[2] = -1; });
    refused("no pixels of axis 0", [](PoolGeometry& c) { c.kernel[1] = 9; });
    refused("input extent of axis 1 is 0", [](PoolGeometry& c) { c.input[2] = 0; });
    refused("stride of axis 0 is 0", [](PoolGeometry& c) { c.stride[1] = 0; });
    refused("the kernel is too large", [&](PoolGeometry& c) { c.input[1] = c.kernel[1] = huge; });
    refused("x is too large", [&](PoolGeometry& c) { c.input[1] = c.input[2] = huge; });
    refused("rank is 4", [](PoolGeometry& c) { c.rank = 4; });
    refused("beyond the rank (1)", [](PoolGeometry& c) { c.rank = 1; });
    g.dilation[1] = 2;
    check_refused<std::invalid_argument>(y, "dilation is 2, expected 1 for an average", [&] {
        const PoolProblem dilated(g);
        Array<float> out(dilated.y_elems());
        avg_pool<float, float>(dilated, {}, x.in(), out.out());
    });
}

}  // namespace convpp::test
