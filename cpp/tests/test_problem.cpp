// ConvProblem: derived extents against counting, every check, sizes beyond 64 bits, empty problems.
#include <functional>
#include <limits>
#include <type_traits>

#include "problem/checked.hpp"
#include "geometries.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

constexpr int64_t two_to(int exponent) { return int64_t(1) << exponent; }
constexpr int64_t largest = two_to(60);

// A valid convolution of rank 2 to spoil in one place.
Geometry valid() {
    Geometry g = conv(2, 2, 4, 6, {1, 9, 8}, {1, 3, 2});
    g.groups = 2;
    return g;
}

using Change = std::function<void(Geometry&)>;

std::string refusal(const Change& change, Geometry g = valid()) {
    change(g);
    return message_of<ShapeError>([&] { ConvProblem{g}; });
}

// How many positions the kernel has in the padded input, by trying them; -1 if it does not fit once.
int64_t count_positions(int64_t padded, int64_t kernel, int64_t stride, int64_t dilation) {
    int64_t count = 0;
    for (int64_t p = 0; p * stride + dilation * (kernel - 1) < padded; ++p) ++count;
    return count > 0 ? count : -1;
}

}  // namespace

static_assert(std::is_base_of_v<std::invalid_argument, ShapeError>);

TEST_CASE("output extents are the number of the kernel's positions, on each axis of each rank") {
    for (int rank = 1; rank <= 3; ++rank) {
        for (size_t axis = static_cast<size_t>(3 - rank); axis < 3; ++axis) {
            int wrong = 0;
            for (int64_t input = 0; input <= 8; ++input)
                for (int64_t kernel = 1; kernel <= 4; ++kernel)
                    for (int64_t stride = 1; stride <= 3; ++stride)
                        for (int64_t dilation = 1; dilation <= 3; ++dilation)
                            for (int64_t lo = -2; lo <= 3; ++lo)
                                for (int64_t hi = -2; hi <= 3; ++hi) {
                                    const Geometry g = along(rank, axis, input, kernel, stride, dilation, lo, hi);
                                    int64_t extent = -1;
                                    const std::string message =
                                        message_of<ShapeError>([&] { extent = ConvProblem(g).output()[axis]; });
                                    const int64_t expected = count_positions(input + lo + hi, kernel, stride, dilation);
                                    wrong += extent != expected;
                                    wrong += (expected < 0) != contains(message, "longer than the padded input");
                                }
            CAPTURE(rank);
            CAPTURE(axis);
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("element counts, taps and operations") {
    Geometry g = padded(conv(3, 5, 4, 6, {7, 8, 9}, {2, 3, 4}), {1, 0, 2}, {0, -1, 1});
    g.groups = 2;
    g.stride = {1, 2, 3};
    const ConvProblem problem(g);
    CHECK(problem.output() == Extents{7, 3, 3});
    CHECK(problem.taps() == 2 * 3 * 4);
    CHECK(problem.x_elems() == 5 * 4 * 7 * 8 * 9);
    CHECK(problem.w_elems() == 6 * 2 * 2 * 3 * 4);
    CHECK(problem.y_elems() == 5 * 6 * 7 * 3 * 3);
    CHECK(problem.flops() == 2.0 * (5 * 6 * 7 * 3 * 3) * 2 * 24);
    CHECK(problem.geometry().pad_hi == g.pad_hi);
    g.per_sample = true;
    CHECK(ConvProblem(g).w_elems() == 5 * 6 * 2 * 2 * 3 * 4);
}

TEST_CASE("each argument is checked, and the message names it") {
    CHECK(message_of<ShapeError>([] { ConvProblem{valid()}; }).empty());

    for (const int rank : {-1, 0, 4}) CHECK(contains(refusal([=](Geometry& g) { g.rank = rank; }), "rank is "));
    for (const int64_t value : {int64_t(-1), largest + 1, std::numeric_limits<int64_t>::min()}) {
        CAPTURE(value);
        const std::string got = " is " + std::to_string(value);
        CHECK(contains(refusal([=](Geometry& g) { g.batch = value; }), "batch" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.in_channels = value; }), "in_channels" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.out_channels = value; }), "out_channels" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.groups = value; }), "groups" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.input[1] = value; }), "input extent of axis 0" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.input[2] = value; }), "input extent of axis 1" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.kernel[1] = value; }), "kernel extent of axis 0" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.stride[2] = value; }), "stride of axis 1" + got));
        CHECK(contains(refusal([=](Geometry& g) { g.dilation[1] = value; }), "dilation of axis 0" + got));
    }
    CHECK(contains(refusal([](Geometry& g) { g.groups = 0; }), "groups is 0"));
    CHECK(contains(refusal([](Geometry& g) { g.kernel[2] = 0; }), "kernel extent of axis 1 is 0"));
    CHECK(contains(refusal([](Geometry& g) { g.stride[1] = 0; }), "stride of axis 0 is 0"));
    CHECK(contains(refusal([](Geometry& g) { g.dilation[2] = 0; }), "dilation of axis 1 is 0"));
    CHECK(contains(refusal([](Geometry& g) { g.pad_lo[1] = largest + 1; }), "padding of axis 0"));
    CHECK(contains(refusal([](Geometry& g) { g.pad_hi[2] = -largest - 1; }), "padding of axis 1"));
    CHECK(contains(refusal([](Geometry& g) { g.groups = 4; }), "groups is 4, expected a divisor of in_channels (4)"));
    CHECK(contains(refusal([](Geometry& g) { g.in_channels = 5; }), "groups is 2"));
    CHECK(contains(refusal([](Geometry& g) { g.out_channels = 7; }), "out_channels (7)"));
}

