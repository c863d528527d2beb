// Carries a Case out and compares: whole numbers in, the exact integers out.
//
// In:  a Case, its Expected values, memory for the arrays.   Out: "" or what is wrong.
// Tolerance 0; but algorithms that transform, whose factors are no whole numbers, must be nearest to the right integer.
// Next: fuzz_results.cpp (guarded memory, every instruction set), racing_callers.cpp (many threads at once).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "expected.hpp"

namespace convpp::stress {

// Where the arrays of a call lie.
class Memory {
public:
    enum Slot { first, second, bias, residual, result, slots };
    virtual ~Memory() = default;
    virtual std::byte* place(Slot slot, int64_t bytes) = 0;  // what was in the slot before is given up
    virtual bool untouched_around(Slot slot) const = 0;  // nobody wrote next to the array
};

template <class T>
T stored(int64_t value) {
    if constexpr (std::is_floating_point_v<T>) return static_cast<T>(value);
    else return T::from(static_cast<float>(value));
}

template <class T>
double value_of(T element) {
    if constexpr (std::is_floating_point_v<T>) return static_cast<double>(element);
    else return static_cast<double>(static_cast<float>(element));
}

template <class T>
View<const T> put(Memory& memory, Memory::Slot slot, const std::vector<int32_t>& values) {
    const auto count = static_cast<int64_t>(values.size());
    T* const at = reinterpret_cast<T*>(memory.place(slot, count * static_cast<int64_t>(sizeof(T))));
    for (int64_t i = 0; i < count; ++i) at[i] = stored<T>(values[static_cast<size_t>(i)]);
    return {at, count};
}

inline int64_t activated(const Activation& activation, int64_t z) {
    switch (activation.kind) {
        case Activation::Kind::relu: return z > 0 ? z : 0;
        case Activation::Kind::leaky_relu: return z >= 0 ? z : static_cast<int64_t>(activation.lo) * z;
        case Activation::Kind::clip:
            return z < static_cast<int64_t>(activation.lo)   ? static_cast<int64_t>(activation.lo)
                   : z > static_cast<int64_t>(activation.hi) ? static_cast<int64_t>(activation.hi)
                                                             : z;
        default: return z;
    }
}

// One pass of a Case, with arrays of S and results of R.
template <class S, class R>
class Trial {
public:
    Trial(const Case& of, const ConvProblem& problem, const Expected& expected, Pass pass, Memory& memory)
        : case_(of), problem_(problem), pass_(pass), memory_(memory) {
        const bool sums = pass == Pass::weight_grad;
        adds_ = of.accumulate;
        const std::vector<int32_t>& plain = expected.sums(pass);
        std::vector<int32_t> residual;
        if (of.residual && !sums && !adds_) {
            residual.resize(plain.size());
            for (size_t i = 0; i < residual.size(); ++i) residual[i] = static_cast<int32_t>(i % 7) - 3;
            residual_ = put<S>(memory, Memory::residual, residual);
        }
        const bool biased = of.bias && !sums && !adds_;
        if (biased) bias_ = put<S>(memory, Memory::bias, expected.bias(pass));
        first_ = put<S>(memory, Memory::first, expected.first(pass));
        second_ = put<S>(memory, Memory::second, expected.second(pass));
        if (!sums && !adds_) activation_ = of.activation;
        want_.reserve(plain.size());
        for (size_t i = 0; i < plain.size(); ++i) {
            int64_t sum = plain[i];
            if (adds_) sum += before(static_cast<int64_t>(i));
            if (biased)
                sum += expected.bias(pass)[static_cast<size_t>(expected.channel(pass, static_cast<int64_t>(i)))];
            if (!residual.empty()) sum += residual[i];
            want_.push_back(activated(activation_, sum));
        }
    }

    // By a plan made for the instruction set and number of threads that are selected now.
    std::string run() {
        try {
            return run(planned());
        } catch (const std::exception& error) {
            return std::string("threw ") + error.what();
        }
    }

