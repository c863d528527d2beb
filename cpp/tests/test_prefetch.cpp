// What a box of pixels reads, found by going through it, against the list of stretches that is prefetched.
#include <algorithm>
#include <set>
#include <vector>

#include "plan_cases.hpp"
#include "source/prefetch.hpp"
#include "strategies/sum_prefetch.hpp"

namespace convpp::test {
namespace {

using Lines = std::set<int64_t>;  // of memory, by their numbers

int64_t line_of(const void* at) { return static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(at) / 64); }

// The lines of x and dy that a box and a product read.
struct Read {
    Lines x, dy;
};

Read lines_read(const Plan& plan, const SumProduct& product, const Operands<float>& operands, const Box& pixels) {
    const IndexMap& map = plan.maps[0].map;
    const PatchBlock& block = product.block;
    Read read;
    const float* const x = first_x(plan, product, operands).plain();
    const float* const dy = first_dy(plan, product, operands).plain();
    for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
        for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d)
            for (int64_t h = pixels.lo[2]; h < pixels.hi[2]; ++h)
                for (int64_t w = pixels.lo[3]; w < pixels.hi[3]; ++w) {
                    const std::array<int64_t, 3> u{d, h, w};
                    for (int64_t k = product.channel_lo; k < product.channel_lo + product.channels; ++k) {
                        const float* at = dy + n * plan.result.batch + k * plan.result.channel;
                        for (size_t a = 0; a < 3; ++a) at += u[a] * plan.result.axis[a];
                        read.dy.insert(line_of(at));
                    }
                    for (int64_t i = block.taps.lo[1]; i < block.taps.hi[1]; ++i)
                        for (int64_t j = block.taps.lo[2]; j < block.taps.hi[2]; ++j)
                            for (int64_t l = block.taps.lo[3]; l < block.taps.hi[3]; ++l) {
                                const std::array<int64_t, 3> tap{i, j, l};
                                const float* at = x + n * plan.source.strides.batch;
                                bool inside = true;
                                for (size_t a = 0; a < 3; ++a) {
                                    const AxisMap& axis = map.axis[a];
                                    const int64_t p = u[a] * axis.source_step + axis.taps.offset(tap[a]);
                                    inside &= p >= 0 && p < axis.source_extent;
                                    at += p * plan.source.strides.axis[a];
                                }
                                for (int64_t c = block.channel_lo; inside && c < block.channel_hi; ++c)
                                    read.x.insert(line_of(at + c * plan.source.strides.channel));
                            }
                }
    return read;
}

Geometry random_layer(Random& random) {
    Geometry g;
    g.rank = 3;
    g.groups = random.integer(1, 2);
    g.batch = random.integer(1, 3);
    g.in_channels = g.groups * random.integer(2, 40);
    g.out_channels = g.groups * random.integer(2, 80);
    for (size_t a = 0; a < 3; ++a) {
        g.kernel[a] = random.pick({1, 1, 2, 3});
        g.stride[a] = random.integer(1, 3);
        g.dilation[a] = random.integer(1, 2);
        g.input[a] = random.integer(6, 14);
        g.pad_lo[a] = random.integer(0, 2);
        g.pad_hi[a] = random.integer(0, 2);
    }
    g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
    return g;
}

}  // namespace

TEST_CASE("what is prefetched is what the box reads, but for planes that tiles read in place") {
    Random random(17);
    int asked_for_x = 0, asked_for_dy = 0;
    for (int i = 0; i < 400; ++i) {
        const ConvProblem problem(random_layer(random));
        const Plan plan = make_plan(problem, Pass::weight_grad, DType::float32, Algorithm::automatic, active_isa());
        if (strategy_of(plan) != "indirect") continue;
        const std::vector<float> x(static_cast<size_t>(problem.x_elems())), dy(static_cast<size_t>(problem.y_elems()));
        Operands<float> operands;
        operands.dy = {dy.data(), problem.y_elems()};
        operands.x = {x.data(), problem.x_elems()};
        const SumTask task(plan, random.integer(0, plan.tasks.count - 1));
        const Box pixels = plan.maps[0].boxes.box(random.integer(task.box_lo, task.box_hi - 1));
        std::vector<kernels::Stretch> room(static_cast<size_t>(most_stretches));
        const kernels::Prefetch prefetch = prefetch_of(plan, task.product, operands, pixels, 1, 1, room.data());
        int64_t count = 0;
        Lines asked;
        for (const kernels::Stretch* s = prefetch.next; s != nullptr && s->at < s->end; ++s, ++count)
            for (const char* at = s->at; at < s->end; at += 64) asked.insert(line_of(at));
        if (count == most_stretches - 1) continue;

        const Read read = lines_read(plan, task.product, operands, pixels);
        const bool first = !plan.channels_last(), by_patch = plan.tile.pixels_are_columns;
        const bool wants_x = by_patch || !plan.maps[0].in_place || !first || plan.maps[0].map.axis[2].source_step > 1;
        const bool wants_dy = !by_patch || !first;
        const auto all_asked = [&](const Lines& lines) {
            return std::includes(asked.begin(), asked.end(), lines.begin(), lines.end());
        };
        INFO(describe(problem.geometry()));
        CHECK((!wants_x || all_asked(read.x)));
        CHECK((!wants_dy || all_asked(read.dy)));
        // Between what is read lie strides and dilations, but nothing of other boxes' rows.
        for (const int64_t line : asked) {
            const bool of_x = line >= line_of(x.data()) && line <= line_of(x.data() + x.size() - 1);
            const bool of_dy = line >= line_of(dy.data()) && line <= line_of(dy.data() + dy.size() - 1);
            CHECK((of_x || of_dy));
        }
        asked_for_x += wants_x;
        asked_for_dy += wants_dy;
    }
    CHECK(asked_for_x > 50);
    CHECK(asked_for_dy > 50);
}

TEST_CASE("a list is spread over all steps of the tiles, and ends with the last line") {
    std::vector<kernels::Stretch> room(static_cast<size_t>(most_stretches));
    std::vector<float> memory(1 << 15);
    PrefetchList none(room.data());
    CHECK(none.over(10, 100).next == nullptr);
    PrefetchList prefetch(room.data());
    TensorStrides strides;
    strides.batch = 1 << 14;
    strides.channel = 1 << 10;
    strides.axis = {1 << 9, 1 << 5, 1};
    const Stored<float> first(memory.data(), 0);
    prefetch.add(SourcePart<float>{first, strides, {1, 3, 20}, 2, 4},  // 24 rows of two lines, or of three
                 {{{0, 1}, {0, 3}, {0, 20}}});
    const kernels::Prefetch list = prefetch.over(48, 100);
    CHECK(list.period >= 48 * 100 / 72);
    CHECK(list.period <= 48 * 100 / 48);
    CHECK(list.next[24].at == list.next[24].end);
    CHECK(list.next[24].at == list.next[23].at);
    CHECK(prefetch.over(1, 1).period == 1);
    // More than the room holds is left out.
    PrefetchList full(room.data());
    full.add(SourcePart<float>{first, strides, {2, 1, 1}, 2, 1000}, {{{0, 2}, {0, 1}, {0, 1}}});
    CHECK(room[static_cast<size_t>(most_stretches - 1)].at == nullptr);
    const kernels::Prefetch cut = full.over(1, 1);
    CHECK(cut.next[most_stretches - 1].at == cut.next[most_stretches - 1].end);
}

}  // namespace convpp::test
