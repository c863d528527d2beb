// Convolutions of bfloat16 that multiply two channels at once (SumOrder::pairs), on CPUs that can: exact on whole
// numbers, close to float32 on others, the same bits for every batch, number of threads and layout, and chosen whatever
// the batch.
//
// (test_half.cpp holds them to float32 in all it does on whole numbers, and where operands are not finite.)
#include <algorithm>
#include <cmath>

#include "geometries.hpp"
#include "plan_cases.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

struct Operands {
    ConvProblem problem;
    Array<bfloat16> x, w, dy;
    explicit Operands(const Geometry& g)
        : problem(g), x(problem.x_elems()), w(problem.w_elems()), dy(problem.y_elems()) {}
    template <class Value>
    void fill(const Value& value) {
        for (Array<bfloat16>* array : {&x, &w, &dy})
            for (int64_t i = 0; i < array->size(); ++i) (*array)[i] = bfloat16::from(static_cast<float>(value()));
    }
};

Array<float> run(const Operands& o, const Convolution& convolution, int threads = 2) {
    const bool forward = convolution.pass() == Pass::forward;
    Array<float> result(forward ? o.problem.y_elems() : o.problem.x_elems(), guards);
    Execution how;
    how.threads = threads;
    convolution.execute<bfloat16, float>(forward ? o.x.in() : o.dy.in(), o.w.in(), {}, result.out(), how);
    CHECK(result.guards_intact());
    return result;
}

Array<float> run(const Operands& o, Pass pass, Algorithm algorithm = Algorithm::direct) {
    return run(o, Convolution(o.problem, pass, DType::bfloat16, algorithm));
}

bool has_bf16_pairs() { return kernel_shapes(active_isa(), DType::bfloat16).bf16_pairs; }

// Even channels a group, mostly enough of them.
Geometry random_pairs(Random& random) {
    Geometry g = random_geometry(random, 1e5);
    g.groups = random.pick({1, 1, 1, 2, 3});
    g.per_sample = false;
    for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a)
        g.boundary[a] =
            random.chance(4) ? random.chance(2) ? Boundary::circular : Boundary::symmetric : Boundary::zeros;
    g.in_channels = g.groups * 2 * random.integer(1, 20);
    g.out_channels = g.groups * 2 * random.integer(1, 20);
    return g;
}

const std::initializer_list<Pass> product_passes{Pass::forward, Pass::input_grad};

}  // namespace

TEST_CASE("bf16 pairs are chosen for regular layers, for all batches and both layouts, and never for odd channels") {
    if (!has_bf16_pairs()) return;
    for (const Layout layout : both_layouts)
        for (const Pass pass : product_passes)
            for (const int64_t batch : {1, 2, 64})
                for (const int64_t channels : {63, 64}) {
                    Geometry g = conv(2, batch, channels, channels, {1, 28, 28}, {1, 3, 3}, {0, 1, 1});
                    g.layout = layout;
                    const ConvProblem problem(g);
                    const auto in_pairs = [&](DType dtype) {
                        return multiplies_bf16_pairs(Convolution(problem, pass, dtype, Algorithm::direct));
                    };
                    CHECK(in_pairs(DType::bfloat16) == (channels == 64));
                    CHECK(!in_pairs(DType::float32));
                    CHECK(!in_pairs(DType::float16));
                    const Bf16PairsScope scope(false);
                    CHECK(!in_pairs(DType::bfloat16));
                }
}

TEST_CASE("bf16 pairs are exact on whole numbers, and close to float32 on others") {
    if (!has_bf16_pairs()) return;
    Random random(61);
    int chosen = 0;
    for (int i = 0; i < 300; ++i) {
        Geometry g = random_pairs(random);
        for (const Layout layout : both_layouts)
            for (const Pass pass : product_passes)
                for (const bool whole : {true, false}) {
                    g.layout = layout;
                    Operands o(g);
                    o.fill([&] { return whole ? static_cast<double>(random.integer(-3, 3)) : random.real(); });
                    const Convolution convolution(o.problem, pass, DType::bfloat16, Algorithm::direct);
                    if (!multiplies_bf16_pairs(convolution)) continue;
                    ++chosen;
                    const Array<float> got = run(o, convolution);
                    const Array<float> expected = run(o, pass, Algorithm::reference);
                    INFO(std::string(name(pass)), " ", convolution.summary().blocking, ": ", describe(g));
                    if (whole) {
                        CHECK(first_difference(got, expected) == -1);
                        continue;
                    }
                    // Each step rounds by half of the last place at most; products are 1.7 at most.
                    const double terms = static_cast<double>(g.in_channels + g.out_channels) *
                                         static_cast<double>(g.kernel[0] * g.kernel[1] * g.kernel[2]);
                    const double bound = terms * 1.7 * terms * std::ldexp(1.0, -24);
                    bool close = true;
                    for (int64_t j = 0; j < got.size(); ++j) close &= std::fabs(got[j] - expected[j]) <= bound;
                    CHECK(close);
                }
    }
    CHECK(chosen > 300);
}

