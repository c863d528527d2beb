// The loops of weight_grad by a direct strategy:
//
//   for each group, block of filters, block of (channel, tap) pairs, chunk of pixels         parallel: the tasks
//     for each box of pixels of the chunk                                                    serial: one sum
//       bring x and dy to where the tile reads them                                          (source/)
//       sums[filter][pair] += over the box's pixels (or its transpose)
//   add the chunks' sums in a tree of fixed shape, write dw                                  parallel: the products
//
// In:  a Plan, the operands, and the strategy's part: RowSums (panel_sums.hpp), or a struct with the same members.
// Out: the functions of the strategy's Entry.   Next: panel_sums.hpp, strategies/indirect/grad.hpp.
//
// The number of chunks comes from the shapes, never from the number of threads: so do the bits of dw.
#pragma once

#include <algorithm>

#include "strategies/chunks.hpp"
#include "strategies/product_loop.hpp"

namespace convpp {

// What all tasks share: the sums of the chunks.
template <class T, class Sums>
struct ChunkSums {
    T* partial = nullptr;
    int64_t elems;  // of a product

    ChunkSums(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : elems(Sums::elems(plan, kernel)) {
        partial = carver.take<T>(plan.tasks.chunks > 1 ? checked_mul(plan.tasks.count, elems, "the chunks' sums") : 0);
    }
};

template <class T, class Sums>
void measure_sums(const Plan& plan, WorkspaceBytes& bytes) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    bytes = {measured<ChunkSums<T, Sums>>(plan, kernel), buffer_bytes<typename Sums::Buffers>(plan, kernel)};
}

template <class T, class Sums>
void run_sums(const Plan& plan, const Operands<T>& operands, const RunContext& run) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    Carver carver(run.workspace);
    const ChunkSums<T, Sums> shared(carver, plan, kernel);
    auto buffers = thread_buffers<typename Sums::Buffers>(carver, plan, kernel, run.threads);
    const int64_t chunks = plan.tasks.chunks, elems = shared.elems;
    parallel_for(plan.tasks.count, run.threads, [&](int64_t index, int thread) {
        typename Sums::Buffers& own = buffers[static_cast<size_t>(thread)];
        const SumTask task(plan, index);
        tell_context(own, plan, run, index);
        T* const sums = chunks > 1 ? shared.partial + index * elems : own.sums;
        Sums::run(plan, kernel, task, operands, sums, own);
        if (chunks == 1)
            Sums::write(plan, kernel, task.product, sums, 0, Sums::rows(plan, task.product), operands, own);
    });
    if (chunks == 1) return;
    // Few large products are cut into parts of their rows.
    constexpr int64_t elems_of_part = 1 << 15;
    const int64_t products = plan.tasks.count / chunks;
    const int64_t wanted = std::max(least_tasks_wanted, tasks_of_thread * run.threads);
    const int64_t most_parts = Sums::cuts_rows ? ceil_div(wanted, products) : 1;
    const int64_t parts = std::clamp(elems * chunks / elems_of_part, int64_t(1), most_parts);
    parallel_for(products * parts, run.threads, [&](int64_t index, int thread) {
        typename Sums::Buffers& own = buffers[static_cast<size_t>(thread)];
        tell_context(own, plan, run, index);  // a thread may have had no task before
        const int64_t part = index % parts;
        T* const sums = shared.partial + index / parts * chunks * elems;
        const SumProduct product(plan, index / parts);
        const int64_t rows = Sums::rows(plan, product), pitch = Sums::pitch(plan, kernel, product);
        const int64_t lo = rows * part / parts, hi = rows * (part + 1) / parts;
        add_chunks(kernel, {chunks, elems, lo * pitch, (hi - lo) * pitch}, sums);
        Sums::write(plan, kernel, product, sums, lo, hi, operands, own);
    });
}

}  // namespace convpp
