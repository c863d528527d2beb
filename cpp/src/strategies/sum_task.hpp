// What a task of weight_grad computes and with what: a product, how its sums lie in memory, a thread's buffers.
//
// In:  a Plan, the task's product.   Out: its channels and pairs, where its dy and x begin.
// Next: weight_grad.cpp and channel_sum.hpp, which sum.
#pragma once

#include <algorithm>
#include <utility>

#include "strategies/channels/product.hpp"
#include "source/padded.hpp"
#include "source/staged.hpp"
#include "strategies/rows/row_product.hpp"
#include "strategies/sliding/strip.hpp"
#include "strategies/sums.hpp"

namespace convpp {

// How the sums of one product (block of channels x block of pairs) lie in memory: rows of whole vectors.
struct SumLayout {
    int64_t patch_width, channel_width;  // of the panels
    int64_t elems;                       // of the largest product's sums

    template <class T>
    SumLayout(const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const Widths width = panel_widths(plan, kernel);
        patch_width = width.pixels;  // patches take the place of the products' pixels
        channel_width = width.channels;
        elems = plan.channel_block * round_up(plan.maps[0].patches.largest(), patch_width);
    }
};

// Whether patches of x are packed, or read as vectors.
inline bool reads_patches(const Plan& plan) {
    if (plan.feed == Feed::sliding_rows) return false;
    return plan.tile.pixels_are_columns || plan.feed == Feed::packed_pixels || plan.feed == Feed::pixel_vectors;
}

// Whether a panel of patches is copied straight from the pixels, all channels of each.
inline bool copies_patches(const Plan& plan) {
    const MapPlan& m = plan.maps[0];
    return plan.feed != Feed::channel_vectors && reads_patches(plan) && m.in_place && plan.source.axis[2] != 1;
}

// Whether x is read by pixels one by one, in padded_source.hpp's way.
inline bool reads_pixels(const Plan& plan) {
    return copies_patches(plan) || (plan.feed == Feed::pixel_scalars && !reads_patches(plan));
}

// Rows of dy that slide (slide_sum.hpp) and are gone through column by column: little enough that memory streams, enough
// that the source rows read twice, those of the kernel's height, stay few.  (Measured, 3x3: bands of 16 KiB took 1.3 to 2
// times as long for planes of 112x112 and 56x56.)
inline constexpr int64_t band_bytes = 2048, least_band = 4;
template <class T>
int64_t slide_band(const Box& pixels) {
    return std::max(least_band, band_bytes / (static_cast<int64_t>(sizeof(T)) * pixels.extent(3)));
}

// Stretches of memory that are asked for ahead, at most (a list of 32 KiB).
inline constexpr int64_t most_stretches = 2048;

template <class T>
struct SumBuffers {
    PatchBuffers<T> patches;    // where patches are packed, or read as vectors
    PaddedBuffers<T> padded;    // where they are read one by one
    ChannelCopy<T> channel_copy;  // where vectors run along the channels
    T* patch_panels = nullptr;
    T* channel_panels = nullptr;
    T* dy_rows = nullptr;  // where rows slide and dy is converted: a band of it
    T* sums = nullptr;
    T* tile = nullptr;
    kernels::Run* runs = nullptr;
    int64_t* dy_offset = nullptr;       // of pixels, or of channels
    int64_t* x_offset = nullptr;        // of pixels, where patches are copied
    kernels::VectorAt* pixel_rows = nullptr;  // where vectors run along the channels
    int64_t* row_offset = nullptr;      // of the sums
    int64_t* column_offset = nullptr;
    unsigned char* regular = nullptr;
    const T** rows = nullptr;        // where rows of the tile are read in place: they, and their sums
    T** row_sums = nullptr;
    kernels::Stretch* stretches = nullptr;  // of what the next box reads (read_ahead.hpp)
    int64_t next_task = -1;                 // that this thread probably takes after its own
    RowVectors vectors;              // where pixels are read as vectors
    std::pair<int64_t, int64_t> known{-1, -1};  // box and first pair that `vectors` and patches.staging were found for

    SumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : patches(carver, plan, kernel.lanes, reads_patches(plan)),
          padded(carver, plan, kernel.lanes, reads_pixels(plan)),
          channel_copy(carver, plan, kernel.lanes) {
        const MapPlan& m = plan.maps[0];
        const SumLayout layout(plan, kernel);
        const bool packed = plan.feed == Feed::packed_pixels, by_patch = plan.tile.pixels_are_columns;
        const int64_t pixels = m.pixels.largest(), pairs = round_up(m.patches.largest(), layout.patch_width);
        const int64_t most = std::max(pairs, plan.channel_block) + kernel.lanes;
        if (plan.feed == Feed::sliding_rows) {
            patch_panels = carver.take<T>(slide_source_elems(plan, kernel.lanes));
            channel_panels = carver.take<T>(pairs * kernel.lanes);
            const int64_t band = least_band * m.pixels.box(0).extent(3) + band_bytes / static_cast<int64_t>(sizeof(T));
            dy_rows = carver.take<T>(plan.converts ? band + kernel.lanes : 0);
        } else if (plan.feed == Feed::pixel_vectors) {
            const int64_t count = most_vectors(m.pixels.box(0), kernel.lanes);
            vectors.at = carver.take<kernels::VectorAt>(count);
            vectors.skip = carver.take<unsigned char>(count);
            vectors.count = carver.take<unsigned char>(count);
        } else {
            patch_panels = carver.take<T>(packed || by_patch ? pixels * pairs + kernel.lanes : 0);
            channel_panels = carver.take<T>(packed || !by_patch ? pixels * plan.channel_block + kernel.lanes : 0);
        }
        rows = carver.take<const T*>(most);
        row_sums = carver.take<T*>(most);
        sums = carver.take<T>(plan.chunks > 1 ? 0 : layout.elems);
        tile = carver.take<T>(layout.patch_width * layout.channel_width);
        runs = carver.take<kernels::Run>(most_runs(m.pixels.box(0), pixels));
        dy_offset = carver.take<int64_t>(std::max({pixels, layout.channel_width, most}));
        pixel_rows =
            carver.take<kernels::VectorAt>(plan.feed == Feed::channel_vectors ? most_rows(m.pixels.box(0)) : 0);
        x_offset = carver.take<int64_t>(copies_patches(plan) ? pixels : 0);
        stretches = carver.take<kernels::Stretch>(plan.feed == Feed::pixel_scalars ? most_stretches : 0);
        row_offset = carver.take<int64_t>(most);
        column_offset = carver.take<int64_t>(most);
        regular = carver.take<unsigned char>(most);
    }
};

// One product: which results, of which group.
struct Product {
    int64_t group = 0, channel_lo = 0, channels = 0;
    int64_t tap_box = 0;
    PatchBlock block;

    Product(const Plan& plan, int64_t index) {
        const PatchBlocks& patches = plan.maps[0].patches;
        block = patch_block(patches, index % patches.count());
        tap_box = index % patches.count() / patches.channel_blocks;
        index /= patches.count();
        channel_lo = index % plan.channel_blocks * plan.channel_block;
        channels = std::min(plan.channel_block, plan.result_channels - channel_lo);
        group = index / plan.channel_blocks;
    }
};

// A task: a product over the boxes of a chunk.
struct SumTask {
    int64_t chunk;
    Product product;
    int64_t box_lo, box_hi;

    SumTask(const Plan& plan, int64_t index) : chunk(index % plan.chunks), product(plan, index / plan.chunks) {
        const int64_t boxes = plan.maps[0].pixels.count();
        box_lo = boxes * chunk / plan.chunks;
        box_hi = boxes * (chunk + 1) / plan.chunks;
    }
};

// The group's first element of dy, and its x.
template <class T>
Stored<T> first_dy(const Plan& plan, const Product& product, const SumOperands<T>& operands) {
    return operands.dy + product.group * plan.result_channels * plan.result.channel;
}

template <class T>
Stored<T> first_x(const Plan& plan, const Product& product, const SumOperands<T>& operands) {
    return operands.x + product.group * plan.source_channels * plan.source.channel;
}

}  // namespace convpp
