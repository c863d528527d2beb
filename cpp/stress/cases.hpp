// Random calls: what the programs of this folder execute.
//
// In:  a seed and a number.   Out: the same Case on every machine: a geometry with everything that can be unusual about
// one, and the options of the call.
// Next: expected.hpp (what it must give), trial.hpp (carries it out).
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "convpp/convpp.hpp"

namespace convpp::stress {

// splitmix64: a generator that is made anew for each case at no cost.
class Random {
public:
    Random(uint64_t seed, uint64_t number) : state_(seed * 0x9e3779b97f4a7c15U ^ number * 0xd1342543de82ef95U) {}
    uint64_t bits() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15U;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
        z = (z ^ z >> 27) * 0x94d049bb133111ebU;
        return z ^ z >> 31;
    }
    int64_t integer(int64_t lo, int64_t hi) {  // lo and hi included
        return lo + static_cast<int64_t>(bits() % static_cast<uint64_t>(hi - lo + 1));
    }
    bool chance(int64_t one_in) { return integer(1, one_in) == 1; }
    template <class Value>
    Value pick(std::initializer_list<Value> values) {
        return values.begin()[integer(0, static_cast<int64_t>(values.size()) - 1)];
    }

private:
    uint64_t state_;
};

inline constexpr std::initializer_list<Boundary> all_boundaries{Boundary::zeros, Boundary::reflect, Boundary::replicate,
                                                                Boundary::circular, Boundary::symmetric};
inline constexpr std::initializer_list<DType> all_types{DType::float32, DType::float64, DType::bfloat16,
                                                        DType::float16};
inline constexpr std::initializer_list<Pass> all_passes{Pass::forward, Pass::input_grad, Pass::weight_grad};

