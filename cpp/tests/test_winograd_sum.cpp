// The weight gradient by Winograd's algorithm against the definition: every kind of geometry that it serves, on each
// instruction set; the same bits for every number of threads and however tasks are cut; what is not finite is told.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "convolution_cases.hpp"
#include "machine/workspace.hpp"
#include "plan/one_pixel.hpp"
#include "plan/plan.hpp"
#include "strategies/strategy.hpp"

namespace convpp::test {
namespace {

std::vector<Geometry> small_geometries() {
    const Extents square{1, 3, 3}, pad{0, 1, 1};
    std::vector<Geometry> all;
    all.push_back(conv(2, 1, 1, 1, {1, 3, 3}, square));              // one result
    all.push_back(conv(2, 2, 3, 5, {1, 8, 8}, square, pad));         // channels fewer than a vector
    all.push_back(conv(2, 3, 16, 32, {1, 7, 7}, square, pad));       // tiles that overhang
    all.push_back(conv(2, 2, 17, 33, {1, 9, 14}, square, pad));      // vectors partly filled
    all.push_back(conv(2, 1, 70, 130, {1, 11, 6}, square, pad));     // several blocks of channels
    all.push_back(conv(2, 2, 20, 40, {1, 12, 13}, square));
    all.back().pad_lo = {0, 2, 0};
    all.back().pad_hi = {0, 0, 3};
    all.push_back(conv(2, 2, 5, 9, {1, 12, 13}, square));  // crops
    all.back().pad_lo = {0, -2, 1};
    all.back().pad_hi = {0, 1, -3};
    all.push_back(conv(2, 2, 12, 18, {1, 10, 11}, square, pad));  // groups
    all.back().groups = 3;
    all.push_back(conv(2, 3, 8, 12, {1, 9, 9}, square, pad));  // weights of each sample
    all.back().groups = 2;
    all.back().per_sample = true;
    all.push_back(conv(2, 2, 6, 7, {1, 8, 9}, square, pad));  // taps in the opposite order
    all.back().flip = true;
    all.push_back(conv(2, 2, 6, 7, {1, 23, 14}, square, {0, 2, 2}));  // phases
    all.back().dilation = {1, 2, 3};
    all.push_back(conv(2, 1, 6, 7, {1, 11, 13}, square, {0, 4, 5}));  // phases without results
    all.back().dilation = {1, 5, 6};
    all.back().flip = true;
    all.push_back(conv(1, 3, 5, 20, {1, 1, 30}, {1, 1, 3}, {0, 0, 1}));  // one axis
    all.push_back(conv(1, 2, 9, 6, {1, 1, 41}, {1, 1, 3}, {0, 0, 2}));
    all.back().dilation = {1, 1, 2};
    all.back().flip = true;
    all.push_back(conv(2, 2, 7, 8, {1, 10, 12}, {1, 3, 1}, {0, 1, 0}));      // the height alone
    all.push_back(conv(2, 2, 7, 8, {1, 10, 12}, {1, 1, 3}));                 // the width alone
    all.push_back(conv(2, 2, 7, 8, {1, 10, 12}, {1, 3, 2}, {0, 1, 1}));      // taps that are not transformed
    all.push_back(conv(2, 2, 7, 8, {1, 13, 12}, {1, 5, 3}, {0, 2, 1}));
    all.back().stride = {1, 2, 1};
    all.push_back(conv(2, 2, 7, 8, {1, 13, 12}, {1, 3, 4}, {0, 1, 2}));
    all.back().stride = {1, 1, 3};
    all.back().dilation = {1, 1, 2};
    all.back().flip = true;
    all.push_back(conv(3, 2, 4, 18, {5, 6, 7}, {3, 3, 3}, {1, 1, 1}));
    all.push_back(conv(3, 1, 4, 5, {7, 6, 7}, {3, 3, 3}, {1, 1, 1}));
    all.back().stride = {2, 1, 1};
    all.back().flip = true;
    all.push_back(conv(3, 1, 4, 5, {6, 5, 4}, {3, 1, 1}));  // the depth alone; rows are joined
    return in_both_layouts(std::move(all));
}

// Several chunks, several boxes in each, several blocks.
std::vector<Geometry> larger_geometries() {
    std::vector<Geometry> all;
    all.push_back(conv(2, 5, 24, 40, {1, 60, 64}, {1, 3, 3}, {0, 1, 1}));
    all.push_back(conv(2, 2, 8, 9, {1, 75, 81}, {1, 3, 3}, {0, 2, 2}));
    all.back().dilation = {1, 2, 2};
    all.push_back(conv(2, 2, 150, 140, {1, 14, 13}, {1, 3, 3}, {0, 1, 1}));
    all.push_back(conv(1, 3, 40, 36, {1, 1, 5000}, {1, 1, 3}));
    all.push_back(conv(3, 1, 10, 12, {10, 33, 35}, {3, 3, 3}, {1, 1, 1}));
    return in_both_layouts(std::move(all));
}

template <class T>
Array<T> run(const ConvProblem& problem, Algorithm algorithm, const Tensors<T>& operands, int threads = 1,
             bool accumulate = false) {
    return run(Convolution(problem, Pass::weight_grad, dtype_of<T>, algorithm), operands,
               accumulate ? Mode::accumulate : Mode::plain, threads);
}

// The largest difference, in units of the largest result.
template <class T>
double largest_error(const Array<T>& got, const Array<T>& expected) {
    double error = 0, largest = 0;
    for (int64_t i = 0; i < got.size(); ++i) {
        const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i]));
        error = difference <= error ? error : difference;  // takes NaN too
        largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    }
    return largest > 0 ? error / largest : error;  // all 0: only padding is read
}

