// What Winograd's algorithm makes of a pass: axes and boxes against counting, what the choice depends on, refusals.
#include "strategies/winograd/axes.hpp"

#include <algorithm>
#include <set>

#include "geometries.hpp"
#include "plan/plan.hpp"
#include "plan/tasks.hpp"
#include "strategies/winograd/tiles.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

constexpr std::initializer_list<Pass> products{Pass::forward, Pass::input_grad};

// Each tap of each result of a transformed axis is where a tile's element lies, and each result belongs to one tile.
bool tiles_are_right(const WinogradAxis& axis, const AxisMap& map) {
    const int64_t taps = map.taps.size();
    if (axis.points != axis.outputs + taps - 1 || axis.taps != 1 || axis.offset_of_tap(0) != 0 || axis.reach != 0)
        return false;
    std::vector<int> covered(static_cast<size_t>(map.count));
    int64_t last = 0, last_result = 0;
    for (int64_t tile = 0; tile < axis.tiles(axis.units); ++tile)
        for (int64_t o = 0; o < axis.outputs; ++o) {
            const int64_t result = axis.tile_at(tile) + o * axis.spacing;
            if (result < map.count) ++covered[static_cast<size_t>(result)];
            last_result = std::max(last_result, result);
            for (int64_t j = 0; j < taps; ++j) {
                const Tap tap = map.taps[axis.reversed ? taps - 1 - j : j];
                const int64_t read = axis.tile_at(tile) + (o + j) * axis.spacing;
                if (axis.first + read != result + tap.offset) return false;
                last = std::max(last, read);
            }
        }
    return std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }) &&
           axis.result_length(axis.units) == last_result + 1 && axis.source_length(axis.units) == last + 1;
}

bool outer_axis_is_right(const WinogradAxis& axis, const AxisMap& map) {
    if (axis.units != map.count || axis.taps != map.taps.size() || axis.phases != 1) return false;
    int64_t last = 0;
    for (int64_t u = 0; u < axis.units; ++u)
        for (int64_t t = 0; t < map.taps.size(); ++t) {
            const int64_t offset = axis.offset_of_tap(t);
            if (offset < 0 || offset > axis.reach) return false;
            if (axis.first + u * axis.step + offset != u * map.source_step + map.taps.offset(t)) return false;
            last = std::max(last, u * axis.step + offset);
        }
    return axis.result_length(axis.units) == axis.units && axis.source_length(axis.units) == last + 1;
}

bool axes_are_right(const WinogradPlan& plan, const IndexMap& map) {
    bool right = plan.axis[plan.along_a].transformed && plan.axis[plan.along_b].transformed;
    for (size_t a = 0; a < 3; ++a) {
        const WinogradAxis& axis = plan.axis[a];
        right &= axis.transformed == (a == plan.along_a || a == plan.along_b);
        right &= axis.transformed ? tiles_are_right(axis, map.axis[a]) : outer_axis_is_right(axis, map.axis[a]);
    }
    return right;
}

// Whether a box's tiles lie inside its copy of the source and inside its results, and read places that there are.
bool box_is_right(const WinogradPlan& plan, const Box& units, int64_t lanes) {
    const WinogradBox box(plan, units, lanes);
    const auto lists = [](int64_t count) { return std::vector<int64_t>(static_cast<size_t>(count)); };
    std::vector<int64_t> places = lists(box.place_count()), tiles = lists(box.tile_count()),
                         first = lists(box.tile_count()), taps = lists(plan.outer_taps());
    box.find_places(plan, places.data());
    box.find_tiles(plan, tiles.data());
    box.find_first_places(plan, first.data());
    box.find_taps(plan, taps.data());
    const WinogradAxis &a = plan.axis[plan.along_a], &b = plan.axis[plan.along_b];
    const auto reach = [&](const kernels::TileSteps& steps, bool of_source) {
        const int64_t along_b = ((of_source ? b.points : b.outputs) - 1) * steps.b;
        return (plan.planes() ? ((of_source ? a.points : a.outputs) - 1) * steps.a : 0) + along_b + lanes;
    };
    const auto largest = [](const std::vector<int64_t>& of) { return *std::max_element(of.begin(), of.end()); };
    const auto differ = [](const std::vector<int64_t>& of) {
        return std::set<int64_t>(of.begin(), of.end()).size() == of.size();
    };
    return largest(places) + reach(WinogradBox::steps(plan, box.source), true) == box.source.elems &&
           largest(tiles) + reach(WinogradBox::steps(plan, box.results), false) == box.results.elems &&
           largest(first) + largest(taps) == box.place_count() - 1 && differ(places) && differ(tiles) &&
           differ(first) && differ(taps);
}

