// What the direct algorithm chooses: the strategy, which rows are joined, how large boxes are.
#include <array>

#include "plan_cases.hpp"
#include "strategies/rows/product.hpp"

namespace convpp::test {

TEST_CASE("typical layers are computed by the strategy that was measured as the fastest") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const DType dtype : {DType::float32, DType::float64})
            for (const int64_t batch : {1, 8}) {
                const auto strategy = [&](Geometry g, Pass pass, Layout layout) {
                    g.batch = batch;
                    g.layout = layout;
                    return strategy_of(plan_of(ConvProblem(g), pass, dtype));
                };
                INFO(std::string(name(isa)), " ", dtype == DType::float32 ? 4 : 8, ", N = ", batch);
                // Rows of 56 pixels are read where they lie: no panel is made of them.
                const Geometry square = conv2d(1, 64, 64, 56, 56, 3, 1, 1);
                for (const Pass pass : {Pass::forward, Pass::input_grad})
                    CHECK(strategy(square, pass, Layout::channels_first) != "packed");
                for (const Layout layout : both_layouts)
                    for (const Pass pass : all_passes)
                        for (const int64_t stride : {1, 2}) {
                            INFO(std::string(name(pass)), ", ", std::string(name(layout)));
                            // Weight gradients slide at stride 1 alone, input gradients have residue classes then.
                            const bool slides =
                                layout == Layout::channels_first && (stride == 1 || pass == Pass::forward);
                            const auto depthwise = [&](int64_t extent) {
                                return strategy(conv2d(1, 32, 32, extent, extent, 3, stride, 1, 1, 32), pass, layout);
                            };
                            CHECK(depthwise(56) == (slides ? "sliding" : "channels"));
                            // Most of a vector of 16 would be empty: y and dx have half vectors, dw has none.
                            if (kernel_shapes(isa, dtype).shape[0].lanes == 16)
                                CHECK(depthwise(7) == (slides && pass != Pass::weight_grad ? "sliding" : "channels"));
                        }
                // Groups of 4 channels: a vector holds them in both types, or not (2 lanes).
                const bool held = kernel_shapes(isa, dtype).shape[0].lanes >= 4;
                const Geometry grouped = conv2d(1, 128, 128, 56, 56, 3, 1, 1, 1, 32);
                for (const Pass pass : all_passes) {
                    CHECK((strategy(grouped, pass, Layout::channels_last) == "channels") == held);
                    CHECK(strategy(grouped, pass, Layout::channels_first) != "channels");
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
                    const ConvProblem problem(conv2d(batch, channels, filters, extent, extent, 1, 1, 0));
                    const Plan plan = plan_of(problem, Pass::forward, dtype);
                    if (strategy_of(plan) != "rows") continue;
                    const Setting setting(problem, Pass::forward, dtype, Algorithm::direct, isa, 2, false);
                    const int64_t chunk = own<RowsPlan>(plan).chunk_bytes;
                    CHECK(chunk == setting.cache_bytes * 3 / 64);
                    const MapPlan& m = plan.maps[0];
                    REQUIRE(m.in_place);
                    const int64_t source = m.boxes.largest() * channels * (dtype == DType::float32 ? 4 : 8);
                    INFO(std::string(name(isa)), " ", channels, "-", filters, "@", extent, " N ", batch, ": ", source);
                    CHECK(source <= 32 * chunk);
                    CHECK(plan.tasks.count >= setting.tasks_wanted);
                    // Boxes are cut below 8 chunks only where blocks of channels do not make the tasks either.
                    if (source < 4 * chunk) CHECK(plan.tasks.channel_block < 2 * 64);
                }
    }
}

TEST_CASE("small groups are computed in vectors of channels, for each sample's weights too") {
    Geometry g = conv2d(2, 32, 32, 20, 20, 3, 1, 1, 1, 32);
    g.layout = Layout::channels_last;
    CHECK(strategy_of(plan_of(ConvProblem(g), Pass::forward)) == "channels");
    g.per_sample = true;
    CHECK(strategy_of(plan_of(ConvProblem(g), Pass::forward)) == "channels");
    g.per_sample = false;
    // Two results of each channel, or three of three, are gathered, in channels last alone.
    for (const int64_t results : {2, 3}) {
        g.out_channels = 32 * results;
        g.in_channels = results == 3 ? g.out_channels : 32;
        for (const Isa isa : available_isas()) {
            const IsaScope scope(isa);
            const bool few = results * g.in_channels / 32 <= kernel_shapes(isa, DType::float32).shape[0].lanes;
            for (const Layout layout : both_layouts)
                for (const Pass pass : all_passes) {
                    g.layout = layout;
                    INFO(std::string(name(isa)), ", ", std::string(name(pass)), ", ", results);
                    CHECK((strategy_of(plan_of(ConvProblem(g), pass)) == "channels") ==
                          (few && layout == Layout::channels_last));
                }
        }
    }
    g.layout = Layout::channels_last;
    g.in_channels = 32;
    g.out_channels = 32 * 9;  // which fill most of a vector themselves
    for (const Pass pass : all_passes) CHECK(strategy_of(plan_of(ConvProblem(g), pass)) != "channels");
}

TEST_CASE("few channels in channels last are vectors of half the length, where an instruction set has such") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const int64_t batch : {1, 8})
            for (const int64_t channels : {8, 64})
                for (const Layout layout : both_layouts)
                    for (const Pass pass : all_passes) {
                        Geometry g = conv2d(batch, channels, channels, 56, 56, 1, 1, 0);
                        g.layout = layout;
                        const ConvProblem problem(g);
                        const Setting setting(problem, pass, DType::float32, Algorithm::direct, isa, 2, false);
                        const bool narrow = setting.narrow && channels == 8 && layout == Layout::channels_last &&
                                            pass != Pass::weight_grad;
                        INFO(std::string(name(isa)), ", ", std::string(name(pass)), ", ", channels);
                        const Plan plan = plan_of(problem, pass);
                        CHECK(plan.isa == isa);
                        CHECK(plan.kernels == (narrow ? setting.narrow->isa : isa));
                    }
    }
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

TEST_CASE("random convolutions are computed by every strategy") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Layout layout : both_layouts)
            for (const Pass pass : all_passes) {
                Random random(7);
                StrategyCount count;
                for (int i = 0; i < 500; ++i) {
                    Geometry g = random_geometry(random, 1e6);
                    g.layout = layout;
                    count.add(plan_of(ConvProblem(g), pass));
                }
                INFO(std::string(name(isa)), ", ", std::string(name(pass)), ", ", std::string(name(layout)));
                for (const Strategy* const strategy : strategies()) {
                    if (strategy->algorithm != Algorithm::direct) continue;
                    const std::string of = strategy->name;
                    CAPTURE(of);
                    // Layers whose rows slide are too special; test_convolution.cpp makes them on purpose.  Samples of
                    // one pixel are, too, and signals with long filters (test_strategies.cpp).
                    const bool made_on_purpose = of == "sliding" || of == "dots" || of == "phases";
                    const bool of_products_alone = of == "flat" && pass == Pass::weight_grad;
                    if (!made_on_purpose && !of_products_alone) CHECK(count.of[of] >= 5);
                }
            }
    }
}

}  // namespace convpp::test
