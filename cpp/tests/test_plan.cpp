// Index maps, blocks and plans of the direct algorithm against counting, and bounds of what a plan asks for.
#include "plan/plan.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

#include "strategies/products.hpp"
#include "result/order.hpp"
#include "strategies/product_task.hpp"
#include "strategies/sums.hpp"
#include "problem/checked.hpp"
#include "machine/dispatch.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

using Extents4 = std::array<int64_t, 4>;

// The tap of the sum that stands at `weight` in the stored kernel.
int64_t tap_of(const Geometry& g, size_t axis, int64_t weight) { return g.flip ? g.kernel[axis] - 1 - weight : weight; }

// offset = shift * step + phase, with the phases in order and each in use; taps in the order in which they are stored.
bool taps_are_split(const AxisMap& map) {
    std::set<int64_t> used;
    bool right = std::is_sorted(map.phases.begin(), map.phases.end());
    int64_t last = -1;
    for (const Tap& tap : map.taps) {
        if (tap.phase < 0 || tap.phase >= static_cast<int64_t>(map.phases.size())) return false;
        const int64_t phase = map.phases[static_cast<size_t>(tap.phase)];
        right &= phase >= 0 && phase < map.source_step && tap.offset == tap.shift * map.source_step + phase;
        right &= tap.weight > last;
        last = tap.weight;
        used.insert(phase);
    }
    return right && used.size() == map.phases.size();
}

bool reads_inside(const AxisMap& map) {
    for (int64_t u = 0; u < map.count; ++u)
        for (const Tap& tap : map.taps) {
            const int64_t at = u * map.source_step + tap.offset;
            if (at < 0 || at >= map.source_extent) return false;
        }
    return true;
}

bool forward_axis_is_right(const ConvProblem& problem, size_t axis) {
    const Geometry& g = problem.geometry();
    const AxisMap map = forward_map(problem).axis[axis];
    bool right = map.count == problem.output()[axis] && map.source_extent == g.input[axis] &&
                 map.source_step == g.stride[axis] && map.result_start == 0 && map.result_step == 1 &&
                 static_cast<int64_t>(map.taps.size()) == g.kernel[axis] && taps_are_split(map) &&
                 map.reads_inside() == reads_inside(map);
    for (int64_t p = 0; p < map.count; ++p)
        for (const Tap& tap : map.taps)
            right &= p * map.source_step + tap.offset ==
                     p * g.stride[axis] - g.pad_lo[axis] + tap_of(g, axis, tap.weight) * g.dilation[axis];
    return right;
}

// How often the maps have the triple (pixel of dx, pixel of dy, tap), all of them inside their arrays.
using Triples = std::map<std::tuple<Extents, Extents, Extents>, int>;

template <class Body>
void for_each(const Extents& extents, const Body& body) {
    Extents at{};
    for (at[0] = 0; at[0] < extents[0]; ++at[0])
        for (at[1] = 0; at[1] < extents[1]; ++at[1])
            for (at[2] = 0; at[2] < extents[2]; ++at[2]) body(at);
}

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
        const auto size = [&](size_t a) { return static_cast<int64_t>(map.axis[a].taps.size()); };
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
                    const Tap& tap = map.axis[a].taps[static_cast<size_t>(t[a])];
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

// body(index) for every index of a box, in order.
template <class Body>
void for_each_of_box(const Box& box, const Body& body) {
    Extents4 at{};
    for (at[0] = box.lo[0]; at[0] < box.hi[0]; ++at[0])
        for (at[1] = box.lo[1]; at[1] < box.hi[1]; ++at[1])
            for (at[2] = box.lo[2]; at[2] < box.hi[2]; ++at[2])
                for (at[3] = box.lo[3]; at[3] < box.hi[3]; ++at[3]) body(at);
}

Extents4 next_in_order(Extents4 at, const Extents4& extents) {
    for (size_t a = 4; a-- > 0;) {
        if (++at[a] < extents[a]) break;
        if (a > 0) at[a] = 0;
    }
    return at;
}

// The boxes, one after the other, hold every index once and in lexicographic order; none is above the limit or above
// the first one.
bool split_is_right(const BoxSplit& split, const Extents4& extents, int64_t limit) {
    Extents4 next{0, 0, 0, 0};
    int64_t elems = 0;
    for (int64_t b = 0; b < split.count(); ++b) {
        const Box box = split.box(b);
        if (box.elems() < 1 || box.elems() > limit || box.elems() > split.largest()) return false;
        if (b == 0 && box.elems() != split.largest()) return false;
        elems += box.elems();
        bool in_order = true;
        for_each_of_box(box, [&](const Extents4& at) {
            in_order &= at == next;
            next = next_in_order(next, extents);
        });
        if (!in_order) return false;
    }
    return elems == extents[0] * extents[1] * extents[2] * extents[3] && split.extents() == extents;
}

// The direct algorithm's.  (The other one's: test_winograd_plan.cpp.)
Plan plan_of(const ConvProblem& problem, Pass pass, DType dtype = DType::float32) {
    Plan plan = make_plan(problem, pass, dtype, Algorithm::direct, active_isa());
    if (plan.empty) return plan;
    const bool sums = pass == Pass::weight_grad;
    if (dtype == DType::float32) sums ? measure_weight_grad<float>(plan) : measure_implicit_gemm<float>(plan);
    else sums ? measure_weight_grad<double>(plan) : measure_implicit_gemm<double>(plan);
    return plan;
}

