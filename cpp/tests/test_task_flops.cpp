// The operations of each task (plan/task_flops.cpp) against counting.
#include <algorithm>
#include <numeric>

#include "plan/one_pixel.hpp"
#include "plan_cases.hpp"

namespace convpp::test {
namespace {

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

// What input_grad multiplies, counted axis by axis: the pairs (h, r) with h + lo - r*dilation divisible by the stride.
// (Where dy has one pixel, the stride is none that leaves a tap out.)
double input_grad_flops(const ConvProblem& whole) {
    const ConvProblem problem = with_taps_apart(whole);
    const Geometry& g = problem.geometry();
    int64_t flops = 2 * g.batch * g.out_channels * (g.in_channels / g.groups);
    for (size_t a = 0; a < 3; ++a) {
        int64_t pairs = 0;
        for (int64_t h = 0; h < g.input[a]; ++h)
            for (int64_t r = 0; r < g.kernel[a]; ++r) pairs += (h + g.pad_lo[a] - r * g.dilation[a]) % g.stride[a] == 0;
        flops *= pairs;
    }
    return static_cast<double>(flops);
}

void check_tasks(const Geometry& g) {
    INFO(describe(g));
    const ConvProblem problem(g);
    for (const DType dtype : {DType::float32, DType::float64})
        for (const Pass pass : all_passes) {
            const Convolution convolution(problem, pass, dtype);
            const std::vector<double> flops = convolution.task_flops();
            CHECK(static_cast<int64_t>(flops.size()) == convolution.summary().tasks);
            CHECK(std::all_of(flops.begin(), flops.end(), [](double f) { return f > 0; }));
            const double whole = pass == Pass::input_grad ? input_grad_flops(problem) : problem.flops();
            if (!leaves_padding_out(make_plan(problem, pass, dtype, Algorithm::automatic, active_isa()))) {
                CHECK(sum(flops) == whole);
                continue;
            }
            const double pairs = static_cast<double>(g.batch * g.out_channels * (g.in_channels / g.groups));
            CHECK(sum(flops) < whole);
            CHECK(sum(flops) >= 2 * pairs * useful_products(problem));
        }
}

}  // namespace

TEST_CASE("the tasks' operations add up to those of the pass") {
    Random random(6);
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (int i = 0; i < 150; ++i) check_tasks(random_geometry(random, 3e6));
        // Many tasks, blocks of channels and of pairs, chunks.
        Geometry large = conv(2, 3, 300, 290, {1, 15, 17}, {1, 3, 3}, {0, 1, 1});
        check_tasks(large);
        large.groups = 10;
        large.stride = {1, 2, 2};
        check_tasks(large);
        large.per_sample = true;
        check_tasks(large);
        large.layout = Layout::channels_last;
        check_tasks(large);
    }
}

TEST_CASE("at stride 1 and with as many outputs as inputs, the input gradient has the operations of the forward pass") {
    const ConvProblem problem(conv(2, 2, 64, 48, {1, 20, 20}, {1, 3, 3}, {0, 1, 1}));
    CHECK(sum(Convolution(problem, Pass::input_grad, DType::float32).task_flops()) == problem.flops());
}

TEST_CASE("without tasks there is nothing to count") {
    Geometry g = conv(2, 0, 1, 1, {1, 9, 9}, {1, 3, 3});
    CHECK(Convolution(ConvProblem(g), Pass::forward, DType::float32).task_flops().empty());
    g.batch = 1;
    CHECK(Convolution(ConvProblem(g), Pass::forward, DType::float32, Algorithm::reference).task_flops().empty());
}

}  // namespace convpp::test
