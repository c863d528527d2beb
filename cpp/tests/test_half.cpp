// bfloat16 and float16: conversions of every value, and convolutions that compute what float32 does and round once.
#include <cmath>
#include <limits>

#include "geometries.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

template <class S>
constexpr int mantissa_bits = std::is_same_v<S, bfloat16> ? 7 : 10;
template <class S>
constexpr int least_exponent = std::is_same_v<S, bfloat16> ? -126 : -14;
template <class S>
constexpr int most_exponent = std::is_same_v<S, bfloat16> ? 127 : 15;

// What the bits mean, by the definition of the format.
template <class S>
double meaning(S half) {
    const int mantissa = half.bits & ((1 << mantissa_bits<S>)-1), sign = half.bits >> 15;
    const int exponent = half.bits >> mantissa_bits<S> & ((1 << (15 - mantissa_bits<S>)) - 1);
    const double unit = std::ldexp(1.0, -mantissa_bits<S>);
    double value = exponent == 0 ? std::ldexp(mantissa * unit, least_exponent<S>)
                                 : std::ldexp(1.0 + mantissa * unit, exponent - 1 + least_exponent<S>);
    if (exponent == (1 << (15 - mantissa_bits<S>)) - 1)
        value = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    return sign != 0 ? -value : value;
}

template <class S>
S of_bits(int bits) {
    return {static_cast<uint16_t>(bits)};
}

// The operands of a pass in half, and the same numbers in float32.
template <class S>
struct HalfAndPlain {
    Array<S> half;
    Array<float> plain;
    explicit HalfAndPlain(int64_t size) : half(size), plain(size) {}
    void widen() {
        for (int64_t i = 0; i < half.size(); ++i) plain[i] = static_cast<float>(half[i]);
    }
};

template <class S>
struct Case {
    ConvProblem problem;
    HalfAndPlain<S> x, w, dy, bias;
    explicit Case(const Geometry& g)
        : problem(g),
          x(problem.x_elems()),
          w(problem.w_elems()),
          dy(problem.y_elems()),
          bias(std::max(g.in_channels, g.out_channels)) {}

    template <class Fill>
    void fill(const Fill& fill_one) {
        for (HalfAndPlain<S>* array : {&x, &w, &dy, &bias}) {
            fill_one(array->half);
            array->widen();
        }
    }
    int64_t results(Pass pass) const {
        return pass == Pass::forward      ? problem.y_elems()
               : pass == Pass::input_grad ? problem.x_elems()
                                          : problem.w_elems();
    }
    // Calls use(first, second, bias) with the operands that `which` picks: in half, or in float32.
    template <class Which, class Use>
    void with(Pass pass, bool biased, const Which& which, const Use& use) const {
        const auto& first = which(pass == Pass::forward ? x : dy);
        const auto& second = which(pass == Pass::weight_grad ? x : w);
        const Geometry& g = problem.geometry();
        auto own = which(bias).in();
        own.size = pass == Pass::forward ? g.out_channels : g.in_channels;
        if (!biased) own = {};
        use(first.in(), second.in(), own);
    }
};

enum class Mode { plain, with_bias, accumulate };

template <class R>
Array<R> empty_result(int64_t size, Mode mode) {
    Array<R> result(size, guards);
    for (int64_t i = 0; mode == Mode::accumulate && i < size; ++i) result[i] = made<R>(static_cast<double>(i % 7 - 3));
    return result;
}

constexpr auto halves = [](const auto& array) -> const auto& { return array.half; };
constexpr auto plains = [](const auto& array) -> const auto& { return array.plain; };

template <class R, class S, class Which>
Array<R> run(const Case<S>& c, const Convolution& convolution, const Which& which, Mode mode, int threads = 2) {
    const Pass pass = convolution.pass();
    Array<R> result = empty_result<R>(c.results(pass), mode);
    Execution how;
    how.threads = threads;
    how.accumulate = mode == Mode::accumulate;
    c.with(pass, mode == Mode::with_bias, which, [&](auto first, auto second, auto bias) {
        using Stored = std::remove_const_t<std::remove_pointer_t<decltype(first.data)>>;
        convolution.execute<Stored, R>(first, second, bias, result.out(), how);
    });
    CHECK(result.guards_intact());
    return result;
}