constexpr int64_t patch_limit = 288;  // pairs of a block

// The blocks, one after the other, hold every pair of a channel and a tap once, and `start` counts them.
bool blocks_are_right(const PatchBlocks& blocks, int64_t channels, const IndexMap& map) {
    std::set<std::pair<int64_t, Extents4>> pairs;
    int64_t start = 0;
    bool right = blocks.channels == channels;
    for (int64_t b = 0; b < blocks.count(); ++b) {
        const PatchBlock block = patch_block(blocks, b);
        right &= block.start == start && block.size() >= 1 && block.size() <= blocks.largest() &&
                 block.size() <= patch_limit;
        right &= b > 0 || block.size() == blocks.largest();
        start += block.size();
        for (int64_t channel = block.channel_lo; channel < block.channel_hi; ++channel)
            for_each_of_box(block.taps, [&](const Extents4& tap) {
                for (size_t a = 0; a < 3; ++a)
                    right &= tap[a + 1] >= 0 && tap[a + 1] < static_cast<int64_t>(map.axis[a].taps.size());
                right &= channel >= 0 && channel < channels && pairs.insert({channel, tap}).second;
            });
    }
    return right && start == channels * map.taps() && static_cast<int64_t>(pairs.size()) == start;
}

// Counts the results that a task writes with plan.writes_gaps; false if its pixels are not where their map says.
bool count_with_gaps(const Plan& plan, const ProductTask& task, int64_t group_at, std::vector<int>& count) {
    const int64_t pixels = task.pixels.elems(), results = pixels * results_of_pixel(plan, task.map);
    std::vector<float> sums(static_cast<size_t>(pixels) + 1);  // and the gap
    std::vector<float*> in_order(static_cast<size_t>(results));
    std::vector<ResultRun> runs(static_cast<size_t>(most_result_runs(plan, task.map)));
    const int64_t run_count =
        order_results_and_gaps(plan, task, sums.data(), 1, sums.data() + pixels, in_order.data(), runs.data());
    std::vector<int64_t> offset(static_cast<size_t>(pixels));
    result_offsets(task.map.map, plan.result, task.pixels, offset.data());
    int64_t found = 0;
    for (int64_t r = 0; r < run_count; ++r) {
        const ResultRun& run = runs.at(static_cast<size_t>(r));
        for (int64_t i = 0; i < run.count; ++i) {
            const int64_t pixel = in_order.at(static_cast<size_t>(run.first + i)) - sums.data();
            if (pixel < pixels) {
                if (pixel != found || offset[static_cast<size_t>(found)] != run.offset + i) return false;
                ++found;
            }
            for (int64_t channel = task.channel_lo; channel < task.channel_lo + task.channels; ++channel)
                ++count.at(static_cast<size_t>(group_at + run.offset + i + channel * plan.result.channel));
        }
    }
    return found == pixels;
}

// Carries out the tasks of forward or input_grad on a count of each result: all become 1, but for the results that
// are filled because nothing is summed into them.
bool products_cover_results(const ConvProblem& whole, const Plan& plan) {
    const ConvProblem problem = planned_part(whole);
    const bool forward = plan.pass == Pass::forward;
    std::vector<int> count(static_cast<size_t>(forward ? problem.y_elems() : problem.x_elems()));
    for (int64_t index = 0; index < plan.tasks; ++index) {
        const ProductTask task(plan, index);
        if (task.channels <= 0 || task.group_lo >= task.group_hi || task.map.classes < 1) return false;  // without work
        for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
            const int64_t group_at = group * plan.result_channels * plan.result.channel;
            if (plan.writes_gaps && !count_with_gaps(plan, task, group_at, count)) return false;
            for (const MapPlan* m = &task.map; m != &task.map + task.map.classes && !plan.writes_gaps; ++m)
                for_each_of_box(pixels_of(*m, task.pixels), [&](const Extents4& u) {
                    int64_t at = group_at + u[0] * plan.result.batch;
                    for (size_t a = 0; a < 3; ++a)
                        at +=
                            (m->map.axis[a].result_start + u[a + 1] * m->map.axis[a].result_step) * plan.result.axis[a];
                    for (int64_t channel = task.channel_lo; channel < task.channel_lo + task.channels; ++channel)
                        ++count.at(static_cast<size_t>(at + channel * plan.result.channel));
                });
        }
    }
    const bool once =
        std::all_of(count.begin(), count.end(), [&](int n) { return n == 1 || (n == 0 && plan.fill_result); });
    return once;
}

// weight_grad: the products cover dw once, and each product's chunks are at most its boxes of pixels.
bool sums_cover_results(const ConvProblem& whole, const Plan& plan) {
    const ConvProblem problem = planned_part(whole);
    const MapPlan& m = plan.maps.at(0);
    const int64_t covered_channels = plan.channel_blocks * plan.channel_block;
    return plan.groups * plan.result_channels * plan.source_channels * m.map.taps() == problem.w_elems() &&
           covered_channels >= plan.result_channels && covered_channels - plan.channel_block < plan.result_channels &&
           plan.tasks == plan.groups * plan.channel_blocks * m.patches.count() * plan.chunks && plan.chunks >= 1 &&
           plan.chunks <= m.pixels.count() && split_is_right(m.pixels, m.pixels.extents(), m.pixels.largest()) &&
           m.pixels.extents()[0] == plan.batch &&  // rows may be joined
           m.pixels.extents()[1] * m.pixels.extents()[2] * m.pixels.extents()[3] ==
               problem.output()[0] * problem.output()[1] * problem.output()[2];
}

