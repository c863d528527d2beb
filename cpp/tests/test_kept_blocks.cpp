// Blocks that are kept for the next call: found again, bounded in size and in all, whatever threads come and go.
#include <thread>
#include <vector>

#include "convolution_cases.hpp"
#include "machine/workspace.hpp"

namespace convpp::test {
namespace {

constexpr int64_t mib = int64_t(1) << 20;

}  // namespace

TEST_CASE("a block is kept for the next call of a thread, and grows when more is asked for") {
    KeptBlocks::drop_all();
    CHECK(KeptBlocks::bytes() == 0);
    const std::byte* first = nullptr;
    {
        const Workspace workspace(mib);
        first = workspace.data();
        CHECK(reinterpret_cast<uintptr_t>(first) % cache_line == 0);
        CHECK(KeptBlocks::bytes() == 0);  // it is in use
    }
    CHECK(KeptBlocks::bytes() == mib);
    CHECK(Workspace(1000).data() == first);
    CHECK(KeptBlocks::bytes() == mib);
    { const Workspace larger(2 * mib); }
    CHECK(KeptBlocks::bytes() == 2 * mib);
    KeptBlocks::drop_all();
    CHECK(KeptBlocks::bytes() == 0);
}

TEST_CASE("calls within calls have blocks of their own") {
    KeptBlocks::drop_all();
    {
        const Workspace one(mib), two(mib);
        CHECK(one.data() != two.data());
    }
    CHECK(KeptBlocks::bytes() == mib);
    KeptBlocks::drop_all();
}

TEST_CASE("a large block is given back at once") {
    KeptBlocks::drop_all();
    { const Workspace workspace(KeptBlocks::largest_kept + 1); }
    CHECK(KeptBlocks::bytes() == 0);
    { const Workspace workspace(KeptBlocks::largest_kept); }
    CHECK(KeptBlocks::bytes() == KeptBlocks::largest_kept);
    { const Workspace workspace(KeptBlocks::largest_kept + 1); }
    CHECK(KeptBlocks::bytes() == 0);
}

TEST_CASE("a call that takes much keeps nothing") {
    KeptBlocks::drop_all();
    // The sums of dw in halves: 2048 * 2048 * 9 float32.
    const ConvProblem problem(conv2d(1, 2048, 2048, 3, 3, 3, 1, 1));
    const Convolution convolution(problem, Pass::weight_grad, DType::bfloat16);
    CHECK(convolution.summary(1).workspace_bytes > KeptBlocks::largest_kept);
    std::vector<bfloat16> x(static_cast<size_t>(problem.x_elems())), dy(static_cast<size_t>(problem.y_elems())),
        dw(static_cast<size_t>(problem.w_elems()));
    convolution.execute<bfloat16>(dy, x, {}, dw, {1, false, {}});
    CHECK(KeptBlocks::bytes() == 0);
}

TEST_CASE("however many threads live, what is kept is bounded") {
    KeptBlocks::drop_all();
    for (int round = 0; round < 3; ++round) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 60; ++i)
            threads.emplace_back([] {
                for (int call = 0; call < 20; ++call) const Workspace workspace(20 * mib);
            });
        for (std::thread& thread : threads) thread.join();
        CHECK(KeptBlocks::bytes() <= KeptBlocks::most_kept);
    }
    KeptBlocks::drop_all();
    CHECK(KeptBlocks::bytes() == 0);
}

}  // namespace convpp::test
