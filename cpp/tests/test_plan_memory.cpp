// Bounds of the memory that a plan asks for, whatever the stride and the batch; extents far beyond memory are
// planned at once.
#include "machine/fences.hpp"
#include "plan_cases.hpp"

namespace convpp::test {

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
                                    CHECK(plan_of(ConvProblem(g), pass, dtype).memory.of_thread <= int64_t(13) << 18);
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
                        CHECK(plan.memory.of_thread <= 3 * mib);
                        // Packed weights are the weights, each group's channels filled up to a panel's width.
                        const int64_t w = ConvProblem(g).w_elems() * elem_bytes;
                        const int64_t most = (g.groups == 1 ? w + w / 2 + mib : 10 * w) + 4 * fence_bytes;
                        CHECK(plan.memory.shared <= (pass == Pass::weight_grad ? 32 * mib : most));
                    }
                    // 16 times the samples: but for how their pixels are cut into boxes, nothing changes.
                    CHECK(plans[3].memory.shared <= plans[2].memory.shared + plans[2].memory.shared / 8);
                    CHECK(plans[3].memory.of_thread <= plans[2].memory.of_thread + plans[2].memory.of_thread / 2);
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
                CHECK(plan.samples.count == batch);
                CHECK(plan.tasks.groups == alone.tasks.groups);
                CHECK(plan.batch() == 1);
                CHECK(strategy_of(plan) == strategy_of(alone));
                // (Where threads take whole samples, these are not cut into as many tasks.)
                CHECK(plan.memory.of_thread + plan.memory.shared <= 3 * (alone.memory.of_thread + alone.memory.shared));
            }
        }
    }
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
            // (Threads share nothing else.)
            const int64_t partial = std::max<int64_t>(plan.memory.shared - 2 * fence_bytes, 0);
            const int64_t elem_bytes = dtype == DType::float32 ? 4 : 8;
            CHECK(partial <= int64_t(32) << 20);
            CHECK((plan.tasks.chunks == 1 || partial >= plan.tasks.chunks * problem.w_elems() * elem_bytes));
            CHECK((plan.tasks.chunks > 1 || partial == 0));
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
                CHECK(plan.tasks.count >= 1);
                CHECK(plan.memory.of_thread >= 1);
                CHECK(plan.memory.of_thread <= int64_t(8) << 20);
                int64_t last_task = 0;
                bool in_order = true;
                for (const MapPlan& m : plan.maps) {
                    const Box last = m.boxes.box(m.boxes.count() - 1);
                    in_order &= m.first_task >= last_task && last.elems() >= 1 && last.hi == m.boxes.extents();
                    last_task = m.first_task;
                }
                CHECK(in_order);
            }
        }
}

}  // namespace convpp::test