Geometry conv2d(int64_t batch, int64_t in, int64_t out, int64_t height, int64_t width, int64_t kernel, int64_t stride,
                int64_t padding, int64_t dilation = 1, int64_t groups = 1) {
    Geometry g;
    g.batch = batch;
    g.in_channels = in;
    g.out_channels = out;
    g.groups = groups;
    g.input = {1, height, width};
    g.kernel = {1, kernel, kernel};
    g.stride = {1, stride, stride};
    g.dilation = {1, dilation, dilation};
    g.pad_lo = g.pad_hi = {0, padding, padding};
    return g;
}

Geometry conv1d(int64_t batch, int64_t in, int64_t out, int64_t length, int64_t kernel, int64_t stride, int64_t padding,
                int64_t dilation = 1) {
    Geometry g;
    g.rank = 1;
    g.batch = batch;
    g.in_channels = in;
    g.out_channels = out;
    g.input[2] = length;
    g.kernel[2] = kernel;
    g.stride[2] = stride;
    g.dilation[2] = dilation;
    g.pad_lo[2] = g.pad_hi[2] = padding;
    return g;
}

// The pairs (channel, weight) of a map in the order in which every way of feeding adds them up: the blocks, in each its
// channels, for each its taps.
std::vector<std::pair<int64_t, Extents>> order_of_sum(const MapPlan& m) {
    std::vector<std::pair<int64_t, Extents>> order;
    for (int64_t b = 0; b < m.patches.count(); ++b) {
        const PatchBlock block = patch_block(m.patches, b);
        for (int64_t channel = block.channel_lo; channel < block.channel_hi; ++channel)
            for_each_of_box(block.taps, [&](const Extents4& tap) {
                Extents weight{};
                for (size_t a = 0; a < 3; ++a) weight[a] = m.map.axis[a].taps[static_cast<size_t>(tap[a + 1])].weight;
                order.push_back({channel, weight});
            });
    }
    return order;
}

std::array<int64_t, 3> first_result(const MapPlan& m) {
    return {m.map.axis[0].result_start, m.map.axis[1].result_start, m.map.axis[2].result_start};
}

constexpr size_t feeds = 5;

// How often each way of feeding is chosen.
struct FeedCount {
    std::array<int, feeds> of{};
    void add(const Plan& plan) { of.at(static_cast<size_t>(plan.feed)) += !plan.empty; }
    int kinds() const { return static_cast<int>(feeds - static_cast<size_t>(std::count(of.begin(), of.end(), 0))); }
};

// Layers of real networks, and the largest of each kind.
std::vector<Geometry> real_layers() {
    std::vector<Geometry> layers{
        conv2d(8, 3, 64, 224, 224, 7, 2, 3),
        conv2d(8, 64, 256, 56, 56, 1, 1, 0),
        conv2d(8, 64, 64, 56, 56, 3, 1, 1),
        conv2d(8, 256, 512, 56, 56, 1, 2, 0),
        conv2d(8, 512, 512, 14, 14, 3, 2, 1),
        conv2d(8, 1024, 2048, 14, 14, 1, 2, 0),
        conv2d(8, 512, 512, 7, 7, 3, 1, 1),
        conv2d(8, 2048, 512, 7, 7, 1, 1, 0),
        conv2d(4, 3, 64, 224, 224, 3, 1, 1),
        conv2d(4, 64, 64, 224, 224, 3, 1, 1),
        conv2d(4, 512, 512, 28, 28, 3, 1, 1),
        conv2d(8, 32, 32, 112, 112, 3, 1, 1, 1, 32),
        conv2d(8, 1024, 1024, 7, 7, 3, 1, 1, 1, 1024),
        conv2d(8, 128, 128, 56, 56, 3, 1, 1, 1, 32),
        conv2d(4, 192, 32, 28, 28, 5, 1, 2),
        conv2d(4, 64, 128, 80, 350, 5, 2, 2),
        conv2d(4, 256, 256, 28, 28, 3, 1, 2, 2),
        conv2d(1, 512, 512, 38, 57, 3, 1, 3, 3),
        conv2d(64, 1, 6, 28, 28, 5, 1, 0),
        conv2d(1, 3, 5, 20, 20, 3, 1, 0),
        conv2d(4, 17, 19, 61, 61, 5, 3, 2),
        conv2d(4, 64, 64, 56, 56, 31, 1, 15, 1, 64),
        conv2d(4, 16, 16, 128, 128, 15, 1, 7),
        conv2d(1, 1, 1, 1024, 1024, 11, 1, 5),
        conv1d(16, 64, 64, 4096, 9, 1, 4),
        conv1d(8, 64, 64, 8192, 2, 1, 0, 64),
        conv1d(1, 1, 1, 441000, 1024, 1, 0),
        conv1d(4, 1, 512, 16000, 10, 5, 0),
        conv1d(4, 512, 512, 3199, 3, 2, 0),
    };
    Geometry video = conv2d(2, 3, 64, 112, 112, 3, 1, 1);
    video.rank = 3;
    video.input[0] = 16;
    video.kernel[0] = 3;
    video.pad_lo[0] = video.pad_hi[0] = 1;
    layers.push_back(video);
    const size_t count = layers.size();
    for (size_t i = 0; i < count; ++i) {
        layers.push_back(layers[i]);
        layers.back().layout = Layout::channels_last;
    }
    return layers;
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
                                Geometry g;
                                g.rank = 3;
                                g.input[axis] = input;
                                g.kernel[axis] = kernel;
                                g.stride[axis] = stride;
                                g.dilation[axis] = dilation;
                                g.pad_lo[axis] = lo;
                                g.pad_hi[axis] = hi;
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

TEST_CASE("boxes partition the extents in order, below the limit") {
    Random random(2);
    for (int i = 0; i < 3000; ++i) {
        Extents4 extents{};
        for (int64_t& extent : extents) extent = random.chance(3) ? 1 : random.integer(1, 12);
        if (random.chance(4)) extents[3] = random.integer(1, 300);
        const int64_t limit = random.pick({1, 2, 7, 16, 48, 100, 288, 1024, 100000}),
                      lanes = random.pick({1, 4, 8, 14, 16, 48});
        if (!split_is_right(BoxSplit(extents, limit, lanes), extents, limit))
            FAIL_CHECK(extents[0] << " " << extents[1] << " " << extents[2] << " " << extents[3] << " limit " << limit
                                  << " lanes " << lanes);
    }
    CHECK(BoxSplit({2, 0, 3, 4}, 10, 4).count() == 0);
    CHECK(BoxSplit().count() == 0);
    // Boxes that end where a vector does: three rows of 16, not the 62 pixels that the limit allows.
    CHECK(BoxSplit({1, 1, 56, 16}, 62, 16).box(0).elems() == 48);
    // Extents near the largest are cut without being walked through.
    const BoxSplit huge({int64_t(1) << 20, 1, int64_t(1) << 20, int64_t(1) << 20}, 1000, 16);
    CHECK(huge.largest() <= 1000);
    CHECK(huge.box(huge.count() - 1).hi == Extents4{int64_t(1) << 20, 1, int64_t(1) << 20, int64_t(1) << 20});
}

// Pixels of the largest chunk of boxes, beyond its share of all.
double unevenness(const BoxSplit& boxes, int64_t chunks) {
    int64_t most = 0, all = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        int64_t pixels = 0;
        for (int64_t b = boxes.count() * chunk / chunks; b < boxes.count() * (chunk + 1) / chunks; ++b)
            pixels += boxes.box(b).elems();
        most = std::max(most, pixels);
        all += pixels;
    }
    return static_cast<double>(most * chunks) / static_cast<double>(all) - 1.0;
}

