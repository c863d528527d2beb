// The weight gradient with one operand packed, and the other's rows read where they lie: a row of the tile is a pair of
// x or a filter of dy, and the offsets common to all rows are those of the pixels.
//
// In:  a Plan, a task, the operands.   Out: sums[row][column], then dw.   Next: product.hpp,
// strategies/sum_prefetch.hpp.
#pragma once

#include "strategies/indirect/product.hpp"
#include "strategies/panel_sums.hpp"
#include "strategies/product_loop.hpp"
#include "strategies/sum_prefetch.hpp"

namespace convpp {

template <class T>
struct IndirectSumBuffers : PanelBuffers<T>, TaskContext {
    T* sums = nullptr;
    T* tile = nullptr;
    T** row_sums = nullptr;
    kernels::Stretch* stretches = nullptr;  // of what the next box reads

    IndirectSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : PanelBuffers<T>(carver, plan, kernel, plan.tile.pixels_are_columns,
                          !plan.tile.pixels_are_columns && !dy_is_panel(plan, panel_widths(plan, kernel).channels)) {
        const SumLayout layout(plan, kernel);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : layout.elems);
        tile = carver.take<T>(layout.patch_width * layout.channel_width);
        row_sums = carver.take<T*>(layout.most);
        stretches = carver.take<kernels::Stretch>(most_stretches);
    }
};

// The tiles of a box: how many are full, and how many pixels each goes through.
struct BoxTiles {
    int64_t full, depth;
};

// What the tiles of box b ask for: the next box of this task, or the first one of the next task; null if there is none.
template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const SumTask& task, const Operands<T>& operands, int64_t b,
                                const BoxTiles& tiles, const IndirectSumBuffers<T>& own) {
    const BoxSplit& boxes = plan.maps[0].boxes;
    const bool last = b + 1 == task.box_hi;
    if (tiles.full == 0 || (last && own.next_task < 0)) return {};
    if (!last)
        return prefetch_of(plan, task.product, operands, boxes.box(b + 1), tiles.full, tiles.depth, own.stretches);
    const SumTask next(plan, own.next_task);
    return prefetch_of(plan, next.product, operands, boxes.box(next.box_lo), tiles.full, tiles.depth, own.stretches);
}

// The sums of a task, one side packed, the other one's rows read where they lie: pairs of x or channels of dy.
template <class T>
void sum_indirect(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task,
                  const Operands<T>& operands, T* sums, const IndirectSumBuffers<T>& buffers) {
    const SumLayout layout(plan, kernel);
    const SumProduct& product = task.product;
    const int64_t pitch = sum_pitch(plan, kernel, product), pairs = product.block.size();
    const bool by_patch = plan.tile.pixels_are_columns, in_place = dy_is_panel(plan, layout.channel_width);
    const int64_t rows = by_patch ? product.channels : pairs, columns = by_patch ? pairs : product.channels;
    const kernels::TileKernels<T>& tiles = kernel.tiles[plan.tile.shape];
    const int64_t full_tiles = rows / tiles.rows * (columns / (tiles.vectors * kernel.lanes));
    for (int64_t i = 0; i < rows; ++i) buffers.row_sums[i] = sums + i * pitch;
    Addend<T> addend;
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const Box pixels = plan.maps[0].boxes.box(b);
        const int64_t count = pixels.elems();
        const T* panels = by_patch ? buffers.patch_panels : buffers.channel_panels;
        if (by_patch) {
            pack_patches(plan, kernel, product, operands, pixels, layout.patch_width, buffers);
            result_offsets(plan.maps[0].map, plan.result, pixels, buffers.dy_offset);
            const T* const dy = (first_dy(plan, product, operands) + product.channel_lo * plan.result.channel).plain();
            for (int64_t i = 0; i < rows; ++i) buffers.writing.rows[i] = dy + i * plan.result.channel;
        } else {
            const Patches patches{plan.maps[0], plan.source.strides, pixels, product.block};
            const SourceView<T> view = view_pixels(kernel, patches, first_x(plan, product, operands), buffers.padded);
            for (int64_t i = 0; i < rows; ++i) buffers.writing.rows[i] = view.base.plain() + buffers.padded.offsets[i];
            if (in_place) panels = panel_in_place(plan, operands, pixels);
            else pack_dy(plan, kernel, product, operands, pixels, layout.channel_width, buffers);
            int64_t* offset = buffers.dy_offset;
            for_each_pixel(view, pixels, [&](int64_t alpha) { *offset++ = alpha; });
        }
        kernels::Prefetch prefetch = prefetch_next(plan, task, operands, b, {full_tiles, count}, buffers);
        const int64_t width = by_patch ? layout.patch_width : layout.channel_width;
        multiply_indirect(kernel, tiles,
                          {{buffers.writing.rows, buffers.dy_offset, rows, {count, pixel_run(plan, count)}},
                           {panels, count * width, columns},
                           {buffers.row_sums, buffers.tile, addend, true},
                           &prefetch});
        addend.onto = kernels::Onto::c;
    }
}

template <class T>
using IndirectSums = RowSums<T, IndirectSumBuffers<T>, &sum_indirect<T>>;

}  // namespace convpp