template <class S>
bool is_rounded(const Array<S>& got, const Array<float>& computed) {
    for (int64_t i = 0; i < got.size(); ++i) {
        const S expected = S::from(computed[i]);
        const bool nan = std::isnan(computed[i]);
        if (nan ? !std::isnan(static_cast<float>(got[i])) : got[i].bits != expected.bits) return false;
    }
    return true;
}

// Results of half operands, in float32 and in half, against those of the same numbers in float32.  `exact`: no sum is
// rounded, so that the weight gradient, which may take another way, has to be equal too.
template <class S>
void check(const Case<S>& c, Algorithm algorithm, bool exact) {
    for (const Pass pass : all_passes)
        for (const Isa isa : available_isas())
            for (const bool bf16_pairs : {false, true}) {
                const IsaScope scope(isa);
                const Bf16PairsScope bf16_pairs_scope(bf16_pairs);
                const Convolution plain(c.problem, pass, DType::float32, algorithm);
                const Convolution half(c.problem, pass, dtype_of<S>, algorithm);
                if (bf16_pairs && !multiplies_bf16_pairs(half)) continue;
                if (bf16_pairs && !exact) continue;  // they round in another order: test_bf16_pairs.cpp
                if (!bf16_pairs) CHECK(half.summary().algorithm == plain.summary().algorithm);
                CHECK(half.summary().dtype == name(dtype_of<S>));
                if (pass == Pass::weight_grad && !exact && half.summary().algorithm == "direct") continue;
                for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
                    if (pass == Pass::weight_grad && mode == Mode::with_bias) continue;
                    if (mode == Mode::accumulate && !exact) continue;
                    INFO(std::string(name(pass)), " mode ", static_cast<int>(mode), " ", std::string(name(isa)), " ",
                         name(dtype_of<S>), " ", half.summary().blocking, ": ", describe(c.problem.geometry()));
                    const Array<float> expected = run<float>(c, plain, plains, mode);
                    CHECK(first_difference(run<float>(c, half, halves, mode), expected) == -1);
                    CHECK(is_rounded(run<S>(c, half, halves, mode), expected));
                }
            }
}

}  // namespace

TEST_CASE_TEMPLATE("every half is what its bits mean, and comes back", S, bfloat16, float16) {
    for (int bits = 0; bits < 1 << 16; ++bits) {
        const S half = of_bits<S>(bits);
        const float value = static_cast<float>(half);
        const double expected = meaning(half);
        const S back = S::from(value);
        if (std::isnan(expected)) {
            if (!std::isnan(value) || !std::isnan(static_cast<float>(back))) FAIL_CHECK("bits " << bits);
        } else if (static_cast<double>(value) != expected || std::signbit(value) != std::signbit(expected) ||
                   back.bits != bits) {
            FAIL_CHECK("bits " << bits);
        }
    }
}

TEST_CASE_TEMPLATE("floats round to the nearest half, ties to even", S, bfloat16, float16) {
    const int infinity = ((1 << (15 - mantissa_bits<S>)) - 1) << mantissa_bits<S>;
    for (int bits = 0; bits < infinity; ++bits) {
        const double low = meaning(of_bits<S>(bits));
        // Beyond the largest one, as if there was another.
        const double high = bits + 1 < infinity ? meaning(of_bits<S>(bits + 1)) : std::ldexp(1.0, most_exponent<S> + 1);
        const auto middle = static_cast<float>((low + high) / 2);
        const auto check = [&](float value, int expected) {
            if (S::from(value).bits != expected || S::from(-value).bits != (expected | 0x8000))
                FAIL_CHECK("bits " << bits << ", " << value);
        };
        check(middle, bits % 2 == 0 ? bits : bits + 1);
        check(std::nextafter(middle, 0.0F), bits);
        check(std::nextafter(middle, std::numeric_limits<float>::infinity()), bits + 1);
    }
    CHECK(S::from(std::numeric_limits<float>::infinity()).bits == infinity);
    CHECK(S::from(-std::numeric_limits<float>::infinity()).bits == (infinity | 0x8000));
    CHECK(S::from(0.0F).bits == 0);
    CHECK(S::from(-0.0F).bits == 0x8000);
    CHECK(S::from(std::numeric_limits<float>::denorm_min()).bits == 0);
}

