// Calls that are refused, by a message that names the argument, and that leave the result as it was.
#include <new>
#include <type_traits>

#include "convolution_cases.hpp"

namespace convpp::test {

TEST_CASE_TEMPLATE("arguments that do not fit are refused, and the result is untouched", T, float, double) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    Random random(23);
    Geometry g = padded(conv(2, 2, 4, 6, {1, 6, 7}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1});
    for (const bool empty : {false, true}) {  // checks come first, even if there is nothing to do
        if (empty) g.in_channels = 0;
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_integers(random);
        const Tensors<Other> other(problem);
        for (const Pass pass : all_passes)
            for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::direct, Algorithm::reference}) {
                const Convolution convolution(problem, pass, dtype_of<T>, algorithm);
                const View<const T> first = tensors.first(pass), second = tensors.second(pass),
                                    bias = tensors.bias(pass);
                const std::string first_name = pass == Pass::forward ? "x" : "dy";
                const std::string second_name = pass == Pass::weight_grad ? "x" : "w";
                const std::string result_name = pass == Pass::forward ? "y" : pass == Pass::input_grad ? "dx" : "dw";
                Array<T> result(result_elems(problem, pass), guards);
                const auto execute = [&](View<const T> a, View<const T> b, View<const T> c, View<T> to,
                                         Execution how = {}) {
                    return [=, &convolution] { convolution.execute(a, b, c, to, how); };
                };
                INFO(std::string(name(pass)), " ", std::string(name(algorithm)), ": ", describe(g));
                for (const int64_t off : {-1, 1}) {
                    check_refused<ShapeError>(result, first_name + " has ",
                                              execute({first.data, first.size + off}, second, {}, result.out()));
                    check_refused<ShapeError>(result, second_name + " has ",
                                              execute(first, {second.data, second.size + off}, {}, result.out()));
                    check_refused<ShapeError>(result, result_name + " has ",
                                              execute(first, second, {}, {result.data(), result.size() + off}));
                    if (bias.size > 0)
                        check_refused<ShapeError>(result, "bias has ",
                                                  execute(first, second, {bias.data, bias.size + off}, result.out()));
                }
                if (first.size > 0)
                    check_refused<std::invalid_argument>(result, first_name + " is null",
                                                         execute({nullptr, first.size}, second, {}, result.out()));
                if (second.size > 0)
                    check_refused<std::invalid_argument>(result, second_name + " is null",
                                                         execute(first, {nullptr, second.size}, {}, result.out()));
                if (result.size() > 0)
                    check_refused<std::invalid_argument>(result, result_name + " is null",
                                                         execute(first, second, {}, {nullptr, result.size()}));
                if (pass == Pass::weight_grad)
                    check_refused<std::invalid_argument>(result, "bias is given",
                                                         execute(first, second, tensors.y_bias.in(), result.out()));
                else if (bias.size > 0) {
                    check_refused<std::invalid_argument>(result, "bias is null",
                                                         execute(first, second, {nullptr, bias.size}, result.out()));
                    check_refused<std::invalid_argument>(result, "bias is given",
                                                         execute(first, second, bias, result.out(), {1, true}));
                }
                for (const int threads : {-1, 1025})
                    check_refused<std::invalid_argument>(result, "threads is " + std::to_string(threads),
                                                         execute(first, second, {}, result.out(), {threads, false}));
                Array<Other> of_other(result.size(), guards);
                check_refused<DTypeError>(of_other, std::string("expected ") + name(dtype_of<T>), [&] {
                    convolution.execute(other.first(pass), other.second(pass), {}, of_other.out());
                });
            }
    }
}

TEST_CASE_TEMPLATE("without memory for the workspace a call throws, and the result is untouched", T, float, double) {
    // 2^47 packed weights are more than an address space holds. Their array is not there: it is not read before. (Two
    // residue classes: with one, and so few pixels, each task packs its own weights.)
    constexpr int64_t channels = int64_t(1) << 23;
    Geometry g = conv(1, 1, channels, channels, {1, 1, 4}, {1, 1, 2});
    g.stride[2] = 2;
    const ConvProblem problem(g);
    const Convolution convolution(problem, Pass::input_grad, dtype_of<T>);
    Array<T> dy(2 * channels), dx(4 * channels, guards), w(1);
    check_refused<std::bad_alloc>(dx, "",
                                  [&] { convolution.execute(dy.in(), {w.data(), problem.w_elems()}, {}, dx.out()); });
}

}  // namespace convpp::test
