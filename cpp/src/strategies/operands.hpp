// The operands of a call, as strategies are given them.
//
// In:  arrays of the public API, as handles (source/stored.hpp).   Out: plain structs.   Next: product_loop.hpp,
// sum_loop.hpp.
#pragma once

#include "convpp/activation.hpp"
#include "kernels/contract.hpp"
#include "machine/workspace.hpp"
#include "plan/plan.hpp"
#include "plan/tasks.hpp"
#include "source/stored.hpp"

namespace convpp {

// What becomes of whole sums: activation(sum + residual).
template <class T>
struct Epilogue {
    Stored<T> residual;  // as many as results, or null
    Activation activation;

    bool none() const { return !residual && activation.kind == Activation::Kind::none; }
    // The same for results from `offset` on.
    Epilogue from(int64_t offset) const { return {residual ? residual + offset : residual, activation}; }
};

// Whole sums, as they lie in memory: rows of `count`.
template <class T>
struct SumRows {
    const T* at;
    int64_t pitch, rows, count;
};

// Rounds whole sums to what is stored, after residual and activation (kernels/epilogue/).
template <class T>
void apply_epilogue(const kernels::KernelTable<T>& kernel, const Epilogue<T>& epilogue, const SumRows<T>& sums,
                    const Results<T>& results, int64_t pitch) {
    kernel.apply_epilogue[static_cast<int>(results.as)][static_cast<int>(epilogue.residual.as)](
        sums.at, sums.pitch, epilogue.residual.at, results.at, pitch, sums.rows, sums.count, epilogue.activation);
}

// The arrays of a pass.  It reads two of the first three: x and w, dy and w, or dy and x; the other one is null.
template <class T>
struct Operands {
    Stored<T> x, w, dy;
    Stored<T> bias;  // of the result's channels, or null
    const T* packed = nullptr;  // forward: the weights as Entry::prepare left them; null: pack them first
    Results<T> result;
    bool accumulate = false;  // add to the result instead of overwriting it
    Epilogue<T> epilogue;
    // Where tasks of forward and input_grad compute: the result, or as if it was the whole of it (result/epilogue.hpp).
    T* sums = nullptr;

    // The operand whose patches are multiplied.
    const Stored<T>& source(Pass pass) const { return pass == Pass::input_grad ? dy : x; }
    // Those of samples from `first` on; `each`: any number of them.
    Operands of_samples(const ConvProblem& each, Pass pass, int64_t first) const {
        const Geometry& g = each.geometry();
        if (pass == Pass::weight_grad || first == 0) return *this;
        const int64_t elems = result_elems(each, pass) / g.batch;
        Operands own = *this;
        if (x) own.x += first * (each.x_elems() / g.batch);
        if (dy) own.dy += first * (each.y_elems() / g.batch);
        own.result = result + first * elems;
        own.epilogue = epilogue.from(first * elems);
        return own;
    }
    // Those of the n-th of several problems that follow each other in the arrays; `its_w`: each has weights of its own.
    Operands part(const ConvProblem& each, Pass pass, int64_t n, bool its_w = true) const {
        Operands own = *this;
        if (x) own.x += n * each.x_elems();
        if (w && its_w) own.w += n * each.w_elems();
        if (dy) own.dy += n * each.y_elems();
        own.result = result + n * result_elems(each, pass);
        own.epilogue = epilogue.from(n * result_elems(each, pass));
        return own;
    }
};

// What sums are added to: C (earlier blocks, or accumulate), a bias of the rows or of the columns, or zero.
template <class T>
struct Addend {
    kernels::Onto onto = kernels::Onto::zero;
    const T* bias = nullptr;  // of the first row (column); for columns readable up to whole vectors
};

// One group's part of a task: its source, its first result, what its sums are added to.
template <class T>
struct GroupOperands {
    Stored<T> source;
    T* result = nullptr;  // where it is computed
    int64_t result_at;  // where it belongs
    const T* bias;
    bool accumulate;

    GroupOperands(const Plan& plan, const Operands<T>& operands, const T* all_bias, const ProductTask& task,
                  int64_t group)
        : accumulate(operands.accumulate) {
        const int64_t first_channel = group * plan.tasks.channels + task.channel_lo;
        source = operands.source(plan.pass) + group * plan.source.channels * plan.source.strides.channel;
        if (operands.sums != nullptr) result = operands.sums + first_channel * plan.buffer.strides.channel;
        result_at = first_channel * plan.result.channel;
        bias = operands.bias ? all_bias + first_channel : nullptr;
    }

    Addend<T> addend(bool channels_are_rows) const {
        if (accumulate) return {kernels::Onto::c, nullptr};
        if (bias == nullptr) return {};
        return {channels_are_rows ? kernels::Onto::row_bias : kernels::Onto::column_bias, bias};
    }
};

// The first element of the product's group, of dy and of x.
template <class T>
Stored<T> first_dy(const Plan& plan, const SumProduct& product, const Operands<T>& operands) {
    return operands.dy + product.group * plan.tasks.channels * plan.result.channel;
}

template <class T>
Stored<T> first_x(const Plan& plan, const SumProduct& product, const Operands<T>& operands) {
    return operands.x + product.group * plan.source.channels * plan.source.strides.channel;
}

// Of a strategy that reads the weights where they lie.
template <class T, class Buffers>
void pack_nothing(const Plan&, const kernels::KernelTable<T>&, const Operands<T>&, int, T*,
                  const ThreadBuffers<Buffers>&) {}

// A strategy's part in product_loop.hpp: a thread's buffers, made of (carver, plan, kernel); packing all weights; a
// task. `AppliesEpilogue`: tasks do so themselves, where they compute in the result.  A strategy whose tiles round has
// a function `store`, too: a task whose results are nothing but rounded sums, or false where it has to be `run`.
template <class ThreadsBuffers, auto Pack, auto RunTask, bool AppliesEpilogue = false>
struct ProductParts {
    using Buffers = ThreadsBuffers;
    static constexpr auto pack = Pack;
    static constexpr auto run = RunTask;
    static constexpr bool applies_epilogue = AppliesEpilogue;
    static constexpr decltype(nullptr) store = nullptr;
};

}  // namespace convpp
