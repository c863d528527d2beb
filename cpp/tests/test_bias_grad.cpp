// bias_grad: sums over samples and pixels against counting, the same bits for every number of threads, refusals.
#include <vector>

#include "convolution_cases.hpp"

namespace convpp::test {

TEST_CASE_TEMPLATE("bias_grad sums over samples and pixels in both layouts", T, float, double) {
    Random random(24);
    for (const Layout layout : both_layouts)
        for (const int64_t batch : {0, 1, 3})
            for (const int64_t channels : {0, 1, 2, 17})
                for (const int64_t pixels : {0, 1, 7, 8, 9, 64, 1000}) {
                    Array<T> dy(batch * channels * pixels), db(channels, guards);
                    dy.fill_integers(random);
                    std::vector<T> expected(static_cast<size_t>(channels));
                    for (int64_t i = 0; i < dy.size(); ++i) {
                        const int64_t k = layout == Layout::channels_last ? i % channels : i / pixels % channels;
                        expected[static_cast<size_t>(k)] += dy[i];
                    }
                    INFO(std::string(name(layout)), " ", batch, " ", channels, " ", pixels);
                    bias_grad(dy.in(), batch, channels, pixels, layout, db.out());
                    CHECK(first_difference(db.data(), expected.data(), channels) == -1);
                    Execution how;
                    how.accumulate = true;
                    bias_grad(dy.in(), batch, channels, pixels, layout, db.out(), how);
                    for (T& value : expected) value *= T(2);
                    CHECK(first_difference(db.data(), expected.data(), channels) == -1);
                    CHECK(db.guards_intact());
                }
}

TEST_CASE_TEMPLATE("bias_grad has the same bits for every number of threads", T, float, double) {
    Random random(25);
    constexpr int64_t batch = 3, channels = 5, pixels = 20'001;  // enough to be spread over threads
    Array<T> dy(batch * channels * pixels);
    dy.fill_reals(random);
    for (const Layout layout : both_layouts) {
        Array<T> one(channels, guards), several(channels, guards);
        bias_grad(dy.in(), batch, channels, pixels, layout, one.out(), {1, false});
        for (int threads = 2; threads <= 4; ++threads) {
            several.fill_nan();
            bias_grad(dy.in(), batch, channels, pixels, layout, several.out(), {threads, false});
            CHECK(same_bits(several, one));
        }
    }
}

// The sum is 2^p + 1 and a little, between two halves that are 2 apart: the little decides, and float32 does not hold
// it.
template <class S>
void check_rounded_once(double large, double little) {
    for (const Layout layout : both_layouts)
        for (const double sign : {1.0, -1.0})
            for (const bool accumulate : {false, true}) {
                Array<S> dy(3), db(1, guards);
                dy[0] = made<S>(sign * (accumulate ? 0.0 : large));
                dy[1] = made<S>(sign);
                dy[2] = made<S>(sign * little);
                db[0] = made<S>(sign * large);
                Execution how;
                how.accumulate = accumulate;
                bias_grad(dy.in(), 1, 1, 3, layout, db.out(), how);
                CHECK(value_of(db[0]) == sign * (large + 2));
                dy[2] = made<S>(-sign * little);
                db[0] = made<S>(sign * large);
                bias_grad(dy.in(), 1, 1, 3, layout, db.out(), how);
                CHECK(value_of(db[0]) == sign * large);
                CHECK(db.guards_intact());
            }
}

TEST_CASE("bias_grad of halves is the sum, rounded once") {
    check_rounded_once<float16>(2048, 0x1p-24);
    check_rounded_once<bfloat16>(256, 0x1p-40);
}

TEST_CASE_TEMPLATE("bias_grad refuses what does not fit", T, float, double) {
    Array<T> dy(2 * 3 * 4), db(3, guards);
    const auto call = [&](View<const T> from, int64_t batch, int64_t channels, int64_t pixels, View<T> to) {
        return [=] { bias_grad(from, batch, channels, pixels, Layout::channels_first, to); };
    };
    constexpr int64_t huge = int64_t(1) << 40;
    check_refused<ShapeError>(db, "dy has 24 elements, expected 40", call(dy.in(), 2, 5, 4, db.out()));
    check_refused<ShapeError>(db, "db has 2 elements, expected 3", call(dy.in(), 2, 3, 4, {db.data(), 2}));
    check_refused<std::invalid_argument>(db, "dy", call({nullptr, 24}, 2, 3, 4, db.out()));
    check_refused<std::invalid_argument>(db, "db", call(dy.in(), 2, 3, 4, {nullptr, 3}));
    check_refused<ShapeError>(db, "negative", call(dy.in(), -2, -3, 4, db.out()));
    check_refused<ShapeError>(db, "dy is too large", call(dy.in(), huge, huge, 1, db.out()));
}

}  // namespace convpp::test
