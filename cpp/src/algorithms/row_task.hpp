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

template <class T>
struct RowBuffers {
    PackingBuffers packing;
    PatchBuffers<T> patches;
    T* tile = nullptr;
    T* flat = nullptr;  // [channel][pixels of all maps, padded]
    int64_t* rows = nullptr;
    RowVectors vectors;

    RowBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : packing(carver, plan, panel_widths(plan, kernel).channels), patches(carver, plan, kernel.lanes) {
        int64_t pixels = 0, vector_count = 0;
        for (const MapPlan& m : plan.maps) {
            const Box box = m.pixels.box(0);
            pixels = std::max(pixels, box.elems());
            vector_count = std::max(vector_count, plan.flat_rows ? most_flat_vectors(m, box, kernel.lanes)
                                                                 : most_vectors(box, kernel.lanes));
        }
        int64_t family = 1;
        for (const MapPlan& m : plan.maps) family = std::max(family, m.family);
        const int64_t channels = std::min(plan.channel_block, plan.result_channels);
        tile = carver.take<T>(int64_t(kernels::max_row_tile_rows) * kernels::max_row_tile_vectors * kernel.lanes);
        flat = carver.take<T>(plan.flat_rows ? channels * family * vector_count * kernel.lanes + 2 * kernel.lanes : 0);
        rows = carver.take<int64_t>(plan.flat_rows ? 0 : pixels);
        vectors.at = carver.take<kernels::VectorAt>(vector_count);
        vectors.skip = carver.take<unsigned char>(vector_count);
        vectors.count = carver.take<unsigned char>(vector_count);
    }

    static int64_t most_flat_vectors(const MapPlan& m, const Box& box, int64_t lanes) {
        const Box taps = m.patches.taps.box(0);  // the only one, where results are flat
        const int64_t pitch = staged_axis(m.map.axis[2], box.extent(3), taps.lo[3], taps.hi[3]).length;
        return box.extent(0) * box.extent(1) * ceil_div(box.extent(2) * pitch, lanes);
    }
};

