// What the tests of whole convolutions share: operands that end at fences, runs in every mode, the comparison with
// the plain loops under every instruction set, and calls that must be refused.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "geometries.hpp"
#include "plan/setting.hpp"
#include "support.hpp"

namespace convpp::test {

// The operands of one problem, each ending at a fence (or `behind` elements before one).
template <class T>
struct Tensors {
    Array<T> x, w, dy, y_bias, x_bias;

    explicit Tensors(const ConvProblem& problem, int64_t behind = 0)
        : x(problem.x_elems(), behind),
          w(problem.w_elems(), behind),
          dy(problem.y_elems(), behind),
          y_bias(problem.geometry().out_channels, behind),
          x_bias(problem.geometry().in_channels, behind) {}

    std::array<Array<T>*, 5> all() { return {&x, &w, &dy, &y_bias, &x_bias}; }
    void fill_integers(Random& random) {
        for (Array<T>* array : all()) array->fill_integers(random);
    }
    void fill_reals(Random& random) {
        for (Array<T>* array : all()) array->fill_reals(random);
    }

    View<const T> first(Pass pass) const { return pass == Pass::forward ? x.in() : dy.in(); }
    View<const T> second(Pass pass) const { return pass == Pass::weight_grad ? x.in() : w.in(); }
    View<const T> bias(Pass pass) const {
        return pass == Pass::forward ? y_bias.in() : pass == Pass::input_grad ? x_bias.in() : View<const T>{};
    }
};

enum class Mode { plain, with_bias, accumulate };

template <class T>
Array<T> run(const Convolution& convolution, const Tensors<T>& tensors, Mode mode = Mode::plain, int threads = 1,
             int64_t behind = guards) {
    const Pass pass = convolution.pass();
    Array<T> result(result_elems(convolution.problem(), pass), behind);  // of NaN
    if (mode == Mode::accumulate)
        for (int64_t i = 0; i < result.size(); ++i) result[i] = made<T>(static_cast<double>(i % 7 - 3));
    Execution how;
    how.threads = threads;
    how.accumulate = mode == Mode::accumulate;
    convolution.execute(tensors.first(pass), tensors.second(pass),
                        mode == Mode::with_bias ? tensors.bias(pass) : View<const T>{}, result.out(), how);
    CHECK(result.guards_intact());
    return result;
}

// The distance of two arrays, relative to the second.
template <class T>
double relative_error(const Array<T>& got, const Array<T>& expected) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < expected.size(); ++i) {
        const double e = static_cast<double>(expected[i]), difference = static_cast<double>(got[i]) - e;
        error += difference * difference;
        size += e * e;
    }
    return std::sqrt(error / std::max(size, 1.0));
}

// What Winograd's algorithm and the FFT round on integers, at most: several times what they do.  A single result that is wrong by
// one is more, in each of the geometries below.
template <class T>
inline constexpr double rounding = sizeof(T) == sizeof(float) ? 4e-6 : 2e-14;

// A pass under every instruction set and in every mode against the plain loops: what is computed directly is equal on
// integers, whatever else is chosen automatically is near.
template <class T>
void check_against_reference(const Geometry& g, const Tensors<T>& tensors, int threads = 2) {
    const ConvProblem problem(g);
    for (const Pass pass : all_passes) {
        const Convolution reference(problem, pass, dtype_of<T>, Algorithm::reference);
        for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
            if (pass == Pass::weight_grad && mode == Mode::with_bias) continue;
            const Array<T> expected = run(reference, tensors, mode);
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                INFO(std::string(name(pass)), " mode ", static_cast<int>(mode), " ", std::string(name(isa)), ": ",
                     describe(g));
                const Convolution chosen(problem, pass, dtype_of<T>);
                const bool rounds = chosen.summary().algorithm == "winograd" || chosen.summary().algorithm == "fft";
                const Array<T> got = run(chosen, tensors, mode, threads);
                if (!rounds) {
                    CHECK(first_difference(got, expected) == -1);
                    continue;
                }
                CHECK(relative_error(got, expected) <= rounding<T>);
                const Convolution direct(problem, pass, dtype_of<T>, Algorithm::direct);
                CHECK(first_difference(run(direct, tensors, mode, threads), expected) == -1);
            }
        }
    }
}

template <class T>
void check_on_integers(const Geometry& g, Random& random, int threads = 2) {
    Tensors<T> tensors{ConvProblem(g)};
    tensors.fill_integers(random);
    check_against_reference(g, tensors, threads);
}

// A call that throws Error, whose message contains `text`, and that leaves `result` as it was.
template <class Error, class T, class Call>
void check_refused(const Array<T>& result, const std::string& text, const Call& call) {
    Array<T> before(result.size());
    std::memcpy(before.data(), result.data(), static_cast<size_t>(result.size()) * sizeof(T));
    const std::string message = message_of<Error>(call);
    INFO("said '", message, "', expected '", text, "' in it");
    CHECK(!message.empty());
    CHECK(contains(message, text));
    CHECK(same_bits(result, before));
    CHECK(result.guards_intact());
}

}  // namespace convpp::test
