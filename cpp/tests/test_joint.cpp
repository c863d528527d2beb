// Residue classes as rows of one product: their taps coincide, and each keeps its pixels and the order of its sum.
#include <algorithm>
#include <utility>
#include <vector>

#include "machine/dispatch.hpp"
#include "plan_cases.hpp"
#include "strategies/flat/joint.hpp"

namespace convpp::test {
namespace {

// Tap j of each class is tap j of the joint map, from the class's pixel and as far from its first weight.
bool joint_is_right(const std::vector<IndexMap>& classes) {
    std::vector<const IndexMap*> pointers;
    for (const IndexMap& map : classes) pointers.push_back(&map);
    const JointMap joint = joint_map(pointers);
    bool right = joint.shift.size() == classes.size();
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& all = joint.map.axis[a];
        bool first_begins = false, last_ends = false;  // at other pixels, nobody's would be computed
        for (size_t i = 0; right && i < classes.size(); ++i) {
            const AxisMap& own = classes[i].axis[a];
            const int64_t shift = joint.shift[i][a];
            right &= shift >= 0 && own.count + shift <= all.count && own.taps.size() <= all.taps.size();
            right &= own.taps.size() + 1 >= all.taps.size() && own.source_extent == all.source_extent;
            first_begins |= shift == 0;
            last_ends |= own.count + shift == all.count;
            for (int64_t t = 0; right && t < own.taps.size(); ++t) {
                const Tap tap = own.taps[t], same = all.taps[t];
                right &= tap.offset == same.offset + shift * all.source_step && tap.shift == same.shift + shift;
                right &= tap.weight - own.taps[0].weight == same.weight - all.taps[0].weight && tap.phase == same.phase;
            }
        }
        right &= first_begins && last_ends;
    }
    return right;
}

using Pair = std::pair<int64_t, Extents>;  // source channel, weight

std::vector<Pair> order_of_map(const MapPlan& m) {
    std::vector<Pair> order;
    const auto taps = [&](size_t a) -> const Taps& { return m.map.axis[a].taps; };
    for (int64_t channel = 0; channel < m.patches.channels; ++channel)
        for_each({taps(0).size(), taps(1).size(), taps(2).size()}, [&](const Extents& t) {
            order.push_back({channel, {taps(0).weight(t[0]), taps(1).weight(t[1]), taps(2).weight(t[2])}});
        });
    return order;
}

// What the row of a result channel of a map adds up, step by step, as its panel's bits say.
std::vector<Pair> order_of_row(const Plan& plan, const JointPlan& joint, int64_t map, int64_t channel) {
    const int64_t row = map * plan.tasks.channels + channel;
    const int64_t panel = row / joint.panel_rows, bit = row % joint.panel_rows, taps = joint.map.taps();
    const IndexMap& own = plan.maps[static_cast<size_t>(map)].map;
    std::vector<Pair> order;
    for (int64_t b = 0; b < joint.patches.count(); ++b) {
        const PatchBlock block = patch_block(joint.patches, b);
        for (int64_t c = block.channel_lo; c < block.channel_hi; ++c)
            for (int64_t tap = 0; tap < taps; ++tap) {
                if ((joint.active(panel)[tap] >> bit & 1) == 0) continue;
                Extents weight{};
                int64_t left = tap;
                for (size_t a = 3; a-- > 0;) {
                    const Taps& of_axis = joint.map.axis[a].taps;
                    const int64_t at = of_axis.weight(left % of_axis.size());
                    left /= of_axis.size();
                    weight[a] = own.axis[a].taps.weight(0) + at - of_axis.weight(0);
                }
                order.push_back({c, weight});
            }
    }
    return order;
}

Geometry random_strided(Random& random) {
    Geometry g = random_geometry(random, 1e6);
    g.groups = random.integer(1, 2);
    g.in_channels = g.groups * random.integer(1, 11);
    g.out_channels = g.groups * random.integer(1, 9);
    for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) {
        g.stride[a] = random.integer(1, 5);
        g.dilation[a] = random.pick({1, 1, 1, 2, 3, 5});
        g.kernel[a] = random.integer(1, 7);
        const int64_t lack = g.dilation[a] * (g.kernel[a] - 1) + 1 - g.input[a] - g.pad_lo[a] - g.pad_hi[a];
        g.input[a] += std::max<int64_t>(lack, 0);
    }
    return g;
}

}  // namespace

