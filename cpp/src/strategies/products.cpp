// The loops around the micro-kernel, for forward and input_grad:
//
//   for each family of maps (residue classes), block of groups, box of pixels,
//   block of result channels                                               parallel: the tasks (product_task.hpp)
//     for each group of the block, each map of the family
//       for each block of (channel, tap) pairs                             serial: one sum in one order
//         bring the source to where the tile reads it                      (patches.hpp, padded_source.hpp)
//         for each panel of channels, for some pixels at a time
//           one tile: for each pair of the block, multiply and add         (kernels/tile.hpp)
//     write what is not in its place yet                                   (flat_results.hpp, ordered_results.hpp)
//   residual, activation                                                   (task_results.hpp)
//
// The weights are packed once before (packed_weights.hpp).  How the tile is fed, and with it which of these lines there
// are, is the plan's choice; each way is a header of its own:
//
//   packed_pixels    packed_task.hpp        pixels are packed into panels too
//   pixel_vectors    row_task.hpp           vectors of pixels are read where they lie
//                    flat_task.hpp          the same, through planes as if they were one row
//   pixel_scalars    indirect_product.hpp   pixels are read one by one, vectors run along the result channels
//   channel_vectors  channel_product.hpp    few channels a group: vectors run along the channels of several groups
//   sliding_rows     slide_task.hpp         depthwise: rows of pixels that several rows of results read
//
// This file only takes the buffers that the way needs, packs the weights, and hands out the tasks.
#include "strategies/products.hpp"

#include <algorithm>
#include <vector>

#include "strategies/channels/product.hpp"
#include "strategies/rows/flat_product.hpp"
#include "strategies/indirect/product.hpp"
#include "strategies/packed/product.hpp"
#include "weights/panels.hpp"
#include "machine/parallel.hpp"
#include "strategies/rows/product.hpp"
#include "strategies/sliding/product.hpp"
#include "result/epilogue.hpp"
#include "machine/dispatch.hpp"

namespace convpp {
namespace {

using kernels::KernelTable;

// A task by each way of feeding the tile; the type of the thread's buffers chooses.
template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, const PackedBuffers<T>& buffers, const ProductTask& task) {
    run_packed_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, RowBuffers<T>& buffers, const ProductTask& task) {
    run_row_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, FlatBuffers<T>& buffers, const ProductTask& task) {
    run_flat_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, const IndirectBuffers<T>& buffers, const ProductTask& task) {
    run_indirect_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, const ChannelBuffers<T>& buffers, const ProductTask& task) {
    run_channel_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, const SlideBuffers<T>& buffers, const ProductTask& task) {
    run_slide_task(plan, kernel, operands, packed, bias, buffers, task);
}

// Calls use(type) with the type of buffers that the plan's way of feeding the tile needs.
template <class T>
struct Of {
    using type = T;
};
template <class T, class Use>
void with_buffers_of(const Plan& plan, const Use& use) {
    switch (plan.feed) {
        case Feed::packed_pixels: return use(Of<PackedBuffers<T>>());
        case Feed::pixel_vectors: return plan.flat_rows ? use(Of<FlatBuffers<T>>()) : use(Of<RowBuffers<T>>());
        case Feed::pixel_scalars: return use(Of<IndirectBuffers<T>>());
        case Feed::channel_vectors: return use(Of<ChannelBuffers<T>>());
        case Feed::sliding_rows: return use(Of<SlideBuffers<T>>());
    }
}

template <class Buffers, class T>
std::vector<Buffers> thread_buffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel, int threads) {
    std::vector<Buffers> buffers;
    buffers.reserve(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) buffers.emplace_back(carver, plan, kernel);
    return buffers;
}

template <class T>
std::vector<ResultBuffer<T>> result_buffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel,
                                            int threads) {
    std::vector<ResultBuffer<T>> buffers;
    buffers.reserve(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) buffers.emplace_back(carver, plan, kernel.lanes);
    return buffers;
}

template <class Buffers, class T>
void run_tasks(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, int threads,
               std::byte* workspace) {
    Carver carver(workspace);
    SharedWeights<T> shared(carver, plan, kernel);
    std::vector<Buffers> buffers = thread_buffers<Buffers>(carver, plan, kernel, threads);
    const std::vector<ResultBuffer<T>> results = result_buffers(carver, plan, kernel, threads);
    copy_bias(plan, operands.bias, shared.bias);
    const bool packs = operands.packed == nullptr && !plan.packs_in_task;
    if (packs) pack_all_weights(plan, kernel, operands, threads, shared.weights, buffers);
    const T* const weights = packs ? shared.weights : operands.packed;
    parallel_for(plan.tasks, threads, [&](int64_t index, int thread) {
        const ProductTask task(plan, index);
        const TaskEpilogue<T> own(plan, kernel, operands, results[static_cast<size_t>(thread)], task);
        run_task(plan, kernel, own.operands(), weights, shared.bias, buffers[static_cast<size_t>(thread)], task);
        own.finish();
    });
}

}  // namespace

template <class T>
void measure_implicit_gemm(Plan& plan) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver shared(nullptr), thread(nullptr);
    SharedWeights<T>(shared, plan, kernel);
    with_buffers_of<T>(plan, [&](auto of) { typename decltype(of)::type(thread, plan, kernel); });
    ResultBuffer<T>(thread, plan, kernel.lanes);
    plan.shared_bytes = shared.used();
    plan.thread_bytes = thread.used();
}

template <class T>
void pack_product_weights(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace,
                          T* packed) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver carver(workspace);
    const SharedWeights<T> shared(carver, plan, kernel);
    with_buffers_of<T>(plan, [&](auto of) {
        using Buffers = typename decltype(of)::type;
        pack_all_weights(plan, kernel, operands, threads, packed,
                         thread_buffers<Buffers>(carver, plan, kernel, threads));
    });
}

template <class T>
void run_implicit_gemm(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    ProductOperands<T> as_read = operands;
    if (plan.bf16_pairs) as_read.source = as_bf16_pairs(operands.source, plan.partner_distance);
    with_buffers_of<T>(
        plan, [&](auto of) { run_tasks<typename decltype(of)::type>(plan, kernel, as_read, threads, workspace); });
}

template void measure_implicit_gemm<float>(Plan&);
template void measure_implicit_gemm<double>(Plan&);
template void pack_product_weights<float>(const Plan&, const ProductOperands<float>&, int, std::byte*, float*);
template void pack_product_weights<double>(const Plan&, const ProductOperands<double>&, int, std::byte*, double*);
template void run_implicit_gemm<float>(const Plan&, const ProductOperands<float>&, int, std::byte*);
template void run_implicit_gemm<double>(const Plan&, const ProductOperands<double>&, int, std::byte*);

}  // namespace convpp
