// Prepared weights: the same bits as from the weights themselves, whom they serve, and what is refused.
#include <algorithm>
#include <limits>
#include <memory>
#include <type_traits>

#include "convolution_cases.hpp"

namespace convpp::test {

TEST_CASE_TEMPLATE("prepared weights give the same bits", T, float, double) {
    Random random(21);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 60; ++i) geometries.push_back(random_geometry(random, 1e5));
    geometries.push_back(conv(2, 2, 0, 3, {1, 4, 4}, {1, 2, 2}));
    geometries.push_back(conv(2, 2, 3, 0, {1, 4, 4}, {1, 2, 2}));
    geometries.push_back(conv(2, 0, 3, 3, {1, 4, 4}, {1, 2, 2}));
    for (const Geometry& g : geometries)
        for (const bool finite : {true, false})
            for (const Algorithm algorithm : {Algorithm::direct, Algorithm::reference}) {
                if ((!finite || algorithm == Algorithm::reference) && ConvProblem(g).flops() > 1e5) continue;  // slow
                const ConvProblem problem(g);
                Tensors<T> tensors(problem);
                tensors.fill_reals(random);
                if (!finite && tensors.w.size() > 0)
                    tensors.w[tensors.w.size() / 2] = std::numeric_limits<T>::infinity();
                const Convolution convolution(problem, Pass::forward, dtype_of<T>, algorithm);
                const PreparedWeights prepared = convolution.prepare(tensors.w.in(), 2);
                // (Taps that only ever read padding are left out, so it may be less than the weights.)
                CHECK((tensors.w.size() == 0 || prepared.bytes() > 0));
                for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
                    const Array<T> expected = run(convolution, tensors, mode);
                    Array<T> got(expected.size(), guards);
                    if (mode == Mode::accumulate)
                        for (int64_t i = 0; i < got.size(); ++i) got[i] = static_cast<T>(i % 7 - 3);
                    Execution how;
                    how.threads = 1;
                    how.accumulate = mode == Mode::accumulate;
                    const Array<T> kept = [&] {  // weights that change after they were prepared do not matter
                        Array<T> copy(tensors.w.size());
                        std::copy_n(tensors.w.data(), copy.size(), copy.data());
                        return copy;
                    }();
                    tensors.w.fill_nan();
                    convolution.execute(tensors.x.in(), prepared,
                                        mode == Mode::with_bias ? tensors.y_bias.in() : View<const T>{}, got.out(),
                                        how);
                    std::copy_n(kept.data(), kept.size(), tensors.w.data());
                    INFO("mode ", static_cast<int>(mode), ": ", describe(g));
                    CHECK(first_difference(got, expected) == -1);
                    CHECK((!finite || same_bits(got, expected)));
                    CHECK(got.guards_intact());
                }
            }
}

TEST_CASE_TEMPLATE("prepared weights serve the Convolution that made them, and its copies", T, float, double) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    Random random(22);
    const ConvProblem problem(padded(conv(2, 2, 3, 5, {1, 6, 7}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    Tensors<T> tensors(problem);
    tensors.fill_integers(random);
    const Tensors<Other> other(problem);
    const Convolution convolution(problem, Pass::forward, dtype_of<T>), pair(problem, Pass::forward, dtype_of<T>);
    const Convolution copy = convolution;  // NOLINT: a copy is what is tested
    auto prepared = std::make_unique<PreparedWeights>(convolution.prepare(tensors.w.in()));
    const PreparedWeights shared = *prepared;
    prepared.reset();
    Array<T> y(problem.y_elems(), guards);
    copy.execute(tensors.x.in(), shared, {}, y.out());
    CHECK(same_bits(y, run(convolution, tensors)));

    check_refused<std::invalid_argument>(y, "another Convolution",
                                         [&] { pair.execute(tensors.x.in(), shared, {}, y.out()); });
    check_refused<ShapeError>(y, "x has ",
                              [&] { copy.execute<T>({tensors.x.data(), tensors.x.size() - 1}, shared, {}, y.out()); });
    check_refused<ShapeError>(y, "y has ", [&] { copy.execute(tensors.x.in(), shared, {}, {y.data(), y.size() + 1}); });
    check_refused<std::invalid_argument>(y, "bias ", [&] {
        Execution how;
        how.accumulate = true;
        copy.execute(tensors.x.in(), shared, tensors.y_bias.in(), y.out(), how);
    });
    check_refused<ShapeError>(y, "w has ", [&] { convolution.prepare<T>({tensors.w.data(), tensors.w.size() - 1}); });
    check_refused<std::invalid_argument>(y, "w is null",
                                         [&] { convolution.prepare(View<const T>{nullptr, tensors.w.size()}); });
    check_refused<DTypeError>(y, name(dtype_of<T>), [&] { convolution.prepare(other.w.in()); });
    Array<Other> of_other(problem.y_elems(), guards);
    check_refused<DTypeError>(of_other, name(dtype_of<T>),
                              [&] { copy.execute(other.x.in(), shared, {}, of_other.out()); });
    for (const Pass pass : {Pass::input_grad, Pass::weight_grad})
        check_refused<std::invalid_argument>(y, name(pass),
                                             [&] { Convolution(problem, pass, dtype_of<T>).prepare(tensors.w.in()); });
}

}  // namespace convpp::test
