// How products are folded.  fold.hpp says what comes in and goes out.
#include "plan/fold.hpp"

#include <algorithm>
#include <limits>

#include "plan/costs.hpp"
#include "problem/checked.hpp"

namespace convpp {
namespace {

// A thread's products: they should stay in L2; those of one channel may be more.
constexpr int64_t usual_products = int64_t(1) << 17, most_products = int64_t(1) << 20;

// Rows of a task's product, if there are so many; tasks of a sample; pixels of a task, of all its samples.
constexpr int64_t least_rows = 64, tasks_wanted = 16, pixels_wanted = 512;

// A vector of products that is added to dx element by element.  (Measured: 1 ns each.)
constexpr double folded_vector = 40;

int64_t pixels(const Extents& extents) { return saturated_mul(extents[0], saturated_mul(extents[1], extents[2])); }

}  // namespace

int64_t products_of_channel(const ConvProblem& problem) {
    return saturated_mul(problem.taps(), pixels(problem.output()));
}

double fold_cost(const ConvProblem& problem, double samples) {
    const Geometry& g = problem.geometry();
    if (products_of_channel(problem) > most_products || pixels(g.input) > most_products)
        return std::numeric_limits<double>::infinity();
    using costs::f;
    const double of_dy = f(pixels(problem.output())) * samples;
    return f(problem.taps()) * (of_dy + costs::weight_vector) + (f(products_of_channel(problem)) + f(pixels(g.input))) *
                                                                    samples * folded_vector /
                                                                    f(std::max<int64_t>(g.out_channels / g.groups, 1));
}

FoldPlan cut_fold(const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    FoldPlan fold;
    const int64_t of_group = g.in_channels / g.groups, each = std::max(products_of_channel(problem), pixels(g.input));
    fold.channels = std::clamp<int64_t>(usual_products / each, 1, of_group);
    const int64_t shared = std::max(ceil_div(g.in_channels, tasks_wanted), ceil_div(least_rows, problem.taps()));
    fold.channels = std::min(fold.channels, shared);
    fold.channel_blocks = ceil_div(of_group, fold.channels);
    fold.channels = ceil_div(of_group, fold.channel_blocks);
    const int64_t at_once = std::min(usual_products / (each * fold.channels), pixels_wanted / pixels(problem.output()));
    fold.sample_blocks = ceil_div(g.batch, std::clamp<int64_t>(at_once, 1, g.batch));
    fold.samples = ceil_div(g.batch, fold.sample_blocks);
    fold.channel_blocks = ceil_div(of_group, fold.channels);
    fold.sample_blocks = ceil_div(g.batch, fold.samples);
    return fold;
}

ConvProblem folded_products(const ConvProblem& problem, int64_t channels, int64_t samples) {
    Geometry g = problem.geometry();
    g.batch = samples;
    g.in_channels = channels * problem.taps();
    g.out_channels /= g.groups;
    g.groups = 1;
    g.input = problem.output();
    g.kernel = g.stride = g.dilation = {1, 1, 1};
    g.pad_lo = g.pad_hi = {0, 0, 0};
    g.flip = false;
    return ConvProblem(g);
}

}  // namespace convpp