TEST_CASE("boxes are cut so that chunks of them are alike") {
    // 13 boxes of 242 for each of 8 planes would make chunks of six and of seven.
    CHECK(unevenness(BoxSplit({8, 1, 1, 3136}, 256, 1), 16) > 0.07);
    CHECK(unevenness(BoxSplit({8, 1, 1, 3136}, 256, 1, 16), 16) < 0.01);
    Random random(8);
    double of_alike = 0, of_any = 0;
    for (int i = 0; i < 1000; ++i) {
        const Extents4 extents{random.integer(1, 16), 1, random.integer(1, 100), random.integer(1, 100)};
        const int64_t limit = random.integer(16, 800), chunks = random.integer(1, 16);
        const BoxSplit alike(extents, limit, 1, chunks), any(extents, limit, 1);
        CHECK(split_is_right(alike, extents, limit));
        if (any.count() < 2 * chunks) continue;
        of_alike += unevenness(alike, chunks);
        of_any += unevenness(any, chunks);
    }
    CHECK(of_alike < 0.7 * of_any);
}

TEST_CASE("blocks of (channel, tap) pairs hold each pair once, in the order of the sum") {
    Random random(3);
    std::vector<Geometry> geometries;
    for (int i = 0; i < 200; ++i) geometries.push_back(random_geometry(random, 1e6));
    geometries.push_back(conv2d(2, 3, 4, 40, 40, 17, 1, 1));  // 289 taps: one more than a block holds
    geometries.push_back(conv2d(2, 3, 4, 60, 60, 31, 2, 0));  // several blocks of taps
    geometries.push_back(conv1d(1, 5, 7, 3000, 1024, 1, 9));  // a long kernel
    geometries.push_back(conv1d(1, 300, 7, 90000, 3, 1, 0, 40000));  // taps too far apart to be staged together
    geometries.push_back(conv2d(1, 700, 2, 90, 90, 3, 1, 40, 40));
    geometries.push_back(conv1d(1, 700, 3, 20, 1, 1, 0));
    for (const Geometry& g : geometries) {
        INFO(describe(g));
        const ConvProblem problem(g);
        for (const Pass pass : all_passes) {
            const Plan plan = plan_of(problem, pass);
            for (const MapPlan& m : plan.maps) CHECK(blocks_are_right(m.patches, plan.source_channels, m.map));
        }
    }
}

TEST_CASE("results without terms are written by the tasks, or filled in before") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Layout layout : both_layouts)
            for (const DType dtype : {DType::float32, DType::float64})
                for (const int64_t stride : {1, 2, 5}) {
                    Geometry g = conv2d(8, 512, 1024, 28, 28, 1, stride, 0);
                    g.layout = layout;
                    const Plan plan = plan_of(ConvProblem(g), Pass::input_grad, dtype);
                    INFO(std::string(name(isa)), " ", std::string(name(layout)), " stride ", stride);
                    const bool transposes = layout == Layout::channels_first && plan.feed == Feed::pixel_scalars;
                    CHECK(plan.writes_gaps == (stride == 2 && transposes));  // 5 x 5 would be too many for a task
                    CHECK(plan.fill_result == (stride > 1 && !plan.writes_gaps));
                    if (isa == Isa::avx512 && layout == Layout::channels_first && stride == 2) CHECK(transposes);
                }
    }
}

