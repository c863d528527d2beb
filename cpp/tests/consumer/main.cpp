// The three passes of the 3x20x20 example on arrays of ones, where every result can be counted by hand.
// Built against an installed convpp alone: no private header, nothing of its build tree.
#include <convpp/convpp.hpp>

#include <cstdint>
#include <iostream>
#include <vector>

namespace {

// How many elements of y (on an axis of 18) see element i of x (on an axis of 20) through a kernel of 3.
int64_t readers(int64_t i) {
    const int64_t first = i < 2 ? 0 : i - 2;
    const int64_t last = i > 17 ? 17 : i;
    return last - first + 1;
}

int failures = 0;

void check(const char* what, float got, int64_t expected) {
    if (got == static_cast<float>(expected)) return;
    if (++failures <= 10) std::cerr << what << ": got " << got << ", expected " << expected << '\n';
}

}  // namespace

int main() {
    convpp::Geometry geometry;
    geometry.in_channels = 3;
    geometry.out_channels = 5;
    geometry.input = {1, 20, 20};
    geometry.kernel = {1, 3, 3};
    const convpp::ConvProblem problem(geometry);

    const std::vector<float> x(3 * 20 * 20, 1.0F), w(5 * 3 * 3 * 3, 1.0F), dy(5 * 18 * 18, 1.0F), bias(5, 0.5F);
    std::vector<float> y(dy.size(), -1.0F), dx(x.size(), -1.0F), dw(w.size(), -1.0F);
    const auto in = [](const std::vector<float>& v) {
        return convpp::View<const float>{v.data(), static_cast<int64_t>(v.size())};
    };
    const auto out = [](std::vector<float>& v) {
        return convpp::View<float>{v.data(), static_cast<int64_t>(v.size())};
    };
    const auto plan = [&](convpp::Pass pass) { return convpp::Convolution(problem, pass, convpp::DType::float32); };

    plan(convpp::Pass::forward).execute<float>(x, w, bias, y);  // a View can be made of a vector
    plan(convpp::Pass::input_grad).execute(in(dy), in(w), {}, out(dx));
    plan(convpp::Pass::weight_grad).execute(in(dy), in(x), {}, out(dw));

    for (const float value : y) check("y - bias", value - 0.5F, 3 * 3 * 3);
    for (const float value : dw) check("dw", value, 18 * 18);
    for (int64_t c = 0; c < 3; ++c)
        for (int64_t h = 0; h < 20; ++h)
            for (int64_t v = 0; v < 20; ++v)
                check("dx", dx[static_cast<size_t>((c * 20 + h) * 20 + v)], 5 * readers(h) * readers(v));

    std::cout << "convpp " << convpp::version() << " (" << convpp::name(convpp::active_isa())
              << "): " << (failures == 0 ? "as counted" : "wrong") << '\n';
    return failures == 0 ? 0 : 1;
}
