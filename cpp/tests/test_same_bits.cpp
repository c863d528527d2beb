// What must not change a bit of a result: where operands begin, threads, the instruction set, the batch, other
// callers.
#include <algorithm>
#include <thread>
#include <vector>

#include "convolution_cases.hpp"

namespace convpp::test {

TEST_CASE_TEMPLATE("operands may begin at any element, and a vector may read up to their end alone", T, float, double) {
    Random random(15);
    Geometry depthwise = padded(conv(2, 2, 3, 3, {1, 9, 21}, {1, 3, 3}), {0, 2, 2}, {0, 1, 2});
    depthwise.groups = 3;
    for (const Geometry& g : {padded(conv(2, 2, 5, 17, {1, 7, 9}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}), depthwise,
                              conv(2, 2, 19, 18, {1, 4, 5}, {1, 1, 1}), conv(1, 3, 6, 7, {1, 1, 53}, {1, 1, 5})})
        for (const Layout layout : both_layouts) {
            Geometry geometry = g;
            geometry.layout = layout;
            const ConvProblem problem(geometry);
            Tensors<T> tensors(problem);
            tensors.fill_reals(random);
            for (const Pass pass : all_passes) {
                const Convolution convolution(problem, pass, dtype_of<T>);
                const Array<T> expected = run(convolution, tensors, Mode::plain);
                for (int64_t behind = 1; behind <= 16; ++behind) {
                    Tensors<T> moved(problem, behind);
                    for (size_t i = 0; i < 5; ++i)
                        std::copy_n(tensors.all()[i]->data(), tensors.all()[i]->size(), moved.all()[i]->data());
                    INFO(std::string(name(pass)), " ", behind, " elements before a boundary: ", describe(geometry));
                    CHECK(same_bits(run(convolution, moved, Mode::plain, 1, behind), expected));
                }
            }
        }
}

TEST_CASE_TEMPLATE("the number of threads changes no bit", T, float, double) {
    Random random(16);
    std::vector<Geometry> geometries = parallel_geometries();
    for (const Layout layout : both_layouts) {  // more pixels: weight gradients of several chunks
        geometries.push_back(padded(conv(2, 6, 3, 5, {1, 60, 61}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().layout = layout;
        geometries.push_back(conv(2, 2, 64, 70, {1, 40, 40}, {1, 1, 1}));
        geometries.back().layout = layout;
    }
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Pass pass : all_passes) {
            int of_several_tasks = 0;
            for (const Geometry& g : geometries) {
                const ConvProblem problem(g);
                Tensors<T> tensors(problem);
                tensors.fill_reals(random);
                INFO(std::string(name(pass)), " ", std::string(name(isa)), ": ", describe(g));
                const Convolution convolution(problem, pass, dtype_of<T>);
                of_several_tasks += convolution.summary().tasks > 1;
                for (const Mode mode : {Mode::plain, Mode::accumulate}) {
                    const Array<T> one = run(convolution, tensors, mode, 1);
                    for (int threads = 2; threads <= 4; ++threads)
                        CHECK(same_bits(run(convolution, tensors, mode, threads), one));
                }
            }
            CHECK(of_several_tasks >= 8);
        }
    }
}

TEST_CASE_TEMPLATE("y and dx have the same bits under every instruction set with fused multiply-adds", T, float,
                   double) {
    Random random(26);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 60; ++i) geometries.push_back(random_geometry(random, 1e5));
    geometries.push_back(padded(conv(2, 2, 3, 5, {1, 24, 40}, {1, 17, 19}), {0, 1, 1}, {0, 1, 1}));
    for (const Geometry& g : geometries) {
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            // (The lengths of Fourier transforms, and whether there are any, depend on the set.)
            Algorithm algorithm = Algorithm::automatic;
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                if (Convolution(problem, pass, dtype_of<T>).summary().algorithm == "fft") algorithm = Algorithm::direct;
            }
            std::vector<Array<T>> results;
            for (const Isa isa : available_isas()) {
                if (!is_fused(isa)) continue;
                const IsaScope scope(isa);
                results.push_back(run(Convolution(problem, pass, dtype_of<T>, algorithm), tensors));
            }
            INFO(std::string(name(pass)), ": ", describe(g));
            for (const Array<T>& result : results) CHECK(same_bits(result, results.front()));
        }
    }
}

TEST_CASE_TEMPLATE("a sample has the same bits alone and within a batch", T, float, double) {
    Random random(17);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 30; ++i) geometries.push_back(random_geometry(random, 1e5));
    for (const Geometry& g : geometries) {
        Geometry single = g;
        single.batch = 1;
        const ConvProblem problem(g), problem_of_one(single);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            const Array<T> together = run(Convolution(problem, pass, dtype_of<T>), tensors);
            const Convolution alone(problem_of_one, pass, dtype_of<T>);
            for (int64_t n = 0; n < g.batch; ++n) {
                Tensors<T> sample(problem_of_one);
                std::copy_n(tensors.x.data() + n * sample.x.size(), sample.x.size(), sample.x.data());
                std::copy_n(tensors.dy.data() + n * sample.dy.size(), sample.dy.size(), sample.dy.data());
                std::copy_n(tensors.w.data() + (g.per_sample ? n * sample.w.size() : 0), sample.w.size(),
                            sample.w.data());
                const Array<T> result = run(alone, sample);
                INFO(std::string(name(pass)), " sample ", n, ": ", describe(g));
                CHECK(std::memcmp(result.data(), together.data() + n * result.size(),
                                  static_cast<size_t>(result.size()) * sizeof(T)) == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("several threads execute one Convolution at once", T, float, double) {
    Random random(18);
    for (const Geometry& g : parallel_geometries()) {
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : all_passes) {
            const Convolution convolution(problem, pass, dtype_of<T>);
            const Array<T> expected = run(convolution, tensors);
            std::vector<Array<T>> results;
            for (int i = 0; i < 4; ++i) results.emplace_back(expected.size(), guards);
            std::vector<std::thread> callers;
            for (int i = 0; i < 4; ++i)
                callers.emplace_back([&, i] {
                    Execution how;
                    how.threads = 1 + i % 2;
                    for (int repetition = 0; repetition < 2; ++repetition)
                        convolution.execute(tensors.first(pass), tensors.second(pass), {},
                                            results[static_cast<size_t>(i)].out(), how);
                });
            for (std::thread& caller : callers) caller.join();
            INFO(std::string(name(pass)), ": ", describe(g));
            for (const Array<T>& result : results) {
                CHECK(same_bits(result, expected));
                CHECK(result.guards_intact());
            }
        }
    }
}

}  // namespace convpp::test