TEST_CASE("tasks compute each result once") {
    Random random(4);
    std::vector<Geometry> geometries;
    for (int i = 0; i < 200; ++i) geometries.push_back(random_geometry(random, 3e6));
    for (const Layout layout : both_layouts) {  // enough work to be cut for threads, along channels and along pixels
        geometries.push_back(conv2d(3, 16, 200, 14, 14, 3, 1, 1));
        geometries.push_back(conv2d(2, 8, 6, 60, 60, 3, 2, 1));
        geometries.push_back(conv2d(9, 64, 33, 7, 7, 3, 1, 1));
        geometries.push_back(conv2d(2, 12, 24, 30, 30, 3, 3, 0, 2, 3));
        for (size_t i = geometries.size() - 4; i < geometries.size(); ++i) geometries[i].layout = layout;
    }
    geometries.push_back(conv2d(3, 300, 300, 7, 7, 3, 1, 1, 1, 300));  // several groups a task
    geometries.push_back(conv2d(2, 246, 164, 40, 20, 3, 2, 1, 1, 82));
    geometries.back().layout = Layout::channels_last;
    geometries.push_back(conv2d(50, 6, 9, 12, 12, 3, 1, 1, 1, 3));
    geometries.back().per_sample = true;
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Geometry& g : geometries) {
            INFO(std::string(name(isa)), ": ", describe(g));
            const ConvProblem problem(g);
            for (const DType dtype : {DType::float32, DType::float64}) {
                for (const Pass pass : {Pass::forward, Pass::input_grad}) {
                    const Plan plan = plan_of(problem, pass, dtype);
                    CHECK((plan.empty || products_cover_results(problem, plan)));
                }
                CHECK(sums_cover_results(problem, plan_of(problem, Pass::weight_grad, dtype)));
            }
        }
    }
}

TEST_CASE("a plan says when there is nothing to sum") {
    Geometry none = conv2d(0, 3, 5, 20, 20, 3, 1, 1);
    CHECK(plan_of(ConvProblem(none), Pass::forward).empty);
    none.batch = 2;
    none.in_channels = 0;
    for (const Pass pass : all_passes) CHECK(plan_of(ConvProblem(none), pass).empty);
    none.in_channels = 3;
    none.out_channels = 0;
    for (const Pass pass : all_passes) CHECK(plan_of(ConvProblem(none), pass).empty);
    Geometry unread = conv1d(1, 1, 1, 3, 1, 20, 4);  // y reads padding only: no pixel of dx has a class
    CHECK(ConvProblem(unread).output()[2] == 1);
    CHECK(plan_of(ConvProblem(unread), Pass::input_grad).empty);
    CHECK_FALSE(plan_of(ConvProblem(unread), Pass::forward).empty);
}

TEST_CASE("a plan does not depend on the number of threads") {
    const int before = num_threads();
    for (const Geometry& g : real_layers()) {
        INFO(describe(g));
        const ConvProblem problem(g);
        for (const Pass pass : all_passes) {
            set_num_threads(1);
            const Plan one = plan_of(problem, pass);
            set_num_threads(7);
            const Plan seven = plan_of(problem, pass);
            CHECK(describe_blocking(one) == describe_blocking(seven));
            CHECK(one.tasks == seven.tasks);
            CHECK(one.chunks == seven.chunks);
            CHECK(one.thread_bytes == seven.thread_bytes);
            CHECK(one.shared_bytes == seven.shared_bytes);
        }
    }
    set_num_threads(before);
}

TEST_CASE("the order of a result's sum does not depend on the batch") {
    for (const int64_t dilation : {1, 40, 1700, 5000})
        for (const int64_t channels : {1, 3, 64, 300})
            for (const int64_t length : {17, 400, 1605, 161'605})
                for (const int64_t pad : {0, 3}) {
                    Geometry g = conv1d(1, channels, 5, length + 4 * dilation, 5, 1, pad, dilation);
                    for (const Pass pass : {Pass::forward, Pass::input_grad})
                        for (const int64_t batch : {2, 9, 1000}) {
                            g.batch = 1;
                            const Plan alone = plan_of(ConvProblem(g), pass);
                            g.batch = batch;
                            const Plan together = plan_of(ConvProblem(g), pass);
                            INFO(describe(g));
                            REQUIRE(alone.maps.size() == together.maps.size());
                            for (size_t i = 0; i < alone.maps.size(); ++i) {
                                const BoxSplit &a = alone.maps[i].patches.taps, &b = together.maps[i].patches.taps;
                                CHECK(a.count() == b.count());
                                CHECK(a.largest() == b.largest());
                                CHECK(a.extents() == b.extents());
                            }
                        }
                }
}

TEST_CASE("typical layers are fed in the way that was measured as the fastest") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const DType dtype : {DType::float32, DType::float64})
            for (const int64_t batch : {1, 8}) {
                const auto feed = [&](Geometry g, Pass pass, Layout layout) {
                    g.batch = batch;
                    g.layout = layout;
                    return plan_of(ConvProblem(g), pass, dtype).feed;
                };
                INFO(std::string(name(isa)), " ", dtype == DType::float32 ? 4 : 8, ", N = ", batch);
                // Rows of 56 pixels are read where they lie: no panel is made of them.
                const Geometry square = conv2d(1, 64, 64, 56, 56, 3, 1, 1);
                for (const Pass pass : {Pass::forward, Pass::input_grad})
                    CHECK(feed(square, pass, Layout::channels_first) != Feed::packed_pixels);
                for (const Layout layout : both_layouts)
                    for (const Pass pass : all_passes)
                        for (const int64_t stride : {1, 2}) {
                            INFO(std::string(name(pass)), ", ", std::string(name(layout)));
                            const bool slides = layout == Layout::channels_first && stride == 1;
                            const auto depthwise = [&](int64_t extent) {
                                return feed(conv2d(1, 32, 32, extent, extent, 3, stride, 1, 1, 32), pass, layout);
                            };
                            CHECK(depthwise(56) == (slides ? Feed::sliding_rows : Feed::channel_vectors));
                            // Most of a vector of 16 would be empty.
                            if (kernel_shapes(isa, dtype).shape[0].lanes == 16)
                                CHECK(depthwise(7) == Feed::channel_vectors);
                        }
                // Groups of 4 channels: a vector holds them in both types, or not (2 lanes).
                const bool held = kernel_shapes(isa, dtype).shape[0].lanes >= 4;
                const Geometry grouped = conv2d(1, 128, 128, 56, 56, 3, 1, 1, 1, 32);
                for (const Pass pass : all_passes) {
                    CHECK((feed(grouped, pass, Layout::channels_last) == Feed::channel_vectors) == held);
                    CHECK(feed(grouped, pass, Layout::channels_first) != Feed::channel_vectors);
                }
            }
    }
}

