// The loops of forward and input_grad by a direct strategy:
//
//   pack the weights                                                         parallel, once for a call
//   for each map (or residue classes), block of groups, box of pixels,
//   block of result channels                                                 parallel: the tasks (plan/tasks.hpp)
//     for each group of the block, each residue class
//       for each block of (channel, tap) pairs                               serial: one order
//         bring the source to where the tile reads it                        (source/)
//         for each panel of channels, for some pixels at a time
//           one tile: for each pair of the block, multiply and add           (kernels/tile/)
//     write what is not in its place yet                                     (result/)
//   residual, activation                                                     (result/epilogue.hpp)
//
// In:  a Plan, the operands, and the strategy's ProductParts (operands.hpp): buffers of a thread, how weights are
// packed, how a task is run.   Out: the functions of the strategy's Entry.   Next: strategies/packed/product.hpp, the
// plainest of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "result/epilogue.hpp"
#include "strategies/strategy.hpp"
#include "weights/panels.hpp"

namespace convpp {

template <class Buffers, class T>
ThreadBuffers<Buffers> thread_buffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel,
                                      int threads) {
    return {carver, threads, [&] { return Buffers(carver, plan, kernel); }};
}

// What one thread takes of them.
template <class Buffers, class T>
int64_t buffer_bytes(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    return measured<Buffers>(plan, kernel) + round_up(sizeof(Buffers) + fence_bytes, cache_line);
}

// What the tasks of a thread are told of their call, where its buffers derive from this.
struct TaskContext {
    // That the thread probably takes after this one; -1: none.  A guess: threads take turns, but where there are so
    // many tasks that several are handed out at once.  Then another thread finds what was asked for in a shared cache,
    // or nobody does: it costs time alone.
    int64_t next_task = -1;
    std::atomic<unsigned char>* not_finite = nullptr;  // as in RunContext
};

template <class Buffers>
void tell_context(Buffers& own, const Plan& plan, const RunContext& run, int64_t task) {
    if constexpr (std::is_base_of_v<TaskContext, Buffers>) {
        own.next_task = task + run.threads < plan.tasks.count ? task + run.threads : -1;
        own.not_finite = run.not_finite;
    }
}

template <class T, class Product>
void measure_products(const Plan& plan, WorkspaceBytes& bytes) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    bytes.shared = measured<SharedWeights<T>>(plan, kernel);
    bytes.of_thread = checked_add(buffer_bytes<typename Product::Buffers>(plan, kernel),
                                  buffer_bytes<ResultBuffer<T>>(plan, kernel), "the workspace");
}

template <class T, class Product>
void prepare_products(const Plan& plan, const Operands<T>& operands, const RunContext& run, T* packed) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    Carver carver(run.workspace);
    const SharedWeights<T> shared(carver, plan, kernel);
    Product::pack(plan, kernel, operands, run.threads, packed,
                  thread_buffers<typename Product::Buffers>(carver, plan, kernel, run.threads));
}

template <class T, class Product>
void run_products(const Plan& plan, const Operands<T>& operands, const RunContext& run) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    Carver carver(run.workspace);
    const SharedWeights<T> shared(carver, plan, kernel);
    auto buffers = thread_buffers<typename Product::Buffers>(carver, plan, kernel, run.threads);
    const auto results = thread_buffers<ResultBuffer<T>>(carver, plan, kernel, run.threads);
    copy_bias(plan, kernel, operands.bias, shared.bias);
    const bool packs = operands.packed == nullptr && !plan.packing.by_tasks;
    if (packs) Product::pack(plan, kernel, operands, run.threads, shared.weights, buffers);
    const T* const weights = packs ? shared.weights : operands.packed;
    parallel_for(plan.tasks.count, run.threads, [&](int64_t index, int thread) {
        const auto own = static_cast<size_t>(thread);
        ProductTask task(plan, index);
        tell_context(buffers[own], plan, run, index);
        if constexpr (Product::store != nullptr)
            if (rounds_alone(plan, operands) &&
                Product::store(plan, kernel, operands, weights, shared.bias, buffers[own], task))
                return;
        const TaskEpilogue<T> epilogue(plan, kernel, operands, results[own], task);
        const auto run_section = [&](const Operands<T>& with) {
            Product::run(plan, kernel, with, weights, shared.bias, buffers[own], task);
        };
        run_section(epilogue.operands());
        while (plan.sections > 1 && ++task.section < task.map.patches.sections()) epilogue.add_section(run_section);
        epilogue.apply(Product::applies_epilogue);
    });
}

}  // namespace convpp