TEST_CASE("an axis beyond the rank is neutral") {
    const std::vector<Change> changes{
        [](Geometry& g) { g.input[0] = 2; },  [](Geometry& g) { g.kernel[0] = 2; },
        [](Geometry& g) { g.stride[0] = 2; }, [](Geometry& g) { g.dilation[0] = 2; },
        [](Geometry& g) { g.pad_lo[0] = 1; }, [](Geometry& g) { g.pad_hi[0] = -1; },
        [](Geometry& g) { g.rank = 1; },  // whose axis 1 has the extents of the image's rows
    };
    for (size_t i = 0; i < changes.size(); ++i) {
        CAPTURE(i);
        CHECK(contains(refusal(changes[i]), "beyond the rank"));
    }
}

TEST_CASE("a kernel must fit the padded input") {
    const std::string message = refusal([](Geometry& g) { g.dilation[1] = 5; });  // 11 of 9
    CHECK(contains(message, "longer than the padded input on axis 0"));
    CHECK(contains(message, "is 11"));
    CHECK(contains(message, "is 9"));
    CHECK(refusal([](Geometry& g) { g.dilation[1] = 5, g.pad_hi[1] = 2; }).empty());
    CHECK(contains(refusal([](Geometry& g) { g.pad_lo[2] = -7; }), "on axis 1"));
    CHECK(
        contains(refusal([](Geometry& g) { g.pad_lo[2] = -5, g.pad_hi[2] = -5; }), "on axis 1"));  // less than nothing
    CHECK(refusal([](Geometry& g) { g.pad_lo[2] = -6; }).empty());
}

TEST_CASE("extents that are zero make empty arrays, not errors") {
    Geometry g = valid();
    g.batch = 0;
    CHECK(ConvProblem(g).x_elems() == 0);
    CHECK(ConvProblem(g).y_elems() == 0);
    CHECK(ConvProblem(g).w_elems() == 6 * 2 * 6);
    CHECK(ConvProblem(g).flops() == 0);
    g = valid();
    g.in_channels = 0;
    CHECK(ConvProblem(g).x_elems() == 0);
    CHECK(ConvProblem(g).w_elems() == 0);
    CHECK(ConvProblem(g).y_elems() == 2 * 6 * 7 * 7);
    CHECK(ConvProblem(g).flops() == 0);
    g = valid();
    g.out_channels = 0;
    CHECK(ConvProblem(g).y_elems() == 0);
    CHECK(ConvProblem(g).w_elems() == 0);
    CHECK(ConvProblem(g).x_elems() == 2 * 4 * 9 * 8);
    g = valid();
    g.input[1] = 0;
    g.pad_lo[1] = 3;  // all of it is padding
    CHECK(ConvProblem(g).x_elems() == 0);
    CHECK(ConvProblem(g).y_elems() == 2 * 6 * 1 * 7);
    // An empty array has no elements, however long its other axes are.
    g = valid();
    g.batch = 0;
    g.input = {1, largest, largest};
    CHECK(ConvProblem(g).x_elems() == 0);
}

