// Passes whose products would mostly be with padding: results equal the plain loops', bits depend on neither threads,
// batch nor layout, NaN and Inf beside padding make no NaN, and few of the planned products are with padding.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "convolution_cases.hpp"
#include "plan/fold.hpp"
#include "plan/tasks.hpp"
#include "plan_cases.hpp"

namespace convpp::test {
namespace {

Geometry flipped(Geometry g) {
    g.flip = true;
    return g;
}

Geometry strided(Geometry g, int64_t stride) {
    for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) g.stride[a] = stride;
    return g;
}

// Kernels nearly as long as x, longer than it, or dilated beyond it.
std::vector<Geometry> mostly_padding() {
    return in_both_layouts({
        conv2d(5, 3, 40, 9, 9, 8, 1, 0),              // dy of 2x2
        flipped(conv2d(3, 20, 18, 6, 7, 5, 1, 0)),    // dy of 2x3
        conv2d(2, 6, 70, 12, 13, 9, 2, 0),            // residue classes
        conv2d(3, 40, 24, 5, 5, 4, 1, 0),             // transposed 4x4 of 2x2
        conv2d(3, 40, 24, 9, 9, 8, 1, 1),             // products that fall beyond dx
        conv2d(4, 24, 40, 2, 2, 5, 1, 2),             // 5x5 of 2x2
        flipped(conv2d(33, 20, 33, 2, 2, 3, 1, 1)),   // 3x3 of 2x2
        conv2d(40, 18, 20, 1, 1, 3, 1, 1),            // 3x3 of one pixel
        conv2d(9, 16, 19, 2, 2, 7, 1, 6),             // full
        conv2d(2, 40, 33, 14, 13, 3, 1, 12, 12),      // dilated
        conv2d(3, 24, 24, 9, 8, 3, 2, 6, 6),          // and strided
        conv2d(8, 48, 48, 4, 4, 9, 1, 4, 1, 48),      // depthwise
        conv2d(9, 32, 32, 3, 3, 5, 1, 2, 1, 4),       // groups
        conv2d(6, 10, 30, 7, 6, 6, 1, 0, 1, 2),       // groups, dy of 2x1
        conv1d(2, 18, 20, 60, 55, 1, 0),
        conv1d(1, 1, 1, 3, 500, 1, 499),
        conv1d(3, 1, 1, 130, 120, 1, 0),
        conv1d(4, 20, 24, 50, 3, 1, 32, 32),
        padded(conv(3, 5, 16, 20, {2, 3, 4}, {3, 3, 3}), {2, 1, 0}, {0, 2, 2}),
        strided(conv(3, 2, 5, 40, {5, 6, 6}, {4, 5, 4}), 1),
        conv2d(2, 4, 3, 6, 6, 12, 1, 6),              // more taps than a run
    });
}

double planned(const Plan& plan) {
    double sum = 0;
    if (!plan.pieces.empty())
        for (const Plan& piece : plan.pieces) sum += planned(piece);
    else if (plan.maps.empty()) sum = static_cast<double>(products_of_channel(plan.problem));
    else
        for (const MapPlan& m : plan.maps)
            sum += static_cast<double>(m.map.pixels()) * static_cast<double>(m.map.taps());
    return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("passes mostly of padding equal the plain loops", T, float, double) {
    Random random(71);
    for (const Geometry& g : mostly_padding()) check_on_integers<T>(g, random);
}

TEST_CASE_TEMPLATE("and halves", S, bfloat16, float16) {
    Random random(72);
    for (const Geometry& g : mostly_padding()) {
        const ConvProblem problem(g);
        Tensors<S> tensors(problem);
        tensors.fill_integers(random);
        for (const Pass pass : all_passes)
            for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
                if (pass == Pass::weight_grad && mode == Mode::with_bias) continue;
                INFO(std::string(name(pass)), " mode ", static_cast<int>(mode), ": ", describe(g));
                const Convolution reference(problem, pass, dtype_of<S>, Algorithm::reference);
                const Convolution direct(problem, pass, dtype_of<S>, Algorithm::direct);
                CHECK(first_difference(run(direct, tensors, mode, 2), run(reference, tensors, mode)) == -1);
            }
    }
}

TEST_CASE_TEMPLATE("their bits depend on neither threads, batch, layout nor instruction set", T, float, double) {
    Random random(73);
    for (const Geometry& g : mostly_padding()) {
        if (g.layout == Layout::channels_last) continue;
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : all_passes) {
            INFO(std::string(name(pass)), ": ", describe(g));
            const Convolution all(problem, pass, dtype_of<T>, Algorithm::direct);
            const Array<T> expected = run(all, tensors);
            for (const int threads : {2, 3}) CHECK(same_bits(run(all, tensors, Mode::plain, threads), expected));
            if (pass == Pass::weight_grad) continue;
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                if (is_fused(isa) == is_fused(available_isas().back()))
                    CHECK(
                        same_bits(run(Convolution(problem, pass, dtype_of<T>, Algorithm::direct), tensors), expected));
            }
            Geometry other = g;
            other.batch = 1;
            for (const Layout layout : both_layouts) {
                other.layout = layout;
                const ConvProblem one(other);
                Tensors<T> sample(one);
                const auto turned = [&](const Array<T>& from, Array<T>& to, int64_t channels, int64_t n) {
                    const int64_t pixels = to.size() / channels;
                    for (int64_t c = 0; c < channels; ++c)
                        for (int64_t p = 0; p < pixels; ++p)
                            to[layout == Layout::channels_first ? c * pixels + p : p * channels + c] =
                                from[n * to.size() + c * pixels + p];
                };
                std::copy_n(tensors.w.data(), sample.w.size(), sample.w.data());
                const int64_t n = g.batch - 1;
                turned(tensors.x, sample.x, g.in_channels, n);
                turned(tensors.dy, sample.dy, g.out_channels, n);
                const Array<T> got = run(Convolution(one, pass, dtype_of<T>, Algorithm::direct), sample);
                Array<T> as_got(got.size());
                turned(expected, as_got, pass == Pass::forward ? g.out_channels : g.in_channels, n);
                CHECK(same_bits(got, as_got));
            }
        }
    }
}