// One map's flat results: plane (n, d) begins at first + (n*depth + d)*plane, its rows are `pitch` apart.
struct FlatResults {
    int64_t first = 0, plane = 0, pitch = 0;
    Box pixels;
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

// Writes one channel's flat results of a family of maps.
template <class T>
void write_flat(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan* maps, int64_t map_count,
                const FlatResults* flats, const T* flat, T* result) {
    const AxisMap& columns = maps[0].map.axis[2];
    const int64_t row_step = maps[0].map.axis[1].result_step * plan.result.axis[1];
    const Box& box = flats[0].pixels;
    const auto start_of = [&](int64_t m, int64_t n, int64_t d) {
        const MapPlan& map = maps[m];
        const Box& own = flats[m].pixels;
        int64_t at = (own.lo[0] + n) * plan.result.batch;
        const std::array<int64_t, 3> u{own.lo[1] + d, own.lo[2], own.lo[3]};
        for (size_t a = 0; a < 3; ++a)
            at += (map.map.axis[a].result_start + u[a] * map.map.axis[a].result_step) * plan.result.axis[a];
        return at;
    };
    for (int64_t n = 0; n < box.extent(0); ++n)
        for (int64_t d = 0; d < box.extent(1); ++d) {
            const auto from = [&](int64_t m) {
                return flat + flats[m].first + (n * box.extent(1) + d) * flats[m].plane;
            };
            if (columns.result_step == 1) {
                kernel.store_rows(from(0), flats[0].pitch, box.extent(2), box.extent(3), result + start_of(0, n, d),
                                  row_step);
                continue;
            }
            if (map_count == 2 && columns.result_step == 2) {
                const int64_t even = start_of(0, n, d) < start_of(1, n, d) ? 0 : 1, odd = 1 - even;
                const int64_t count = flats[even].pixels.extent(3) + flats[odd].pixels.extent(3);
                for (int64_t h = 0; h < box.extent(2); ++h)
                    kernel.interleave_row(from(even) + h * flats[even].pitch, from(odd) + h * flats[odd].pitch, count,
                                          result + start_of(even, n, d) + h * row_step);
                continue;
            }
            for (int64_t m = 0; m < map_count; ++m)
                for (int64_t h = 0; h < box.extent(2); ++h) {
                    const T* const row = from(m) + h * flats[m].pitch;
                    T* const to = result + start_of(m, n, d) + h * row_step;
                    for (int64_t w = 0; w < flats[m].pixels.extent(3); ++w) to[w * columns.result_step] = row[w];
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
                  const T* packed, const T* bias, RowBuffers<T> buffers, const ProductTask& task) {
    const MapPlan* const maps = &task.map;
    const PackedWeights layout = packed_weights(plan, kernel);
    const int64_t result_step = task.map.map.axis[2].result_step * plan.result.axis[2];
    std::array<FlatResults, most_family> flats;
    int64_t flat_elems = 0;  // of a channel
    for (int64_t index = 0; plan.flat_rows && index < task.map.family; ++index) {
        FlatResults& f = flats[static_cast<size_t>(index)];
        f.pixels = pixels_of(maps[index], task.pixels);
        f.first = flat_elems;
        f.plane = RowBuffers<T>::most_flat_vectors(maps[index], f.pixels, kernel.lanes) * kernel.lanes /
                  std::max<int64_t>(1, f.pixels.extent(0) * f.pixels.extent(1));
        flat_elems += f.plane * f.pixels.extent(0) * f.pixels.extent(1);
    }
    const MapPlan* vectors_of = nullptr;  // what buffers.vectors holds
    int64_t block_of = -1;

    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        const Beginning<T> from_start = own.beginning(true);

        for (int64_t index = 0; index < task.map.family; ++index) {
            const MapPlan& m = maps[index];
            const Box pixels = pixels_of(m, task.pixels);
            if (pixels.elems() == 0) continue;
            FlatResults& f = flats[static_cast<size_t>(index)];
            Beginning<T> beginning = from_start;
            for (int64_t b = 0; b < m.patches.count(); ++b) {
                const PatchBlock block = patch_block(m.patches, b);
                const T* const weights = packed + layout.of_task(m, group, task.channel_lo, block, b);
                const PatchView<T> view =
                    stage_patches(kernel, m, plan.source, own.source, pixels, block, buffers.patches);
                const bool fresh = vectors_of != &m || block_of != b;
                vectors_of = &m;
                block_of = b;
                if (!plan.flat_rows) {
                    if (fresh)
                        find_row_vectors(m.map, plan.result, pixels, view.step, kernel.lanes,
                                         m.patches.count() == 1 && !operands.accumulate, buffers.rows, buffers.vectors);
                    multiply_rows(kernel, block.size(), weights, layout.pitch(block), task.channels,
                                  plan.result.channel, view, buffers.patches.offsets, buffers.vectors, result_step,
                                  beginning, own.result, buffers.tile);
                } else {
                    if (fresh) find_flat_vectors(f, view.step, kernel.lanes, buffers.vectors);
                    if (b == 0) {
                        f.pitch = view.step[2];
                        if (operands.accumulate)
                            for (int64_t c = 0; c < task.channels; ++c)
                                read_flat(plan, m, f, own.result + c * plan.result.channel,
                                          buffers.flat + c * flat_elems);
                    }
                    multiply_rows(kernel, block.size(), weights, layout.pitch(block), task.channels, flat_elems, view,
                                  buffers.patches.offsets, buffers.vectors, 1, beginning, buffers.flat, buffers.tile);
                }
                beginning.start = kernels::Start::from_c;
            }
        }
        for (int64_t c = 0; plan.flat_rows && c < task.channels; ++c)
            write_flat(plan, kernel, maps, task.map.family, flats.data(), buffers.flat + c * flat_elems,
                       own.result + c * plan.result.channel);
    }
}

}  // namespace convpp
