// The loops around the micro-kernel, for weight_grad:
//
//   for each group, block of out channels, block of (channel, tap) pairs, chunk of pixels    parallel: the tasks
//     for each box of pixels of the chunk                                                    serial: one sum
//       bring x and dy to where the tile reads them
//       sums[out channel][pair] += over the box's pixels (or its transpose)
//   add the chunks' sums in a tree of fixed shape, write dw                                  parallel: the products
//
// The plan's way of feeding the tile says how the box's operands are read:
//
//   packed_pixels    sum_product    panels of both: x as [pixel][pair], dy as [pixel][out channel]
//   pixel_vectors    sum_rows       rows of both where they lie, pixels along the lanes (kernels/dot.hpp)
//   pixel_scalars    sum_indirect   one side packed, the other read where it lies: a row of the tile is a pair of x
//                                   or a channel of dy, and the offsets common to all rows are those of the pixels;
//                                   meanwhile the next box is asked for (read_ahead.hpp)
//   channel_vectors  sum_channels   vectors along the channels of several groups (kernels/channel.hpp)
//   sliding_rows     sum_slides     rows of both where they lie, a row of x for several lines of taps (kernels/slide.hpp)
//
// The number of chunks comes from the shapes, never from the number of threads: so do the bits of dw.
#include "strategies/sums.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "strategies/channels/grad.hpp"
#include "strategies/indirect/product.hpp"
#include "strategies/packed/panel_product.hpp"
#include "machine/parallel.hpp"
#include "source/prefetch.hpp"
#include "strategies/sliding/grad.hpp"
#include "strategies/sum_task.hpp"
#include "machine/dispatch.hpp"

