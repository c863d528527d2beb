// Activations of whole arrays, and their derivatives.  activation.hpp has the equations.
#include "convpp/activation.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "machine/parallel.hpp"
#include "convpp/convolution.hpp"
#include "convpp/error.hpp"
#include "machine/dispatch.hpp"
#include "machine/runtime_state.hpp"
#include "problem/names.hpp"
#include "source/stored.hpp"

namespace convpp {
namespace {

constexpr int64_t elems_of_task = 1 << 16;  // takes longer than waking a thread

template <class T>
void check_size(View<const T> view, int64_t expected, const char* argument) {
    if (view.size != expected)
        throw ShapeError(std::string(argument) + " has " + std::to_string(view.size) + " elements, expected " +
                         std::to_string(expected));
    if (expected > 0 && view.data == nullptr) throw std::invalid_argument(std::string(argument) + " is null");
}

// part(lo, count) for parts of an array that threads share.
template <class Part>
void for_each_part(int64_t size, int threads, const Part& part) {
    const int64_t tasks = size / elems_of_task + 1;
    parallel_for(tasks, tasks > 1 ? usable_threads(threads) : 1, [&](int64_t task, int) {
        const int64_t lo = size * task / tasks;
        part(lo, size * (task + 1) / tasks - lo);
    });
}

// Some elements of an operand in what is computed with: those that lie there, or converted.
constexpr int64_t piece = 256, most_lanes = 16;
template <class T>
const T* some(const kernels::KernelTable<T>& kernel, const Stored<T>& from, int64_t count, T* converted) {
    if (from.as == Storage::plain) return from.plain();
    reading(kernel, from).copy_rows(from.at, count, 1, 1, count, converted, count, from.end);
    return converted;
}

}  // namespace

const char* name(Activation::Kind kind) noexcept {
    return name_in({"none", "relu", "leaky_relu", "silu", "gelu", "clip"}, kind);
}

bool derivative_needs_only_result(const Activation& activation) noexcept {
    switch (activation.kind) {
        case Activation::Kind::leaky_relu: return activation.lo >= 0;
        case Activation::Kind::silu:
        case Activation::Kind::gelu: return false;
        default: return true;
    }
}

template <class S>
void activate(View<const S> z, const Activation& activation, View<S> y, const Execution& how) {
    using T = Computed<S>;
    check_size<S>({y.data, y.size}, z.size, "y");
    check_size(z, z.size, "z");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    const Stored<T> from(z.data, z.size);
    const Results<T> to(y.data);
    for_each_part(z.size, how.threads, [&](int64_t lo, int64_t count) {
        std::array<T, piece + most_lanes> converted;
        for (int64_t i = lo, left = count; left > 0; i += piece, left -= piece) {
            const int64_t now = std::min(left, piece);
            apply_epilogue(kernel, some(kernel, from + i, now, converted.data()), now, {}, to + i, now, 1, now,
                        activation);
        }
    });
}

template <class S>
void activation_grad(View<const S> dy, View<const S> value, const Activation& activation, View<S> dz,
                     const Execution& how) {
    using T = Computed<S>;
    check_size(value, dy.size, "value");
    check_size<S>({dz.data, dz.size}, dy.size, "dz");
    check_size(dy, dy.size, "dy");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    const Stored<T> slopes(value.data, value.size), from(dy.data, dy.size);
    const Results<T> to(dz.data);
    for_each_part(dy.size, how.threads, [&](int64_t lo, int64_t count) {
        std::array<T, piece + most_lanes> first, second;
        for (int64_t i = lo, left = count; left > 0; i += piece, left -= piece) {
            const int64_t now = std::min(left, piece);
            const T *const d = some(kernel, from + i, now, first.data()), *const v = some(kernel, slopes + i, now,
                                                                                          second.data());
            T* const product = to.as == Storage::plain ? (to + i).plain() : first.data();
            kernel.multiply_derivative(d, v, now, activation, product);
            if (to.as != Storage::plain) apply_epilogue(kernel, product, now, {}, to + i, now, 1, now, {});
        }
    });
}

template void activate(View<const float>, const Activation&, View<float>, const Execution&);
template void activation_grad(View<const float>, View<const float>, const Activation&, View<float>, const Execution&);
template void activate(View<const double>, const Activation&, View<double>, const Execution&);
template void activation_grad(View<const double>, View<const double>, const Activation&, View<double>,
                              const Execution&);
template void activate(View<const bfloat16>, const Activation&, View<bfloat16>, const Execution&);
template void activation_grad(View<const bfloat16>, View<const bfloat16>, const Activation&, View<bfloat16>,
                              const Execution&);
template void activate(View<const float16>, const Activation&, View<float16>, const Execution&);
template void activation_grad(View<const float16>, View<const float16>, const Activation&, View<float16>,
                              const Execution&);

}  // namespace convpp