template <class T>
void check_geometry(const Geometry& g, Random& random) {
    const double bound = sizeof(T) == sizeof(float) ? 1e-4 : 1e-12;
    const ConvProblem problem(g);
    Tensors<T> operands(problem);
    operands.x.fill_reals(random);
    operands.dy.fill_reals(random);
    const Array<T> expected = run(problem, Algorithm::reference, operands);
    const Array<T> added = run(problem, Algorithm::reference, operands, 1, true);
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        INFO(std::string(name(isa)), " ", std::string(name(dtype_of<T>)), ": ", describe(g));
        const Array<T> one = run(problem, Algorithm::winograd, operands);
        CHECK(largest_error(one, expected) <= bound);
        CHECK(largest_error(run(problem, Algorithm::winograd, operands, 2, true), added) <= bound);
        for (const int threads : {2, 3}) CHECK(same_bits(one, run(problem, Algorithm::winograd, operands, threads)));
    }
}

TEST_CASE("the weight gradient by Winograd's algorithm agrees with the definition") {
    Random random(31);
    for (const Geometry& g : small_geometries()) {
        check_geometry<float>(g, random);
        check_geometry<double>(g, random);
    }
}

TEST_CASE("so do several chunks and blocks") {
    Random random(32);
    for (const Geometry& g : larger_geometries()) {
        check_geometry<float>(g, random);
        check_geometry<double>(g, random);
    }
}

TEST_CASE("so do random geometries") {
    Random random(35);
    for (int served = 0; served < 60;) {
        Geometry g = random_geometry(random, 3e6);
        const ConvProblem problem(g);
        if (problem.flops() == 0 || !message_of<std::invalid_argument>([&] {
                                         Convolution(problem, Pass::weight_grad, DType::float32, Algorithm::winograd);
                                     }).empty())
            continue;
        check_geometry<float>(g, random);
        check_geometry<double>(g, random);
        ++served;
    }
}

// dw by a plan that is made for so many threads, and whether all is finite.
template <class T>
bool run_planned(const ConvProblem& problem, const Tensors<T>& operands, int planned_threads, Array<T>& dw) {
    const Plan plan =
        make_plan(problem, Pass::weight_grad, dtype_of<T>, Algorithm::winograd, active_isa(), planned_threads);
    const Workspace workspace(plan.memory.shared + 2 * plan.memory.of_thread);
    Operands<T> sum;
    sum.dy = {operands.dy.data(), operands.dy.size()};
    sum.x = {operands.x.data(), operands.x.size()};
    sum.result = Results<T>(dw.data());
    std::atomic<unsigned char> not_finite{0};
    entry<T>(*plan.how).run(plan, sum, {2, workspace.data(), &not_finite});
    return not_finite == 0;
}

