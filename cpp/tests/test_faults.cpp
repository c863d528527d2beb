// No memory, at any place: whatever is asked for throws std::bad_alloc, leaves results untouched, keeps nothing, and
// the program goes on.
//
// This program has an operator new and a take_aligned of its own, which fail at the k-th call, for every k.
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <thread>

#include "aligned_memory.hpp"
#include "convolution_cases.hpp"
#include "machine/workspace.hpp"
#include "whole_team.hpp"

namespace convpp::test {
namespace {

// Which allocation from now on fails; beyond the last one, none does.
struct Fault {
    std::atomic<int64_t> left{std::numeric_limits<int64_t>::max()};
    std::atomic<int64_t> living{0};  // what operator new has made

    bool is_here() { return left.fetch_sub(1, std::memory_order_relaxed) == 1; }
};

Fault fault;

}  // namespace
}  // namespace convpp::test

void* operator new(size_t size) {
    using convpp::test::fault;
    if (fault.is_here()) throw std::bad_alloc();
    void* const memory = std::malloc(size > 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    ++fault.living;
    return memory;
}
void operator delete(void* memory) noexcept {
    if (memory != nullptr) --convpp::test::fault.living;
    std::free(memory);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace convpp {

void* take_aligned(size_t bytes) noexcept { return test::fault.is_here() ? nullptr : test::aligned_memory(bytes); }
void give_aligned(void* memory) noexcept { test::free_aligned_memory(memory); }

}  // namespace convpp

namespace convpp::test {
namespace {

constexpr int64_t most_faults = 100'000;

// Calls work() with a fault at every allocation that it makes; then without.  Returns how many it makes.
template <class Work, class Check>
int64_t with_every_fault(const Work& work, const Check& check) {
    make_whole_team(8);
    for (int64_t k = 1; k < most_faults; ++k) {
        KeptBlocks::drop_all();
        const int64_t living = fault.living;
        bool refused = false;
        fault.left = k;
        try {
            work();
        } catch (const std::bad_alloc&) {
            refused = true;
        }
        const bool met = fault.left.exchange(std::numeric_limits<int64_t>::max()) <= 0;
        CHECK(refused == met);
        if (refused) check();
        CHECK(fault.living == living);
        if (!met) return k - 1;
    }
    FAIL("there is no end of allocations");
    return 0;
}

template <class Work>
int64_t with_every_fault(const Work& work) {
    return with_every_fault(work, [] {});
}

std::vector<Geometry> geometries() {
    std::vector<Geometry> all{
        conv2d(2, 24, 20, 9, 11, 3, 1, 1),
        conv2d(1, 32, 32, 14, 14, 3, 1, 1, 1, 32),
        conv2d(2, 16, 16, 8, 8, 3, 1, 1, 1, 4),
        conv2d(2, 5, 6, 13, 12, 5, 3, 2, 2),
        conv2d(1, 3, 16, 20, 20, 7, 2, 3),
        conv2d(2, 32, 40, 7, 8, 1, 2, 0),
        conv1d(1, 1, 1, 9, 1, 3, 0),
        conv1d(2, 3, 4, 50, 9, 1, 4),
        conv(3, 2, 4, 5, {4, 6, 7}, {3, 3, 3}, {1, 1, 1}),
    };
    all.push_back(conv2d(3, 4, 4, 9, 9, 3, 1, 1));
    all.back().per_sample = true;
    all.push_back(conv2d(3, 12, 16, 8, 9, 3, 1, 2));
    all.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};
    all.push_back(conv2d(2, 6, 5, 9, 8, 3, 1, 3));
    all.back().boundary = {Boundary::zeros, Boundary::zeros, Boundary::symmetric};
    all.back().per_sample = true;
    return in_both_layouts(std::move(all));
}

template <class S, class R>
void check_execution(const Geometry& g, Pass pass, Algorithm algorithm, bool finite) {
    const ConvProblem problem(g);
    const Convolution convolution(problem, pass, dtype_of<S>, algorithm);
    Random random(4);
    Tensors<S> tensors(problem);
    tensors.fill_integers(random);
    for (Array<S>* const array : {&tensors.x, &tensors.w, &tensors.dy})
        if (!finite) (*array)[array->size() / 2] = made<S>(std::numeric_limits<double>::infinity());
    const int64_t elems = result_elems(problem, pass);
    Array<S> residual(elems);
    residual.fill_integers(random);
    std::optional<PreparedWeights> prepared;
    if (pass == Pass::forward) prepared.emplace(convolution.prepare(tensors.w.in()));
    for (const bool accumulate : {false, true})
        for (const bool epilogue : {false, true})
            for (const bool packed : {false, true}) {
                if (epilogue && (accumulate || pass == Pass::weight_grad)) continue;
                if (packed && !prepared) continue;
                INFO(std::string(name(pass)), " ", std::string(name(dtype_of<S>)), accumulate ? ", accumulate" : "",
                     epilogue ? ", epilogue" : "", packed ? ", prepared" : "", finite ? "" : ", not finite", ": ",
                     describe(g));
                Execution how;
                how.threads = 2;
                how.accumulate = accumulate;
                if (epilogue) how.activation.kind = Activation::Kind::relu;
                const View<const S> bias = accumulate ? View<const S>{} : tensors.bias(pass);
                const View<const S> add = epilogue ? residual.in() : View<const S>{};
                Array<R> result(elems, guards), before(elems);
                for (int64_t i = 0; i < elems; ++i) result[i] = before[i] = made<R>(static_cast<double>(i % 5));
                const int64_t taken = with_every_fault(
                    [&] {
                        if (packed) convolution.execute<S, R>(tensors.x.in(), *prepared, bias, result.out(), how, add);
                        else
                            convolution.execute<S, R>(tensors.first(pass), tensors.second(pass), bias, result.out(),
                                                      how, add);
                    },
                    [&] { CHECK(same_bits(result, before)); });
                CHECK(taken <= 1);
                CHECK(result.guards_intact());
            }
}

}  // namespace

TEST_CASE("no memory while a convolution is planned, copied, described, or weights are prepared") {
    for (const Geometry& g : geometries())
        for (const Pass pass : all_passes)
            for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::reference}) {
                INFO(std::string(name(pass)), " ", describe(g));
                const ConvProblem problem(g);
                CHECK(with_every_fault([&] { Convolution(problem, pass, DType::float32, algorithm); }) > 0);
                const Convolution convolution(problem, pass, DType::bfloat16, algorithm);
                CHECK(with_every_fault([&] { const Convolution copy(convolution); }) == 0);
                with_every_fault([&] { convolution.summary(2); });
                with_every_fault([&] { convolution.candidates(); });
                with_every_fault([&] { convolution.task_flops(3); });
                if (pass != Pass::forward) continue;
                Tensors<bfloat16> tensors(problem);
                Random random(6);
                tensors.fill_integers(random);
                CHECK(with_every_fault([&] { convolution.prepare(tensors.w.in(), 2); }) > 0);
            }
}