TEST_CASE("boxes of rows that are read in place hold many chunks, as far as the tasks allow") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const DType dtype : {DType::float32, DType::float64})
            for (const auto& layer :
                 {std::array<int64_t, 3>{64, 256, 56}, {256, 64, 56}, {32, 64, 112}, {128, 512, 28}})
                for (const int64_t batch : {1, 8, 64}) {
                    const int64_t channels = layer[0], filters = layer[1], extent = layer[2];
                    const Plan plan = plan_of(ConvProblem(conv2d(batch, channels, filters, extent, extent, 1, 1, 0)),
                                              Pass::forward, dtype);
                    if (plan.feed != Feed::pixel_vectors) continue;
                    const MapPlan& m = plan.maps[0];
                    REQUIRE(m.in_place);
                    const int64_t source = m.pixels.largest() * channels * (dtype == DType::float32 ? 4 : 8);
                    INFO(std::string(name(isa)), " ", channels, "-", filters, "@", extent, " N ", batch, ": ", source);
                    CHECK(source <= 32 * row_chunk_bytes(plan));
                    CHECK(plan.tasks >= plan.tasks_wanted);
                    // Boxes are cut below 8 chunks only where blocks of channels do not make the tasks either.
                    if (source < 4 * row_chunk_bytes(plan)) CHECK(plan.channel_block < 2 * 64);
                }
    }
}

TEST_CASE("as many results as sources of a group are fed in vectors of channels, for each sample's weights too") {
    Geometry g = conv2d(2, 32, 32, 20, 20, 3, 1, 1, 1, 32);
    g.layout = Layout::channels_last;
    CHECK(plan_of(ConvProblem(g), Pass::forward).feed == Feed::channel_vectors);
    g.per_sample = true;
    CHECK(plan_of(ConvProblem(g), Pass::forward).feed == Feed::channel_vectors);
    g.per_sample = false;
    g.out_channels = 64;  // two results of each channel
    for (const Pass pass : all_passes) CHECK(plan_of(ConvProblem(g), pass).feed != Feed::channel_vectors);
}

TEST_CASE("a 1x1 layer is one row") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Layout layout : both_layouts)
            for (const Pass pass : all_passes) {
                Geometry g = conv2d(3, 70, 50, 13, 11, 1, 1, 0);
                g.layout = layout;
                INFO(std::string(name(isa)), ", ", std::string(name(pass)));
                const auto counts = [&] {
                    const IndexMap map = plan_of(ConvProblem(g), pass).maps.at(0).map;
                    return Extents{map.axis[0].count, map.axis[1].count, map.axis[2].count};
                };
                CHECK(counts() == Extents{1, 1, 143});
                g.rank = 3;
                g.input[0] = 5;
                CHECK(counts() == Extents{1, 1, 715});
                // Rows that are not all of the source, or not all of the result, are not joined.
                g.stride = {1, 2, 2};
                const Extents apart = counts();
                CHECK(apart[2] == 6);
                g.stride = {1, 1, 1};
                g.pad_lo[2] = 1;
                CHECK(counts()[2] == (pass == Pass::input_grad ? 11 : 12));
            }
    }
}

