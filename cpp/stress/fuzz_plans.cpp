// Plans random geometries of the full range of 64 bits: each is refused by an exception that says why, or planned in
// bounded time and memory.
//
// This program has an operator new of its own, which counts.  A plan that takes more than `most_seconds` of this
// process's time or `most_bytes` at once is wrong; so is any exception but those of the public headers.
// In:  workers.hpp's arguments.   Out: its exit status, and how many geometries were planned and refused.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <new>

#include "cases.hpp"
#include "workers.hpp"

namespace {

// Of this program's one thread.
struct Heap {
    static constexpr int64_t refused_at = int64_t(1) << 30;  // before the machine swaps
    int64_t live = 0, peak = 0;

    void* take(size_t size) {
        if (live + static_cast<int64_t>(size) > refused_at || size > static_cast<size_t>(refused_at)) {
            peak = refused_at;
            throw std::bad_alloc();
        }
        void* const memory = std::malloc(size > 0 ? size : 1);
        if (memory == nullptr) throw std::bad_alloc();
        live += static_cast<int64_t>(malloc_usable_size(memory));
        if (live > peak) peak = live;
        return memory;
    }
    void give(void* memory) {
        if (memory != nullptr) live -= static_cast<int64_t>(malloc_usable_size(memory));
        std::free(memory);
    }
};

Heap heap;

}  // namespace

void* operator new(size_t size) { return heap.take(size); }
void operator delete(void* memory) noexcept { heap.give(memory); }
void operator delete(void* memory, size_t) noexcept { heap.give(memory); }

namespace convpp::stress {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__clang__)
constexpr double most_seconds = 2;  // sanitizers (of Clang, here) make everything several times slower
#else
constexpr double most_seconds = 0.2;
#endif
constexpr int64_t most_bytes = int64_t(64) << 20;

// Any number: small ones, neighbours of powers of two, the ends of the range, as many bits as come.
int64_t wild(Random& random, int64_t least) {
    constexpr int64_t smallest = std::numeric_limits<int64_t>::min(), largest = std::numeric_limits<int64_t>::max();
    switch (random.integer(0, 15)) {
        case 0: return random.pick({smallest, largest, smallest + 1, largest - 1, int64_t(-1), int64_t(0)});
        case 1: return -static_cast<int64_t>(random.bits() >> random.integer(1, 63));
        case 2:
        case 3:
        case 4: return (int64_t(1) << random.integer(0, 62)) + random.integer(-1, 1);
        case 5:
        case 6: return random.integer(least, 9);
        default: return static_cast<int64_t>(random.bits() >> random.integer(1, 63));
    }
}

// If 64 bits hold the sum.
void lengthen(int64_t& extent, int64_t by) {
    int64_t sum = 0;
    if (!__builtin_add_overflow(extent, by, &sum)) extent = sum;
}

// A convolution whose numbers are large in some places, so that it may still be one: the padded x is mostly made long
// enough for the kernel.
Geometry draw_wide(Random& random) {
    Geometry g;
    g.rank = static_cast<int>(random.integer(1, 3));
    const bool anything = random.chance(6);  // nothing fits anything
    const auto number = [&](int64_t least, int64_t one_in) {
        return random.chance(one_in) ? wild(random, least) : random.integer(least, 9);
    };
    g.batch = number(random.chance(20) ? 0 : 1, anything ? 2 : 8);
    g.groups = random.chance(3) ? number(1, anything ? 2 : 10) : 1;
    const int64_t in = number(1, anything ? 2 : 8), out = number(1, anything ? 2 : 8);
    const auto times = [](int64_t a, int64_t b) {
        int64_t product = 0;
        return __builtin_mul_overflow(a, b, &product) ? a : product;
    };
    g.in_channels = times(in, g.groups);
    g.out_channels = times(out, g.groups);
    const bool folds = random.chance(3);
    for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) {
        g.input[a] = number(1, anything ? 2 : 3);
        g.kernel[a] = random.chance(5) ? int64_t(1) << random.integer(0, 14) : number(1, anything ? 2 : 12);
        g.stride[a] = random.chance(6) ? g.kernel[a] : number(1, anything ? 2 : 4);
        g.dilation[a] = number(1, anything ? 2 : 6);
        g.pad_lo[a] = number(0, anything ? 2 : 5);
        g.pad_hi[a] = number(0, anything ? 2 : 5);
        if (random.chance(10)) g.pad_lo[a] = g.pad_lo[a] / -2;
        if (folds) g.boundary[a] = random.pick(all_boundaries);
        if (anything) continue;
        // As long as the kernel reaches, and some outputs more.
        int64_t reach = 0, padded = 0, missing = 0;
        if (__builtin_sub_overflow(g.kernel[a], 1, &reach) || __builtin_mul_overflow(g.dilation[a], reach, &reach) ||
            __builtin_add_overflow(g.pad_lo[a], g.pad_hi[a], &padded) ||
            __builtin_add_overflow(padded, g.input[a], &padded) || __builtin_add_overflow(reach, 1, &reach) ||
            __builtin_sub_overflow(reach, padded, &missing))
            continue;
        if (missing > 0 && missing < int64_t(1) << 58) {
            lengthen(random.chance(3) ? g.pad_hi[a] : g.input[a], missing + random.integer(0, 20));
            const int64_t step = std::clamp<int64_t>(g.stride[a], 0, int64_t(1) << 50);
            if (random.chance(3)) lengthen(g.input[a], step * random.integer(0, 3));
        } else if (missing < -1000 && random.chance(2)) {  // cropped to few outputs
            lengthen(g.pad_hi[a], missing + random.integer(0, 20));
        }
    }
    g.flip = random.chance(4);
    g.per_sample = random.chance(5);
    g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
    return g;
}