// Carries out the tasks on a count of each result.
bool tasks_cover_results(const ConvProblem& whole, const Plan& plan, int64_t lanes) {
    const ConvProblem problem = planned_part(whole);
    const MapPlan& m = plan.maps.at(0);
    std::vector<int> count(static_cast<size_t>(plan.pass == Pass::forward ? problem.y_elems() : problem.x_elems()));
    const Box largest = m.boxes.box(0);
    for (int64_t index = 0; index < plan.tasks.count; ++index) {
        const ProductTask task(plan, index);
        if (task.channels <= 0 || task.group_hi != task.group_lo + 1) return false;
        if (!box_is_right(winograd_of(plan), task.pixels, lanes)) return false;
        const WinogradBox box(winograd_of(plan), task.pixels, lanes), first(winograd_of(plan), largest, lanes);
        // Buffers are made for the first box.
        if (box.source.elems > first.source.elems || box.results.elems > first.results.elems ||
            box.place_count() > first.place_count() || box.tile_count() > first.tile_count())
            return false;
        const int64_t group_at = task.group_lo * plan.tasks.channels * plan.result.channel;
        std::array<int64_t, 3> length{};
        for (size_t a = 0; a < 3; ++a)
            length[a] = std::min(box.results.range[a].length, m.map.axis[a].count - box.results.range[a].lo);
        for_each_index(
            {task.pixels.extent(0), length[0], length[1], length[2]}, [&](int64_t n, int64_t d, int64_t h, int64_t w) {
                const std::array<int64_t, 3> u{d, h, w};
                int64_t at = group_at + (task.pixels.lo[0] + n) * plan.result.batch;
                for (size_t a = 0; a < 3; ++a)
                    at += (m.map.axis[a].result_start + box.results.range[a].lo + u[a]) * plan.result.axis[a];
                for (int64_t c = task.channel_lo; c < task.channel_lo + task.channels; ++c)
                    ++count.at(static_cast<size_t>(at + c * plan.result.channel));
            });
    }
    return std::all_of(count.begin(), count.end(), [](int n) { return n == 1; });
}

std::string refusal(const Geometry& g, Pass pass) {
    const ConvProblem problem(g);
    return message_of<std::invalid_argument>(
        [&] { make_plan(problem, pass, DType::float32, Algorithm::winograd, active_isa()); });
}

// A kernel of rows x columns, padded alike on both axes.
Geometry oblong(int64_t batch, int64_t in, int64_t out, int64_t height, int64_t width, int64_t rows, int64_t columns,
                int64_t padding, int64_t dilation = 1) {
    Geometry g = conv(2, batch, in, out, {1, height, width}, {1, rows, columns}, {0, padding, padding});
    g.dilation = {1, dilation, dilation};
    return g;
}