TEST_CASE_TEMPLATE("y and dx of halves are those of float32, rounded once", S, bfloat16, float16) {
    Random random(51);
    for (int i = 0; i < 150; ++i) {
        Geometry g = random_geometry(random, 1e5);
        for (const Layout layout : both_layouts) {
            g.layout = layout;
            Case<S> c(g);
            c.fill([&](Array<S>& array) { array.fill_reals(random); });
            check(c, Algorithm::direct, false);
            c.fill([&](Array<S>& array) { array.fill_integers(random, 2); });
            check(c, Algorithm::direct, true);
            if (i % 10 == 0) check(c, Algorithm::reference, true);
        }
    }
}

TEST_CASE_TEMPLATE("larger convolutions of halves, and Winograd's algorithm", S, bfloat16, float16) {
    Random random(52);
    std::vector<Geometry> all;
    const auto add = [&](int64_t batch, int64_t in, int64_t out, Extents input, Extents kernel, int64_t pad) {
        all.push_back(conv(2, batch, in, out, input, kernel, {0, pad, pad}));
    };
    add(2, 64, 64, {1, 28, 28}, {1, 3, 3}, 1);
    add(3, 20, 24, {1, 15, 13}, {1, 3, 3}, 1);
    add(2, 96, 21, {1, 40, 37}, {1, 1, 1}, 0);
    add(2, 64, 96, {1, 13, 14}, {1, 1, 1}, 0);
    all.back().stride = {1, 2, 2};
    add(2, 300, 140, {1, 7, 7}, {1, 1, 1}, 0);
    add(2, 3, 20, {1, 61, 60}, {1, 7, 7}, 3);
    all.back().stride = {1, 2, 2};
    add(3, 19, 19, {1, 37, 45}, {1, 3, 3}, 1);
    all.back().groups = 19;
    add(3, 19, 19, {1, 100, 14}, {1, 3, 3}, 1);
    all.back().groups = 19;
    add(1, 64, 64, {1, 13, 15}, {1, 3, 3}, 1);
    all.back().groups = 64;
    all.back().stride = {1, 2, 2};
    add(2, 64, 64, {1, 13, 15}, {1, 3, 3}, 1);
    all.back().groups = 16;
    add(3, 200, 70, {1, 1, 1}, {1, 1, 1}, 0);  // single pixels
    all.back().groups = 2;
    add(2, 40, 24, {1, 12, 14}, {1, 2, 2}, 0);  // residue classes of dx read alike
    all.back().stride = {1, 2, 2};
    for (Geometry g : all)
        for (const Layout layout : both_layouts) {
            g.layout = layout;
            Case<S> c(g);
            c.fill([&](Array<S>& array) { array.fill_reals(random); });
            check(c, Algorithm::direct, false);
            check(c, Algorithm::automatic, false);
            c.fill([&](Array<S>& array) { array.fill_integers(random, 1); });
            check(c, Algorithm::direct, true);
        }
}

TEST_CASE_TEMPLATE("without samples or channels, gradients of halves are zero, y its bias", S, bfloat16, float16) {
    Random random(14);
    for (const Layout layout : both_layouts)
        for (int which = 1; which < 8; ++which) {
            Geometry g =
                conv2d((which & 1) != 0 ? 0 : 2, (which & 2) != 0 ? 0 : 4, (which & 4) != 0 ? 0 : 6, 5, 6, 3, 1, 1);
            g.layout = layout;
            Case<S> c(g);
            c.fill([&](Array<S>& array) { array.fill_integers(random); });
            for (const Pass pass : all_passes) {
                INFO(std::string(name(pass)), " ", describe(g));
                const Convolution convolution(c.problem, pass, dtype_of<S>);
                const Mode mode = pass == Pass::forward ? Mode::with_bias : Mode::plain;
                const Array<S> result = run<S>(c, convolution, halves, mode);
                int64_t wrong = 0;
                const auto expected = [&](int64_t i) {  // (Gradients have results without any filters, too.)
                    if (pass != Pass::forward) return 0.0F;
                    const int64_t k =
                        layout == Layout::channels_last ? i : i / c.problem.output()[1] / c.problem.output()[2];
                    return value_of(c.bias.half[k % g.out_channels]);
                };
                for (int64_t i = 0; i < result.size(); ++i) wrong += value_of(result[i]) != expected(i);
                CHECK(wrong == 0);
            }
        }
}