TEST_CASE("plans for many threads have the same bits") {
    Random random(33);
    std::vector<Geometry> geometries = larger_geometries();
    const std::vector<Geometry> small = small_geometries();
    geometries.insert(geometries.end(), small.begin(), small.end());
    for (const Geometry& g : geometries) {
        const ConvProblem problem(g);
        Tensors<float> operands(problem);
        operands.x.fill_reals(random);
        operands.dy.fill_reals(random);
        for (const Isa isa : available_isas()) {
            const IsaScope scope(isa);
            INFO(std::string(name(isa)), ": ", describe(g));
            Array<float> one(problem.w_elems(), guards);
            CHECK(run_planned(problem, operands, 1, one));
            for (const int threads : {8, 64}) {
                Array<float> many(problem.w_elems(), guards);
                CHECK(run_planned(problem, operands, threads, many));
                CHECK(same_bits(one, many));
            }
        }
    }
}

TEST_CASE("what is not finite is told") {
    Random random(34);
    for (const Geometry& g : {small_geometries()[3], larger_geometries()[0]}) {
        const ConvProblem problem(g);
        Tensors<float> operands(problem);
        operands.x.fill_reals(random);
        operands.dy.fill_reals(random);
        Array<float> dw(problem.w_elems(), guards);
        CHECK(run_planned(problem, operands, 2, dw));
        for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
                                  std::numeric_limits<float>::max()})
            for (Array<float>* const array : {&operands.x, &operands.dy}) {
                const int64_t at = array->size() / 2;
                const float before = (*array)[at];
                (*array)[at] = value;
                if (value == std::numeric_limits<float>::max()) (*array)[at + 1] = value;
                CHECK_FALSE(run_planned(problem, operands, 2, dw));
                (*array)[at] = before;
                if (value == std::numeric_limits<float>::max()) (*array)[at + 1] = before;
            }
    }
}

TEST_CASE("sums of finite chunks that overflow are told") {
    const ConvProblem problem(larger_geometries()[0]);
    REQUIRE(make_plan(problem, Pass::weight_grad, DType::float32, Algorithm::winograd, active_isa()).tasks.chunks >= 4);
    // The last result and the last source element of every second tile alone: the one point that they have in common is
    // a result too, and has no factors.  So their sum overflows, but none before it.
    const double products = 5.0 * 8 * 8;
    const auto value = static_cast<float>(std::sqrt(2.0 * std::numeric_limits<float>::max() / products));
    Tensors<float> operands(problem);
    const auto fill = [&](Array<float>& array, int64_t first) {
        for (int64_t i = 0; i < array.size(); ++i)
            array[i] = i / 64 % 60 % 8 == first && i % 64 % 8 == first ? value : 0.0f;
    };
    fill(operands.x, 4);
    fill(operands.dy, 3);
    Array<float> dw(problem.w_elems(), guards);
    CHECK_FALSE(run_planned(problem, operands, 2, dw));
    for (Array<float>* const array : {&operands.x, &operands.dy})  // half of it
        for (int64_t i = 0; i < array->size(); ++i) (*array)[i] *= 0.6f;
    CHECK(run_planned(problem, operands, 2, dw));
}

TEST_CASE("the tasks' operations add up") {
    std::vector<Geometry> geometries = small_geometries();
    const std::vector<Geometry> larger = larger_geometries();
    geometries.insert(geometries.end(), larger.begin(), larger.end());
    for (const Geometry& g : geometries)
        for (const Pass pass : all_passes) {
            if (pass == Pass::input_grad && g.stride != Extents{1, 1, 1}) continue;
            INFO(std::string(name(pass)), ": ", describe(g));
            const ConvProblem problem(g);
            // (Directly, taps that read padding alone are left out, where dy has one pixel.)
            if (pass == Pass::input_grad && with_taps_apart(problem).geometry().stride != g.stride) continue;
            const Convolution winograd(problem, pass, DType::float32, Algorithm::winograd);
            const Convolution direct(problem, pass, DType::float32, Algorithm::direct);
            const auto sum = [](const Convolution& convolution) {
                double flops = 0;
                for (const double of_task : convolution.task_flops()) flops += of_task;
                return flops;
            };
            CHECK(static_cast<int64_t>(winograd.task_flops().size()) == winograd.summary().tasks);
            CHECK(sum(winograd) == sum(direct));
        }
}

}  // namespace
}  // namespace convpp::test
