// The weight gradient by panels of both operands: x as [pixel][pair], dy as [pixel][filter].
//
// In:  a Plan, a task, the operands.   Out: sums[row][column], then dw.   Next: strategies/panel_sums.hpp,
// panel_product.hpp.
#pragma once

#include <algorithm>

#include "strategies/packed/panel_product.hpp"
#include "strategies/panel_sums.hpp"

namespace convpp {

template <class T>
struct PackedSumBuffers : PanelBuffers<T> {
    T* sums = nullptr;
    T* tile = nullptr;
    int64_t* row_offset = nullptr;  // of the sums
    int64_t* column_offset = nullptr;
    unsigned char* regular = nullptr;

    PackedSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : PanelBuffers<T>(carver, plan, kernel, true, true) {
        const SumLayout layout(plan, kernel);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : layout.elems);
        tile = carver.take<T>(layout.patch_width * layout.channel_width);
        row_offset = carver.take<int64_t>(layout.most);
        column_offset = carver.take<int64_t>(layout.most);
        regular = carver.take<unsigned char>(layout.most);
    }
};

// sums[row][column] over the pixels of the task's boxes.
template <class T>
void sum_panels(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task,
                const Operands<T>& operands, T* sums, const PackedSumBuffers<T>& buffers) {
    const SumProduct& product = task.product;
    const SumLayout layout(plan, kernel);
    const int64_t pitch = sum_pitch(plan, kernel, product);
    const bool by_patch = plan.tile.pixels_are_columns;
    Side<T> channels{buffers.channel_panels, 0, layout.channel_width, product.channels, nullptr, buffers.regular};
    Side<T> patches{buffers.patch_panels, 0, layout.patch_width, product.block.size(), nullptr, buffers.regular};
    Side<T>&rows = by_patch ? channels : patches, &columns = by_patch ? patches : channels;
    for (int64_t i = 0; i < rows.count; ++i) buffers.row_offset[i] = i * pitch;
    for (int64_t j = 0; j < pitch; ++j) buffers.column_offset[j] = j;
    rows.offset = buffers.row_offset;
    columns.offset = buffers.column_offset;
    columns.count = pitch;  // the vectors' unused ends are sums of zeros
    std::fill_n(buffers.regular, std::max(rows.count, pitch), static_cast<unsigned char>(1));
    Addend<T> addend;
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const Box pixels = plan.maps[0].boxes.box(b);
        const int64_t count = pixels.elems();
        pack_patches(plan, kernel, product, operands, pixels, layout.patch_width, buffers);
        pack_dy(plan, kernel, product, operands, pixels, layout.channel_width, buffers);
        channels.pitch = count * layout.channel_width;
        patches.pitch = count * layout.patch_width;
        multiply_panels(kernel, plan.tile.shape, {count, pixel_run(plan, count)}, rows, columns, addend, sums,
                        buffers.tile);
        addend.onto = kernels::Onto::c;
    }
}

template <class T>
using PackedSums = RowSums<T, PackedSumBuffers<T>, &sum_panels<T>>;

}  // namespace convpp
