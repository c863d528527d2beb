// The memory that a call takes: one block, before the result is touched, at most as large as Convolution::summary says,
// and nothing else; without that block a call throws and leaves the result as it was.
//
// This program has an operator new and a take_aligned of its own, which count.  Before each call the blocks that are
// kept for the next one are dropped (machine/workspace.hpp).
#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>
#include <thread>

#include "aligned_memory.hpp"
#include "convolution_cases.hpp"
#include "machine/workspace.hpp"
#include "whole_team.hpp"

namespace convpp::test {
namespace {

constexpr size_t behind = 4096;  // bytes behind a block that nothing may write
constexpr unsigned char mark = 0xa5;

// What happens on the heap while a call is watched.
struct Heap {
    std::atomic<bool> watched{false};
    bool refuses = false;  // there is no memory for blocks
    std::atomic<int> news{0}, blocks{0};
    std::atomic<bool> touched{false};  // the result, before a block was taken
    int64_t bytes = 0;  // of the last block
    const unsigned char* end = nullptr;
    const void *result = nullptr, *before = nullptr;
    size_t result_bytes = 0;

    void* take_block(size_t size) {
        if (watched) {
            ++blocks;
            bytes = static_cast<int64_t>(size);
            if (std::memcmp(result, before, result_bytes) != 0) touched = true;
            if (refuses) return nullptr;
        }
        void* const block = aligned_memory(size + behind);
        if (block == nullptr) return nullptr;
        unsigned char* const after = static_cast<unsigned char*>(block) + size;
        std::memset(after, mark, behind);
        if (watched) end = after;
        return block;
    }
    bool kept_to_its_block() const {
        for (size_t i = 0; end != nullptr && i < behind; ++i)
            if (end[i] != mark) return false;
        return true;
    }
};

Heap heap;

}  // namespace
}  // namespace convpp::test