TEST_CASE("bf16 pairs: the same bits for every batch and number of threads, and from prepared weights") {
    if (!has_bf16_pairs()) return;
    Random random(62);
    for (int i = 0; i < 60; ++i) {
        Geometry g = random_pairs(random);
        g.batch = 3;
        for (const Pass pass : product_passes) {
            for (const Layout layout : both_layouts) {
                g.layout = layout;
                Operands o(g);
                o.fill([&] { return random.real(); });
                const Convolution convolution(o.problem, pass, DType::bfloat16, Algorithm::direct);
                if (!multiplies_bf16_pairs(convolution)) continue;
                const Array<float> all = run(o, convolution);
                INFO(std::string(name(pass)), " ", convolution.summary().blocking, ": ", describe(g));
                CHECK(same_bits(all, run(o, convolution, 1)));
                CHECK(same_bits(all, run(o, convolution, 7)));
                Geometry single = g;
                single.batch = 1;
                const Convolution of_one(ConvProblem(single), pass, DType::bfloat16, Algorithm::direct);
                CHECK(multiplies_bf16_pairs(of_one));
                const Array<bfloat16>& source = pass == Pass::forward ? o.x : o.dy;
                const int64_t in = source.size() / 3, out = all.size() / 3;
                for (int64_t n = 0; n < 3; ++n) {
                    Array<float> alone(out, guards);
                    of_one.execute<bfloat16, float>({source.data() + n * in, in}, o.w.in(), {}, alone.out());
                    CHECK(first_difference(alone.data(), all.data() + n * out, out) == -1);
                }
                if (pass != Pass::forward) continue;
                Array<bfloat16> direct(all.size(), guards), prepared(all.size(), guards);
                convolution.execute(o.x.in(), o.w.in(), {}, direct.out());
                convolution.execute(o.x.in(), convolution.prepare(o.w.in()), {}, prepared.out());
                for (int64_t j = 0; j < all.size(); ++j) {
                    if (direct[j].bits != bfloat16::from(all[j]).bits) FAIL_CHECK("rounded otherwise at " << j);
                    if (direct[j].bits != prepared[j].bits) FAIL_CHECK("prepared differ at " << j);
                }
            }
        }
    }
}

TEST_CASE("bf16 pairs: weights for each sample, taken by the same choice as a single sample's") {
    if (!has_bf16_pairs()) return;
    Random random(63);
    for (int i = 0; i < 40; ++i) {
        Geometry g = random_pairs(random);
        g.batch = 3;
        g.per_sample = true;
        for (const Layout layout : both_layouts)
            for (const Pass pass : product_passes) {
                g.layout = layout;
                Geometry single = g;
                single.batch = 1;
                Operands o(g);
                o.fill([&] { return static_cast<double>(random.integer(-3, 3)); });
                const Convolution all(o.problem, pass, DType::bfloat16, Algorithm::direct);
                const Convolution one(ConvProblem(single), pass, DType::bfloat16, Algorithm::direct);
                INFO(std::string(name(pass)), " ", all.summary().blocking, ": ", describe(g));
                CHECK(multiplies_bf16_pairs(all) == multiplies_bf16_pairs(one));
                CHECK(first_difference(run(o, all), run(o, pass, Algorithm::reference)) == -1);
            }
    }
}

TEST_CASE("bf16 pairs are chosen whatever the layout and the batch") {
    Random random(65);
    for (int i = 0; i < 500; ++i) {
        Geometry g = random_pairs(random);
        for (const Pass pass : product_passes) {
            std::vector<bool> chosen;
            for (const Layout layout : both_layouts)
                for (const int64_t batch : {1, 40}) {
                    g.layout = layout;
                    g.batch = batch;
                    chosen.push_back(
                        multiplies_bf16_pairs(Convolution(ConvProblem(g), pass, DType::bfloat16, Algorithm::direct)));
                }
            INFO(describe(g));
            CHECK(std::count(chosen.begin(), chosen.end(), true) % 4 == 0);
        }
    }
}

TEST_CASE("bf16 pairs: operations of the tasks add up to all") {
    if (!has_bf16_pairs()) return;
    Random random(64);
    for (int i = 0; i < 60; ++i) {
        const Convolution convolution(ConvProblem(random_pairs(random)), Pass::forward, DType::bfloat16,
                                      Algorithm::direct);
        double sum = 0;
        for (const double flops : convolution.task_flops()) sum += flops;
        const Plan plan =
            make_plan(convolution.problem(), Pass::forward, DType::bfloat16, Algorithm::direct, active_isa());
        if (leaves_padding_out(plan)) CHECK(sum < convolution.problem().flops());
        else CHECK(sum == doctest::Approx(convolution.problem().flops()));
    }
}

}  // namespace convpp::test