namespace convpp {
namespace {

using kernels::KernelTable;
using kernels::Run;
using kernels::Start;

// panel[pixel][out channel] of dy.
template <class T>
void pack_dy(const Plan& plan, const KernelTable<T>& kernel, const Product& product, const SumOperands<T>& operands,
             const Box& pixels, int64_t width, const SumBuffers<T>& buffers) {
    const TensorStrides& strides = plan.result;
    const int64_t count = pixels.elems();
    Stored<T> base = first_dy(plan, product, operands);
    const kernels::Readers<T>& read = reading(kernel, base);
    const bool channels_lie_together = strides.channel == 1;
    int64_t first_run[2] = {0, 0};
    if (channels_lie_together) {
        result_offsets(plan.maps[0].map, strides, pixels, buffers.dy_offset);
    } else {
        const std::array<int64_t, 3> step{strides.batch, strides.axis[0], strides.axis[1]};
        base += pixels.lo[0] * step[0] + pixels.lo[1] * step[1] + pixels.lo[2] * step[2] + pixels.lo[3];
        panel_runs(pixels, step, count, buffers.runs, first_run);
    }
    for (int64_t first = 0; first < product.channels; first += width) {
        const int64_t channel = product.channel_lo + first, valid = std::min(width, product.channels - first);
        T* panel = buffers.channel_panels + first * count;
        if (valid < width) std::fill_n(panel, count * width, T(0));
        if (channels_lie_together) {
            const Run run{channel, 0, valid};
            read.copy_panel(base.at, buffers.dy_offset, count, &run, 1, panel, width, base.end);
        } else {
            for (int64_t j = 0; j < valid; ++j) buffers.dy_offset[j] = (channel + j) * strides.channel;
            read.transpose_panel(base.at, buffers.dy_offset, valid, buffers.runs, first_run[1], panel, width, base.end);
        }
    }
}

// panel[pixel][pair] of the patches of x.
template <class T>
void pack_patches(const Plan& plan, const KernelTable<T>& kernel, const Product& product,
                  const SumOperands<T>& operands, const Box& pixels, int64_t width, const SumBuffers<T>& buffers) {
    const int64_t count = pixels.elems(), pairs = product.block.size();
    if (copies_patches(plan)) {
        const PixelView<T> view = view_pixels(kernel, plan.maps[0], plan.source, first_x(plan, product, operands),
                                              pixels, product.block, buffers.padded);
        int64_t* offset = buffers.x_offset;
        for_each_pixel(view, pixels, [&](int64_t alpha) { *offset++ = alpha + buffers.padded.offsets[0]; });
        for (int64_t first = 0; first < pairs; first += width) {
            const Run run{first, 0, std::min(width, pairs - first)};
            T* panel = buffers.patch_panels + first * count;
            if (run.count < width) std::fill_n(panel, count * width, T(0));
            reading(kernel, view.base)
                .copy_panel(view.base.at, buffers.x_offset, count, &run, 1, panel, width, view.base.end);
        }
        return;
    }
    const PatchView<T> view = stage_patches(kernel, plan.maps[0], plan.source, first_x(plan, product, operands), pixels,
                                            product.block, buffers.patches);
    int64_t first_run[2] = {0, 0};
    panel_runs(pixels, view.step, count, buffers.runs, first_run);
    for (int64_t first = 0; first < pairs; first += width) {
        const int64_t valid = std::min(width, pairs - first);
        T* panel = buffers.patch_panels + first * count;
        if (valid < width) std::fill_n(panel, count * width, T(0));
        reading(kernel, view.base)
            .transpose_panel(view.base.at, buffers.patches.offsets + first, valid, buffers.runs, first_run[1], panel,
                             width, view.base.end);
    }
}

// The pitch of a product's rows of sums: its columns in whole vectors.
template <class T>
int64_t sum_pitch(const Plan& plan, const KernelTable<T>& kernel, const Product& product) {
    return round_up(plan.tile.pixels_are_columns ? product.block.size() : product.channels, kernel.lanes);
}

// sums[row][column] over the pixels of boxes [box_lo, box_hi).
template <class T>
void sum_product(const Plan& plan, const KernelTable<T>& kernel, const Product& product, const SumOperands<T>& operands,
                 int64_t box_lo, int64_t box_hi, T* sums, SumBuffers<T>& buffers) {
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
    Beginning<T> beginning;
    for (int64_t b = box_lo; b < box_hi; ++b) {
        const Box pixels = plan.maps[0].pixels.box(b);
        const int64_t count = pixels.elems();
        pack_patches(plan, kernel, product, operands, pixels, layout.patch_width, buffers);
        pack_dy(plan, kernel, product, operands, pixels, layout.channel_width, buffers);
        channels.pitch = count * layout.channel_width;
        patches.pitch = count * layout.patch_width;
        multiply_panels(kernel, plan.tile.shape, count, rows, columns, beginning, sums, buffers.tile);
        beginning.start = Start::from_c;
    }
}

// What the tiles of box b (rows x columns, `depth` pixels) ask for: the next box of this task, or the first one of the
// next task; null if there is none.
template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const KernelTable<T>& kernel, const Product& product,
                        const SumOperands<T>& operands, int64_t b, int64_t box_hi, int64_t depth, int64_t rows,
                        int64_t columns, const SumBuffers<T>& buffers) {
    const kernels::TileKernels<T>& tiles = kernel.tiles[plan.tile.shape];
    const int64_t full_tiles = rows / tiles.rows * (columns / (tiles.vectors * kernel.lanes));  // the full ones
    const BoxSplit& boxes = plan.maps[0].pixels;
    if (full_tiles == 0 || (b + 1 == box_hi && buffers.next_task < 0)) return {};
    if (b + 1 < box_hi) return prefetch_of(plan, product, operands, boxes.box(b + 1), full_tiles, depth, buffers.stretches);
    const SumTask next(plan, buffers.next_task);
    return prefetch_of(plan, next.product, operands, boxes.box(next.box_lo), full_tiles, depth, buffers.stretches);
}

// The same sums with only one side packed, the other one's rows read where they lie: pairs of x or channels of dy.
template <class T>
void sum_indirect(const Plan& plan, const KernelTable<T>& kernel, const Product& product,
                  const SumOperands<T>& operands, int64_t box_lo, int64_t box_hi, T* sums, SumBuffers<T>& buffers) {
    const SumLayout layout(plan, kernel);
    const int64_t pitch = sum_pitch(plan, kernel, product), pairs = product.block.size();
    const bool by_patch = plan.tile.pixels_are_columns;
    const int64_t rows = by_patch ? product.channels : pairs, columns = by_patch ? pairs : product.channels;
    for (int64_t i = 0; i < rows; ++i) buffers.row_sums[i] = sums + i * pitch;
    Beginning<T> beginning;
    for (int64_t b = box_lo; b < box_hi; ++b) {
        const Box pixels = plan.maps[0].pixels.box(b);
        const int64_t count = pixels.elems();
        if (by_patch) {
            pack_patches(plan, kernel, product, operands, pixels, layout.patch_width, buffers);
            result_offsets(plan.maps[0].map, plan.result, pixels, buffers.dy_offset);
            const T* const dy = (first_dy(plan, product, operands) + product.channel_lo * plan.result.channel).plain();
            for (int64_t i = 0; i < rows; ++i) buffers.rows[i] = dy + i * plan.result.channel;
        } else {
            const PixelView<T> view = view_pixels(kernel, plan.maps[0], plan.source, first_x(plan, product, operands),
                                                  pixels, product.block, buffers.padded);
            for (int64_t i = 0; i < rows; ++i) buffers.rows[i] = view.base.plain() + buffers.padded.offsets[i];
            pack_dy(plan, kernel, product, operands, pixels, layout.channel_width, buffers);
            int64_t* offset = buffers.dy_offset;
            for_each_pixel(view, pixels, [&](int64_t alpha) { *offset++ = alpha; });
        }
        kernels::Prefetch prefetch = prefetch_next(plan, kernel, product, operands, b, box_hi, count, rows, columns, buffers);
        multiply_indirect(kernel, kernel.tiles[plan.tile.shape], count, buffers.rows, buffers.dy_offset, rows,
                          by_patch ? buffers.patch_panels : buffers.channel_panels,
                          count * (by_patch ? layout.patch_width : layout.channel_width), columns, true, beginning,
                          buffers.row_sums, buffers.tile, prefetch.next != nullptr ? &prefetch : nullptr);
        beginning.start = Start::from_c;
    }
}

// The same sums where channels are few: rows of dy times rows of x, read where they lie.
template <class T>
void sum_rows(const Plan& plan, const KernelTable<T>& kernel, const Product& product, const SumOperands<T>& operands,
              int64_t box_lo, int64_t box_hi, T* sums, SumBuffers<T>& buffers) {
    const int64_t pitch = sum_pitch(plan, kernel, product);
    const Stored<T> dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel;
    std::fill_n(sums, product.channels * pitch, T(0));
    for (int64_t b = box_lo; b < box_hi; ++b) {
        const Box pixels = plan.maps[0].pixels.box(b);
        const bool fresh = buffers.known != std::pair(b, product.block.start);  // neighbouring groups are alike
        buffers.known = {b, product.block.start};
        const PatchView<T> view = stage_patches(kernel, plan.maps[0], plan.source, first_x(plan, product, operands),
                                                pixels, product.block, buffers.patches.staging, fresh, buffers.patches);
        if (fresh)
            find_row_vectors(plan.maps[0].map, plan.result, pixels, view.step, kernel.lanes, false, buffers.dy_offset,
                             buffers.vectors);
        kernel.dot_rows(dy.plain(), plan.result.channel, dy.plain_end(), product.channels, view.base.plain(),
                        buffers.patches.offsets, product.block.size(), buffers.vectors, sums, pitch);
    }
}

// Rows [row_lo, row_hi) of a product's sums become dw.
template <class T>
void write_rows(const Plan& plan, const KernelTable<T>& kernel, const Product& product, const T* sums, int64_t row_lo,
                int64_t row_hi, const SumOperands<T>& operands, const SumBuffers<T>& buffers) {
    const int64_t pitch = sum_pitch(plan, kernel, product), pairs = product.block.size();
    int64_t* const offsets = buffers.dy_offset;
    fill_offsets(product.block, plan.weight_source_channel, weight_position(plan, plan.maps[0]), offsets);
    const bool by_patch = plan.tile.pixels_are_columns;
    const int64_t channel_step = by_patch ? pitch : 1, pair_step = by_patch ? 1 : pitch;
    const int64_t channel_lo = by_patch ? row_lo : 0, channel_hi = by_patch ? row_hi : product.channels;
    const int64_t pair_lo = by_patch ? 0 : row_lo, pair_hi = by_patch ? pairs : row_hi;
    T* const dw = operands.dw + product.group * plan.weight_group + product.channel_lo * plan.weight_result_channel +
                  product.block.channel_lo * plan.weight_source_channel;
    if (operands.accumulate) {
        for (int64_t c = channel_lo; c < channel_hi; ++c)
            for (int64_t k = pair_lo; k < pair_hi; ++k)
                dw[c * plan.weight_result_channel + offsets[k]] += sums[c * channel_step + k * pair_step];
        return;
    }
    if (!by_patch)
        for (int64_t k = pair_lo; k < pair_hi; ++k) buffers.rows[k] = sums + k * pitch;
    for (int64_t first = pair_lo, end = first + 1; first < pair_hi; first = end++) {  // pairs that lie together in dw
        while (end < pair_hi && offsets[end] == offsets[end - 1] + 1) ++end;
        T* const to = dw + channel_lo * plan.weight_result_channel + offsets[first];
        if (by_patch)
            kernel.store_rows(sums + channel_lo * pitch + first, pitch, channel_hi - channel_lo, end - first, to,
                              plan.weight_result_channel);
        else kernel.transpose_rows(buffers.rows + first, end - first, product.channels, to, plan.weight_result_channel);
    }
}

// The rows of a product's sums.
int64_t sum_rows_of(const Plan& plan, const Product& product) {
    return plan.tile.pixels_are_columns ? product.channels : product.block.size();
}

template <class T>
void write_product(const Plan& plan, const KernelTable<T>& kernel, const Product& product, const T* sums,
                   const SumOperands<T>& operands, const SumBuffers<T>& buffers) {
    if (plan.feed == Feed::channel_vectors) write_channels(plan, kernel, product, sums, operands, buffers);
    else write_rows(plan, kernel, product, sums, 0, sum_rows_of(plan, product), operands, buffers);
}

// Adds the chunks' sums from `from` on into those of the first chunk, in a tree; a piece that stays in L1 at a time.
template <class T>
void add_chunks(const Plan& plan, const KernelTable<T>& kernel, int64_t elems, int64_t from, int64_t count, T* sums) {
    constexpr int64_t piece = 512;
    for (int64_t end = from + count; from < end; from += piece)
        for (int64_t distance = 1; distance < plan.chunks; distance *= 2)
            for (int64_t chunk = 0; chunk + distance < plan.chunks; chunk += 2 * distance)
                kernel.add(sums + (chunk + distance) * elems + from, std::min(piece, end - from),
                           sums + chunk * elems + from);
}

template <class T>
struct SharedBuffers {
    T* partial = nullptr;
    SharedBuffers(Carver& carver, const Plan& plan) { partial = carver.take<T>(plan.partial_elems); }
};

}  // namespace

