// One pass of one convolution: planned once, executed often.
//
// In:  a ConvProblem, the pass, the element type.        Out: the result, in memory of the caller.
//
//   pass          first operand    second operand    result
//   forward       x                w                 y  (+ bias of K elements)
//   input_grad    dy               w                 dx (+ bias of C elements: a transposed convolution's)
//   weight_grad   dy               x                 dw
//
// A Convolution is immutable: any number of threads may execute it at the same time, and copies are cheap.  All arrays
// are contiguous; the result must not overlap the operands.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "convpp/activation.hpp"
#include "convpp/half.hpp"
#include "convpp/problem.hpp"
#include "convpp/runtime.hpp"

namespace convpp {

// automatic: direct, or Winograd's or the FFT where one of them is faster.  winograd: fewer multiplications, errors about
// four times as large; a std::invalid_argument says why where it cannot serve (no kernel extent of 3 or 5 at stride 1).
// fft: products of Fourier transforms (overlap-save), for kernels of many taps.  reference: plain loops.
// stream: direct, and y and dx in an order of the sums that looks at no extent of x: an element of them has the same bits
// in any part of x that holds what it reads.
enum class Algorithm { automatic, direct, winograd, fft, reference, stream };

const char* name(Algorithm algorithm) noexcept;

// A contiguous array and its number of elements, which is checked against the problem: {pointer, size}, or any
// container with data() and size(), such as a std::vector or a std::span.
template <class T>
struct View {
    T* data = nullptr;
    int64_t size = 0;

    View() = default;
    View(T* first, int64_t elems) : data(first), size(elems) {}
    template <class Container,
              class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<Container&>().data()), T*>>>
    View(Container&& of) : data(of.data()), size(static_cast<int64_t>(of.size())) {}  // NOLINT: a conversion is meant
    template <class Other, class = std::enable_if_t<std::is_same_v<const Other, T>>>
    View(const View<Other>& of) : data(of.data), size(of.size) {}
};

namespace detail {
template <class T>
struct Given {
    using type = T;
};
}  // namespace detail

// A type that is not deduced from this argument, which may then be anything that a View can be made of.
template <class T>
using Given = typename detail::Given<T>::type;

struct Execution {
    int threads = 0;  // 0: num_threads()
    bool accumulate = false;  // add to the result instead of overwriting it
    Activation activation = {};  // forward and input_grad: applied to each result before it is written
    // Asked by the calling thread between its tasks, at most every 50 ms: true ends the call with Interrupted.
    std::function<bool()> interrupted = {};
};

// What a pass will do, as text and numbers (see Convolution::summary).
struct Summary {
    std::string algorithm, strategy, op, isa, dtype, blocking;
    int threads = 1;
    double flops = 0;
    int64_t tasks = 0;  // 0: the strategy hands its work out itself
    bool parallel = false;  // enough work for more than one thread
    double weight_share = 0;  // forward: an estimate of the share of the time that `prepare` saves
    // The first: the most that a call takes, whatever its operands and options (but a forward pass that accumulates,
    // which may take 4 MiB of sums more, or those of a sample).  The second: what each thread has for itself.
    int64_t workspace_bytes = 0, workspace_bytes_per_thread = 0;
};

// What a strategy would cost, in slots of a multiply-add unit; or why it does not serve.
struct Candidate {
    std::string name;
    double cost = 0;
    std::string refusal;  // empty: it serves
    bool by_rule = false;  // it is taken whatever the others' costs are
    bool chosen = false;
};

// Weights packed once for repeated forward passes (see Convolution::prepare).  Changing the weights afterwards has no
// effect.  Copies share one block of memory.
class PreparedWeights {
public:
    struct Implementation;
    explicit PreparedWeights(std::shared_ptr<const Implementation> implementation);
    int64_t bytes() const noexcept;

private:
    friend class Convolution;
    std::shared_ptr<const Implementation> implementation_;
};

class Convolution {
public:
    Convolution(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm = Algorithm::automatic);
    const ConvProblem& problem() const noexcept;
    Pass pass() const noexcept;
    DType dtype() const noexcept;
    Summary summary(int threads = 0) const;

    // About how many bytes the plan takes in memory, for who keeps many of them.  (Copies share one plan.)
    int64_t plan_bytes() const noexcept;

    // All strategies, in the order in which they are asked.  (A plan with nothing to sum has none.)
    std::vector<Candidate> candidates() const;

    // The operations of each task of the plan, a multiply-add counted as two, in the order in which threads take them;
    // empty where there are no tasks (nothing to sum, the reference, the FFT).  Forward and weight_grad: they add up
    // to problem().flops().  input_grad: to all (pixel of dx, tap of its residue class) pairs, also those that read
    // beyond dy, in place of all (pixel of dy, tap) pairs.
    // `threads`: of a plan made for so many threads (0: this one).
    std::vector<double> task_flops(int threads = 0) const;

    // `S` is the type of the operands, which must be the plan's: float, double, bfloat16 or float16.  `R` is that of
    // the results: the same, or float for halves, which are then not rounded.
    //
    //   execute<float>(x, w, bias, y)               of containers
    //   execute<bfloat16, float>(x, w, {}, y)
    //
    // `residual` (forward and input_grad; as many elements as results, or none) is added before the activation:
    // result = activation(sum + bias + residual).
    // Throws ShapeError if a size does not fit, DTypeError if the plan is for another type, std::bad_alloc if there is
    // no memory for the workspace; the result is then untouched.
    template <class S = float, class R = S>
    void execute(View<const S> first, View<const Given<S>> second, View<const Given<S>> bias, View<Given<R>> result,
                 const Execution& how = {}, View<const Given<S>> residual = {}) const;

    // Forward only: the weights as this plan reads them, packed or transformed, and the pass with them.  Preparing pays
    // for few pixels and many channels; Summary::weight_share estimates how much.
    template <class S = float>
    PreparedWeights prepare(View<const S> w, int threads = 0) const;
    template <class S = float, class R = S>
    void execute(View<const S> x, const PreparedWeights& w, View<const Given<S>> bias, View<Given<R>> y,
                 const Execution& how = {}, View<const Given<S>> residual = {}) const;

    struct Implementation;

private:
    std::shared_ptr<const Implementation> implementation_;
};

// db[k] = sum of dy over samples and pixels, added up in float64.  T is any of the four types; R that, or float.
template <class T, class R>
void bias_grad(View<const T> dy, int64_t batch, int64_t channels, int64_t pixels, Layout layout, View<R> db,
               const Execution& how = {});

}  // namespace convpp
