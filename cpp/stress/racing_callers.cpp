// Many threads call at once while others change what is selected: for ThreadSanitizer, and right by itself.
//
//     racing_callers [--seed S] [--count N]
//
// Eight callers take cases of whole numbers as they come, each with a number of threads of its own, while a ninth
// thread selects other instruction sets and numbers of threads.  Convolutions that were planned before are executed by
// all of them at the same time.  Threads come and go, and leave their workspaces behind.
// In:  a seed, a number of cases.   Out: exit status 0 if every result was exact.
#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>

#include "trial.hpp"
#include "workers.hpp"

namespace convpp::stress {
namespace {

class PlainMemory : public Memory {
public:
    std::byte* place(Slot slot, int64_t bytes) override {
        arrays_[slot].assign(static_cast<size_t>(bytes / 8 + 1), 0.0);
        return reinterpret_cast<std::byte*>(arrays_[slot].data());
    }
    bool untouched_around(Slot) const override { return true; }

private:
    std::array<std::vector<double>, slots> arrays_;
};

constexpr int callers = 8;

// Every result of a case, by a plan made now.
std::string try_case(uint64_t seed, int64_t number) {
    Random random(seed, static_cast<uint64_t>(number));
    const Case of = draw_case(random);
    const ConvProblem problem(of.geometry);
    const Expected expected(problem, random);
    PlainMemory memory;
    std::string wrong;
    for (const Pass pass : all_passes)
        with_trial(of, problem, expected, pass, memory, [&](auto& trial) {
            if (wrong.empty()) wrong = trial.run();
            if (!wrong.empty()) wrong = std::string(name(pass)) + ": " + wrong + "; " + describe(of);
        });
    return wrong;
}

// A convolution that all callers execute, large enough for each call to be shared by threads.
struct Shared {
    Case of;
    std::unique_ptr<ConvProblem> problem;
    std::unique_ptr<Expected> expected;
    std::vector<Convolution> passes;
};

std::vector<Shared> shared_convolutions(uint64_t seed) {
    std::vector<Shared> all;
    for (uint64_t i = 0; all.size() < 6; ++i) {
        Random random(seed + 1, i);
        Shared one;
        one.of = draw_case(random);
        one.of.geometry = draw_geometry(random, true);
        one.of.dtype = i % 2 == 0 ? DType::float32 : DType::bfloat16;
        one.problem = std::make_unique<ConvProblem>(one.of.geometry);
        one.expected = std::make_unique<Expected>(*one.problem, random);
        for (const Pass pass : all_passes) one.passes.emplace_back(*one.problem, pass, one.of.dtype, Algorithm::direct);
        all.push_back(std::move(one));
    }
    return all;
}

std::string try_shared(const Shared& shared, int threads) {
    Case of = shared.of;
    of.threads = threads;
    PlainMemory memory;
    std::string wrong;
    for (const Convolution& convolution : shared.passes)
        with_trial(of, *shared.problem, *shared.expected, convolution.pass(), memory, [&](auto& trial) {
            if (wrong.empty()) wrong = trial.run(convolution);
        });
    return wrong.empty() ? wrong : wrong + "; " + describe(of);
}

int race(const Arguments& arguments) {
    const std::vector<Shared> shared = shared_convolutions(arguments.seed);
    std::atomic<int64_t> next{arguments.first};
    std::atomic<int> wrong{0}, calling{callers};
    const int64_t end = arguments.first + arguments.count;
    const auto call = [&](int caller) {
        // Some cases on this thread, then on a new one.
        for (bool left = true; left;) {
            std::thread([&] {
                for (int step = 0; step < 8 && left; ++step) {
                    const int64_t i = next.fetch_add(1);
                    left = i < end;
                    if (!left) return;
                    const std::string own = try_case(arguments.seed, i);
                    const std::string common =
                        try_shared(shared[static_cast<size_t>(i + caller) % shared.size()], 1 + caller % 4);
                    for (const std::string& what : {own, common})
                        if (!what.empty()) {
                            ++wrong;
                            std::fprintf(stderr, "case %lld: %s\n", static_cast<long long>(i), what.c_str());
                        }
                }
            }).join();
        }
        --calling;
    };
    std::vector<std::thread> threads;
    for (int caller = 0; caller < callers; ++caller) threads.emplace_back(call, caller);
    const std::vector<Isa> isas = available_isas();
    for (uint64_t i = 0; calling.load() > 0; ++i) {
        Random random(arguments.seed, i);
        select_isa(name(isas[i % isas.size()]));
        set_num_threads(static_cast<int>(random.integer(1, 8)));
        allow_bf16_pairs(random.chance(2));
        std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    std::printf("%lld cases by %d callers, %d wrong\n", static_cast<long long>(arguments.count), callers, wrong.load());
    return wrong.load() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace convpp::stress

int main(int argc, char** argv) { return convpp::stress::run_workers(argc, argv, 400, convpp::stress::race); }
