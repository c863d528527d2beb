// One pass of one convolution: planned once, executed often.
//
// In:  a ConvProblem, the pass, the element type.        Out: the result, in memory of the caller.
//
//   pass          first operand    second operand    result
//   forward       x                w                 y  (+ bias of K elements)
//   input_grad    dy               w                 dx (+ bias of C elements: a transposed convolution's)
//   weight_grad   dy               x                 dw
//
// A Convolution is immutable: any number of threads may execute it at the same time, and copies are cheap.  All arrays are contiguous; the
// result must not overlap the operands.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "convpp/activation.hpp"
#include "convpp/half.hpp"
#include "convpp/problem.hpp"
#include "convpp/runtime.hpp"

namespace convpp {

// automatic: direct, or Winograd's where it is faster.  winograd: fewer multiplications, errors about four times as large; a
// std::invalid_argument says why where it cannot serve (no kernel extent of 3 or 5 at stride 1).  reference: plain loops.
enum class Algorithm { automatic, direct, winograd, reference };

const char* name(Algorithm algorithm) noexcept;

// A contiguous array and its number of elements, which is checked against the problem.
template <class T>
struct View {
    T* data = nullptr;
    int64_t size = 0;
};

struct Execution {
    int threads = 0;  // 0: num_threads()
    bool accumulate = false;  // add to the result instead of overwriting it
    Activation activation = {};  // forward and input_grad: applied to each result before it is written
};

// What a pass will do, as text and numbers (see Convolution::summary).
struct Summary {
    std::string algorithm, op, isa, dtype, blocking;
    int threads = 1;
    double flops = 0;
    int64_t tasks = 0;
    bool parallel = false;  // enough work for more than one thread
    double weight_share = 0;  // forward: an estimate of the share of the time that `prepare` saves
    int64_t workspace_bytes = 0, workspace_bytes_per_thread = 0;  // the first: of all threads, and what they share
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

    // The operations of each task of the plan, a multiply-add counted as two, in the order in which threads take them;
    // empty where there are no tasks (nothing to sum, the reference algorithm).  Forward and weight_grad: they add up
    // to problem().flops().  input_grad: to all (pixel of dx, tap of its residue class) pairs, also those that read
    // beyond dy, in place of all (pixel of dy, tap) pairs.
    // `threads`: of a plan made for so many threads (0: this one).
    std::vector<double> task_flops(int threads = 0) const;

    // `residual` (forward and input_grad; as many elements as results, or none) is added before the activation:
    // result = activation(sum + bias + residual).
    // Throws ShapeError if a size does not fit, DTypeError if the plan is for another type, std::bad_alloc if there is
    // no memory for the workspace; the result is then untouched.
    void execute(View<const float> first, View<const float> second, View<const float> bias, View<float> result,
                 const Execution& how = {}, View<const float> residual = {}) const;
    void execute(View<const double> first, View<const double> second, View<const double> bias, View<double> result,
                 const Execution& how = {}, View<const double> residual = {}) const;
    void execute(View<const bfloat16> first, View<const bfloat16> second, View<const bfloat16> bias,
                 View<bfloat16> result, const Execution& how = {}, View<const bfloat16> residual = {}) const;
    void execute(View<const float16> first, View<const float16> second, View<const float16> bias, View<float16> result,
                 const Execution& how = {}, View<const float16> residual = {}) const;
    // Without rounding to half.
    void execute(View<const bfloat16> first, View<const bfloat16> second, View<const bfloat16> bias, View<float> result,
                 const Execution& how = {}, View<const bfloat16> residual = {}) const;
    void execute(View<const float16> first, View<const float16> second, View<const float16> bias, View<float> result,
                 const Execution& how = {}, View<const float16> residual = {}) const;

    // Forward only: the weights as this plan reads them, packed or transformed, and the pass with them.  Preparing pays for
    // few pixels and many channels; Summary::weight_share estimates how much.
    PreparedWeights prepare(View<const float> w, int threads = 0) const;
    PreparedWeights prepare(View<const double> w, int threads = 0) const;
    PreparedWeights prepare(View<const bfloat16> w, int threads = 0) const;
    PreparedWeights prepare(View<const float16> w, int threads = 0) const;
    void execute(View<const float> x, const PreparedWeights& w, View<const float> bias, View<float> y,
                 const Execution& how = {}, View<const float> residual = {}) const;
    void execute(View<const double> x, const PreparedWeights& w, View<const double> bias, View<double> y,
                 const Execution& how = {}, View<const double> residual = {}) const;
    void execute(View<const bfloat16> x, const PreparedWeights& w, View<const bfloat16> bias, View<bfloat16> y,
                 const Execution& how = {}, View<const bfloat16> residual = {}) const;
    void execute(View<const float16> x, const PreparedWeights& w, View<const float16> bias, View<float16> y,
                 const Execution& how = {}, View<const float16> residual = {}) const;
    void execute(View<const bfloat16> x, const PreparedWeights& w, View<const bfloat16> bias, View<float> y,
                 const Execution& how = {}, View<const bfloat16> residual = {}) const;
    void execute(View<const float16> x, const PreparedWeights& w, View<const float16> bias, View<float> y,
                 const Execution& how = {}, View<const float16> residual = {}) const;

    struct Implementation;

private:
    template <class S>
    PreparedWeights prepare_typed(View<const S> w, int threads) const;
    template <class S, class T, class R>
    void execute_typed(View<const S> first, View<const S> second, const T* packed, View<const S> bias, View<R> result,
                       const Execution& how, View<const S> residual) const;
    template <class S, class R>
    void execute_prepared(View<const S> x, const PreparedWeights& w, View<const S> bias, View<R> y,
                          const Execution& how, View<const S> residual) const;

    std::shared_ptr<const Implementation> implementation_;
};

// db[k] = sum of dy over samples and pixels, added up in float64.  T is any of the four types; R that, or float.
template <class T, class R>
void bias_grad(View<const T> dy, int64_t batch, int64_t channels, int64_t pixels, Layout layout, View<R> db,
               const Execution& how = {});

}  // namespace convpp
