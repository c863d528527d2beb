// The five loops around the micro-kernel, for forward and input_grad:
//
//   for each map (residue class), group, box of pixels, block of result channels      parallel: the tasks
//     for each block of (channel, tap) pairs                                          serial: one sum in one order
//       stage the source, pack the box's pixels into panels
//       for each column panel                                                         (panel_product.hpp)
//         for each row panel
//           one tile: for each pair of the block, multiply and add                    (kernels/tile.hpp)
//
// The weights are packed once before, by all threads together.  Everything else here serves those lines.
#include "algorithms/implicit_gemm.hpp"

#include <algorithm>
#include <vector>

#include "algorithms/indirect_product.hpp"
#include "algorithms/packed_weights.hpp"
#include "algorithms/panel_product.hpp"
#include "algorithms/parallel.hpp"
#include "algorithms/patches.hpp"
#include "algorithms/row_product.hpp"
#include "dispatch.hpp"

namespace convpp {
namespace {

using kernels::KernelTable;
using kernels::Run;
using kernels::Start;

template <class T>
struct ThreadBuffers {
    PackingBuffers packing;
    PatchBuffers<T> patches;
    T* panels = nullptr;
    T* tile = nullptr;
    Run* runs = nullptr;
    int64_t* first_run = nullptr;
    int64_t* pixel_offset = nullptr;
    int64_t* channel_offset = nullptr;
    unsigned char* regular_pixels = nullptr;
    unsigned char* regular_channels = nullptr;
    RowVectors vectors;  // where pixels are not packed

    ThreadBuffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels), patches(carver, plan, kernel.lanes) {
        const Widths width = panel_widths(plan, kernel);
        int64_t packed = 0, run_count = 0, pixels = 0, vector_count = 0;
        for (const MapPlan& m : plan.maps) {
            pixels = std::max(pixels, m.pixels.largest());
            if (plan.feed == Feed::packed_pixels)
                packed = std::max(packed, round_up(m.pixels.largest(), width.pixels) * m.patches.largest());
            else vector_count = std::max(vector_count, most_vectors(m.pixels.box(0), kernel.lanes));
            run_count = std::max(run_count, most_runs(m.pixels.box(0), width.pixels));
        }
        const int64_t channels = std::min(plan.channel_block, plan.result_channels);
        panels = carver.take<T>(packed + kernel.lanes);
        tile =
            carver.take<T>(std::max(width.pixels * width.channels, int64_t(kernels::max_row_tile_rows) *
                                                                       kernels::max_row_tile_vectors * kernel.lanes));
        runs = carver.take<Run>(run_count);
        vectors.at = carver.take<kernels::VectorAt>(vector_count);
        vectors.skip = carver.take<unsigned char>(vector_count);
        vectors.count = carver.take<unsigned char>(vector_count);
        first_run = carver.take<int64_t>(ceil_div(pixels, width.pixels) + 1);
        pixel_offset = carver.take<int64_t>(pixels);
        channel_offset = carver.take<int64_t>(std::max(channels, width.channels));
        regular_pixels = carver.take<unsigned char>(ceil_div(pixels, width.pixels));
        regular_channels = carver.take<unsigned char>(ceil_div(channels, width.channels));
    }
};

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, ThreadBuffers<T> buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const Widths width = panel_widths(plan, kernel);
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t count = task.pixels.elems(), panels = ceil_div(count, width.pixels);
    const int64_t result_step = m.map.axis[2].result_step * plan.result.axis[2];
    const bool by_pixel = plan.tile.pixels_are_columns, one_block = m.patches.count() == 1;

