// Planning is bounded: whatever the geometry, a plan or a ShapeError within 64 MiB, and plans of few bytes, as they say
// themselves.  What is allocated is counted.  Copies of a source hold what is read of it, not what lies between.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "convolution_cases.hpp"
#include "plan_cases.hpp"

namespace {

int64_t live = 0, most_live = 0;  // bytes; the tests run on one thread

// Its size stands in front of a block.
constexpr std::size_t in_front = alignof(std::max_align_t);

void* counted(std::size_t bytes) {
    void* const whole = bytes < SIZE_MAX - in_front ? std::malloc(bytes + in_front) : nullptr;
    if (whole == nullptr) throw std::bad_alloc();
    *static_cast<std::size_t*>(whole) = bytes;
    live += static_cast<int64_t>(bytes);
    most_live = std::max(most_live, live);
    return static_cast<std::byte*>(whole) + in_front;
}

void give_back(void* block) {
    if (block == nullptr) return;
    void* const whole = static_cast<std::byte*>(block) - in_front;
    live -= static_cast<int64_t>(*static_cast<std::size_t*>(whole));
    std::free(whole);
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* block) noexcept { give_back(block); }
void operator delete[](void* block) noexcept { give_back(block); }
void operator delete(void* block, std::size_t) noexcept { give_back(block); }
void operator delete[](void* block, std::size_t) noexcept { give_back(block); }

namespace convpp::test {
namespace {

constexpr int64_t mib = int64_t(1) << 20;
constexpr int64_t far = int64_t(1) << 36;

struct Planned {
    bool planned = false;
    int64_t peak = 0, kept = 0, said = 0, workspace = 0;  // bytes
};

Planned planning(const Geometry& g, Pass pass, DType dtype = DType::float32,
                 Algorithm algorithm = Algorithm::automatic) {
    Planned result;
    const int64_t before = most_live = live;
    try {
        const Convolution convolution(ConvProblem(g), pass, dtype, algorithm);
        result.planned = true;
        result.kept = live - before;
        result.said = convolution.plan_bytes();
        result.workspace = convolution.summary(2).workspace_bytes;
        convolution.candidates();
    } catch (const ShapeError&) {
    } catch (const std::invalid_argument&) {  // Winograd's algorithm, asked for
    }
    result.peak = most_live - before;
    CHECK(live == before);
    return result;
}

// What is said of a plan's bytes is about what was allocated.
void check_bounds(const Planned& plan, int64_t most_kept) {
    CHECK(plan.peak <= 64 * mib);
    CHECK(plan.kept <= most_kept);
    CHECK(plan.said <= 2 * plan.kept + 1024);
    CHECK(plan.said >= plan.kept / 2);
}

Geometry patches(int rank, int64_t extent, int64_t patch) {
    Geometry g;
    g.rank = rank;
    g.in_channels = 3;
    g.out_channels = 8;
    for (size_t a = 3 - static_cast<size_t>(rank); a < 3; ++a) {
        g.input[a] = extent;
        g.kernel[a] = g.stride[a] = patch;
    }
    return g;
}

}  // namespace

TEST_CASE("patches of any size have small plans, though each pixel of one is a residue class") {
    struct Case {
        int rank;
        int64_t extent, patch;
    };
    for (const auto& [rank, extent, patch] :
         {Case{2, 224, 16}, Case{2, 1024, 512}, Case{2, 4100, 1024}, Case{2, 8192, 4096}, Case{3, 192, 64},
          Case{3, 256, 256}, Case{1, 40'000'000, 1 << 24}, Case{1, 100'000, 1678}})
        for (const Layout layout : both_layouts)
            for (const Pass pass : all_passes) {
                Geometry g = patches(rank, extent, patch);
                g.layout = layout;
                for (const int64_t lo : {0, 3}) {
                    g.pad_lo[2] = lo;
                    INFO(std::string(name(pass)), ": ", describe(g));
                    const Planned plan = planning(g, pass);
                    CHECK(plan.planned);
                    check_bounds(plan, 4 * mib);
                }
            }
}

TEST_CASE("neither taps nor channels make a plan large") {
    for (const Pass pass : all_passes) {
        const Geometry many_taps = conv1d(1, 1, 1, 200'000, 96'000, 1, 0);
        INFO(describe(many_taps));
        check_bounds(planning(many_taps, pass, DType::float32, Algorithm::direct), 8 * 1024);
        // (With the factors of transforms, whose length is bounded.)
        for (const DType dtype : {DType::float32, DType::float64})
            check_bounds(planning(many_taps, pass, dtype, Algorithm::fft), 256 * 1024);
        Geometry many_channels = conv1d(1, 32768, 1, 20'000, 1678, 1678, 0);
        many_channels.pad_lo[2] = 5;
        check_bounds(planning(many_channels, pass), 4 * mib);
        // (Blocks and sections of so many channels are counted, not gone through, for each of a thousand classes.)
        Geometry far_more = conv1d(1, 4, int64_t(1) << 50, 40'000, 1000, 1000, 0);
        if (pass == Pass::input_grad) check_bounds(planning(far_more, pass), 4 * mib);
        Geometry strided = conv2d(2, 65535, 37, 30, 45, 6, 3, 0);
        check_bounds(planning(strided, pass), mib);
    }
}

TEST_CASE("a halo is planned where it is read, however far it reaches") {
    for (const Boundary boundary : {Boundary::reflect, Boundary::replicate, Boundary::circular, Boundary::symmetric})
        for (const int64_t kernel : {1, 3})
            for (const int64_t dilation : {int64_t(1), far}) {
                Geometry g = conv1d(1, 1, 1, 4, kernel, far, 0, dilation);
                g.pad_lo[2] = g.pad_hi[2] = 2 * far;
                g.boundary[2] = boundary;
                INFO(describe(g));
                const Planned plan = planning(g, Pass::input_grad);
                CHECK(plan.planned);
                check_bounds(plan, mib);
                CHECK(plan.workspace <= mib);
                // Without a stride, everything is read: slabs are few all the same.
                g.stride[2] = 1;
                g.pad_lo[2] = g.pad_hi[2] = (int64_t(1) << 29) + (kernel - 1) * dilation;
                check_bounds(planning(g, Pass::input_grad), 8 * mib);
            }
    // Strides and dilations that leave nothing out, and reach far beyond memory.
    Geometry scattered = conv1d(1, 1, 1, 4, 2, far, 0, far + 1);
    scattered.pad_lo[2] = scattered.pad_hi[2] = far * 64;
    scattered.boundary[2] = Boundary::circular;
    CHECK(
        contains(message_of<ShapeError>([&] { Convolution(ConvProblem(scattered), Pass::input_grad, DType::float32); }),
                 "the halo of padding_mode is too large"));
}

TEST_CASE("residue classes that are not alike are refused where they are too many") {
    Geometry g = conv2d(1, 1, 1, 1, 1, 1024, 1024, 0, 511);
    g.input = {1, 1024 * 513, 1024 * 513};  // (If dy had one pixel, its taps would be set apart, and alike.)
    CHECK(contains(message_of<ShapeError>([&] { Convolution(ConvProblem(g), Pass::input_grad, DType::float32); }),
                   "residue classes, which are not alike"));
    CHECK(planning(g, Pass::input_grad).peak <= 64 * mib);
    g.kernel = {1, 64, 64};  // 4096 of them are planned one by one
    g.stride = {1, 64, 64};
    const Planned plan = planning(g, Pass::input_grad);
    CHECK(plan.planned);
    check_bounds(plan, 16 * mib);
}

TEST_CASE("the workspace of small arrays is small, whatever lies between taps and between pixels") {
    constexpr int64_t long_way = int64_t(1) << 20;
    for (const int64_t channels : {1, 16, 33})
        for (const int64_t groups : {int64_t(1), channels})
            for (const int64_t stride : {int64_t(1), int64_t(5), int64_t(1000), long_way})
                for (const int64_t dilation : {int64_t(3), int64_t(4096), long_way, long_way + 1})
                    for (const size_t axis : {size_t(1), size_t(2)})
                        for (const Layout layout : both_layouts)
                            for (const Algorithm algorithm :
                                 {Algorithm::automatic, Algorithm::winograd, Algorithm::fft}) {
                                Geometry g = conv2d(1, channels, channels, 20, 17, 3, 1, 1, 1, groups);
                                g.layout = layout;
                                g.stride[axis] = stride;
                                g.dilation[axis] = dilation;
                                g.pad_lo[axis] = dilation;
                                // Some results alone: a crop.
                                g.pad_hi[axis] = dilation + 1 + 4 * stride - g.input[axis];
                                for (const Pass pass : all_passes) {
                                    INFO(std::string(name(pass)), " ", std::string(name(algorithm)), ": ", describe(g));
                                    CHECK(planning(g, pass, DType::float32, algorithm).workspace <=
                                          (algorithm == Algorithm::automatic ? 32 : 192) * mib);
                                }
                            }
}

TEST_CASE("Fourier transforms of anything are planned, or refused, in bounded memory") {
    constexpr int64_t wide = int64_t(1) << 40;
    const auto check = [](const Geometry& g) {
        for (const Pass pass : all_passes) {
            INFO(std::string(name(pass)), ": ", describe(g));
            CHECK(planning(g, pass, DType::float64, Algorithm::fft).peak <= 64 * mib);
            CHECK(planning(g, pass).peak <= 64 * mib);
        }
    };
    for (const int64_t taps : {int64_t(2), int64_t(17), int64_t(5000), wide})
        for (const int64_t stride : {int64_t(1), int64_t(1000), wide})
            for (const int64_t dilation : {int64_t(1), int64_t(999), wide / taps}) {
                Geometry g = conv1d(1, 1, 1, (taps - 1) * dilation + 1, taps, stride, 0, dilation);
                for (const int64_t more : {int64_t(0), 3 * std::min(stride, wide), wide}) {
                    g.pad_lo[2] = more;
                    check(g);
                    g.pad_lo[2] = 0;
                    g.input[2] += more;
                    check(g);
                }
            }
    // Residue classes of 3 kinds along an axis share lengths and factors; those of many kinds are refused.
    Geometry classes = conv2d(1, 2, 3, 120, 121, 32, 24, 5);
    classes.kernel = {1, 32, 31};
    check(classes);
    CHECK(planning(classes, Pass::input_grad, DType::float64, Algorithm::fft).kept <= 4 * mib);
    // Those that are planned in parts have no plan for what is not finite.
    const Geometry many = conv2d(1, 1, 1, 200, 200, 40, 40, 0);
    const std::string refusal = message_of<std::invalid_argument>(
        [&] { Convolution(ConvProblem(many), Pass::input_grad, DType::float32, Algorithm::fft); });
    CHECK(contains(refusal, "residue classes are too many, expected 1024 at most"));
}

TEST_CASE("slabs of a halo with thousands of residue classes each") {
    Geometry g;
    g.rank = 2;
    g.batch = 3;
    g.out_channels = 4;
    g.input = {1, 15817704, 38};
    g.kernel = {1, 16384, 4};
    g.stride = {1, 16384, 1};
    g.dilation = {1, 1023, 8};
    g.pad_lo = {0, 958497, 1};
    g.pad_hi = {0, 0, 3};
    g.boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};
    CHECK(planning(g, Pass::input_grad, DType::float32, Algorithm::direct).peak <= 64 * mib);
    g.rank = 3;
    g.batch = 4;
    g.in_channels = 3;
    g.input = {19, 5, 16371};
    g.kernel = {16, 1, 2048};
    g.stride = {5, 4, 2048};
    g.dilation = {2, 5, 7};
    g.pad_lo = {8, 1, 8};
    g.pad_hi = {24, 3, 2};
    g.boundary = {Boundary::replicate, Boundary::circular, Boundary::replicate};
    CHECK(planning(g, Pass::input_grad, DType::float16).peak <= 64 * mib);
    g.rank = 2;
    g.batch = 9;
    g.in_channels = 7;
    g.out_channels = 6;
    g.input = {1, 180217, 1239};
    g.kernel = {1, 16384, 9};
    g.stride = {1, 16384, 3};
    g.dilation = {1, 9, 3};
    g.pad_lo = {0, 7, 3};
    g.pad_hi = {0, 6, -1198};
    g.boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};
    CHECK(planning(g, Pass::input_grad, DType::bfloat16).peak <= 64 * mib);
}

TEST_CASE("random geometries of any size are planned or refused within bounds") {
    Random random(71);
    int planned = 0;
    const auto size = [&](int64_t bits) {
        const int64_t power = int64_t(1) << random.integer(0, bits);
        return std::max<int64_t>(1, random.chance(2) ? random.integer(1, power) : power + random.integer(-1, 1));
    };
    for (int i = 0; i < 20'000; ++i) {
        Geometry g;
        g.rank = static_cast<int>(random.integer(1, 3));
        g.batch = random.chance(8) ? random.pick({0, int64_t(1) << 40}) : random.integer(1, 3);
        g.groups = random.chance(3) ? size(12) : 1;
        g.in_channels = g.groups * (random.chance(6) ? size(18) : random.integer(1, 40));
        g.out_channels = g.groups * (random.chance(6) ? size(18) : random.integer(1, 40));
        for (size_t a = 3 - static_cast<size_t>(g.rank); a < 3; ++a) {
            g.kernel[a] = random.chance(3) ? size(random.chance(2) ? 12 : 24) : random.integer(1, 9);
            g.stride[a] = random.chance(3) ? g.kernel[a] : random.chance(3) ? size(60) : random.integer(1, 6);
            g.dilation[a] = random.chance(4) ? size(60) : random.integer(1, 4);
            g.input[a] = random.chance(4) ? size(60) : random.integer(1, 60);
            // As much padding as so many results need, somewhere.
            const auto results = static_cast<double>(random.chance(3) ? size(30) : random.integer(1, 6));
            const double needed = (results - 1) * static_cast<double>(g.stride[a]) +
                                  static_cast<double>(g.kernel[a] - 1) * static_cast<double>(g.dilation[a]) + 1;
            const int64_t padded = static_cast<int64_t>(std::min(needed, 1e18)) + random.integer(0, 2);
            g.pad_lo[a] = random.chance(2) ? random.integer(-2, 40) : padded / 2;
            g.pad_hi[a] = padded - g.input[a] - g.pad_lo[a];
            g.boundary[a] = static_cast<Boundary>(random.chance(3) ? random.integer(1, 4) : 0);
        }
        g.flip = random.chance(3);
        g.per_sample = random.chance(5);
        g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
        const auto pass = static_cast<Pass>(random.integer(0, 2));
        const auto algorithm = static_cast<Algorithm>(random.integer(0, 3));
        INFO(std::string(name(pass)), " ", std::string(name(algorithm)), ": ", describe(g));
        const Planned plan = planning(g, pass, static_cast<DType>(random.integer(0, 3)), algorithm);
        CHECK(plan.peak <= 64 * mib);
        if (plan.planned) CHECK(plan.said <= 2 * plan.kept + 1024);
        planned += plan.planned;
    }
    CHECK(planned >= 4000);
}

}  // namespace convpp::test