// Layers that are large enough to be cut: along pixels, channels, samples.
std::vector<Geometry> large_layers() {
    std::vector<Geometry> layers{
        oblong(3, 16, 200, 14, 14, 3, 3, 1),    oblong(9, 64, 33, 7, 7, 3, 3, 1),
        oblong(2, 40, 72, 57, 55, 3, 3, 1),     oblong(2, 40, 24, 30, 31, 5, 5, 2),
        oblong(2, 33, 34, 26, 25, 3, 3, 3, 3),  oblong(2, 33, 34, 26, 25, 3, 5, 2),
        oblong(1, 4, 6, 120, 40, 2, 3, 30, 25), oblong(70, 32, 48, 4, 5, 3, 3, 1),
    };
    layers.push_back(oblong(2, 60, 90, 20, 19, 3, 3, 1));
    layers.back().groups = 3;
    layers.push_back(layers.back());
    layers.back().per_sample = true;
    layers.push_back(oblong(2, 16, 24, 12, 13, 3, 3, 1));
    layers.back().rank = 3;
    layers.back().input[0] = 9;
    layers.back().kernel[0] = 3;
    const size_t count = layers.size();
    for (size_t i = 0; i < count; ++i) {
        layers.push_back(layers[i]);
        layers.back().layout = Layout::channels_last;
    }
    return layers;
}

}  // namespace

TEST_CASE("axes are cut into tiles that read what the index map says") {
    Random random(71);
    std::array<int, kernels::winograd_sizes> served{};
    int reversed = 0, dilated = 0;
    for (int i = 0; i < 2000; ++i) {
        const Geometry g = random_geometry(random, 1e6);
        INFO(describe(g));
        const ConvProblem problem(g);
        std::vector<IndexMap> maps{forward_map(problem)};
        for (const IndexMap& map : input_grad_maps(problem).classes) maps.push_back(map);
        for (const IndexMap& map : maps)
            for (int size = 0; size < kernels::winograd_sizes; ++size) {
                WinogradPlan plan;
                if (!winograd_axes(map, size, plan).empty()) continue;
                CHECK(plan.size == size);
                CHECK(axes_are_right(plan, map));
                ++served.at(static_cast<size_t>(size));
                reversed += plan.axis[plan.along_b].reversed;
                dilated += plan.axis[plan.along_b].spacing > 1;
            }
    }
    for (const int count : served) CHECK(count > 100);
    CHECK(reversed > 100);
    CHECK(dilated > 100);
}

TEST_CASE("the last two axes that a transform fits are transformed") {
    const auto along = [](const Extents& kernel, int size) {
        Geometry g;
        g.rank = 3;
        g.input = {9, 9, 9};
        g.kernel = kernel;
        WinogradPlan plan;
        const std::string reason = winograd_axes(forward_map(ConvProblem(g)), size, plan);
        return reason.empty() ? std::pair(plan.along_a, plan.along_b) : std::pair(size_t(9), size_t(9));
    };
    CHECK(along({3, 3, 3}, 1) == std::pair(size_t(1), size_t(2)));
    CHECK(along({3, 2, 3}, 0) == std::pair(size_t(0), size_t(2)));
    CHECK(along({3, 3, 5}, 1) == std::pair(size_t(0), size_t(1)));
    CHECK(along({1, 3, 5}, 1) == std::pair(size_t(1), size_t(1)));
    CHECK(along({1, 3, 5}, 2) == std::pair(size_t(2), size_t(2)));
    CHECK(along({1, 3, 3}, 2) == std::pair(size_t(9), size_t(9)));
}

TEST_CASE("tasks compute each result once") {
    Random random(72);
    std::vector<Geometry> geometries = large_layers();
    for (int i = 0; i < 400; ++i) geometries.push_back(random_geometry(random, 1e6));
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        int served = 0;
        for (const Geometry& g : geometries) {
            INFO(std::string(name(isa)), ": ", describe(g));
            const ConvProblem problem(g);
            for (const Pass pass : products) {
                if (!refusal(g, pass).empty()) continue;
                for (const DType dtype : {DType::float32, DType::float64}) {
                    const Plan plan = make_plan(problem, pass, dtype, Algorithm::winograd, isa);
                    if (plan.empty()) continue;
                    CHECK(plan.algorithm == Algorithm::winograd);
                    CHECK(axes_are_right(winograd_of(plan), plan.maps.at(0).map));
                    CHECK(tasks_cover_results(problem, plan, dtype == DType::float32 ? 16 : 8));
                    ++served;
                }
            }
        }
        CHECK(served > 200);
    }
}

