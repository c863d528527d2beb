// What must not change the order of a result's sum, and with it its bits: batch, layout, type, instruction set,
// threads.
#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "plan_cases.hpp"

namespace convpp::test {
namespace {

// The pairs (channel, weight) of a map in the order in which every strategy adds them up: the blocks, in each its
// channels, for each its taps.
std::vector<std::pair<int64_t, Extents>> order_of_sum(const MapPlan& m) {
    std::vector<std::pair<int64_t, Extents>> order;
    for (int64_t b = 0; b < m.patches.count(); ++b) {
        const PatchBlock block = patch_block(m.patches, b);
        for (int64_t channel = block.channel_lo; channel < block.channel_hi; ++channel)
            for_each_of_box(block.taps, [&](const Extents4& tap) {
                Extents weight{};
                for (size_t a = 0; a < 3; ++a) weight[a] = m.map.axis[a].taps.weight(tap[a + 1]);
                order.push_back({channel, weight});
            });
    }
    return order;
}

std::array<int64_t, 3> first_result(const MapPlan& m) {
    return {m.map.axis[0].result_start, m.map.axis[1].result_start, m.map.axis[2].result_start};
}

// Maps that are cut within runs of whole channels have the channels of the whole map's blocks and runs: the pixels of a
// batch may be cut otherwise than those of a sample, since zeros within a run change no bit.
using Runs = std::array<int64_t, 4>;
Runs runs_of(const MapPlan& m) {
    return {m.patches.channels_per_block, m.patches.channel_blocks, m.patches.run_channels, m.patches.taps.count()};
}

bool all_have(const Plan& plan, const Runs& runs) {
    return std::all_of(plan.maps.begin(), plan.maps.end(), [&](const MapPlan& m) { return runs_of(m) == runs; });
}

}  // namespace

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
            CHECK(one.tasks.count == seven.tasks.count);
            CHECK(one.tasks.chunks == seven.tasks.chunks);
            CHECK(one.memory.of_thread == seven.memory.of_thread);
            CHECK(one.memory.shared == seven.memory.shared);
        }
    }
    set_num_threads(before);
}

TEST_CASE("the order of a weight gradient's sum does not depend on the number of threads that plans are made for") {
    std::vector<Geometry> geometries = real_layers();
    Random random(8);
    for (int i = 0; i < 50; ++i) geometries.push_back(random_geometry(random, 1e7));
    int in_chunks = 0;
    for (const Geometry& g : geometries) {
        const ConvProblem problem(g);
        const auto planned_for = [&](int threads) {
            return make_plan(problem, Pass::weight_grad, DType::float32, Algorithm::direct, active_isa(), threads);
        };
        const Plan one = planned_for(1);
        if (one.empty()) continue;
        in_chunks += one.tasks.chunks > 1;
        for (const int threads : {16, 100, 1024}) {  // from some on, there are more tasks
            const Plan many = planned_for(threads);
            INFO(threads, " threads: ", describe(g));
            CHECK(many.how == one.how);
            CHECK(many.tasks.chunks == one.tasks.chunks);
            CHECK(many.maps[0].boxes.count() == one.maps[0].boxes.count());
            CHECK(many.maps[0].boxes.largest() == one.maps[0].boxes.largest());
        }
    }
    CHECK(in_chunks > 30);
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
                            if (alone.one_tap_box || together.one_tap_box) {
                                CHECK(all_have(alone, runs_of(together.maps.front())));
                                CHECK(all_have(together, runs_of(alone.maps.front())));
                                continue;
                            }
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

TEST_CASE("the order of a result's sum does not depend on the strategy, the layout, the type, the ISA or the batch") {
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
    int by_several = 0;
    for (Geometry g : geometries)
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            std::map<std::array<int64_t, 3>, std::vector<std::pair<int64_t, Extents>>> order;  // of each map
            StrategyCount count;
            bool first = true, same = true;
            Runs runs{};  // of the first plan
            bool whole_runs = false;  // some plans are cut within them
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                for (const Layout layout : both_layouts)
                    for (const DType dtype : {DType::float32, DType::float64})
                        for (const int64_t batch : {1, 2, 40}) {
                            g.layout = layout;
                            g.batch = batch;
                            const Plan plan = plan_of(ConvProblem(g), pass, dtype);
                            if (plan.empty()) continue;
                            count.add(plan);
                            if (first && !plan.maps.empty()) runs = runs_of(plan.maps.front());
                            whole_runs |= plan.one_tap_box;
                            if (whole_runs) {
                                same &= all_have(plan, runs);
                                first = false;
                                continue;
                            }
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
            by_several += count.kinds() > 1;
        }
    CHECK(by_several >= 20);
}

}  // namespace convpp::test