// A constructed problem, or none where the geometry is refused.
inline std::optional<ConvProblem> problem_of(const Geometry& geometry) {
    try {
        return ConvProblem(geometry);
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

struct Case {
    Geometry geometry;
    DType dtype = DType::float32;
    Algorithm algorithm = Algorithm::automatic;
    bool accumulate = false, bias = false, residual = false, prepared = false;
    bool pairs = true;  // bfloat16 channels may be multiplied in pairs
    bool float_results = false;  // of halves: not rounded
    Activation activation;
    int threads = 1;
};

// Channels around the widths of vectors, groups, strides beyond the kernel, dilation that shares factors with the
// stride, asymmetric and negative padding, every boundary, padding beyond the whole of x.
inline Geometry draw_geometry(Random& random, bool large) {
    constexpr int64_t longest_input[3]{60, 14, 7}, longest_kernel[3]{9, 5, 3};
    const double most = large ? 2.5e6 : random.chance(3) ? 1e5 : 2e4, least = large ? 8e5 : 0;  // multiply-adds
    for (;;) {
        Geometry g;
        g.rank = static_cast<int>(random.integer(1, 3));
        const int64_t grow = large ? random.integer(1, 4) : 1;
        const int64_t input = longest_input[g.rank - 1] * grow, kernel = longest_kernel[g.rank - 1];
        g.batch = random.chance(60) ? 0 : random.integer(1, large ? 9 : 3);
        g.groups = random.pick<int64_t>({1, 1, 1, 2, 3, 5});
        g.in_channels = g.groups * random.pick<int64_t>({1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 49});
        g.out_channels = g.groups * random.pick<int64_t>({1, 1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 24, 33, 49});
        if (random.chance(5)) {  // depthwise and the like: a vector holds several groups
            g.groups = random.integer(2, 40);
            g.in_channels = g.out_channels = g.groups * random.pick<int64_t>({1, 1, 1, 2, 4, 8});
        }
        const bool folds = random.chance(3);
        for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) {
            g.input[a] = random.integer(1, input);
            g.kernel[a] = random.integer(1, kernel);
            g.stride[a] = random.pick<int64_t>({1, 1, 1, 2, 2, 3, 4, 6});
            g.dilation[a] = random.pick<int64_t>({1, 1, 1, 2, 3, 4});
            const int64_t widest = random.chance(8) ? 2 * g.input[a] + 3 : 5;
            g.pad_lo[a] = random.chance(2) ? 0 : random.integer(-2, widest);
            g.pad_hi[a] = random.chance(2) ? g.pad_lo[a] : random.integer(-2, widest);
            if (folds) g.boundary[a] = random.pick(all_boundaries);
        }
        if (random.chance(4))  // what special ways serve: kernels of 3 and 5 at stride 1
            for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) {
                g.kernel[a] = random.pick<int64_t>({3, 3, 5, 1});
                g.stride[a] = 1;
            }
        if (random.chance(6)) {  // and kernels that the FFT is for
            const size_t a = static_cast<size_t>(random.integer(3 - g.rank, 2));
            g.kernel[a] *= random.integer(2, 30);
            g.input[a] += g.kernel[a];
        }
        g.flip = random.chance(4);
        g.per_sample = random.chance(5);
        g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
        const std::optional<ConvProblem> problem = problem_of(g);
        if (!problem) continue;
        const double terms = problem->flops() / 2;
        if (terms >= least && terms <= most &&
            std::max({problem->x_elems(), problem->y_elems(), problem->w_elems()}) <= 150'000)
            return g;
    }
}

inline Case draw_case(Random& random) {
    Case of;
    of.geometry = draw_geometry(random, random.chance(40));  // the large ones are shared by threads
    of.dtype = random.pick(all_types);
    of.algorithm =
        random.pick({Algorithm::automatic, Algorithm::automatic, Algorithm::stream, Algorithm::direct,
                     Algorithm::winograd, Algorithm::winograd, Algorithm::fft, Algorithm::fft, Algorithm::reference});
    of.accumulate = random.chance(4);
    of.bias = random.chance(2);
    of.residual = random.chance(3);
    of.prepared = random.chance(3);
    of.pairs = !random.chance(4);
    of.float_results = random.chance(3);
    // Those that whole numbers go through unrounded.
    of.activation = random.pick<Activation>({{},
                                             {},
                                             {Activation::Kind::relu},
                                             {Activation::Kind::relu},
                                             {Activation::Kind::leaky_relu, 2},
                                             {Activation::Kind::clip, -4, 9}});
    of.threads = static_cast<int>(random.integer(1, 8));
    return of;
}

inline std::string describe(const Geometry& g) {
    const auto text = [](const Extents& e) {
        return "{" + std::to_string(e[0]) + ", " + std::to_string(e[1]) + ", " + std::to_string(e[2]) + "}";
    };
    return "rank " + std::to_string(g.rank) + " N " + std::to_string(g.batch) + " C " + std::to_string(g.in_channels) +
           " K " + std::to_string(g.out_channels) + " groups " + std::to_string(g.groups) + " input " + text(g.input) +
           " kernel " + text(g.kernel) + " stride " + text(g.stride) + " dilation " + text(g.dilation) + " padding " +
           text(g.pad_lo) + " " + text(g.pad_hi) + (g.flip ? " flip" : "") + (g.per_sample ? " per_sample " : " ") +
           name(g.layout) + " " + name(g.boundary[0]) + " " + name(g.boundary[1]) + " " + name(g.boundary[2]);
}

inline std::string describe(const Case& of) {
    return describe(of.geometry) + " | " + name(of.dtype) + (of.float_results ? " to float32 " : " ") +
           name(of.algorithm) + " threads " + std::to_string(of.threads) + (of.accumulate ? " accumulate" : "") +
           (of.bias ? " bias" : "") + (of.residual ? " residual" : "") + (of.prepared ? " prepared" : "") +
           (of.pairs ? " " : " no pairs ") + name(of.activation.kind);
}

}  // namespace convpp::stress