TEST_CASE("a kernel is packed as a whole, however far apart its taps are") {
    for (const int64_t dilation : {1, 20, 60})
        for (const int64_t rows : {2, 7, 331}) {
            const Geometry g = oblong(1, 20, 6, rows * dilation, 30, rows, 3, 60, dilation);
            INFO(describe(g));
            const Plan plan =
                make_plan(ConvProblem(g), Pass::forward, DType::float32, Algorithm::winograd, active_isa());
            const PatchBlocks& patches = plan.maps.at(0).patches;
            CHECK(patches.taps.count() == 1);
            CHECK(patches.taps.largest() == rows * 3);
            CHECK(patches.channels_per_block * patches.channel_blocks >= 20);
        }
}

TEST_CASE("neither the choice nor the order of the sum depends on the batch or on threads") {
    Random random(73);
    std::vector<Geometry> geometries = large_layers();
    geometries.push_back(oblong(1, 512, 512, 7, 7, 3, 3, 1));
    geometries.push_back(oblong(1, 17, 18, 30, 29, 3, 3, 1));
    for (int i = 0; i < 200; ++i) geometries.push_back(random_geometry(random, 3e6));
    int chosen = 0;
    for (Geometry& g : geometries) {
        if (g.per_sample) continue;
        INFO(describe(g));
        for (const Pass pass : products)
            for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::winograd}) {
                if (algorithm == Algorithm::winograd && !refusal(g, pass).empty()) continue;
                const auto plan_of = [&](int64_t batch, int threads) {
                    g.batch = batch;
                    return make_plan(ConvProblem(g), pass, DType::float32, algorithm, active_isa(), threads);
                };
                const Plan one = plan_of(1, 1);
                chosen += algorithm == Algorithm::automatic && one.algorithm == Algorithm::winograd;
                for (const int64_t batch : {1, 2, 9, 1000})
                    for (const int threads : {1, 7, 128}) {
                        const Plan other = plan_of(batch, threads);
                        CHECK(other.algorithm == one.algorithm);
                        REQUIRE(other.order == one.order);
                        if (one.order != SumOrder::transformed) continue;
                        const WinogradPlan &its = winograd_of(other), &same = winograd_of(one);
                        CHECK(its.size == same.size);
                        CHECK(its.along_a == same.along_a);
                        CHECK(its.along_b == same.along_b);
                        CHECK(its.source_block == same.source_block);
                    }
            }
    }
    CHECK(chosen > 10);
}

TEST_CASE("it is chosen where channels are many and kernels are 3x3 or 5x5 at stride 1") {
    const auto chosen = [](const Geometry& g, Pass pass = Pass::forward) {
        return make_plan(ConvProblem(g), pass, DType::float32, Algorithm::automatic, active_isa());
    };
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Pass pass : products) {
            const Plan plan = chosen(oblong(8, 64, 64, 56, 56, 3, 3, 1), pass);
            CHECK(plan.algorithm == Algorithm::winograd);
            CHECK(winograd_of(plan).planes());
            CHECK(winograd_of(plan).points() == 36);
            CHECK(chosen(oblong(8, 256, 256, 28, 28, 3, 3, 2, 2), pass).algorithm == Algorithm::winograd);
            CHECK(chosen(oblong(8, 64, 64, 28, 28, 5, 5, 2), pass).algorithm == Algorithm::winograd);
            CHECK(chosen(oblong(8, 15, 64, 56, 56, 3, 3, 1), pass).algorithm == Algorithm::direct);
            CHECK(chosen(oblong(8, 64, 15, 56, 56, 3, 3, 1), pass).algorithm == Algorithm::direct);
            CHECK(chosen(oblong(8, 64, 64, 56, 56, 1, 1, 0), pass).algorithm == Algorithm::direct);
            CHECK(chosen(oblong(8, 64, 64, 56, 56, 7, 7, 3), pass).algorithm != Algorithm::winograd);
            CHECK(chosen(oblong(1000, 16, 16, 3, 3, 3, 3, 1), pass).algorithm == Algorithm::direct);  // little work
            Geometry strided = oblong(8, 64, 64, 56, 56, 3, 3, 1);
            strided.stride = {1, 2, 2};
            CHECK(chosen(strided, pass).algorithm == Algorithm::direct);
        }
    }
}