TEST_CASE("the order of a result's sum does not depend on the feed, the layout, the type, the ISA or the batch") {
    Random random(6);
    std::vector<Geometry> geometries;
    for (int i = 0; i < 100; ++i) geometries.push_back(random_geometry(random, 1e6));
    geometries.push_back(conv2d(1, 7, 7, 20, 20, 3, 1, 1, 1, 7));  // as many groups as fill some half vectors
    geometries.push_back(conv2d(1, 12, 12, 30, 30, 3, 2, 1, 1, 3));
    geometries.push_back(conv2d(1, 64, 64, 56, 56, 3, 1, 1));
    geometries.push_back(conv2d(1, 128, 70, 28, 28, 3, 2, 1));
    geometries.push_back(conv2d(1, 300, 64, 14, 14, 1, 1, 0));
    geometries.push_back(conv2d(1, 6, 6, 50, 50, 19, 1, 9, 1, 3));  // several blocks of taps
    geometries.push_back(conv2d(1, 40, 40, 45, 45, 21, 2, 9, 1, 40));
    geometries.push_back(conv1d(1, 4, 6, 7000, 5, 1, 0, 1700));  // taps that are not staged together
    int fed_in_several_ways = 0;
    for (Geometry g : geometries)
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            std::map<std::array<int64_t, 3>, std::vector<std::pair<int64_t, Extents>>> order;  // of each map
            FeedCount count;
            bool first = true, same = true;
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                for (const Layout layout : both_layouts)
                    for (const DType dtype : {DType::float32, DType::float64})
                        for (const int64_t batch : {1, 2, 40}) {
                            g.layout = layout;
                            g.batch = batch;
                            const Plan plan = plan_of(ConvProblem(g), pass, dtype);
                            if (plan.empty) continue;
                            count.add(plan);
                            for (const MapPlan& m : plan.maps) {
                                if (first) order[first_result(m)] = order_of_sum(m);
                                same &= order.count(first_result(m)) == 1 && order[first_result(m)] == order_of_sum(m);
                            }
                            same &= order.size() == plan.maps.size();
                            first = false;
                        }
            }
            INFO(std::string(name(pass)), ": ", describe(g));
            CHECK(same);
            fed_in_several_ways += count.kinds() > 1;
        }
    CHECK(fed_in_several_ways >= 20);
}

TEST_CASE("random convolutions are fed in every way") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Layout layout : both_layouts)
            for (const Pass pass : all_passes) {
                Random random(7);
                FeedCount count;
                for (int i = 0; i < 500; ++i) {
                    Geometry g = random_geometry(random, 1e6);
                    g.layout = layout;
                    count.add(plan_of(ConvProblem(g), pass));
                }
                INFO(std::string(name(isa)), ", ", std::string(name(pass)), ", ", std::string(name(layout)));
                for (size_t feed = 0; feed < feeds; ++feed) {
                    CAPTURE(feed);
                    // (Layers whose rows slide are too special; test_convolution.cpp makes them on purpose.)
                    if (feed != static_cast<size_t>(Feed::sliding_rows)) CHECK(count.of[feed] >= 5);
                }
            }
    }
}

TEST_CASE("the workspace does not grow with the stride") {
    // A copy with its padding would hold all that lies between the taps.
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const int64_t stride : {2, 3, 4, 7, 16, 64})
            for (const int64_t kernel : {int64_t(3), stride})
                for (const int64_t groups : {1, 16, 64})
                    for (const Layout layout : {Layout::channels_first, Layout::channels_last})
                        for (const int64_t batch : {1, 16}) {
                            Geometry g =
                                conv2d(batch, 64, groups == 1 ? 512 : 64, 256, 256, kernel, stride, 1, 1, groups);
                            g.layout = layout;
                            for (const Pass pass : all_passes)
                                for (const DType dtype : {DType::float32, DType::float64}) {
                                    INFO(std::string(name(isa)), ", ", std::string(name(pass)), ": ", describe(g));
                                    CHECK(plan_of(ConvProblem(g), pass, dtype).thread_bytes <= int64_t(3) << 20);
                                }
                        }
    }
}

TEST_CASE("the workspace of real layers is bounded, whatever the batch") {
    constexpr int64_t mib = int64_t(1) << 20;
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (Geometry g : real_layers()) {
            for (const DType dtype : {DType::float32, DType::float64}) {
                const int64_t elem_bytes = dtype == DType::float32 ? 4 : 8;
                for (const Pass pass : all_passes) {
                    std::vector<Plan> plans;
                    for (const int64_t batch : {int64_t(1), g.batch, int64_t(1) << 16, int64_t(1) << 20}) {
                        Geometry batched = g;
                        batched.batch = batch;
                        plans.push_back(plan_of(ConvProblem(batched), pass, dtype));
                    }
                    INFO(std::string(name(isa)), ", ", std::string(name(pass)), " ", elem_bytes, ": ", describe(g));
                    for (const Plan& plan : plans) {
                        CHECK(plan.thread_bytes <= 3 * mib);
                        CHECK(plan.partial_elems * elem_bytes <= 32 * mib);
                        // Packed weights are the weights, each group's channels filled up to a panel's width.
                        const int64_t w = ConvProblem(g).w_elems() * elem_bytes;
                        const int64_t most = g.groups == 1 ? w + w / 2 + mib : 10 * w;
                        CHECK(plan.shared_bytes <= (pass == Pass::weight_grad ? 32 * mib : most));
                    }
                    // 16 times the samples: but for how their pixels are cut into boxes, nothing changes.
                    CHECK(plans[3].shared_bytes <= plans[2].shared_bytes + plans[2].shared_bytes / 8);
                    CHECK(plans[3].thread_bytes <= plans[2].thread_bytes + plans[2].thread_bytes / 2);
                }
            }
        }
    }
}