TEST_CASE_TEMPLATE("halves that are not finite", S, bfloat16, float16) {
    Random random(53);
    const float infinity = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 60; ++i) {
        Geometry g = random_geometry(random, 3e4);
        g.pad_lo = g.pad_hi = {g.rank > 2, g.rank > 1, 1};
        if (!message_of<ShapeError>([&] { ConvProblem{g}; }).empty()) continue;
        Case<S> c(g);
        c.fill([&](Array<S>& array) {
            array.fill_integers(random);
            if (array.size() > 0 && random.chance(2))
                array[random.integer(0, array.size() - 1)] = S::from(random.chance(2) ? infinity : std::nanf(""));
        });
        for (const Algorithm algorithm : {Algorithm::direct, Algorithm::automatic}) check(c, algorithm, true);
    }
}

TEST_CASE_TEMPLATE("prepared weights of halves give the same bits", S, bfloat16, float16) {
    Random random(54);
    for (int i = 0; i < 60; ++i) {
        const Geometry g = random_geometry(random, 1e5);
        Case<S> c(g);
        c.fill([&](Array<S>& array) {
            array.fill_reals(random);
            if (array.size() > 0 && i % 7 == 0) array[0] = S::from(std::numeric_limits<float>::infinity());
        });
        const Convolution convolution(c.problem, Pass::forward, dtype_of<S>);
        const Array<S> expected = run<S>(c, convolution, halves, Mode::plain);
        Array<S> got(c.problem.y_elems(), guards);
        convolution.execute(c.x.half.in(), convolution.prepare(c.w.half.in()), {}, got.out());
        INFO(describe(g));
        CHECK(first_difference(got, expected) == -1);
    }
}

TEST_CASE_TEMPLATE("bias_grad of halves is summed in float64 and rounded once", S, bfloat16, float16) {
    Random random(55);
    for (const Layout layout : both_layouts) {
        constexpr int64_t batch = 2, channels = 5, pixels = 501;
        Array<S> dy(batch * channels * pixels), db(channels, guards);
        Array<float> plain(channels, guards);
        dy.fill_reals(random);
        std::vector<double> sums(channels);
        for (int64_t i = 0; i < dy.size(); ++i) {
            const int64_t k = layout == Layout::channels_last ? i % channels : i / pixels % channels;
            sums[static_cast<size_t>(k)] += static_cast<double>(static_cast<float>(dy[i]));
        }
        bias_grad(dy.in(), batch, channels, pixels, layout, db.out());
        bias_grad(dy.in(), batch, channels, pixels, layout, plain.out());
        for (int64_t k = 0; k < channels; ++k) {
            const double sum = sums[static_cast<size_t>(k)];  // of few bits: exact
            CHECK(plain[k] == static_cast<float>(sum));
            // Nearer than both neighbours.
            const double error = std::fabs(static_cast<double>(static_cast<float>(db[k])) - sum);
            for (const int neighbour : {db[k].bits - 1, db[k].bits + 1})
                CHECK(error <= std::fabs(meaning(of_bits<S>(neighbour)) - sum));
        }
    }
}

TEST_CASE("arrays of another type than planned are refused") {
    Geometry g;
    g.input = {1, 4, 4};
    const ConvProblem problem(g);
    Array<bfloat16> x(16), w(1), y(16);
    const Convolution convolution(problem, Pass::forward, DType::float16);
    CHECK(contains(message_of<DTypeError>([&] { convolution.execute(x.in(), w.in(), {}, y.out()); }),
                   "the arrays are bfloat16, expected float16"));
}

}  // namespace convpp::test
