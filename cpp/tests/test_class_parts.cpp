// Input gradients whose residue classes are planned in parts: the parts' maps are those of all classes, and results
// equal the plain loops'.  Sources whose taps lie so far apart that each is copied on its own: the same.
#include <algorithm>
#include <array>
#include <numeric>
#include <tuple>
#include <vector>

#include "convolution_cases.hpp"
#include "plan/class_parts.hpp"
#include "plan/tasks.hpp"
#include "plan_cases.hpp"

namespace convpp::test {
namespace {

// All that an axis map says, with its results `begin` further on and its weights `weight`.
using AxisValues = std::array<int64_t, 9>;
using MapValues = std::array<AxisValues, 3>;

MapValues values_of(const IndexMap& map, const Extents& begin, const Extents& weight) {
    MapValues values{};
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& axis = map.axis[a];
        values[a] = {axis.count,
                     axis.source_step,
                     axis.source_extent,
                     axis.result_start + begin[a],
                     axis.result_step,
                     axis.taps.size(),
                     axis.taps.weight(0) + weight[a],
                     axis.taps.offset(0),
                     axis.taps.back().offset};
    }
    return values;
}

Geometry with_many_classes(Random& random) {
    for (;;) {
        Geometry g;
        g.rank = static_cast<int>(random.integer(1, 3));
        g.batch = random.integer(1, 2);
        g.groups = random.pick({1, 1, 2});
        g.in_channels = g.groups * random.integer(1, 3);
        g.out_channels = g.groups * random.integer(1, 4);
        const int64_t usual = g.rank == 1 ? 1500 : g.rank == 2 ? 40 : 12;
        for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) {
            g.stride[a] = usual + random.integer(-2, 4);
            g.kernel[a] = std::max<int64_t>(1, g.stride[a] + random.pick({0, 0, -1, 3, 7, -5, g.stride[a] / 2}));
            g.dilation[a] = random.chance(5) ? random.pick({2, 3}) : 1;
            g.input[a] = g.stride[a] * random.integer(1, 2) + random.integer(0, g.stride[a] - 1);
            g.pad_lo[a] = random.chance(2) ? 0 : random.integer(-3, g.stride[a]);
            g.pad_hi[a] = random.chance(2) ? 0 : random.integer(-3, g.stride[a]);
            g.input[a] = std::max(g.input[a], g.dilation[a] * (g.kernel[a] - 1) + 1 - g.pad_lo[a] - g.pad_hi[a]);
        }
        g.flip = random.chance(3);
        g.per_sample = random.chance(5);
        g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
        if (message_of<ShapeError>([&] { ConvProblem{g}; }).empty() && ConvProblem(g).w_elems() <= 200'000 &&
            ConvProblem(g).x_elems() <= 200'000)
            return g;
    }
}

}  // namespace

TEST_CASE("the maps of all parts are those of all classes") {
    Random random(81);
    int in_parts = 0;
    for (int i = 0; i < 150; ++i) {
        const Geometry g = with_many_classes(random);
        const Plan plan =
            make_plan(ConvProblem(g), Pass::input_grad, DType::float32, Algorithm::automatic, available_isas().back());
        INFO(describe(g));
        std::vector<MapValues> expected, found;
        const Geometry& planned = plan.problem.geometry();  // taps may have been set apart
        for (const IndexMap& map : input_grad_maps(plan.problem).classes)
            expected.push_back(values_of(joined_rows(map), {0, 0, 0}, {0, 0, 0}));
        if (plan.parts == nullptr) {
            CHECK(plan.maps.size() == expected.size());
            continue;
        }
        ++in_parts;
        CHECK(strategy_of(plan) == "parts");
        CHECK(plan.maps.empty());
        for (int64_t p = 0; p < plan.parts->count(); ++p) {
            const ClassParts::Part part = plan.parts->part(p);
            for (const MapPlan& m : part.plan.maps) found.push_back(values_of(m.map, part.result_at, part.weight_at));
            CHECK(part.plan.maps.size() <= 256);
        }
        std::sort(expected.begin(), expected.end());
        std::sort(found.begin(), found.end());
        CHECK(found == expected);
        size_t visited = 0;
        for_each_map(plan, [&](const IndexMap&, const Extents&) { ++visited; });
        CHECK(visited == expected.size());
        // Tasks are parts, and their operations those of all pixels and taps.
        double terms = 0;
        for (const IndexMap& map : input_grad_maps(plan.problem).classes)
            terms += static_cast<double>(map.pixels()) * static_cast<double>(map.taps());
        const std::vector<double> flops = task_flops(plan);
        if (g.per_sample) continue;
        CHECK(static_cast<int64_t>(flops.size()) == plan.tasks.count);
        CHECK(std::accumulate(flops.begin(), flops.end(), 0.0) ==
              2 * terms *
                  static_cast<double>(planned.batch * planned.in_channels * planned.out_channels / planned.groups));
    }
    CHECK(in_parts >= 60);
}