TEST_CASE("weights and gradients that are not finite spoil no result that does not read them") {
    Random random(74);
    constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    for (const Geometry& g : mostly_padding()) {
        const ConvProblem problem(g);
        Tensors<float> tensors(problem);
        tensors.fill_integers(random);
        for (Array<float>* array : {&tensors.w, &tensors.dy})
            for (int64_t i = 0; i < array->size(); ++i)
                if (random.chance(30)) (*array)[i] = static_cast<float>(random.chance(2) ? inf : nan);
        for (const Pass pass : all_passes)
            for (const Mode mode : {Mode::plain, Mode::accumulate}) {
                INFO(std::string(name(pass)), ": ", describe(g));
                const Convolution reference(problem, pass, DType::float32, Algorithm::reference);
                const Convolution direct(problem, pass, DType::float32, Algorithm::direct);
                CHECK(first_difference(run(direct, tensors, mode, 2), run(reference, tensors, mode)) == -1);
            }
    }
}

TEST_CASE("few of the planned products are with padding") {
    struct Case {
        Geometry geometry;
        Pass pass;
        double most;  // products planned, of those that are needed
    };
    const auto each = [](const Geometry& g, std::initializer_list<Pass> passes, double most) {
        std::vector<Case> cases;
        for (const Pass pass : passes) cases.push_back({g, pass, most});
        return cases;
    };
    const std::initializer_list<Pass> products{Pass::forward, Pass::input_grad};
    std::vector<Case> cases;
    for (const auto& more : {
             each(conv2d(64, 3, 768, 17, 17, 16, 1, 0), {Pass::input_grad}, 1.0),
             each(conv1d(4, 64, 64, 1000, 990, 1, 0), {Pass::input_grad}, 1.0),
             each(conv1d(1, 1, 1, 30'001, 29'990, 1, 0), {Pass::input_grad}, 1.0),
             each(conv2d(16, 256, 512, 5, 5, 4, 1, 0), {Pass::input_grad}, 1.0),
             each(conv2d(16, 256, 512, 6, 6, 4, 1, 0), {Pass::input_grad}, 1.0),
             each(conv2d(8, 128, 128, 7, 7, 5, 1, 0), {Pass::input_grad}, 1.0),
             each(conv2d(32, 64, 64, 2, 2, 7, 1, 6), {Pass::forward, Pass::weight_grad}, 1.0),
             each(conv2d(8, 512, 256, 14, 14, 3, 1, 12, 12), all_passes, 1.0),
             each(conv2d(8, 512, 256, 33, 33, 3, 1, 24, 24), all_passes, 1.0),
             each(conv2d(64, 256, 256, 2, 2, 3, 1, 1), products, 1.0),
             each(conv2d(64, 256, 256, 1, 1, 3, 1, 1), products, 1.0),
             each(conv2d(32, 256, 256, 2, 2, 5, 1, 2), products, 1.0),
             each(conv2d(32, 384, 384, 4, 4, 9, 1, 4, 1, 384), {Pass::forward}, 2.5),
             each(conv1d(8, 64, 64, 100, 3, 1, 64, 64), all_passes, 1.0),
         })
        cases.insert(cases.end(), more.begin(), more.end());
    for (const Case& c : cases)
        for (const Layout layout : both_layouts) {
            Geometry g = c.geometry;
            g.layout = layout;
            const ConvProblem problem(g);
            const Plan plan = make_plan(problem, c.pass, DType::float32, Algorithm::direct, available_isas().back());
            INFO(std::string(name(c.pass)), ": ", describe(g));
            CHECK(planned(plan) <= c.most * useful_products(problem));
            CHECK(planned(plan) >= useful_products(problem));
            CHECK(static_cast<int64_t>(task_flops(plan).size()) == plan.tasks.count);
            CHECK(plan_bytes(plan) < (int64_t(1) << 18));
        }
    // Where padding is a small part, maps stay whole.
    for (const Geometry& g : {conv2d(8, 64, 64, 56, 56, 3, 1, 1), conv2d(8, 512, 512, 7, 7, 3, 1, 1)})
        for (const Pass pass : all_passes) {
            const Plan plan =
                make_plan(ConvProblem(g), pass, DType::float32, Algorithm::direct, available_isas().back());
            CHECK(plan.maps.size() == 1);
            CHECK(!plan.cut);
            CHECK(plan.pieces.empty());
        }
}

}  // namespace convpp::test