    std::string run(const Convolution& convolution) {
        Execution how;
        how.threads = case_.threads;
        how.accumulate = adds_;
        how.activation = activation_;
        const Summary summary = convolution.summary(how.threads);
        strategy_ = summary.strategy;
        const auto count = static_cast<int64_t>(want_.size());
        const auto bytes = count * static_cast<int64_t>(sizeof(R));
        R* const result = reinterpret_cast<R*>(memory_.place(Memory::result, bytes));
        if (bytes > 0) std::memset(static_cast<void*>(result), 0xff, static_cast<size_t>(bytes));  // a NaN in all types
        for (int64_t i = 0; adds_ && i < count; ++i) result[i] = stored<R>(before(i));
        if (case_.prepared && pass_ == Pass::forward) {
            const PreparedWeights weights = convolution.prepare<S>(second_, how.threads);
            convolution.execute<S, R>(first_, weights, bias_, {result, count}, how, residual_);
        } else {
            convolution.execute<S, R>(first_, second_, bias_, {result, count}, how, residual_);
        }
        for (const Memory::Slot slot : {Memory::first, Memory::second, Memory::bias, Memory::residual, Memory::result})
            if (!memory_.untouched_around(slot)) return "something was written next to array " + std::to_string(slot);
        const bool rounds = summary.algorithm == "winograd" || summary.algorithm == "fft";
        for (int64_t i = 0; i < count; ++i) {
            const int64_t want = want_[static_cast<size_t>(i)];
            if (!is_right(result[i], want, rounds))
                return "element " + std::to_string(i) + " is " + std::to_string(value_of(result[i])) + ", expected " +
                       std::to_string(want) + " (" + summary.strategy + ", " + summary.blocking + ")";
        }
        return "";
    }

    const std::string& strategy() const { return strategy_; }

private:
    Convolution planned() const {
        try {
            return Convolution(problem_, pass_, dtype(), case_.algorithm);
        } catch (const std::invalid_argument&) {
            if (case_.algorithm != Algorithm::winograd && case_.algorithm != Algorithm::fft) throw;
        }
        return Convolution(problem_, pass_, dtype(), Algorithm::automatic);  // the one asked for does not serve it
    }
    static DType dtype() {
        return std::is_same_v<S, float>      ? DType::float32
               : std::is_same_v<S, double>   ? DType::float64
               : std::is_same_v<S, bfloat16> ? DType::bfloat16
                                             : DType::float16;
    }
    static int64_t before(int64_t i) { return i % 11 - 5; }
    static bool is_right(R got, int64_t want, bool rounds) {
        if (!rounds) return value_of(got) == value_of(stored<R>(want));
        if constexpr (std::is_floating_point_v<R>) return std::nearbyint(value_of(got)) == static_cast<double>(want);
        // A half may be rounded to the other side of a tie.
        const double unit = std::is_same_v<R, bfloat16> ? 1.0 / 128 : 1.0 / 1024;
        const double exact = static_cast<double>(want);
        return std::abs(value_of(got) - exact) <= std::max(0.5, std::abs(exact) * unit);
    }

    const Case& case_;
    const ConvProblem& problem_;
    Pass pass_;
    Memory& memory_;
    bool adds_ = false;
    Activation activation_;
    View<const S> first_, second_, bias_, residual_;
    std::vector<int64_t> want_;
    std::string strategy_;
};

// use(trial) with the types of the Case.
template <class Use>
void with_trial(const Case& of, const ConvProblem& problem, const Expected& expected, Pass pass, Memory& memory,
                const Use& use) {
    const auto as = [&](auto s, auto r) {
        Trial<decltype(s), decltype(r)> trial(of, problem, expected, pass, memory);
        use(trial);
    };
    switch (of.dtype) {
        case DType::float32: return as(float{}, float{});
        case DType::float64: return as(double{}, double{});
        case DType::bfloat16: return of.float_results ? as(bfloat16{}, float{}) : as(bfloat16{}, bfloat16{});
        case DType::float16: return of.float_results ? as(float16{}, float{}) : as(float16{}, float16{});
    }
}

}  // namespace convpp::stress
