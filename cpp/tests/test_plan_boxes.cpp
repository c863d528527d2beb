// How a plan cuts: boxes partition the pixels, in order and evenly; blocks hold each pair of a channel and a tap
// once.
#include <algorithm>
#include <set>

#include "plan_cases.hpp"

namespace convpp::test {
namespace {

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

}  // namespace

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
            for (const MapPlan& m : plan.maps) CHECK(blocks_are_right(m.patches, plan.source.channels, m.map));
        }
    }
}

}  // namespace convpp::test