    // Where the results lie is the same for all groups.
    if (plan.feed == Feed::packed_pixels) {
        result_offsets(m.map, plan.result, task.pixels, buffers.pixel_offset);
        for (int64_t c = 0; c < task.channels; ++c) buffers.channel_offset[c] = c * plan.result.channel;
        find_regular(buffers.pixel_offset, count, width.pixels, by_pixel, buffers.regular_pixels);
        find_regular(buffers.channel_offset, task.channels, width.channels, !by_pixel, buffers.regular_channels);
    }
    Side<T> pixel_side{buffers.panels, 0, width.pixels, count, buffers.pixel_offset, buffers.regular_pixels};
    Side<T> channel_side{nullptr, 0, width.channels, task.channels, buffers.channel_offset, buffers.regular_channels};

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const int64_t sample = group / plan.groups_per_sample, group_of_sample = group % plan.groups_per_sample;
        const int64_t first_channel = group_of_sample * plan.result_channels + task.channel_lo;
        const Memory<const T> source{
            operands.source + sample * plan.source.batch + group_of_sample * plan.source_channels * plan.source.channel,
            operands.source + operands.source_elems};
        T* const result = operands.result + sample * plan.result.batch + first_channel * plan.result.channel;
        Beginning<T> beginning;
        if (operands.accumulate) beginning.start = Start::from_c;
        else if (operands.bias != nullptr)
            beginning = {by_pixel ? Start::row_bias : Start::column_bias, bias + first_channel};
        for (int64_t b = 0; b < m.patches.count(); ++b) {
            const PatchBlock block = patch_block(m.patches, b);
            const int64_t depth = block.size(), weight_pitch = layout.pitch(block);
            const T* const weights = packed + m.weights_at + group * m.weights_per_group + layout.at(block, b) +
                                     task.channel_lo / width.channels * weight_pitch;
            const PatchView<T> view =
                stage_patches(kernel, m, plan.source, source, task.pixels, block, buffers.patches);
            if (plan.feed != Feed::packed_pixels) {
                if (group == task.group_lo || !one_block)
                    find_row_vectors(m.map, plan.result, task.pixels, view.step, kernel.lanes,
                                     one_block && !operands.accumulate, buffers.pixel_offset, buffers.vectors);
                multiply_rows(kernel, depth, weights, weight_pitch, task.channels, plan.result.channel, view,
                              buffers.patches.offsets, buffers.vectors, result_step, beginning, result, buffers.tile);
            } else {
                panel_runs(task.pixels, view.step, width.pixels, buffers.runs, buffers.first_run);
                pixel_side.pitch = depth * width.pixels;
                for (int64_t p = 0; p < panels; ++p) {
                    T* panel = buffers.panels + p * pixel_side.pitch;
                    if ((p + 1) * width.pixels > count) std::fill_n(panel, pixel_side.pitch, T(0));  // columns beyond
                    kernel.copy_panel(view.base, buffers.patches.offsets, depth, buffers.runs + buffers.first_run[p],
                                      buffers.first_run[p + 1] - buffers.first_run[p], panel, width.pixels, view.end);
                }
                channel_side.pitch = weight_pitch;
                channel_side.panels = weights;
                multiply_panels(kernel, plan.tile.family, depth, by_pixel ? channel_side : pixel_side,
                                by_pixel ? pixel_side : channel_side, beginning, result, buffers.tile);
            }
            beginning.start = Start::from_c;
        }
    }
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* packed,
              const T* bias, const IndirectBuffers<T>& buffers, const ProductTask& task) {
    run_indirect_task(plan, kernel, operands, packed, bias, buffers, task);
}

template <class Buffers, class T>
std::vector<Buffers> thread_buffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel, int threads) {
    std::vector<Buffers> buffers;
    buffers.reserve(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) buffers.emplace_back(carver, plan, kernel);
    return buffers;
}

template <class Buffers, class T>
void run_tasks(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, int threads,
               std::byte* workspace) {
    Carver carver(workspace);
    SharedWeights<T> shared(carver, plan, kernel);
    const std::vector<Buffers> buffers = thread_buffers<Buffers>(carver, plan, kernel, threads);
    if (operands.bias != nullptr)
        std::copy_n(operands.bias, plan.groups_per_sample * plan.result_channels, shared.bias);
    if (operands.packed == nullptr) pack_all_weights(plan, kernel, operands, threads, shared.weights, buffers);
    const T* const weights = operands.packed != nullptr ? operands.packed : shared.weights;
    parallel_for(plan.tasks, threads, [&](int64_t task, int thread) {
        run_task(plan, kernel, operands, weights, shared.bias, buffers[static_cast<size_t>(thread)],
                 ProductTask(plan, task));
    });
}

}  // namespace

template <class T>
void measure_implicit_gemm(Plan& plan) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver shared(nullptr), thread(nullptr);
    SharedWeights<T>(shared, plan, kernel);
    if (plan.feed == Feed::pixel_scalars) IndirectBuffers<T>(thread, plan, kernel);
    else ThreadBuffers<T>(thread, plan, kernel);
    plan.shared_bytes = shared.used();
    plan.thread_bytes = thread.used();
}

template <class T>
void pack_product_weights(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace,
                          T* packed) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver carver(workspace);
    const SharedWeights<T> shared(carver, plan, kernel);
    if (plan.feed == Feed::pixel_scalars)
        pack_all_weights(plan, kernel, operands, threads, packed,
                         thread_buffers<IndirectBuffers<T>>(carver, plan, kernel, threads));
    else
        pack_all_weights(plan, kernel, operands, threads, packed,
                         thread_buffers<ThreadBuffers<T>>(carver, plan, kernel, threads));
}

template <class T>
void run_implicit_gemm(const Plan& plan, const ProductOperands<T>& operands, int threads, std::byte* workspace) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    if (plan.feed == Feed::pixel_scalars) run_tasks<IndirectBuffers<T>>(plan, kernel, operands, threads, workspace);
    else run_tasks<ThreadBuffers<T>>(plan, kernel, operands, threads, workspace);
}

template void measure_implicit_gemm<float>(Plan&);
template void measure_implicit_gemm<double>(Plan&);
template void pack_product_weights<float>(const Plan&, const ProductOperands<float>&, int, std::byte*, float*);
template void pack_product_weights<double>(const Plan&, const ProductOperands<double>&, int, std::byte*, double*);
template void run_implicit_gemm<float>(const Plan&, const ProductOperands<float>&, int, std::byte*);
template void run_implicit_gemm<double>(const Plan&, const ProductOperands<double>&, int, std::byte*);

}  // namespace convpp
