// Samples with weights of their own, which threads take as a whole: each in a workspace of its own.
//
// (Workspaces that overlap show where two threads compute at the same time: in the results, or, by little, in a build
// with fences between their arrays, machine/fences.hpp.)
#include "convolution_cases.hpp"

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

}  // namespace convpp::test
