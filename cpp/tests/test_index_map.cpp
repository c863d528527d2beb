// Index maps of one axis and of whole convolutions against counting: every pair of a source and a result once,
// residue classes of the input gradient; strides of tensors.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "problem/index_map.hpp"
#include "plan_cases.hpp"

namespace convpp::test {
namespace {

// The tap of the sum that stands at `weight` in the stored kernel.
int64_t tap_of(const Geometry& g, size_t axis, int64_t weight) { return g.flip ? g.kernel[axis] - 1 - weight : weight; }

// offset = shift * step + residue, the same residue for all taps of a phase and another for each phase, all of them in
// use; taps in the order in which they are stored.
bool taps_are_split(const AxisMap& map) {
    std::map<int64_t, int64_t> residue_of;  // of each phase
    std::set<int64_t> residues;
    bool right = true;
    int64_t last = -1;
    for (int64_t i = 0; i < map.taps.size(); ++i) {
        const Tap tap = map.taps[i];
        const int64_t residue = map.taps.residue(i);
        right &= tap.phase >= 0 && tap.phase < map.phases() && tap.phase == i % map.phases();
        right &= residue >= 0 && residue < map.source_step && tap.offset == tap.shift * map.source_step + residue;
        right &= residue_of.emplace(tap.phase, residue).first->second == residue;
        right &= tap.weight > last && tap.weight == map.taps.weight(i) && tap.offset == map.taps.offset(i);
        last = tap.weight;
        residues.insert(residue);
    }
    const auto phases = static_cast<size_t>(map.phases());
    return right && residue_of.size() == phases && residues.size() == phases;
}

bool reads_inside(const AxisMap& map) {
    for (int64_t u = 0; u < map.count; ++u)
        for (int64_t i = 0; i < map.taps.size(); ++i) {
            const int64_t at = u * map.source_step + map.taps.offset(i);
            if (at < 0 || at >= map.source_extent) return false;
        }
    return true;
}

bool forward_axis_is_right(const ConvProblem& problem, size_t axis) {
    const Geometry& g = problem.geometry();
    const AxisMap map = forward_map(problem).axis[axis];
    bool right = map.count == problem.output()[axis] && map.source_extent == g.input[axis] &&
                 map.source_step == g.stride[axis] && map.result_start == 0 && map.result_step == 1 &&
                 map.taps.size() == g.kernel[axis] && taps_are_split(map) && map.reads_inside() == reads_inside(map);
    for (int64_t p = 0; p < map.count; ++p)
        for (int64_t i = 0; i < map.taps.size(); ++i)
            right &= p * map.source_step + map.taps.offset(i) ==
                     p * g.stride[axis] - g.pad_lo[axis] + tap_of(g, axis, map.taps.weight(i)) * g.dilation[axis];
    return right;
}

// How often the maps have the triple (pixel of dx, pixel of dy, tap), all of them inside their arrays.
using Triples = std::map<std::tuple<Extents, Extents, Extents>, int>;

bool inside(const Extents& at, const Extents& extents) {
    for (size_t a = 0; a < 3; ++a)
        if (at[a] < 0 || at[a] >= extents[a]) return false;
    return true;
}

// Every (h, p, r) with p*stride - lo + r*dilation = h once, no other triple, no pixel in two classes.
bool input_grad_maps_are_right(const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    const InputGradMaps maps = input_grad_maps(problem);
    Triples found, expected;
    std::map<Extents, int> pixels;
    bool right = true;
    for (const IndexMap& map : maps.classes) {
        const auto size = [&](size_t a) { return map.axis[a].taps.size(); };
        for (const AxisMap& axis : map.axis) {
            right &= !axis.taps.empty() && axis.count > 0 && axis.source_step == 1 && taps_are_split(axis);
            right &= axis.reads_inside() == reads_inside(axis);
        }
        right &= map.taps() == size(0) * size(1) * size(2);
        right &= map.reads_inside() ==
                 (map.axis[0].reads_inside() && map.axis[1].reads_inside() && map.axis[2].reads_inside());
        for_each({map.axis[0].count, map.axis[1].count, map.axis[2].count}, [&](const Extents& u) {
            Extents h{}, p{}, r{};
            for (size_t a = 0; a < 3; ++a) h[a] = map.axis[a].result_start + u[a] * map.axis[a].result_step;
            right &= inside(h, g.input);
            ++pixels[h];
            for_each({size(0), size(1), size(2)}, [&](const Extents& t) {
                for (size_t a = 0; a < 3; ++a) {
                    const Tap tap = map.axis[a].taps[t[a]];
                    p[a] = u[a] + tap.offset;
                    r[a] = tap_of(g, a, tap.weight);
                }
                if (inside(p, problem.output())) ++found[{h, p, r}];
            });
        });
    }
    for_each(problem.output(), [&](const Extents& p) {
        for_each(g.kernel, [&](const Extents& r) {
            Extents h{};
            for (size_t a = 0; a < 3; ++a) h[a] = p[a] * g.stride[a] - g.pad_lo[a] + r[a] * g.dilation[a];
            if (inside(h, g.input)) expected[{h, p, r}] = 1;
        });
    });
    for (const auto& [pixel, classes] : pixels) right &= classes == 1;
    const auto all_pixels = static_cast<size_t>(g.input[0] * g.input[1] * g.input[2]);
    return right && found == expected && maps.covers_input == (pixels.size() == all_pixels);
}

}  // namespace

TEST_CASE("index maps of one axis, exhaustively") {
    for (size_t axis = 0; axis < 3; ++axis) {
        const bool all = axis == 2;  // the axes share their code: the others see a part
        for (int64_t input = 1; input <= 9; input += all ? 1 : 3)
            for (int64_t kernel = 1; kernel <= 5; ++kernel)
                for (int64_t stride = 1; stride <= 6; ++stride)
                    for (int64_t dilation = 1; dilation <= 4; dilation += all ? 1 : 2)
                        for (int64_t lo = -2; lo <= 4; lo += all ? 1 : 3)
                            for (int64_t hi = -1; hi <= 3; hi += 2) {
                                Geometry g = along(3, axis, input, kernel, stride, dilation, lo, hi);
                                g.flip = (input + kernel + stride) % 2 == 0;
                                if (input + lo + hi < dilation * (kernel - 1) + 1) continue;
                                const ConvProblem problem(g);
                                if (!forward_axis_is_right(problem, axis)) FAIL_CHECK("forward_map: " << describe(g));
                                if (!input_grad_maps_are_right(problem)) FAIL_CHECK("input_grad_maps: " << describe(g));
                            }
    }
}

TEST_CASE("index maps of random convolutions of all ranks") {
    Random random(1);
    for (int i = 0; i < 300; ++i) {
        const Geometry g = random_geometry(random, 1e5);
        INFO(describe(g));
        const ConvProblem problem(g);
        for (size_t axis = 0; axis < 3; ++axis) CHECK(forward_axis_is_right(problem, axis));
        CHECK(forward_map(problem).taps() == problem.taps());
        CHECK(forward_map(problem).pixels() == problem.output()[0] * problem.output()[1] * problem.output()[2]);
        CHECK(input_grad_maps_are_right(problem));
    }
}

TEST_CASE("residue classes of known convolutions") {
    const auto classes = [](int64_t kernel, int64_t stride, int64_t dilation) {
        const InputGradMaps maps = input_grad_maps(ConvProblem(conv1d(1, 1, 1, 60, kernel, stride, 0, dilation)));
        return std::pair(maps.classes.size(), maps.covers_input);
    };
    CHECK(classes(3, 1, 1) == std::pair(size_t(1), true));
    CHECK(classes(3, 2, 1) == std::pair(size_t(2), true));
    CHECK(classes(3, 2, 2) == std::pair(size_t(1), false));  // odd pixels are between the taps
    CHECK(classes(5, 6, 4) == std::pair(size_t(3), false));  // multiples of gcd(6, 4)
    CHECK(classes(2, 6, 5) == std::pair(size_t(2), false));
    CHECK(classes(6, 6, 5) == std::pair(size_t(6), true));
    CHECK(classes(1, 60, 1) == std::pair(size_t(1), false));
}

TEST_CASE("tensor strides count the elements in order") {
    const Extents extents{3, 4, 5};
    constexpr int64_t batch = 2, channels = 6;
    for (const Layout layout : both_layouts) {
        const TensorStrides strides = tensor_strides(layout, channels, extents);
        int64_t expected = 0, wrong = 0;
        const auto at = [&](int64_t n, int64_t c, const Extents& p) {
            wrong += n * strides.batch + c * strides.channel + p[0] * strides.axis[0] + p[1] * strides.axis[1] +
                         p[2] * strides.axis[2] !=
                     expected++;
        };
        for (int64_t n = 0; n < batch; ++n) {
            if (layout == Layout::channels_first)
                for (int64_t c = 0; c < channels; ++c) for_each(extents, [&](const Extents& p) { at(n, c, p); });
            else
                for_each(extents, [&](const Extents& p) {
                    for (int64_t c = 0; c < channels; ++c) at(n, c, p);
                });
        }
        CHECK(wrong == 0);
    }
}

}  // namespace convpp::test
