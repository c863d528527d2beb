// The tasks of a plan, carried out on counters: each result is computed once, or filled in where nothing is summed.
#include <algorithm>

#include "plan/fold.hpp"
#include "plan/tasks.hpp"
#include "machine/dispatch.hpp"
#include "plan_cases.hpp"
#include "weights/panels.hpp"
#include "result/order.hpp"
#include "source/view.hpp"

namespace convpp::test {
namespace {

// Counts the results of a task that writes gaps; false if its pixels are not where their maps say.
bool count_with_gaps(const Plan& plan, const ProductTask& task, int64_t group_at, std::vector<int>& count) {
    std::vector<int64_t> offset;  // of the pixels of all maps
    for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m) {
        const Box own = pixels_of(*m, task.pixels);
        std::vector<int64_t> of_map(static_cast<size_t>(own.elems()));
        result_offsets(m->map, plan.result, own, of_map.data());
        offset.insert(offset.end(), of_map.begin(), of_map.end());
    }
    const auto pixels = static_cast<int64_t>(offset.size());
    std::vector<float> sums(offset.size() + 1);  // and the gap
    std::vector<float*> in_order(static_cast<size_t>(task.map.boxes.largest() * results_of_pixel(plan, task.map)));
    std::vector<ResultRun> runs(static_cast<size_t>(most_result_runs(plan, task.map)));
    OrderedSums<float> order;
    order.sums = sums.data();
    order.pitch = 1;
    order.gap = sums.data() + pixels;
    order.in_order = in_order.data();
    order.runs = runs.data();
    order_results(plan, task, order);
    if (order.pixel_count > static_cast<int64_t>(in_order.size())) return false;
    int64_t found = 0;
    for (int64_t r = 0; r < order.run_count; ++r) {
        const ResultRun& run = runs.at(static_cast<size_t>(r));
        for (int64_t i = 0; i < run.count; ++i) {
            const int64_t pixel = in_order.at(static_cast<size_t>(run.first + i)) - sums.data();
            if (pixel < pixels && offset[static_cast<size_t>(pixel)] != run.offset + i) return false;
            found += pixel < pixels;
            for (int64_t channel = task.channel_lo; channel < task.channel_lo + task.channels; ++channel)
                ++count.at(static_cast<size_t>(group_at + run.offset + i + channel * plan.result.channel));
        }
    }
    return found == pixels;
}

// The tasks of a folded input gradient are blocks of each group's channels and of the samples.
bool fold_covers_results(const Plan& plan) {
    const FoldPlan& fold = own<FoldPlan>(plan);
    const Geometry& g = plan.problem.geometry();
    const int64_t channels = g.in_channels / g.groups;
    const auto covers = [](int64_t blocks, int64_t block, int64_t all) {
        return blocks * block >= all && (blocks - 1) * block < all;
    };
    const Plan &whole = fold.plan(false, false), &rest = fold.plan(true, true);
    return covers(fold.channel_blocks, fold.channels, channels) && covers(fold.sample_blocks, fold.samples, g.batch) &&
           plan.tasks.count == g.groups * fold.channel_blocks * fold.sample_blocks &&
           whole.problem.geometry().in_channels == fold.channels * plan.problem.taps() &&
           rest.problem.geometry().in_channels ==
               (channels - (fold.channel_blocks - 1) * fold.channels) * plan.problem.taps() &&
           rest.batch() == g.batch - (fold.sample_blocks - 1) * fold.samples;
}

// Carries out the tasks of forward or input_grad on a count of each result: all become 1, but for the results that
// are filled because nothing is summed into them.
bool products_cover_results(const ConvProblem& whole, const Plan& plan) {
    if (plan.maps.empty()) return fold_covers_results(plan);
    const ConvProblem problem = planned_part(whole);
    const bool forward = plan.pass == Pass::forward, writes_gaps = plan.gaps_from < 3;
    std::vector<int> count(static_cast<size_t>(forward ? problem.y_elems() : problem.x_elems()));
    for (int64_t index = 0; index < plan.tasks.count; ++index) {
        const ProductTask task(plan, index);
        if (task.channels <= 0 || task.group_lo >= task.group_hi || task.map.classes < 1) return false;  // without work
        for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
            const int64_t group_at = group * plan.tasks.channels * plan.result.channel;
            if (writes_gaps && !count_with_gaps(plan, task, group_at, count)) return false;
            for (const MapPlan* m = &task.map; m != &task.map + task.map.classes && !writes_gaps; ++m)
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
    const bool filled = plan.gaps == Gaps::filled_before;
    return std::all_of(count.begin(), count.end(), [&](int n) { return n == 1 || (n == 0 && filled); });
}

// weight_grad: the products cover dw once, and each product's chunks are at most its boxes of pixels.
// (Of pieces: each its taps, from its pixels; together all taps.)
bool sums_cover_results(const ConvProblem& whole, const Plan& plan, bool is_piece = false) {
    const ConvProblem problem = planned_part(whole);
    const MapPlan& m = plan.maps.at(0);
    if (!plan.pieces.empty()) {
        int64_t taps = 0, tasks = 0;
        for (const Plan& piece : plan.pieces) {
            if (!sums_cover_results(whole, piece, true)) return false;
            taps += piece.maps.at(0).map.taps();
            tasks += piece.tasks.count;
        }
        return taps == problem.taps() && tasks == plan.tasks.count;
    }
    const Tasks& tasks = plan.tasks;
    const int64_t covered_channels = tasks.channel_blocks() * tasks.channel_block;
    return (is_piece || tasks.groups * tasks.channels * plan.source.channels * m.map.taps() == problem.w_elems()) &&
           covered_channels >= tasks.channels && covered_channels - tasks.channel_block < tasks.channels &&
           tasks.count == tasks.groups * tasks.channel_blocks() * m.patches.count() * tasks.chunks &&
           tasks.chunks >= 1 && tasks.chunks <= m.boxes.count() &&
           split_is_right(m.boxes, m.boxes.extents(), m.boxes.largest()) &&
           m.boxes.extents()[0] == plan.batch() &&  // rows may be joined
           m.boxes.extents()[1] * m.boxes.extents()[2] * m.boxes.extents()[3] ==
               (is_piece ? m.map.pixels() : problem.output()[0] * problem.output()[1] * problem.output()[2]);
}

}  // namespace

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
                    const bool transposes = layout == Layout::channels_first && strategy_of(plan) == "indirect";
                    const bool writes_gaps = plan.gaps == Gaps::written_by_tasks;
                    CHECK(writes_gaps == (stride == 2 && transposes));  // 5 x 5 would be too many for a task,
                    if (stride == 5 && transposes) CHECK(plan.gaps_from == 2);  // which writes whole rows
                    CHECK((plan.gaps == Gaps::filled_before) == (stride > 1 && !writes_gaps));
                    if (isa == Isa::avx512 && layout == Layout::channels_first && stride == 2) CHECK(transposes);
                }
    }
}