double own_seconds() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Fuzzer {
public:
    explicit Fuzzer(uint64_t seed) : seed_(seed), isas_(available_isas()) {}

    // What a case is.
    std::string described(int64_t number) const {
        const Request request = draw(number);
        return std::string(name(request.pass)) + " " + name(request.dtype) + " " + name(request.algorithm) + " " +
               name(active_isa()) + " " + describe(request.geometry);
    }

    std::string try_case(int64_t number) {
        using clock = std::chrono::steady_clock;
        const auto began = clock::now();
        std::string what = plan(number);
        if (!what.empty() || std::chrono::duration<double>(clock::now() - began).count() <= most_seconds) return what;
        // Once more, by the time that this process itself takes: others may have had the core.
        const double before = own_seconds();
        what = plan(number);
        const double seconds = own_seconds() - before;
        if (what.empty() && seconds > most_seconds)
            what = "planning takes " + std::to_string(seconds) + " s: " + described(number);
        return what;
    }

    void say() const {
        std::printf("%lld plans, %lld geometries refused, at most %.1f MiB for one\n", static_cast<long long>(planned_),
                    static_cast<long long>(refused_), static_cast<double>(most_) / (1 << 20));
    }

private:
    struct Request {
        Geometry geometry;
        Pass pass;
        DType dtype;
        Algorithm algorithm;
        int threads;
    };

    Request draw(int64_t number) const {
        Random random(seed_, static_cast<uint64_t>(number));
        Request request{
            draw_wide(random), random.pick(all_passes), random.pick(all_types),
            random.pick({Algorithm::automatic, Algorithm::automatic, Algorithm::stream, Algorithm::direct,
                         Algorithm::winograd, Algorithm::fft, Algorithm::fft, Algorithm::reference}),
            static_cast<int>(random.integer(0, 9))};
        select_isa(name(isas_[static_cast<size_t>(random.integer(0, static_cast<int64_t>(isas_.size()) - 1))]));
        set_num_threads(static_cast<int>(random.integer(1, 64)));
        return request;
    }

    std::string plan(int64_t number) {
        const Request request = draw(number);
        const int64_t before = heap.peak = heap.live;
        try {
            const Convolution convolution(ConvProblem(request.geometry), request.pass, request.dtype,
                                          request.algorithm);
            const Summary summary = convolution.summary(request.threads);
            ++planned_;
            if (summary.workspace_bytes < 0 || summary.tasks < 0 || !(summary.flops >= 0))
                return "a number of the summary is negative: " + described(number);
        } catch (const std::invalid_argument& refusal) {  // ShapeError among them
            ++refused_;
            if (std::string(refusal.what()).find("expected") == std::string::npos &&
                std::string(refusal.what()).find("too large") == std::string::npos &&
                std::string(refusal.what()).find("longer than") == std::string::npos)
                return std::string("a refusal that does not say what was expected: ") + refusal.what();
        } catch (const std::exception& error) {
            return std::string("threw ") + error.what() + ": " + described(number);
        }
        const int64_t bytes = heap.peak - before;
        if (bytes > most_) most_ = bytes;
        if (bytes > most_bytes) return "planning takes " + std::to_string(bytes >> 20) + " MiB: " + described(number);
        return "";
    }

    uint64_t seed_;
    std::vector<Isa> isas_;
    int64_t planned_ = 0, refused_ = 0, most_ = 0;
};

}  // namespace
}  // namespace convpp::stress

int main(int argc, char** argv) {
    using namespace convpp::stress;
    return run_workers(argc, argv, 1'000'000, [](const Arguments& arguments) {
        Fuzzer fuzzer(arguments.seed);
        constexpr double hanging_seconds = 10;
        if (arguments.count == 1) std::printf("%s\n", fuzzer.described(arguments.first).c_str());
        std::fflush(stdout);
        const int status = try_all(arguments, hanging_seconds, [&](int64_t i) { return fuzzer.try_case(i); });
        fuzzer.say();
        return status;
    });
}
