// A task of forward or input_grad whose pixels are read as vectors of a row (row_product.hpp).
//
// In:  the Plan, the operands, packed weights, a task.   Out: the task's results.
//
// Where rows fill their vectors, tiles write the results themselves.  Short rows would leave most lanes unused, and
// results two pixels apart would be stored one by one.  There, the task goes through the staged planes as if each was
// one long row (a few lanes between two rows compute what nobody reads) and leaves flat results of the same shape, from
// which rows are copied into the result, those of neighbouring residue classes interleaved.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "algorithms/packed_weights.hpp"
#include "algorithms/row_product.hpp"

namespace convpp {

// One map's flat results: plane (n, d) begins at first + (n*depth + d)*plane, its rows are `pitch` apart.
struct FlatResults {
    int64_t first = 0, plane = 0, pitch = 0;
    Box pixels;
};

inline int64_t flat_vectors_of_plane(const MapPlan& m, const Box& box, int64_t lanes) {
    const Box taps = m.patches.taps.box(0);  // the only one, where results are flat
    const int64_t pitch = staged_axis(m.map.axis[2], box.extent(3), taps.lo[3], taps.hi[3]).length;
    return ceil_div(box.extent(2) * pitch, lanes);
}

// What a task knows of one of its maps, for all groups.
struct RowMap {
    Staging staging;
    RowVectors vectors;
    FlatResults flat;
    int64_t block = -1;  // of patches, that staging and vectors were found for
};

template <class T>
struct RowBuffers {
    PackingBuffers packing;
    PatchBuffers<T> patches;
    T* tile = nullptr;
    T* flat = nullptr;  // [channel][pixels of all maps, padded]
    int64_t* rows = nullptr;
    std::array<RowMap, most_family> maps;

    RowBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels), patches(carver, plan, kernel.lanes, true, false) {
        int64_t pixels = 0, vectors = 0, bands = 0, pairs = 0, family = 1;
        for (const MapPlan& m : plan.maps) {
            const Box box = m.pixels.box(0);
            family = std::max(family, m.family);
            pixels = std::max(pixels, box.elems());
            pairs = std::max(pairs, m.patches.largest());
            if (!m.in_place) bands = std::max(bands, most_bands(m));
            vectors = std::max(
                vectors, plan.flat_rows ? box.extent(0) * box.extent(1) * flat_vectors_of_plane(m, box, kernel.lanes)
                                        : most_vectors(box, kernel.lanes));
        }
        const int64_t channels = std::min(plan.channel_block, plan.result_channels);
        tile = carver.take<T>(int64_t(kernels::max_row_tile_rows) * kernels::max_row_tile_vectors * kernel.lanes);
        flat = carver.take<T>(plan.flat_rows ? channels * family * vectors * kernel.lanes + 2 * kernel.lanes : 0);
        rows = carver.take<int64_t>(plan.flat_rows ? 0 : pixels);
        for (int64_t m = 0; m < family; ++m) {
            RowMap& map = maps[static_cast<size_t>(m)];
            map.staging.offsets = carver.take<int64_t>(pairs);
            map.staging.bands = carver.take<kernels::Band>(bands);
            map.vectors.at = carver.take<kernels::VectorAt>(vectors);
            map.vectors.skip = carver.take<unsigned char>(plan.flat_rows ? 0 : vectors);
            map.vectors.count = carver.take<unsigned char>(plan.flat_rows ? 0 : vectors);
        }
    }
};

// The vectors of a box as if each plane was one row.
inline void find_flat_vectors(const FlatResults& flat, const std::array<int64_t, 3>& step, int64_t lanes,
                              RowVectors& vectors) {
    const Box& pixels = flat.pixels;
    const int64_t length = (pixels.extent(2) - 1) * step[2] + pixels.extent(3);
    int64_t found = 0, plane = flat.first;
    for (int64_t n = 0; n < pixels.extent(0); ++n)
        for (int64_t d = 0; d < pixels.extent(1); ++d, plane += flat.plane)
            for (int64_t j = 0; j < length; j += lanes)
                vectors.at[found++] = {n * step[0] + d * step[1] + j, plane + j};
    vectors.whole = vectors.total = found;
}