TEST_CASE("products and sums that do not fit 64 bits") {
    const auto with = [](const Change& change) {
        Geometry g;
        return refusal(change, g);
    };
    CHECK(contains(with([](Geometry& g) { g.batch = two_to(40), g.in_channels = two_to(40); }), "x is too large"));
    CHECK(contains(with([](Geometry& g) { g.input = {1, two_to(32), two_to(32)}; }), "x is too large"));
    CHECK(contains(with([](Geometry& g) { g.batch = two_to(40), g.in_channels = 0, g.out_channels = two_to(40); }),
                   "y is too large"));
    CHECK(contains(with([](Geometry& g) { g.batch = 0, g.in_channels = two_to(40), g.out_channels = two_to(40); }),
                   "w is too large"));
    CHECK(contains(with([](Geometry& g) {
                       g.rank = 3, g.batch = 0, g.kernel = {two_to(24), two_to(24), two_to(24)}, g.input = g.kernel;
                   }),
                   "the kernel is too large"));
    const auto square = [](int exponent) {
        return [=](Geometry& g) { g.batch = 0, g.kernel = {1, two_to(exponent), two_to(12)}, g.input = g.kernel; };
    };
    CHECK(with(square(12)).empty());  // 2^24 taps are the most
    CHECK(contains(with(square(13)), "the kernel is too large: 33554432 elements, expected at most 2^24"));
    CHECK(contains(with([](Geometry& g) { g.kernel[2] = two_to(24) + 1, g.input[2] = two_to(30); }),
                   "the kernel is too large: 16777217 elements"));

    // Exactly 2^60 elements are described; 2^61, 2^62 and 2^63 - which is where 64 bits end - are not.
    CHECK(with([](Geometry& g) { g.batch = two_to(30), g.in_channels = two_to(30); }).empty());
    for (const int exponent : {31, 32, 33})
        CHECK(contains(with([=](Geometry& g) { g.batch = two_to(30), g.in_channels = two_to(exponent); }),
                       "x is too large"));

    // dilation * (kernel - 1): 2^61 + 2^60 is too long, 2^63 does not fit, 2^63 - 1 (= 49 * ...) fits but for the 1.
    CHECK(
        contains(with([](Geometry& g) { g.dilation[2] = largest, g.kernel[2] = 4; }), "longer than the padded input"));
    CHECK(contains(with([](Geometry& g) { g.dilation[2] = largest, g.kernel[2] = 9; }),
                   "dilation * (kernel - 1) is too large: " + std::to_string(largest) + " * 8"));
    CHECK(
        contains(with([](Geometry& g) { g.dilation[2] = std::numeric_limits<int64_t>::max() / 49, g.kernel[2] = 50; }),
                 "the dilated kernel is too large"));

    // The padded input is a sum of three that stays within 64 bits; y is what is too large.
    const auto padded = [](Geometry& g) { g.input[2] = g.pad_lo[2] = g.pad_hi[2] = largest; };
    CHECK(contains(with(padded), "y is too large"));
    CHECK(with([&](Geometry& g) { padded(g), g.stride[2] = 3; }).empty());
}

TEST_CASE("checked arithmetic") {
    constexpr int64_t most = std::numeric_limits<int64_t>::max();
    CHECK(checked_mul(two_to(31), two_to(31), "it") == two_to(62));
    CHECK(contains(message_of<ShapeError>([] { checked_mul(two_to(40), two_to(40), "it"); }), "it is too large"));
    CHECK(contains(message_of<ShapeError>([] { checked_mul(two_to(62), 2, "it"); }), "it is too large"));
    CHECK(checked_mul(-two_to(62), 2, "it") == std::numeric_limits<int64_t>::min());
    CHECK(checked_add(most - 1, 1, "it") == most);
    CHECK(contains(message_of<ShapeError>([] { checked_add(most, 1, "it"); }), "it is too large"));
    for (int64_t a = -20; a <= 20; ++a)
        for (int64_t b = 1; b <= 7; ++b) {
            const int64_t down = floor_div(a, b), up = ceil_div(a, b);
            const bool right = down * b <= a && a < (down + 1) * b && (up - 1) * b < a && a <= up * b;
            if (!right) FAIL_CHECK(a << " / " << b);
            if (a >= 0) CHECK(round_up(a, b) == up * b);
        }
}

TEST_CASE("names") {
    CHECK(std::string(name(Pass::forward)) == "forward");
    CHECK(std::string(name(Pass::input_grad)) == "input_grad");
    CHECK(std::string(name(Pass::weight_grad)) == "weight_grad");
    CHECK(std::string(name(DType::float32)) == "float32");
    CHECK(std::string(name(DType::float64)) == "float64");
    CHECK(std::string(name(Layout::channels_first)) == "channels_first");
    CHECK(std::string(name(Layout::channels_last)) == "channels_last");
}

}  // namespace convpp::test
