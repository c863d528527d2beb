// A task of forward or input_grad whose pixels are read as vectors of a row (row_product.hpp).
//
// In:  the Plan, the operands, packed weights, a task.   Out: the task's results, which the tiles write themselves.
//
// That is for rows that fill their vectors and lie together in the result; strategies/flat/ is for the others.
#pragma once

#include <algorithm>
#include <cstdint>

#include "weights/panels.hpp"
#include "strategies/rows/row_product.hpp"

namespace convpp {

struct RowsPlan : StrategyPlan {
    int64_t chunk_bytes = 0;  // of the vectors that all result channels pass by before the next ones come
};

template <class T>
struct RowBuffers {
    PackingBuffers packing;
    Staging<T> patches;
    T* tile = nullptr;
    int64_t* rows = nullptr;
    RowVectors vectors;

    RowBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels), patches(carver, plan.maps, kernel.lanes) {
        int64_t pixels = 0, most = 0;
        for (const MapPlan& m : plan.maps) {
            const Box box = m.boxes.box(0);
            pixels = std::max(pixels, box.elems());
            most = std::max(most, most_vectors(box, kernel.lanes));
        }
        tile = carver.take<T>(int64_t(kernels::max_row_tile_rows) * kernels::max_row_tile_vectors * kernel.lanes);
        rows = carver.take<int64_t>(pixels);
        vectors.at = carver.take<kernels::VectorAt>(most);
        vectors.skip = carver.take<unsigned char>(most);
        vectors.count = carver.take<unsigned char>(most);
    }
};

template <class T>
void run_row_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T* packed,
                  const T* bias, RowBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t result_step = m.map.axis[2].result_step * plan.buffer.strides.axis[2];
    Staging<T> staging = buffers.patches;
    const RowEpilogue<T> epilogue{kernel, operands.epilogue, operands.result};
    int64_t known = -1;  // the block of patches that staging and vectors were found for
    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> group_own(plan, operands, bias, task, group);
        Addend<T> addend = group_own.addend(true);
        for (int64_t b = task.first_block(m.patches); b < task.end_block(m.patches); ++b) {
            const PatchBlock block = patch_block(m.patches, b);
            const T* const weights = packed + layout.of_task(m, group, task.channel_lo, block, b);
            const bool fresh = known != b;
            known = b;
            const Patches patches{m, plan.source.strides, task.pixels, block};
            const SourceView<T> view = stage_patches(kernel, patches, group_own.source, staging, fresh);
            if (fresh)
                find_row_vectors(m.map, plan.buffer.strides, task.pixels, view.step, kernel.lanes,
                                 m.patches.count() == 1 && !operands.accumulate, buffers.rows, buffers.vectors);
            RowProduct<T> product;
            product.depth = block.size();
            product.run = block.run;
            product.offsets = staging.offsets;
            product.weights = weights;
            product.panel_pitch = layout.pitch(block);
            product.channels = task.channels;
            product.channel_step = plan.buffer.strides.channel;
            product.result_step = result_step;
            product.chunk_bytes = own<RowsPlan>(plan).chunk_bytes;
            // Along a row, the last tap reads what no tap has read before.
            product.prefetch_every = m.in_place ? block.taps.extent(3) : 0;
            product.addend = addend;
            product.result = group_own.result;
            product.tile_buffer = buffers.tile;
            product.epilogue = operands.epilogue.none() || b + 1 < m.patches.count() ? nullptr : &epilogue;
            multiply_rows(kernel, view, buffers.vectors, product);
            addend.onto = kernels::Onto::c;
        }
    }
}

template <class T>
using RowsProduct = ProductParts<RowBuffers<T>, &pack_all_weights<T, RowBuffers<T>>, &run_row_task<T>, true>;

}  // namespace convpp