TEST_CASE("strides beyond the kernel's reach leave tasks whole rows, planes, or volumes") {
    const auto gaps_from = [](const Extents& kernel, const Extents& stride, int64_t channels, int64_t groups) {
        Geometry g = conv(3, 2, channels, channels, {9, 20, 22}, kernel);
        g.groups = groups;
        g.stride = stride;
        const Plan plan = plan_of(ConvProblem(g), Pass::input_grad);
        CHECK((plan.gaps == Gaps::written_by_tasks) == (plan.gaps_from == 0));
        CHECK(products_cover_results(ConvProblem(g), plan));
        CHECK((strategy_of(plan) == "channels" || groups == 1));
        return plan.gaps_from;
    };
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const int64_t groups : {40, 39}) {
            INFO(std::string(name(isa)), ", ", groups, " groups");
            CHECK(gaps_from({2, 2, 2}, {2, 2, 3}, groups, groups) == 0);
            CHECK(gaps_from({1, 2, 1}, {2, 2, 3}, groups, groups) == 0);
            CHECK(gaps_from({2, 2, 2}, {3, 3, 3}, groups, groups) == 1);  // 27 would be too many
            CHECK(gaps_from({1, 4, 3}, {1, 5, 4}, groups, groups) == 2);
            CHECK(gaps_from({1, 1, 2}, {1, 1, 17}, groups, groups) == 3);
            CHECK(gaps_from({1, 2, 2}, {1, 2, 2}, groups, groups) == 3);  // there are none
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
                    CHECK((plan.empty() || products_cover_results(problem, plan)));
                }
                CHECK(sums_cover_results(problem, plan_of(problem, Pass::weight_grad, dtype)));
            }
        }
    }
}

TEST_CASE("a plan says when there is nothing to sum") {
    Geometry none = conv2d(0, 3, 5, 20, 20, 3, 1, 1);
    CHECK(plan_of(ConvProblem(none), Pass::forward).empty());
    none.batch = 2;
    none.in_channels = 0;
    for (const Pass pass : all_passes) CHECK(plan_of(ConvProblem(none), pass).empty());
    none.in_channels = 3;
    none.out_channels = 0;
    for (const Pass pass : all_passes) CHECK(plan_of(ConvProblem(none), pass).empty());
    Geometry unread = conv1d(1, 1, 1, 3, 1, 20, 4);  // y reads padding only: no pixel of dx has a class
    CHECK(ConvProblem(unread).output()[2] == 1);
    CHECK(plan_of(ConvProblem(unread), Pass::input_grad).empty());
    CHECK_FALSE(plan_of(ConvProblem(unread), Pass::forward).empty());
}

TEST_CASE("threads take whole samples, unless there are few large ones") {
    const auto shares = [](int64_t batch, int64_t channels, int threads) {
        Geometry g = conv2d(batch, channels, channels, 28, 28, 3, 1, 1);
        g.per_sample = true;
        return make_plan(ConvProblem(g), Pass::forward, DType::float32, Algorithm::direct, active_isa(), threads)
            .samples.shared_out;
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

TEST_CASE("packed blocks of weights lie behind one another, each with room for what packing spills") {
    int64_t blocks = 0;
    for (const Geometry& g : real_layers())
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            const Plan plan = plan_of(ConvProblem(g), pass);
            if (plan.empty() || plan.packing.by_tasks) continue;
            if (const std::string by = strategy_of(plan); by != "packed" && by != "indirect" && by != "rows") continue;
            INFO(std::string(name(pass)), ": ", describe(g));
            const PackedWeights layout = packed_weights(plan, kernel_table<float>(plan.kernels));
            for (const MapPlan& m : plan.maps) {
                int64_t end = 0;
                for (int64_t index = 0; index < m.patches.count(); ++index, ++blocks) {
                    const PatchBlock block = patch_block(m.patches, index);
                    CHECK(layout.at(block, index) >= end);
                    end = layout.at(block, index) + layout.panels * layout.pitch(block);
                }
                CHECK(end <= m.weights_per_group);
            }
        }
    CHECK(blocks > 100);
}

}  // namespace convpp::test
