// What the C++ tests share: memory between fences, small random numbers and convolutions, exact comparisons.
//
// Every operand ends directly before a page that must not be touched, so that a vector read beyond it ends the
// program; every result is filled with NaN and lies between guard elements, so that nothing unwritten passes and
// nothing written outside it goes unseen.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <initializer_list>
#include <new>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "convpp/convpp.hpp"
#include "machine/dispatch.hpp"
#include "pages.hpp"

namespace convpp::test {

// A number as S stores it, and as it is computed with.
template <class S>
S made(double value) {
    if constexpr (std::is_floating_point_v<S>) return static_cast<S>(value);
    else return S::from(static_cast<float>(value));
}
template <class S>
auto value_of(S stored) {
    if constexpr (std::is_floating_point_v<S>) return stored;
    else return static_cast<float>(stored);
}

// Whether a sanitizer watches, which takes memory and threads of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool sanitized = false;
#endif

// The same numbers on every platform (the standard's distributions are not).
class Random {
public:
    explicit Random(uint64_t seed) : engine_(seed) {}
    int64_t integer(int64_t lo, int64_t hi) {  // lo and hi included
        return lo + static_cast<int64_t>(engine_() % static_cast<uint64_t>(hi - lo + 1));
    }
    bool chance(int64_t one_in) { return integer(1, one_in) == 1; }
    double real() { return static_cast<double>(integer(-1'000'000, 1'000'000)) / 777'777; }
    int64_t pick(std::initializer_list<int64_t> values) {
        return values.begin()[integer(0, static_cast<int64_t>(values.size()) - 1)];
    }

private:
    std::mt19937_64 engine_;
};

inline constexpr int64_t guards = 64;  // elements behind a result: more than any vector holds

// [fence page | guards, at least `behind` | size elements | `behind` guards | fence page], all of it NaN at first.
template <class T>
class Array {
public:
    explicit Array(int64_t size, int64_t behind = 0)
        : pages_(static_cast<size_t>(size + 2 * behind) * sizeof(T)), size_(size) {
        std::memset(pages_.begin(), guard_byte, pages_.bytes());
        data_ = reinterpret_cast<T*>(pages_.end()) - behind - size;
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }
    int64_t size() const { return size_; }
    View<const T> in() const { return {data_, size_}; }
    View<T> out() { return {data_, size_}; }

    void fill_integers(Random& random, int64_t most = 3) {
        for (int64_t i = 0; i < size_; ++i) data_[i] = made<T>(static_cast<double>(random.integer(-most, most)));
    }
    void fill_reals(Random& random) {
        for (int64_t i = 0; i < size_; ++i) data_[i] = made<T>(random.real());
    }
    void fill_nan() { std::memset(data_, guard_byte, static_cast<size_t>(size_) * sizeof(T)); }

    bool guards_intact() const {
        const auto* const first = reinterpret_cast<const unsigned char*>(data_);
        const auto* const last = reinterpret_cast<const unsigned char*>(data_ + size_);
        for (const unsigned char* at = pages_.begin(); at != first; ++at)
            if (*at != guard_byte) return false;
        for (const unsigned char* at = last; at != pages_.end(); ++at)
            if (*at != guard_byte) return false;
        return true;
    }

private:
    static constexpr unsigned char guard_byte = 0xff;  // all ones: a NaN in all types

    FencedPages pages_;
    T* data_ = nullptr;
    int64_t size_ = 0;
};

// The first place where two arrays differ, or -1.  NaN equals NaN.
template <class T>
int64_t first_difference(const T* a, const T* b, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        const auto left = value_of(a[i]), right = value_of(b[i]);
        if (!(left == right) && !(left != left && right != right)) return i;
    }
    return -1;
}

template <class T>
int64_t first_difference(const Array<T>& a, const Array<T>& b) {
    return a.size() == b.size() ? first_difference(a.data(), b.data(), a.size()) : 0;
}

template <class T>
bool same_bits(const Array<T>& a, const Array<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size()) * sizeof(T)) == 0;
}

// What the call says when it throws Error; "" if it returns.
template <class Error, class Call>
std::string message_of(const Call& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class T>
inline constexpr DType dtype_of = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::bfloat16;
template <>
inline constexpr DType dtype_of<float16> = DType::float16;

inline constexpr std::initializer_list<Pass> all_passes{Pass::forward, Pass::input_grad, Pass::weight_grad};
inline constexpr std::initializer_list<Layout> both_layouts{Layout::channels_first, Layout::channels_last};

// Whether the instruction set has fused multiply-adds: all but a baseline without them do.
inline bool is_fused(Isa isa) {
#if defined(__FMA__) || defined(__FP_FAST_FMA) || defined(__aarch64__)
    static_cast<void>(isa);
    return true;
#else
    return isa != Isa::scalar;
#endif
}

// Selects an instruction set, and the one before it again at the end.
class IsaScope {
public:
    explicit IsaScope(Isa isa) : before_(active_isa()) { select_isa(name(isa)); }
    ~IsaScope() { select_isa(name(before_)); }
    IsaScope(const IsaScope&) = delete;
    IsaScope& operator=(const IsaScope&) = delete;

private:
    Isa before_;
};

// Plans made meanwhile use bf16 pairs (two channels of bfloat16 at once), if this CPU has them, or do not.
class Bf16PairsScope {
public:
    explicit Bf16PairsScope(bool allowed) { allow_bf16_pairs(allowed); }
    ~Bf16PairsScope() { allow_bf16_pairs(true); }
    Bf16PairsScope(const Bf16PairsScope&) = delete;
    Bf16PairsScope& operator=(const Bf16PairsScope&) = delete;
};

inline bool multiplies_bf16_pairs(const Convolution& convolution) {
    return contains(convolution.summary().blocking, "two channels at once");
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

// A small random convolution with everything that can be unusual about one: channels around vector widths, groups,
// strides beyond the kernel, dilation that shares factors with the stride, asymmetric and negative padding.
inline Geometry random_geometry(Random& random, double most_flops) {
    constexpr int64_t longest_input[3]{60, 14, 7}, longest_kernel[3]{9, 5, 3};
    for (;;) {
        Geometry g;
        g.rank = static_cast<int>(random.integer(1, 3));
        const int64_t input = longest_input[g.rank - 1], kernel = longest_kernel[g.rank - 1];
        g.batch = random.integer(1, 3);
        g.groups = random.pick({1, 1, 1, 2, 3, 5});
        g.in_channels = g.groups * random.pick({1, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 49});
        g.out_channels = g.groups * random.pick({1, 1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 24, 33, 49});
        if (random.chance(5)) {  // depthwise and the like: a vector holds several groups
            g.groups = random.integer(2, 40);
            g.in_channels = g.out_channels = g.groups * random.pick({1, 1, 1, 2, 4, 8});
        }
        for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) {
            g.input[a] = random.integer(1, input);
            g.kernel[a] = random.integer(1, kernel);
            g.stride[a] = random.pick({1, 1, 1, 2, 2, 3, 4, 6});
            g.dilation[a] = random.pick({1, 1, 1, 2, 3, 4});
            g.pad_lo[a] = random.chance(2) ? 0 : random.integer(-2, 5);
            g.pad_hi[a] = random.chance(2) ? g.pad_lo[a] : random.integer(-2, 5);
        }
        g.flip = random.chance(4);
        g.per_sample = random.chance(5);
        g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
        if (message_of<ShapeError>([&] { ConvProblem{g}; }).empty() && ConvProblem(g).flops() <= most_flops) return g;
    }
}

}  // namespace convpp::test
