// Results that tasks compute in a buffer of their own and then store (result/epilogue.hpp): the same as those that are
// computed in place.
#include <algorithm>

#include "machine/workspace.hpp"
#include "plan/product_tasks.hpp"
#include "result/fill.hpp"
#include "strategies/strategy.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

template <class T>
Array<T> integers(Random& random, int64_t size) {
    Array<T> array(size);
    for (int64_t i = 0; i < size; ++i) array.data()[i] = static_cast<T>(random.integer(-4, 4));
    return array;
}

template <class T>
Array<T> run(const Plan& plan, const ConvProblem& problem, const Array<T>& source, const Array<T>& weights,
             const Array<T>& bias, const Array<T>& before, bool accumulate, int threads) {
    const Workspace workspace(plan.memory.shared + threads * plan.memory.of_thread);
    Array<T> result(before.size());
    std::copy_n(before.data(), before.size(), result.data());
    Operands<T> operands;
    (plan.pass == Pass::forward ? operands.x : operands.dy) = Stored<T>(source.data(), source.size());
    operands.w = {weights.data(), problem.w_elems()};
    if (!accumulate) operands.bias = {bias.data(), bias.size()};
    operands.result = Results<T>(result.data());
    operands.accumulate = accumulate;
    if (plan.gaps == Gaps::filled_before && !accumulate) fill_results(plan, operands, threads);
    entry<T>(*plan.how).run(plan, operands, {threads, workspace.data(), nullptr});
    return result;
}

template <class T>
void compare(const Geometry& g, Pass pass, Isa isa, Random& random, int& compared) {
    const ConvProblem problem(g);
    const Plan plan = make_plan(problem, pass, dtype_of<T>, Algorithm::direct, isa, 2);
    if (plan.empty()) return;
    Plan buffered = plan;
    buffered.dtype = DType::bfloat16;  // whose results are buffered
    buffer_results(buffered);
    buffered.dtype = plan.dtype;
    REQUIRE(buffered.buffer.used());
    entry<T>(*plan.how).measure(buffered, buffered.memory);
    const bool forward = pass == Pass::forward;
    const Array<T> source = integers<T>(random, forward ? problem.x_elems() : problem.y_elems());
    const Array<T> weights = integers<T>(random, problem.w_elems());
    const Array<T> bias = integers<T>(random, forward ? g.out_channels : g.in_channels);
    const Array<T> before = integers<T>(random, forward ? problem.y_elems() : problem.x_elems());
    for (const bool accumulate : {false, true}) {
        INFO(describe(g), name(pass), accumulate);
        const auto by = [&](const Plan& p) { return run<T>(p, problem, source, weights, bias, before, accumulate, 2); };
        CHECK(same_bits(by(plan), by(buffered)));
    }
    ++compared;
}

}  // namespace

TEST_CASE_TEMPLATE("buffered results are those that are computed in place", T, float, double) {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        Random random(71);
        int compared = 0;
        for (int i = 0; i < 400; ++i) {
            const Geometry g = random_geometry(random, 3e5);
            compare<T>(g, i % 2 == 0 ? Pass::forward : Pass::input_grad, isa, random, compared);
        }
        CHECK(compared > 250);
    }
}

}  // namespace convpp::test