TEST_CASE("input gradients in parts equal the plain loops'") {
    Random random(82);
    for (int i = 0; i < 40; ++i) {
        Geometry g = with_many_classes(random);
        g.in_channels = g.out_channels = g.groups = 1;
        if (i % 4 == 0) g.groups = g.in_channels = g.out_channels = 17;
        if (i % 3 == 0) g.boundary[2] = Boundary::replicate;
        INFO(describe(g));
        const ConvProblem problem(g);
        if (problem.x_elems() * problem.taps() > 8'000'000) continue;
        Tensors<float> tensors(problem);
        tensors.fill_integers(random);
        // (The plain loops look at all taps for each pixel.)
        const Convolution reference(problem, Pass::input_grad, DType::float32, Algorithm::reference);
        for (const Mode mode : {Mode::plain, Mode::accumulate}) {
            const Array<float> expected = run(reference, tensors, mode);
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                const Convolution chosen(problem, Pass::input_grad, DType::float32);
                for (const int threads : {1, 2})
                    CHECK(first_difference(run(chosen, tensors, mode, threads), expected) == -1);
            }
        }
    }
}

TEST_CASE("patches of 512x512: each gradient is one product") {
    Geometry g = conv2d(1, 2, 3, 1030, 1024, 512, 512, 0);
    const ConvProblem problem(g);
    Random random(83);
    Tensors<float> tensors(problem);
    tensors.fill_integers(random);
    const Convolution dx(problem, Pass::input_grad, DType::float32);
    const Array<float> result = run(dx, tensors, Mode::with_bias, 2);
    int64_t wrong = 0;
    for (int64_t c = 0; c < 2; ++c)
        for (int64_t h = 0; h < 1030; ++h)
            for (int64_t w = 0; w < 1024; ++w) {
                float sum = tensors.x_bias[c];
                for (int64_t k = 0; h < 1024 && k < 3; ++k)
                    sum += tensors.dy[(k * 2 + h / 512) * 2 + w / 512] *
                           tensors.w[((k * 2 + c) * 512 + h % 512) * 512 + w % 512];
                wrong += result[(c * 1030 + h) * 1024 + w] != sum;
            }
    CHECK(wrong == 0);
}

TEST_CASE("what lies between far taps is left out of copies, and of halos") {
    Random random(84);
    for (int i = 0; i < 60; ++i) {
        Geometry g;
        g.rank = static_cast<int>(random.integer(1, 2));
        g.groups = random.pick({1, 1, 2, 17});
        g.in_channels = g.groups * (g.groups == 17 ? 1 : random.pick({1, 2, 8, 16}));
        g.out_channels = g.groups * (g.groups == 17 ? 1 : random.integer(1, 5));
        for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) {
            g.kernel[a] = random.pick({1, 2, 3, 3, 5});
            g.stride[a] = random.pick({1, 1, 2, 16, 40, 100});
            g.dilation[a] = random.pick({1, 2, 16, 40, 100});
            g.input[a] = random.integer(1, 20);
            const int64_t reach = (g.kernel[a] - 1) * g.dilation[a];
            const int64_t padded = (random.integer(1, 6) - 1) * g.stride[a] + reach + 1;
            g.pad_lo[a] = random.pick({0, 1, padded / 2, padded, g.dilation[a], g.stride[a]});
            g.pad_hi[a] = padded - g.input[a] - g.pad_lo[a];
        }
        // (Of one axis: the plain loops look at all positions of the extended x for each element.)
        if (random.chance(2))
            g.boundary[i % 3 == 0 && g.rank == 2 ? 1 : 2] = static_cast<Boundary>(random.integer(1, 4));
        g.flip = random.chance(3);
        g.per_sample = random.chance(4);
        g.layout = i % 2 == 0 ? Layout::channels_first : Layout::channels_last;
        if (i % 3 == 0) check_on_integers<double>(g, random);
        else check_on_integers<float>(g, random);
    }
}

}  // namespace convpp::test