template <class T>
void measure_weight_grad(Plan& plan) {
    Carver shared(nullptr), thread(nullptr);
    SharedBuffers<T>(shared, plan);
    SumBuffers<T>(thread, plan, kernel_table<T>(plan.isa));
    plan.shared_bytes = shared.used();
    plan.thread_bytes = thread.used();
}

template <class T>
void run_weight_grad(const Plan& plan, const SumOperands<T>& operands, int threads, std::byte* workspace) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver carver(workspace);
    const SharedBuffers<T> shared(carver, plan);
    std::vector<SumBuffers<T>> buffers;
    for (int t = 0; t < threads; ++t) buffers.emplace_back(carver, plan, kernel);
    const int64_t chunks = plan.chunks, elems = SumLayout(plan, kernel).elems;
    parallel_for(plan.tasks, threads, [&](int64_t index, int thread) {
        SumBuffers<T>& own = buffers[static_cast<size_t>(thread)];
        const SumTask task(plan, index);
        // A guess: threads take turns, but where there are so many tasks that several are handed out at once.  Then
        // another thread finds its box in a shared cache, or nobody does: it costs time alone.
        own.next_task = index + threads < plan.tasks ? index + threads : -1;
        T* const sums = chunks > 1 ? shared.partial + index * elems : own.sums;
        const auto sum = plan.feed == Feed::packed_pixels   ? &sum_product<T>
                         : plan.feed == Feed::pixel_vectors ? &sum_rows<T>
                         : plan.feed == Feed::pixel_scalars ? &sum_indirect<T>
                         : plan.feed == Feed::sliding_rows  ? &sum_slides<T>
                                                            : &sum_channels<T>;
        sum(plan, kernel, task.product, operands, task.box_lo, task.box_hi, sums, own);
        if (chunks == 1) write_product(plan, kernel, task.product, sums, operands, own);
    });
    if (chunks == 1) return;
    // Few large products are cut into parts of their rows.
    constexpr int64_t elems_of_part = 1 << 15;
    const int64_t products = plan.tasks / chunks;
    const int64_t most_parts = plan.feed == Feed::channel_vectors ? 1 : ceil_div(plan.tasks_wanted, products);
    const int64_t parts = std::clamp(elems * chunks / elems_of_part, int64_t(1), most_parts);
    parallel_for(products * parts, threads, [&](int64_t index, int thread) {
        const int64_t part = index % parts;
        T* const sums = shared.partial + index / parts * chunks * elems;
        const Product product(plan, index / parts);
        const SumBuffers<T>& own = buffers[static_cast<size_t>(thread)];
        const int64_t rows = sum_rows_of(plan, product), pitch = sum_pitch(plan, kernel, product);
        const int64_t lo = rows * part / parts, hi = rows * (part + 1) / parts;
        add_chunks(plan, kernel, elems, lo * pitch, (hi - lo) * pitch, sums);
        if (parts == 1) write_product(plan, kernel, product, sums, operands, own);
        else write_rows(plan, kernel, product, sums, lo, hi, operands, own);
    });
}

template void measure_weight_grad<float>(Plan&);
template void measure_weight_grad<double>(Plan&);
template void run_weight_grad<float>(const Plan&, const SumOperands<float>&, int, std::byte*);
template void run_weight_grad<double>(const Plan&, const SumOperands<double>&, int, std::byte*);

}  // namespace convpp
