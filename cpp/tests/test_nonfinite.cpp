// NaN and Inf beside padding: what is computed again equals the plain loops, by every strategy, in every pass, layout
// and type, and has the same bits on any number of threads.
#include <limits>

#include "convolution_cases.hpp"

namespace convpp::test {
namespace {

enum class Spoils { one, first, all_nan, all_inf, mixed, some, corners };
constexpr std::initializer_list<Spoils> all_patterns{Spoils::one,   Spoils::first, Spoils::all_nan, Spoils::all_inf,
                                                     Spoils::mixed, Spoils::some,  Spoils::corners};

template <class S>
void spoil(Array<S>& array, Spoils pattern, int64_t plane, Random& random) {
    constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    const auto put = [&](int64_t i, double value) { array[i] = made<S>(value); };
    const auto any = [&] { return random.chance(2) ? inf : random.chance(2) ? -inf : nan; };
    for (int64_t i = 0; i < array.size(); ++i) switch (pattern) {
            case Spoils::one:
                if (i == array.size() / 2) put(i, nan);
                break;
            case Spoils::first:
                if (i == 0) put(i, inf);
                break;
            case Spoils::all_nan: put(i, nan); break;
            case Spoils::all_inf: put(i, inf); break;
            case Spoils::mixed: put(i, random.chance(2) ? inf : -inf); break;
            case Spoils::some:
                if (random.chance(50)) put(i, any());
                break;
            case Spoils::corners:
                if (i % plane == 0) put(i, any());
                break;
        }
}

template <class S>
void check(const Geometry& g, Random& random) {
    const ConvProblem problem(g);
    for (const Spoils pattern : all_patterns) {
        Tensors<S> tensors(problem);
        tensors.fill_integers(random);
        const int64_t pixels = problem.y_elems() / g.batch / g.out_channels;
        spoil(tensors.w, pattern, problem.taps(), random);
        for (const Pass pass : all_passes) {
            if (pass == Pass::weight_grad)
                spoil(tensors.dy, pattern, g.layout == Layout::channels_first ? pixels : pixels * g.out_channels,
                      random);
            const Convolution reference(problem, pass, dtype_of<S>, Algorithm::reference);
            const Convolution direct(problem, pass, dtype_of<S>, Algorithm::direct);
            const Convolution chosen(problem, pass, dtype_of<S>);
            for (const bool accumulate : {false, true}) {
                INFO(std::string(name(pass)), accumulate ? " accumulates, " : ", ", "pattern ",
                     static_cast<int>(pattern), ": ", describe(g));
                const Mode mode = accumulate ? Mode::accumulate : Mode::plain;
                const Array<S> expected = run(reference, tensors, mode), got = run(direct, tensors, mode, 2);
                CHECK(first_difference(got, expected) == -1);
                CHECK(first_difference(run(direct, tensors, mode, 1), got) ==
                      -1);  // (a NaN is a NaN, whatever its sign)
                CHECK(first_difference(run(direct, tensors, mode, 3), got) ==
                      -1);  // (a NaN is a NaN, whatever its sign)
                if (chosen.summary().algorithm == "direct") continue;
                const Array<S> again = run(chosen, tensors, mode, 2);
                int64_t differ = 0;  // Winograd's algorithm rounds, but makes no NaN
                for (int64_t i = 0; i < again.size(); ++i) {
                    const auto left = value_of(again[i]), right = value_of(expected[i]);
                    differ += (left - left == 0) != (right - right == 0);
                }
                CHECK(differ == 0);
            }
        }
    }
}

std::vector<Geometry> geometries() {
    std::vector<Geometry> all{
        conv2d(2, 20, 37, 7, 6, 3, 1, 1),          // panels of channels, more than one
        conv2d(3, 3, 33, 9, 8, 3, 2, 1),           // residue classes; few source channels
        conv2d(2, 5, 4, 11, 9, 5, 1, 2, 2),        // a dilation
        conv2d(2, 37, 37, 7, 7, 3, 1, 1, 1, 37),   // depthwise: channels side by side
        conv2d(1, 3, 3, 70, 65, 3, 1, 1, 1, 3),    // and planes too large for that
        conv2d(1, 1, 1, 40, 41, 11, 1, 5),         // single channels, long rows of taps
        conv2d(2, 2, 3, 6, 5, 7, 1, 3),            // no pixel reads inside at all taps
        conv2d(2, 12, 8, 8, 9, 3, 1, 2, 1, 4),     // groups
        conv1d(2, 1, 1, 60, 33, 1, 16),
        conv1d(1, 6, 7, 30, 4, 3, 5),
        conv(3, 2, 4, 5, {4, 6, 7}, {3, 3, 3}, {1, 1, 1}),
        conv2d(1, 3, 5, 1, 1, 5, 1, 2),            // taps that only ever meet padding
        conv2d(2, 4, 6, 5, 6, 1, 1, 2),
    };
    for (const int64_t each :
         {2, 4, 8})  // groups whose channels are side by side; more samples than are copied at once
        all.push_back(conv2d(3, 4 * each, 4 * each, 33, 21, 3, 1, 1, 1, 4));
    all.push_back(conv2d(2, 32, 32, 9, 8, 5, 2, 2, 1, 32));   // taps closer than pixels, residue classes
    all.push_back(conv2d(2, 19, 19, 10, 9, 3, 1, 2, 2, 19));  // and further apart
    all.push_back(conv2d(1, 17, 17, 68, 66, 3, 1, 1, 1, 17)); // planes that are not copied, nor a whole vector
    all.push_back(conv2d(1, 32, 32, 74, 63, 3, 2, 1, 1, 32));  // planes of x that are read where they lie
    all.push_back(conv2d(1, 1, 40, 12, 37, 3, 1, 1));         // more filters than go together
    all.push_back(conv2d(2, 2, 6, 13, 40, 5, 2, 2));          // rows in phases
    all.push_back(conv2d(1, 3, 1, 20, 45, 5, 1, 4, 2));
    all.push_back(conv1d(2, 1, 2, 1500, 5, 1, 2));            // rows longer than what is taken at once
    all.push_back(conv2d(2, 4, 5, 6, 7, 3, 1, 1));
    all.back().flip = true;
    all.push_back(conv2d(3, 4, 4, 6, 7, 3, 1, 1));
    all.back().per_sample = true;
    for (const Boundary boundary : {Boundary::reflect, Boundary::circular}) {  // of one axis, or of both
        all.push_back(conv2d(2, 6, 5, 6, 7, 3, 1, 2));
        all.back().boundary = {Boundary::zeros, boundary, Boundary::zeros};
        all.push_back(conv2d(2, 3, 3, 8, 7, 3, 1, 2, 1, 3));
        all.back().boundary = {Boundary::zeros, boundary, boundary};
    }
    return in_both_layouts(std::move(all));
}

}  // namespace

TEST_CASE_TEMPLATE("padding makes no NaN beside factors that are not finite", S, float, double, bfloat16) {
    Random random(91);
    for (const Geometry& g : geometries()) check<S>(g, random);
}

TEST_CASE("so it is on every instruction set, in random geometries") {
    Random random(92);
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (int i = 0; i < 25; ++i) check<float>(random_geometry(random, 3e3), random);
    }
}

