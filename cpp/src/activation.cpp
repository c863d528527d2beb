// Activations of whole arrays, and their derivatives.  activation.hpp has the equations.
#include "convpp/activation.hpp"

#include <stdexcept>
#include <string>

#include "algorithms/parallel.hpp"
#include "convpp/convolution.hpp"
#include "convpp/error.hpp"
#include "dispatch.hpp"
#include "runtime_state.hpp"

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

}  // namespace

const char* name(Activation::Kind kind) noexcept {
    switch (kind) {
        case Activation::Kind::none: return "none";
        case Activation::Kind::relu: return "relu";
        case Activation::Kind::leaky_relu: return "leaky_relu";
        case Activation::Kind::silu: return "silu";
        case Activation::Kind::gelu: return "gelu";
        case Activation::Kind::clip: return "clip";
    }
    return "?";
}

bool derivative_needs_only_result(const Activation& activation) noexcept {
    switch (activation.kind) {
        case Activation::Kind::leaky_relu: return activation.lo >= 0;
        case Activation::Kind::silu:
        case Activation::Kind::gelu: return false;
        default: return true;
    }
}

template <class T>
void activate(View<const T> z, const Activation& activation, View<T> y, const Execution& how) {
    check_size<T>({y.data, y.size}, z.size, "y");
    check_size(z, z.size, "z");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    for_each_part(z.size, how.threads, [&](int64_t lo, int64_t count) {
        kernel.finish_rows(z.data + lo, count, nullptr, y.data + lo, count, 1, count, activation);
    });
}

template <class T>
void activation_grad(View<const T> dy, View<const T> value, const Activation& activation, View<T> dz,
                     const Execution& how) {
    check_size(value, dy.size, "value");
    check_size<T>({dz.data, dz.size}, dy.size, "dz");
    check_size(dy, dy.size, "dy");
    const kernels::KernelTable<T>& kernel = kernel_table<T>(active_isa());
    for_each_part(dy.size, how.threads, [&](int64_t lo, int64_t count) {
        kernel.multiply_derivative(dy.data + lo, value.data + lo, count, activation, dz.data + lo);
    });
}

template void activate(View<const float>, const Activation&, View<float>, const Execution&);
template void activate(View<const double>, const Activation&, View<double>, const Execution&);
template void activation_grad(View<const float>, View<const float>, const Activation&, View<float>, const Execution&);
template void activation_grad(View<const double>, View<const double>, const Activation&, View<double>,
                              const Execution&);

}  // namespace convpp