// Writes one channel's flat results of a task's maps: all residue classes of the width, and mostly of the height.
template <class T>
void write_flat(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductTask& task,
                const std::array<RowMap, most_family>& maps, const T* flat, T* result) {
    const MapPlan* const plans = &task.map;
    const Box& box = task.pixels;
    const AxisMap &columns = plans[0].map.axis[2], &rows = plans[0].map.axis[1];
    const int64_t in_row = columns.result_step == 1 ? 1 : std::min(columns.result_step, task.map.family);
    const int64_t in_column = task.map.family / in_row;
    const auto known = [&](int64_t m) -> const FlatResults& { return maps[static_cast<size_t>(m)].flat; };
    // Where the first pixel of a map lies along an axis of the result.
    const auto start = [&](int64_t m, size_t a) {
        const AxisMap& axis = plans[m].map.axis[a];
        return (axis.result_start + box.lo[a + 1] * axis.result_step) * plan.result.axis[a];
    };
    const int64_t row_pitch = plan.result.axis[1];
    std::array<int64_t, most_family> order;  // first maps of the classes of the height, topmost row first
    int64_t row_count = 0;
    for (int64_t c = 0; c < in_column; ++c) {
        order[static_cast<size_t>(c)] = c * in_row;
        row_count += known(c * in_row).pixels.extent(2);
    }
    std::sort(order.begin(), order.begin() + in_column,
              [&](int64_t a, int64_t b) { return start(a, 1) < start(b, 1); });
    const bool all_rows = in_column == rows.result_step;

    for (int64_t plane = 0; plane < box.extent(0) * box.extent(1); ++plane) {
        const int64_t n = plane / box.extent(1), d = plane % box.extent(1);
        T* const to = result + (box.lo[0] + n) * plan.result.batch + start(0, 0) +
                      d * plans[0].map.axis[0].result_step * plan.result.axis[0];
        const auto from = [&](int64_t m) { return flat + known(m).first + plane * known(m).plane; };
        if (in_row == 2) {
            const bool swapped = start(0, 2) > start(1, 2);
            const int64_t count = known(0).pixels.extent(3) + known(1).pixels.extent(3);
            std::array<kernels::RowPair<T>, most_family> pairs;
            for (int64_t c = 0; c < in_column; ++c) {
                const int64_t even = order[static_cast<size_t>(c)] + swapped;
                const int64_t odd = order[static_cast<size_t>(c)] + !swapped;
                pairs[static_cast<size_t>(c)] = {from(even), from(odd), known(even).pitch, known(odd).pitch};
            }
            T* const first = to + start(swapped, 2);
            if (all_rows) {
                kernel.interleave_rows(pairs.data(), in_column, row_count, count, first + start(order[0], 1),
                                       row_pitch);
                continue;
            }
            for (int64_t c = 0; c < in_column; ++c) {
                const int64_t m = order[static_cast<size_t>(c)];
                kernel.interleave_rows(&pairs[static_cast<size_t>(c)], 1, known(m).pixels.extent(2), count,
                                       first + start(m, 1), rows.result_step * row_pitch);
            }
            continue;
        }
        for (int64_t m = 0; m < task.map.family; ++m) {
            const Box& own = known(m).pixels;
            T* const first = to + start(m, 1) + start(m, 2);
            if (columns.result_step == 1) {
                kernel.store_rows(from(m), known(m).pitch, own.extent(2), own.extent(3), first,
                                  rows.result_step * row_pitch);
                continue;
            }
            for (int64_t h = 0; h < own.extent(2); ++h)
                for (int64_t w = 0; w < own.extent(3); ++w)
                    first[h * rows.result_step * row_pitch + w * columns.result_step] = from(m)[h * known(m).pitch + w];
        }
    }
}

