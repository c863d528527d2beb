// A task of forward or input_grad whose pixels are packed into panels, as the weights are.
//
// In:  the Plan, the operands, packed weights, a task.   Out: the task's results.   Next: panel_product.hpp.
#pragma once

#include <algorithm>

#include "weights/panels.hpp"
#include "strategies/packed/panel_product.hpp"
#include "source/staged.hpp"

namespace convpp {

template <class T>
struct PackedBuffers {
    PackingBuffers packing;
    Staging<T> patches;
    T* panels = nullptr;
    T* tile = nullptr;
    kernels::Run* runs = nullptr;
    int64_t* first_run = nullptr;
    int64_t* pixel_offset = nullptr;
    int64_t* channel_offset = nullptr;
    unsigned char* regular_pixels = nullptr;
    unsigned char* regular_channels = nullptr;

    PackedBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels), patches(carver, plan.maps, kernel.lanes) {
        const Widths width = panel_widths(plan, kernel);
        int64_t packed = 0, run_count = 0, pixels = 0;
        for (const MapPlan& m : plan.maps) {
            pixels = std::max(pixels, m.boxes.largest());
            packed = std::max(packed, round_up(m.boxes.largest(), width.pixels) * m.patches.largest());
            run_count = std::max(run_count, most_runs(m.boxes.box(0), width.pixels));
        }
        const int64_t channels = std::min(plan.tasks.channel_block, plan.tasks.channels);
        panels = carver.take<T>(packed + kernel.lanes);
        tile = carver.take<T>(width.pixels * width.channels);
        runs = carver.take<kernels::Run>(run_count);
        first_run = carver.take<int64_t>(ceil_div(pixels, width.pixels) + 1);
        pixel_offset = carver.take<int64_t>(pixels);
        channel_offset = carver.take<int64_t>(std::max(channels, width.channels));
        regular_pixels = carver.take<unsigned char>(ceil_div(pixels, width.pixels));
        regular_channels = carver.take<unsigned char>(ceil_div(channels, width.channels));
    }
};

template <class T>
void run_packed_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                     const T* packed, const T* bias, const PackedBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const Widths width = panel_widths(plan, kernel);
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t count = task.pixels.elems(), panels = ceil_div(count, width.pixels);
    const bool by_pixel = plan.tile.pixels_are_columns;

    // Where the results lie is the same for all groups.
    result_offsets(m.map, plan.buffer.strides, task.pixels, buffers.pixel_offset);
    for (int64_t c = 0; c < task.channels; ++c) buffers.channel_offset[c] = c * plan.buffer.strides.channel;
    find_regular(buffers.pixel_offset, count, width.pixels, by_pixel, buffers.regular_pixels);
    find_regular(buffers.channel_offset, task.channels, width.channels, !by_pixel, buffers.regular_channels);
    Side<T> pixel_side{buffers.panels, 0, width.pixels, count, buffers.pixel_offset, buffers.regular_pixels};
    Side<T> channel_side{nullptr, 0, width.channels, task.channels, buffers.channel_offset, buffers.regular_channels};

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        Addend<T> addend = own.addend(by_pixel);
        for (int64_t b = task.first_block(m.patches); b < task.end_block(m.patches); ++b) {
            const PatchBlock block = patch_block(m.patches, b);
            const int64_t depth = block.size();
            const Patches patches{m, plan.source.strides, task.pixels, block};
            const SourceView<T> view = stage_patches(kernel, patches, own.source, buffers.patches);
            panel_runs(task.pixels, view.step, width.pixels, buffers.runs, buffers.first_run);
            pixel_side.pitch = depth * width.pixels;
            for (int64_t p = 0; p < panels; ++p) {
                T* panel = buffers.panels + p * pixel_side.pitch;
                if ((p + 1) * width.pixels > count) std::fill_n(panel, pixel_side.pitch, T(0));  // columns beyond
                reading(kernel, view.base)
                    .copy_panel(view.base.at, buffers.patches.offsets, depth, buffers.runs + buffers.first_run[p],
                                buffers.first_run[p + 1] - buffers.first_run[p], panel, width.pixels, view.base.end);
            }
            channel_side.pitch = layout.pitch(block);
            channel_side.panels = packed + layout.of_task(m, group, task.channel_lo, block, b);
            multiply_panels(kernel, plan.tile.shape, {depth, block.run}, by_pixel ? channel_side : pixel_side,
                            by_pixel ? pixel_side : channel_side, addend, own.result, buffers.tile);
            addend.onto = kernels::Onto::c;
        }
    }
}

template <class T>
using PackedProduct = ProductParts<PackedBuffers<T>, &pack_all_weights<T, PackedBuffers<T>>, &run_packed_task<T>>;

}  // namespace convpp