TEST_CASE("the workspace is bounded, whatever the batch") {
    constexpr int64_t mib = int64_t(1) << 20;
    std::vector<Geometry> layers = large_layers();
    for (const int64_t channels : {64, 128, 256, 512})
        for (const int64_t extent : {7, 14, 28, 56})
            layers.push_back(oblong(1, channels, channels, extent, extent, 3, 3, 1));
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (Geometry& g : layers)
            for (const Pass pass : products)
                for (const int64_t batch : {int64_t(1), int64_t(64), int64_t(1) << 16, int64_t(1) << 20}) {
                    if (g.per_sample) continue;
                    g.batch = batch;
                    INFO(std::string(name(isa)), " ", describe(g));
                    const Plan plan = make_plan(ConvProblem(g), pass, DType::float32, Algorithm::winograd, isa);
                    CHECK(plan.memory.of_thread <= 12 * mib);
                    // The weights have up to 36 points for 9 taps, and are filled up to whole panels of each group.
                    CHECK(plan.memory.shared <= ConvProblem(g).w_elems() * 4 * 10 + 2 * mib);
                }
    }
}

TEST_CASE("taps that lie far apart are refused, since their tiles would be gaps") {
    Geometry g = oblong(1, 64, 64, 4, 4, 3, 3, 0);  // 4x4 results of taps that lie far apart, in the padding
    g.dilation = {1, int64_t(1) << 29, int64_t(1) << 28};
    g.pad_lo = g.pad_hi = {0, g.dilation[1], g.dilation[2]};
    Geometry outer = g;  // taps of an axis that is not transformed
    outer.kernel = {1, 2, 3};
    outer.dilation = {1, int64_t(1) << 55, 1};
    outer.pad_lo = outer.pad_hi = {0, int64_t(1) << 54, 1};
    for (const Pass pass : {Pass::forward, Pass::input_grad, Pass::weight_grad})
        for (const DType dtype : {DType::float32, DType::float64})
            for (const Geometry& far : {g, outer}) {
                INFO(std::string(name(pass)), ": ", describe(far));
                const ConvProblem problem(far);  // which is within bounds
                const auto summary = [&] { return Convolution(problem, pass, dtype, Algorithm::winograd).summary(2); };
                const std::string error = message_of<std::invalid_argument>(summary);
                CHECK(error.find("the taps are so far apart") != std::string::npos);
            }
}

TEST_CASE("what is not served is refused with the reason") {
    const auto refused = [](const Geometry& g, Pass pass, const std::string& reason) {
        INFO(describe(g));
        const std::string message = refusal(g, pass);
        CHECK(contains(message, "algorithm is 'winograd', which does not serve this geometry: "));
        CHECK(contains(message, reason));
    };
    const std::string no_extent = "no kernel extent is 3 or 5 at stride 1";
    for (const Pass pass : products) {
        refused(oblong(1, 16, 16, 9, 9, 1, 1, 0), pass, no_extent);
        refused(oblong(1, 16, 16, 9, 9, 2, 4, 0), pass, no_extent);
        refused(oblong(1, 16, 16, 40, 40, 3, 3, 0, 9), pass, "the dilation makes more than 64 interleaved parts");
        CHECK(refusal(oblong(1, 16, 16, 40, 40, 3, 3, 0, 8), pass).empty());
        CHECK(refusal(oblong(1, 1, 1, 1, 3, 1, 3, 0), pass).empty());
    }
    Geometry strided = oblong(1, 16, 16, 9, 9, 3, 3, 0);
    strided.stride = {1, 2, 2};
    refused(strided, Pass::forward, no_extent);
    refused(strided, Pass::input_grad, "the input gradient has a stride, expected stride 1");
    strided.stride = {1, 2, 1};
    CHECK(refusal(strided, Pass::forward).empty());
    refused(strided, Pass::input_grad, "the input gradient has a stride, expected stride 1");
}

}  // namespace convpp::test