TEST_CASE("no memory while an algorithm that transforms is planned") {
    const auto check = [](Geometry g, Algorithm algorithm) {
        for (const bool reflects : {false, true}) {
            if (reflects) g.boundary = {Boundary::zeros, Boundary::reflect, Boundary::reflect};
            for (const Pass pass : all_passes)
                for (const DType dtype : {DType::float32, DType::float64})
                    CHECK(with_every_fault([&] { Convolution(ConvProblem(g), pass, dtype, algorithm); }) > 0);
        }
    };
    check(conv2d(3, 40, 24, 20, 18, 3, 1, 1), Algorithm::winograd);
    check(conv2d(3, 4, 5, 30, 28, 9, 1, 1), Algorithm::fft);
    check(conv2d(3, 2, 3, 30, 28, 7, 3, 1), Algorithm::fft);
    check(conv2d(3, 4, 4, 30, 30, 13, 1, 6, 1, 4), Algorithm::automatic);
}

TEST_CASE("no memory for a call: its result is untouched") {
    for (const Geometry& g : geometries())
        for (const Pass pass : all_passes)
            for (const bool finite : {true, false}) {
                check_execution<float, float>(g, pass, Algorithm::automatic, finite);
                check_execution<float16, float16>(g, pass, Algorithm::automatic, finite);
                check_execution<bfloat16, float>(g, pass, Algorithm::automatic, finite);
            }
    Geometry winograd = conv2d(3, 16, 20, 12, 12, 3, 1, 2);
    for (const bool reflects : {false, true}) {
        if (reflects) winograd.boundary = {Boundary::zeros, Boundary::reflect, Boundary::replicate};
        for (const Pass pass : all_passes)
            for (const bool finite : {true, false}) {
                check_execution<double, double>(winograd, pass, Algorithm::winograd, finite);
                check_execution<bfloat16, bfloat16>(winograd, pass, Algorithm::winograd, finite);
            }
    }
    std::vector<Geometry> fft{conv2d(3, 3, 4, 20, 18, 7, 1, 2), conv2d(3, 12, 12, 20, 18, 7, 2, 2, 1, 12)};
    fft.push_back(fft.front());
    fft.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::replicate};
    for (const Geometry& g : in_both_layouts(std::move(fft)))
        for (const Pass pass : all_passes)
            for (const bool finite : {true, false}) {
                check_execution<float, float>(g, pass, Algorithm::fft, finite);
                check_execution<double, double>(g, pass, Algorithm::fft, finite);
                check_execution<float16, float16>(g, pass, Algorithm::fft, finite);
            }
}

TEST_CASE("no memory for the gradient of a bias: it is untouched") {
    for (const Layout layout : both_layouts) {
        Array<float> dy(2 * 5 * 300), db(5, guards), before(5);
        Random random(7);
        dy.fill_integers(random);
        for (int64_t i = 0; i < 5; ++i) db[i] = before[i] = 7;
        with_every_fault([&] { bias_grad(dy.in(), 2, 5, 300, layout, db.out(), {2, true, {}}); },
                         [&] { CHECK(same_bits(db, before)); });
    }
}

TEST_CASE("a thread's first call, when there is no memory for it") {
    const ConvProblem problem(conv2d(1, 3, 5, 20, 20, 3, 1, 0));
    const Convolution convolution(problem, Pass::forward, DType::float32);
    Tensors<float> tensors(problem);
    Random random(8);
    tensors.fill_integers(random);
    Array<float> y(problem.y_elems(), guards), before(problem.y_elems());
    KeptBlocks::drop_all();
    bool refused = false;
    std::thread([&] {
        fault.left = 1;
        try {
            convolution.execute(tensors.x.in(), tensors.w.in(), {}, y.out(), {1, false, {}});
        } catch (const std::bad_alloc&) {
            refused = true;
        }
        fault.left = std::numeric_limits<int64_t>::max();
    }).join();
    CHECK(refused);
    CHECK(same_bits(y, before));
}

}  // namespace convpp::test