TEST_CASE("the residue classes of an input gradient read the same taps, each from pixels of its own") {
    Random random(51);
    for (int i = 0; i < 1000; ++i) {
        Geometry g = random_strided(random);
        g.flip = i % 2 == 0;
        const std::vector<IndexMap> classes = input_grad_maps(ConvProblem(g)).classes;
        if (classes.empty()) continue;
        INFO(describe(g));
        CHECK(joint_is_right(classes));
        for (const IndexMap& map : classes) CHECK(joint_is_right({map}));
        CHECK(joint_is_right({forward_map(ConvProblem(g))}));  // one map, of any step
    }
}

TEST_CASE("rows of a joint product add up what their class does, in its order") {
    Random random(52);
    int unequal = 0, joined = 0;
    for (int i = 0; i < 500; ++i) {
        Geometry g = random_strided(random);
        g.layout = i % 2 == 0 ? Layout::channels_first : Layout::channels_last;
        const Plan plan =
            make_plan(ConvProblem(g), Pass::input_grad, DType::float32, Algorithm::automatic, available_isas().back());
        if (strategy_of(plan) != "flat") continue;
        const std::vector<JointPlan>& joints = own<FlatPlan>(plan).joints;
        if (joints.size() == plan.maps.size()) continue;
        INFO(describe(g));
        CHECK(joints.size() == 1);
        const JointPlan& joint = joints[0];
        bool same = true;
        for (size_t m = 0; m < plan.maps.size(); ++m)
            for (int64_t channel = 0; channel < plan.tasks.channels; ++channel)
                same &= order_of_row(plan, joint, static_cast<int64_t>(m), channel) == order_of_map(plan.maps[m]);
        CHECK(same);
        ++joined;
        unequal += std::any_of(plan.maps.begin(), plan.maps.end(),
                               [&](const MapPlan& m) { return m.map.taps() < joint.map.taps(); });
    }
    CHECK(joined >= 50);
    CHECK(unequal >= 25);
}

TEST_CASE("first layers with a stride are computed with all residue classes in one product") {
    for (const Isa isa : available_isas())
        for (const DType dtype : {DType::float32, DType::float64})
            for (const Layout layout : {Layout::channels_first, Layout::channels_last})
                for (const int64_t channels : {1, 3}) {
                    // (Channels last with channels that fill a vector is better read pixel by pixel.)
                    if (layout == Layout::channels_last && channels >= kernel_shapes(isa, dtype).shape[0].lanes)
                        continue;
                    Geometry g = conv(2, 2, channels, 32, {1, 61, 58}, {1, 7, 7}, {0, 3, 3});
                    g.layout = layout;
                    g.stride = {1, 2, 2};
                    const Plan plan = make_plan(ConvProblem(g), Pass::input_grad, dtype, Algorithm::automatic, isa);
                    INFO(std::string(name(isa)), ": ", describe(g));
                    REQUIRE(strategy_of(plan) == "flat");
                    CHECK(own<FlatPlan>(plan).joints.size() == 1);
                    CHECK(plan.maps.at(0).classes == 4);
                }
}

TEST_CASE("more residue classes than a product takes are several products, of whole planes, rows, or parts of a row") {
    const auto products = [](const Extents& patch) {
        Geometry g = conv(3, 1, 1, 8, {2 * patch[0], 3 * patch[1], 3 * patch[2]}, patch);
        g.stride = patch;
        const Plan plan =
            make_plan(ConvProblem(g), Pass::input_grad, DType::float32, Algorithm::automatic, available_isas().back());
        REQUIRE(strategy_of(plan) == "flat");
        std::vector<size_t> classes;
        for (const JointPlan& joint : own<FlatPlan>(plan).joints) classes.push_back(joint.shifts.size());
        return classes;
    };
    using Classes = std::vector<size_t>;
    CHECK(products({1, 16, 16}) == Classes{256});
    CHECK(products({2, 16, 16}) == Classes{256, 256});
    CHECK(products({5, 10, 10}) == Classes{200, 200, 100});
    CHECK(products({1, 20, 20}) == Classes{200, 200});
    CHECK(products({2, 17, 17}) == Classes{153, 136, 153, 136});
    CHECK(products({1, 2, 300}) == Classes{150, 150, 150, 150});
}

}  // namespace convpp::test
