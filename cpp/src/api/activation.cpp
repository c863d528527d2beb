// Activations of whole arrays, and their derivatives.  activation.hpp has the equations.
#include "convpp/activation.hpp"

#include <algorithm>
#include <array>

#include "api/check_view.hpp"
#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "machine/runtime_state.hpp"
#include "problem/names.hpp"
#include "strategies/operands.hpp"

namespace convpp {
namespace {

// Some elements of an operand in what is computed with: those that lie there, or converted.
constexpr int64_t piece = 256, most_lanes = 16;
template <class T>
const T* some(const kernels::KernelTable<T>& kernel, const Stored<T>& from, int64_t count, T* converted) {
    if (from.as == Storage::plain) return from.plain();
    reading(kernel, from).copy_rows(from.at, count, 1, 1, count, converted, count, from.end);
    return converted;
}

// body(i, count) for pieces of an array from element i on, which threads share.
template <class Body>
void for_each_piece(int64_t size, const Execution& how, const Body& body) {
    const AskBetweenTasks asking(how.interrupted);
    parallel_parts(size, size, usable_threads(how.threads), [&](int64_t lo, int64_t count) {
        for (int64_t i = lo; i < lo + count; i += piece) body(i, std::min(lo + count - i, piece));
    });
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
    check_view(y, z.size, "y");
    check_view(z, z.size, "z");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    const Stored<T> from(z.data, z.size);
    const Results<T> to(y.data);
    for_each_piece(z.size, how, [&](int64_t i, int64_t count) {
        std::array<T, piece + most_lanes> converted;
        const T* const sums = some(kernel, from + i, count, converted.data());
        apply_epilogue(kernel, {{}, activation}, {sums, count, 1, count}, to + i, count);
    });
}

template <class S>
void activation_grad(View<const S> dy, View<const S> value, const Activation& activation, View<S> dz,
                     const Execution& how) {
    using T = Computed<S>;
    check_view(value, dy.size, "value");
    check_view(dz, dy.size, "dz");
    check_view(dy, dy.size, "dy");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    const Stored<T> slopes(value.data, value.size), from(dy.data, dy.size);
    const Results<T> to(dz.data);
    for_each_piece(dy.size, how, [&](int64_t i, int64_t count) {
        std::array<T, piece + most_lanes> first, second;
        const T* const d = some(kernel, from + i, count, first.data());
        const T* const v = some(kernel, slopes + i, count, second.data());
        T* const product = to.as == Storage::plain ? (to + i).plain() : first.data();
        kernel.multiply_derivative(d, v, count, activation, product);
        if (to.as != Storage::plain) apply_epilogue(kernel, {}, {product, count, 1, count}, to + i, count);
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