void* operator new(size_t size) {
    if (convpp::test::heap.watched) ++convpp::test::heap.news;
    if (void* const memory = std::malloc(size > 0 ? size : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace convpp {

void* take_aligned(size_t bytes) noexcept { return test::heap.take_block(bytes); }
void give_aligned(void* memory) noexcept { test::free_aligned_memory(memory); }

}  // namespace convpp

namespace convpp::test {
namespace {

// What to call, beside the convolution itself.
struct Options {
    bool accumulate = false, epilogue = false, prepared = false, finite = true;
};

constexpr std::initializer_list<Options> all_options{
    {false, false, false, true}, {true, false, false, true},   {false, true, false, true},  {false, false, true, true},
    {false, true, true, true},   {false, false, false, false}, {true, false, false, false}, {false, true, false, false},
};

// Of a call: what it took, and whether it threw std::bad_alloc.
struct Taken {
    int news = 0, blocks = 0;
    int64_t bytes = 0;
    bool touched_before = false, kept_to_its_block = false, refused = false;
};

template <class R, class Call>
Taken watch(const Array<R>& result, bool refuses, const Call& call) {
    Array<R> before(result.size());
    std::memcpy(before.data(), result.data(), static_cast<size_t>(result.size()) * sizeof(R));
    Taken taken;
    KeptBlocks::drop_all();
    std::thread([&] {
        heap.refuses = refuses;
        heap.news = heap.blocks = 0;
        heap.touched = false;
        heap.bytes = 0;
        heap.end = nullptr;
        heap.result = result.data();
        heap.before = before.data();
        heap.result_bytes = static_cast<size_t>(result.size()) * sizeof(R);
        heap.watched = true;
        try {
            call();
        } catch (const std::bad_alloc&) {
            taken.refused = true;
        }
        heap.watched = false;
        taken.news = heap.news;
        taken.blocks = heap.blocks;
        taken.bytes = heap.bytes;
        taken.touched_before = heap.touched;
        taken.kept_to_its_block = heap.kept_to_its_block();
    }).join();
    return taken;
}

// Returns the bytes of the call's block.
template <class S, class R>
int64_t check_call(const Convolution& convolution, const Tensors<S>& tensors, const Options& options, int threads) {
    const Pass pass = convolution.pass();
    const int64_t elems = result_elems(convolution.problem(), pass);
    Array<S> residual(options.epilogue ? elems : 0);
    Random random(5);
    residual.fill_integers(random);
    Execution how;
    how.threads = threads;
    how.accumulate = options.accumulate;
    if (options.epilogue) how.activation.kind = Activation::Kind::relu;
    const View<const S> bias = options.accumulate ? View<const S>{} : tensors.bias(pass);
    const View<const S> add = options.epilogue ? residual.in() : View<const S>{};
    Array<R> result(elems, guards);
    for (int64_t i = 0; options.accumulate && i < elems; ++i) result[i] = made<R>(static_cast<double>(i % 7));
    const auto check = [&](const auto& call) {
        if (convolution.summary(threads).workspace_bytes > 0) {
            const Taken refused = watch(result, true, call);
            if (refused.blocks > 0) {
                CHECK(refused.refused);
                CHECK_FALSE(refused.touched_before);
                CHECK(refused.blocks == 1);
            }
        }
        const Taken taken = watch(result, false, call);
        CHECK_FALSE(taken.refused);
        CHECK(taken.news == 0);
        CHECK(taken.blocks <= 1);
        CHECK_FALSE(taken.touched_before);
        CHECK(taken.kept_to_its_block);
        CHECK(result.guards_intact());
        // A block is up to two cache lines larger than what was asked for.
        constexpr int64_t line = 128;
        const int64_t of_y =
            pass == Pass::forward && options.accumulate ? elems * static_cast<int64_t>(sizeof(Computed<S>)) + line : 0;
        CHECK(taken.bytes <= convolution.summary(threads).workspace_bytes + of_y + line);
        return taken.bytes;
    };
    if (!options.prepared)
        return check([&] {
            convolution.execute<S, R>(tensors.first(pass), tensors.second(pass), bias, result.out(), how, add);
        });
    const PreparedWeights weights = convolution.prepare(tensors.w.in(), threads);
    return check([&] { convolution.execute<S, R>(tensors.x.in(), weights, bias, result.out(), how, add); });
}

template <class S, class R>
void check_passes(const Geometry& g, Algorithm algorithm) {
    const ConvProblem problem(g);
    Random random(3);
    Tensors<S> finite(problem), spoiled(problem);
    for (Tensors<S>* const tensors : {&finite, &spoiled}) tensors->fill_integers(random);
    for (Array<S>* const array : {&spoiled.x, &spoiled.w, &spoiled.dy})
        (*array)[array->size() / 2] = made<S>(std::numeric_limits<double>::infinity());
    for (const Pass pass : all_passes) {
        const Convolution convolution(problem, pass, dtype_of<S>, algorithm);
        for (const int threads : {1, 2}) {
            int64_t most = 0;
            for (const Options& options : all_options) {
                if (options.prepared && pass != Pass::forward) continue;
                if (options.epilogue && pass == Pass::weight_grad) continue;
                INFO(std::string(name(pass)), " ", std::string(name(dtype_of<S>)), " by ",
                     convolution.summary().strategy, ", ", threads, " threads",
                     options.accumulate ? ", accumulate" : "", options.epilogue ? ", epilogue" : "",
                     options.prepared ? ", prepared" : "", options.finite ? "" : ", not finite", ": ", describe(g));
                const int64_t bytes =
                    check_call<S, R>(convolution, options.finite ? finite : spoiled, options, threads);
                if (pass != Pass::forward || !options.accumulate) most = std::max(most, bytes);
            }
            // Some call takes all that the summary says.
            if (std::is_same_v<S, R>) CHECK(most >= convolution.summary(threads).workspace_bytes);
        }
    }
}

std::vector<Geometry> direct_geometries() {
    std::vector<Geometry> geometries{
        conv2d(2, 24, 20, 15, 17, 3, 1, 1),        conv2d(1, 32, 32, 30, 30, 3, 1, 1, 1, 32),
        conv2d(2, 48, 48, 14, 14, 3, 1, 1, 1, 12), conv2d(2, 10, 30, 19, 18, 5, 3, 2, 2),
        conv2d(2, 64, 96, 14, 14, 1, 1, 0),        conv2d(2, 32, 40, 15, 16, 1, 2, 0),
        conv2d(1, 3, 32, 40, 40, 7, 2, 3),         conv2d(1, 3, 5, 20, 20, 3, 1, 0),
    };
    for (const int64_t channels : {4, 40}) {  // threads take whole samples, or share each
        geometries.push_back(conv2d(3, channels, channels, 20, 20, 3, 1, 1));
        geometries.back().per_sample = true;
    }
    geometries.push_back(conv2d(3, 12, 16, 13, 14, 3, 1, 2));
    geometries.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};
    geometries.push_back(conv2d(3, 6, 5, 9, 8, 3, 1, 3));
    geometries.back().boundary = {Boundary::zeros, Boundary::zeros, Boundary::symmetric};
    geometries.back().per_sample = true;
    return in_both_layouts(std::move(geometries));
}

std::vector<Geometry> winograd_geometries() {
    std::vector<Geometry> geometries{conv2d(2, 40, 24, 20, 18, 3, 1, 1), conv2d(2, 33, 34, 13, 12, 5, 1, 2)};
    geometries.push_back(conv2d(3, 16, 16, 12, 12, 3, 1, 1));
    geometries.back().per_sample = true;
    geometries.push_back(conv2d(3, 16, 20, 12, 12, 3, 1, 2));
    geometries.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::replicate};
    return in_both_layouts(std::move(geometries));
}

std::vector<Geometry> fft_geometries() {
    std::vector<Geometry> geometries{conv2d(2, 5, 3, 30, 28, 9, 1, 4), conv2d(2, 18, 18, 25, 24, 11, 1, 5, 1, 18),
                                     conv2d(2, 3, 4, 31, 30, 7, 2, 3), conv1d(2, 2, 1, 12'000, 9'000, 1, 0)};
    geometries.push_back(conv2d(3, 4, 4, 20, 20, 7, 1, 3));
    geometries.back().per_sample = true;
    geometries.push_back(conv2d(3, 4, 3, 20, 20, 7, 1, 3));
    geometries.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::replicate};
    return in_both_layouts(std::move(geometries));
}

template <class S, class R>
void check_type() {
    make_whole_team(8);
    for (const Geometry& g : fft_geometries()) check_passes<S, R>(g, Algorithm::fft);
    for (const Geometry& g : direct_geometries()) check_passes<S, R>(g, Algorithm::direct);
    for (const Geometry& g : winograd_geometries()) check_passes<S, R>(g, Algorithm::winograd);
}

}  // namespace

TEST_CASE("all memory of a call is one block, taken before the result is touched") {
    check_type<float, float>();
    check_type<double, double>();
}

TEST_CASE("so is that of a call on halves, whether its results are rounded or not") {
    check_type<bfloat16, bfloat16>();
    check_type<bfloat16, float>();
    check_type<float16, float16>();
}

}  // namespace convpp::test