TEST_CASE("weights for each sample are planned for one sample: its memory does not grow with the batch") {
    for (const int64_t channels : {6, 96}) {
        Geometry g = conv2d(1, channels, channels, 12, 12, 3, 1, 1, 1, 3);
        for (const Pass pass : all_passes) {
            g.per_sample = false;
            g.batch = 1;
            const Plan alone = plan_of(ConvProblem(g), pass);
            g.per_sample = true;
            for (const int64_t batch : {2, 7, 64, 1000}) {
                g.batch = batch;
                const Plan plan = plan_of(ConvProblem(g), pass);
                CHECK(plan.samples == batch);
                CHECK(plan.groups == alone.groups);
                CHECK(plan.batch == 1);
                CHECK(plan.feed == alone.feed);
                // (Where threads take whole samples, these are not cut into as many tasks.)
                CHECK(plan.thread_bytes + plan.shared_bytes <= 3 * (alone.thread_bytes + alone.shared_bytes));
            }
        }
    }
}

TEST_CASE("threads take whole samples, unless there are few large ones") {
    const auto shares = [](int64_t batch, int64_t channels, int threads) {
        Geometry g = conv2d(batch, channels, channels, 28, 28, 3, 1, 1);
        g.per_sample = true;
        return make_plan(ConvProblem(g), Pass::forward, DType::float32, Algorithm::direct, active_isa(), threads)
            .shares_samples;
    };
    for (const int threads : {1, 2, 3, 8}) {
        CHECK_FALSE(shares(1, 64, threads));
        CHECK(shares(2, 4, threads));  // little work: no threads are woken for a part of it
        CHECK(shares(8 * threads + 1, 64, threads));
    }
    CHECK(shares(2, 64, 2));
    CHECK_FALSE(shares(3, 64, 2));  // two rounds, the second of them half idle
    CHECK_FALSE(shares(5, 64, 8));
    CHECK_FALSE(shares(64, 256, 2));  // large weights
    CHECK(shares(64, 256, 1));
}

TEST_CASE("the partial sums of a weight gradient's chunks stay within 32 MiB") {
    Random random(5);
    for (int i = 0; i < 300; ++i) {
        const int64_t in = random.integer(1, 3000), out = random.integer(1, 3000), extent = random.integer(8, 300);
        const int64_t kernel = random.pick({1, 3, 5, 7});
        const Geometry g = conv2d(random.integer(1, 300), in, out, extent, extent, kernel, random.integer(1, 2), 1);
        INFO(describe(g));
        for (const DType dtype : {DType::float32, DType::float64}) {
            const ConvProblem problem(g);
            const Plan plan = plan_of(problem, Pass::weight_grad, dtype);
            CHECK(plan.partial_elems * (dtype == DType::float32 ? 4 : 8) <= int64_t(32) << 20);
            CHECK((plan.chunks == 1 || plan.partial_elems >= plan.chunks * problem.w_elems()));
            CHECK((plan.chunks > 1 || plan.partial_elems == 0));
        }
    }
}

TEST_CASE("extents far beyond memory are planned without being walked through") {
    constexpr int64_t far = int64_t(1) << 55, large = int64_t(1) << 50;
    Geometry full = conv1d(1, 1, 1, (int64_t(1) << 60) - 1, 3, 1, 1);
    Geometry cropped = conv1d(1, 1, 1, int64_t(1) << 60, 1, 1, -(int64_t(1) << 59) + 1);
    Geometry patches = conv2d(1, 3, 8, int64_t(1) << 25, int64_t(1) << 25, 16, 16, 0);
    Geometry volume = conv2d(1, 1, 1, int64_t(1) << 18, int64_t(1) << 18, 3, 2, 1, 5);
    volume.rank = 3;
    volume.input[0] = volume.input[1];
    volume.kernel[0] = volume.stride[0] = 3;
    const std::vector<Geometry> geometries{
        full,
        cropped,
        patches,
        volume,
        conv1d(1, 1, 1, large, 5, int64_t(1) << 20, 7),  // classes: as many as taps
        conv1d(1, 1, 1, large, 3, int64_t(1) << 20, 0, int64_t(1) << 30),  // one class of all taps
        conv1d(1, 1, 1, 8, 9, 1, 4 * far, far),  // taps in padding, but for one
        conv1d(1, 1, 1, 1, 1, int64_t(1) << 60, 0),
        conv1d(1, 1, 1, 100'000'000'000, 7, 3, 0, 1'000'000'007),
        conv1d(1, 1, 1, 200'000, 131'072, 131'072, 0),  // a class for each tap
        conv1d(1, 1, 1, 70'000, 65'536, 1, 0),
        conv2d(1, int64_t(1) << 30, int64_t(1) << 30, 4, 4, 3, 1, 1, 1, int64_t(1) << 30),  // that many groups
        conv2d(int64_t(1) << 40, 3, 5, 20, 20, 3, 1, 0),
        conv2d(1, int64_t(1) << 20, int64_t(1) << 20, 1, 1, 1, 1, 0),
    };
    for (Geometry g : geometries)
        for (const Layout layout : both_layouts) {
            g.layout = layout;
            INFO(describe(g));
            const ConvProblem problem(g);
            for (const Pass pass : all_passes) {
                const Plan plan = plan_of(problem, pass);
                CHECK(plan.tasks >= 1);
                CHECK(plan.thread_bytes >= 1);
                CHECK(plan.thread_bytes <= int64_t(8) << 20);
                int64_t last_task = 0;
                bool in_order = true;
                for (const MapPlan& m : plan.maps) {
                    const Box last = m.pixels.box(m.pixels.count() - 1);
                    in_order &= m.first_task >= last_task && last.elems() >= 1 && last.hi == m.pixels.extents();
                    last_task = m.first_task;
                }
                CHECK(in_order);
            }
        }
}

}  // namespace convpp::test
