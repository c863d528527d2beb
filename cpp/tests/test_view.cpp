// What a View is made of: containers, pointer and size, another View.  Its size is checked whatever it is made of.
#include <array>
#include <vector>

#include "convolution_cases.hpp"

namespace convpp::test {
namespace {

// As a std::span is, in a later standard.
template <class T>
class Span {
public:
    Span(T* first, size_t count) : first_(first), count_(count) {}
    T* data() const { return first_; }
    size_t size() const { return count_; }

private:
    T* first_;
    size_t count_;
};

static_assert(std::is_convertible_v<std::vector<float>&, View<const float>>);
static_assert(std::is_convertible_v<const std::vector<float>&, View<const float>>);
static_assert(std::is_convertible_v<std::vector<float>&, View<float>>);
static_assert(!std::is_convertible_v<const std::vector<float>&, View<float>>, "a constant array is no result");
static_assert(!std::is_convertible_v<std::vector<double>&, View<const float>>, "of another type");
static_assert(!std::is_convertible_v<View<const float>, View<float>>);
static_assert(std::is_convertible_v<View<float>, View<const float>>);

// A row of three elements, two taps: two results.
ConvProblem small() { return ConvProblem(conv(1, 1, 1, 1, {1, 1, 3}, {1, 1, 2})); }

}  // namespace

TEST_CASE("a View is made of containers, of pointer and size, of another View") {
    std::vector<double> numbers{1, 2, 3};
    const std::array<double, 3> constant{1, 2, 3};
    const View<const double> of_vector = numbers, of_array = constant, of_span = Span<double>(numbers.data(), 3);
    const View<double> of_pointer{numbers.data(), 2};
    const View<const double> of_view = of_pointer;
    CHECK(of_vector.data == numbers.data());
    CHECK(of_vector.size == 3);
    CHECK(of_array.data == constant.data());
    CHECK(of_array.size == 3);
    CHECK(of_span.data == numbers.data());
    CHECK(of_span.size == 3);
    CHECK(of_view.data == numbers.data());
    CHECK(of_view.size == 2);
    const View<const double> none{};
    CHECK(none.data == nullptr);
    CHECK(none.size == 0);
}

TEST_CASE("a call takes whatever a View is made of") {
    const Convolution floats(small(), Pass::forward, DType::float32);
    const std::vector<float> x{1, 2, 3}, w{1, 10}, bias{100};
    const std::vector<float> expected{121, 132};
    std::vector<float> y(2);
    floats.execute<float>(x, w, bias, y);
    CHECK(y == expected);
    y.assign(2, 0.0F);
    floats.execute(View<const float>(x), w, bias, y);
    CHECK(y == expected);
    y.assign(2, 0.0F);
    floats.execute<float>({x.data(), 3}, Span<const float>(w.data(), 2), {bias.data(), 1}, Span<float>(y.data(), 2));
    CHECK(y == expected);
    const PreparedWeights prepared = floats.prepare<float>(w);
    y.assign(2, 0.0F);
    floats.execute<float>(x, prepared, bias, y, {}, std::array<float, 2>{1000, 2000});
    CHECK(y == std::vector<float>{1121, 2132});

    const Convolution halves(small(), Pass::forward, DType::bfloat16);
    std::vector<bfloat16> half_x, half_w, half_y(2);
    for (const float number : x) half_x.push_back(bfloat16::from(number));
    for (const float number : w) half_w.push_back(bfloat16::from(number));
    y.assign(2, 0.0F);
    halves.execute<bfloat16, float>(half_x, half_w, {}, y);
    CHECK(y == std::vector<float>{21, 32});
    halves.execute<bfloat16>(half_x, half_w, {}, half_y);
    CHECK(static_cast<float>(half_y[1]) == 32.0F);
}

TEST_CASE("sizes of containers are checked") {
    const Convolution convolution(small(), Pass::forward, DType::float32);
    const std::vector<float> x{1, 2, 3}, w{1, 10}, bias{100}, more{1, 2, 3, 4};
    Array<float> y(2, guards);
    const auto refused = [&](const std::string& text, const auto& call) { check_refused<ShapeError>(y, text, call); };
    refused("x has 4 elements", [&] { convolution.execute<float>(more, w, bias, y.out()); });
    refused("w has 3 elements", [&] { convolution.execute<float>(x, x, bias, y.out()); });
    refused("bias has 2 elements", [&] { convolution.execute<float>(x, w, w, y.out()); });
    refused("add has 3 elements", [&] { convolution.execute<float>(x, w, {}, y.out(), {}, x); });
    refused("y has 3 elements", [&] { convolution.execute<float>(x, w, {}, Span<float>(y.data(), 3)); });
    refused("w has 1 elements", [&] { convolution.prepare<float>(bias); });
}

}  // namespace convpp::test