TEST_CASE("a weight gradient of no samples is 0, in halves, too") {
    Geometry g = conv2d(0, 4, 5, 7, 6, 3, 1, 1);
    const ConvProblem problem(g);
    Array<bfloat16> dw(problem.w_elems(), guards), zeros(problem.w_elems());
    for (int64_t i = 0; i < zeros.size(); ++i) zeros[i] = made<bfloat16>(0);
    const Array<bfloat16> none(0);
    Convolution(problem, Pass::weight_grad, DType::bfloat16).execute<bfloat16>(none.in(), none.in(), {}, dw.out());
    CHECK(first_difference(dw, zeros) == -1);
}

TEST_CASE("samples that are not finite are computed again, and no others") {
    Random random(93);
    for (const Layout layout : both_layouts) {
        Geometry g = conv2d(5, 40, 24, 20, 18, 3, 1, 1);
        g.layout = layout;
        const ConvProblem problem(g);
        Tensors<float> tensors(problem);
        for (const Pass pass : {Pass::forward, Pass::input_grad})
            for (const Algorithm algorithm : {Algorithm::winograd, Algorithm::fft}) {
                tensors.fill_reals(random);
                const Convolution transformed(problem, pass, DType::float32, algorithm);
                const Convolution direct(problem, pass, DType::float32, Algorithm::direct);
                const Array<float> clean = run(transformed, tensors);
                Array<float>& source = pass == Pass::forward ? tensors.x : tensors.dy;
                for (const int64_t n : {1, 3})
                    source[source.size() / 5 * n + 7] = std::numeric_limits<float>::quiet_NaN();
                const Array<float> got = run(transformed, tensors, Mode::plain, 2), again = run(direct, tensors);
                const int64_t each = got.size() / 5;
                for (int64_t n = 0; n < 5; ++n) {
                    const Array<float>& expected = n == 1 || n == 3 ? again : clean;
                    CHECK(first_difference(got.data() + n * each, expected.data() + n * each, each) == -1);
                }
            }
    }
}

TEST_CASE("a residual and an activation are applied to what is computed again") {
    Random random(94);
    for (const Layout layout : both_layouts) {
        Geometry g = conv2d(2, 6, 9, 7, 8, 3, 1, 1);
        g.layout = layout;
        const ConvProblem problem(g);
        Tensors<bfloat16> tensors(problem);
        tensors.fill_integers(random);
        for (const int64_t i : {0, 60, 300}) tensors.w[i] = made<bfloat16>(std::numeric_limits<double>::infinity());
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            Array<bfloat16> residual(result_elems(problem, pass));
            residual.fill_integers(random);
            Execution how;
            how.threads = 2;
            how.activation.kind = Activation::Kind::relu;
            std::vector<Array<bfloat16>> results;
            for (const Algorithm algorithm : {Algorithm::reference, Algorithm::direct}) {
                results.emplace_back(residual.size(), guards);
                Convolution(problem, pass, DType::bfloat16, algorithm)
                    .execute(tensors.first(pass), tensors.w.in(), tensors.bias(pass), results.back().out(), how,
                             residual.in());
            }
            CHECK(first_difference(results[0], results[1]) == -1);
        }
    }
}

}  // namespace convpp::test
