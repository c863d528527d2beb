// Samples: those with weights of their own, which threads take as a whole, each in a workspace of its own; those that
// are computed some at a time.
//
// (Workspaces that overlap show where two threads compute at the same time: in the results, or, by little, in a build
// with fences between their arrays, machine/fences.hpp.)
#include "convolution_cases.hpp"
#include "plan/plan.hpp"

namespace convpp::test {
namespace {

constexpr int threads = 4, calls = 30;

template <class T>
void check_many_calls(const Geometry& g) {
    const ConvProblem problem(g);
    Random random(12);
    Tensors<T> tensors(problem);
    tensors.fill_integers(random);
    for (const Pass pass : all_passes) {
        const Convolution convolution(problem, pass, dtype_of<T>, Algorithm::direct);
        const Array<T> alone = run(convolution, tensors, Mode::plain, 1);
        CHECK(convolution.summary(threads).threads == threads);
        for (int call = 0; call < calls; ++call) {
            INFO(std::string(name(pass)), " ", call, " ", describe(g));
            CHECK(same_bits(run(convolution, tensors, Mode::plain, threads), alone));
        }
    }
}

}  // namespace

TEST_CASE("threads that take whole samples do not meet in memory") {
    for (const Layout layout : both_layouts) {
        Geometry g = conv2d(64, 8, 12, 14, 15, 3, 1, 1);
        g.per_sample = true;
        g.layout = layout;
        check_many_calls<float>(g);
        check_many_calls<double>(g);
        g.boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};  // with a halo
        check_many_calls<float>(g);
        g.groups = 2;
        g.stride = {1, 2, 1};
        check_many_calls<float>(g);
    }
}

// Sums that are computed apart from their results, of two samples at a time: the last part begins with a sample of the
// one before, which must not be added again.
TEST_CASE("samples that are added to results some at a time have the bits of single calls") {
    constexpr int64_t batch = 5;
    for (const Layout layout : both_layouts) {
        Geometry g = conv2d(batch, 16, 16, 160, 160, 3, 1, 1);
        g.layout = layout;
        Geometry alone = g;
        alone.batch = 1;
        const ConvProblem problem(g), single(alone);
        Random random(13);
        Tensors<float> tensors(problem);
        tensors.fill_reals(random);
        for (int way = 0; way < 4; ++way) {
            const Pass pass = way % 2 == 0 ? Pass::forward : Pass::input_grad;
            const Algorithm algorithm = way < 2 ? Algorithm::winograd : Algorithm::fft;
            INFO(std::string(name(algorithm)), " ", std::string(name(pass)), " ", describe(g));
            const Convolution all(problem, pass, DType::float32, algorithm);
            const Convolution one(single, pass, DType::float32, algorithm);
            const int64_t elems = result_elems(single, pass);
            CHECK(make_plan(problem, pass, DType::float32, algorithm, active_isa()).part->batch() == 2);
            const auto begun = [](int64_t i) { return static_cast<float>(i % 7 - 3); };
            Array<float> together(batch * elems, guards), each(elems, guards);
            for (int64_t i = 0; i < together.size(); ++i) together[i] = begun(i);
            Execution how;
            how.threads = 2;
            how.accumulate = true;
            all.execute(tensors.first(pass), tensors.w.in(), {}, together.out(), how);
            const Array<float>& source = pass == Pass::forward ? tensors.x : tensors.dy;
            const int64_t read = source.size() / batch;
            for (int64_t n = 0; n < batch; ++n) {
                for (int64_t i = 0; i < elems; ++i) each[i] = begun(n * elems + i);
                one.execute({source.data() + n * read, read}, tensors.w.in(), {}, each.out(), how);
                CHECK(std::memcmp(each.data(), together.data() + n * elems,
                                  sizeof(float) * static_cast<size_t>(elems)) == 0);
            }
        }
    }
}

}  // namespace convpp::test