// The opposite, for results that are added to what is there.
template <class T>
void read_flat(const Plan& plan, const MapPlan& m, const FlatResults& f, const T* result, T* flat) {
    const int64_t step = m.map.axis[2].result_step * plan.result.axis[2];
    int64_t row = 0;
    for_each_result_row(m.map, plan.result, f.pixels, [&](int64_t offset) {
        const int64_t height = f.pixels.extent(2);
        T* const to = flat + f.first + row / height * f.plane + row % height * f.pitch;
        for (int64_t w = 0; w < f.pixels.extent(3); ++w) to[w] = result[offset + w * step];
        ++row;
    });
}

template <class T>
void run_row_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const ProductOperands<T>& operands,
                  const T* packed, const T* bias, RowBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t result_step = task.map.map.axis[2].result_step * plan.result.axis[2];
    int64_t flat_elems = 0;  // of a channel
    for (RowMap& known : buffers.maps) known.block = -1;
    for (int64_t index = 0; plan.flat_rows && index < task.map.family; ++index) {
        FlatResults& f = buffers.maps[static_cast<size_t>(index)].flat;
        f.pixels = pixels_of(maps[index], task.pixels);
        f.first = flat_elems;
        f.plane = flat_vectors_of_plane(maps[index], f.pixels, kernel.lanes) * kernel.lanes;
        flat_elems += f.plane * f.pixels.extent(0) * f.pixels.extent(1);
    }

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        const Beginning<T> from_start = own.beginning(true);
        for (int64_t index = 0; index < task.map.family; ++index) {
            const MapPlan& m = maps[index];
            const Box pixels = pixels_of(m, task.pixels);
            if (pixels.elems() == 0) continue;
            RowMap& known = buffers.maps[static_cast<size_t>(index)];
            Beginning<T> beginning = from_start;
            for (int64_t b = 0; b < m.patches.count(); ++b) {
                const PatchBlock block = patch_block(m.patches, b);
                const T* const weights = packed + layout.of_task(m, group, task.channel_lo, block, b);
                const int64_t row_chunk = row_chunk_bytes(plan);
                // Along a row, the last tap reads what no tap has read before.
                const int64_t ahead = m.in_place ? block.taps.extent(3) : 0;
                const bool fresh = known.block != b;
                known.block = b;
                const PatchView<T> view = stage_patches(kernel, m, plan.source, own.source, pixels, block,
                                                        known.staging, fresh, buffers.patches);
                if (!plan.flat_rows) {
                    if (fresh)
                        find_row_vectors(m.map, plan.result, pixels, view.step, kernel.lanes,
                                         m.patches.count() == 1 && !operands.accumulate, buffers.rows, known.vectors);
                    multiply_rows(kernel, block.size(), weights, layout.pitch(block), task.channels,
                                  plan.result.channel, view, known.staging.offsets, known.vectors, row_chunk, ahead,
                                  result_step, beginning, own.result, buffers.tile);
                } else {
                    known.flat.pitch = view.step[2];
                    if (fresh) find_flat_vectors(known.flat, view.step, kernel.lanes, known.vectors);
                    for (int64_t c = 0; b == 0 && operands.accumulate && c < task.channels; ++c)
                        read_flat(plan, m, known.flat, own.result + c * plan.result.channel,
                                  buffers.flat + c * flat_elems);
                    multiply_rows(kernel, block.size(), weights, layout.pitch(block), task.channels, flat_elems, view,
                                  known.staging.offsets, known.vectors, row_chunk, ahead, 1, beginning, buffers.flat,
                                  buffers.tile);
                }
                beginning.start = kernels::Start::from_c;
            }
        }
        for (int64_t c = 0; plan.flat_rows && c < task.channels; ++c)
            write_flat(plan, kernel, task, buffers.maps, buffers.flat + c * flat_elems,
                       own.result + c * plan.result.channel);
    }
}

}  // namespace convpp
