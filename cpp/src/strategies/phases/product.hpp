// A task of a forward pass of one channel to one, along rows: signals and their long filters.
//
// In:  a Plan of this strategy, the operands, a task.   Out: the task's results.
// Next: strategy.cpp; kernels/tile/tile.hpp, row_tile.
//
// A vector of neighbouring pixels that is loaded at each tap is used once, and crosses a cache line: that is two loads
// for one multiply-add.  So the row is split into P phases, x[P*m + u] for each u, and a vector runs along m.  Result
// P*m + b at tap t and result P*m + b + 1 at tap t - 1 read the same vector: it is loaded once for P rows of a tile,
// which are the results' phases.
//
//   step i:   sums[b] += w[i - b] * x[P*m + i]          b = 0 .. P-1, where i - b is a tap of the run
//
// Each row's terms are those of a single pixel, in their order; at the first and last P - 1 steps of a run, the tile is
// told which rows take part.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "plan/costs.hpp"
#include "strategies/operands.hpp"

namespace convpp {

inline constexpr int64_t most_phases = 8;

// What is known of tiles: of a table of kernels, or of their shapes.
struct RowTiles {
    int64_t lanes, rows;
    const int* most_vectors;  // of a tile of so many rows, less one

    explicit RowTiles(const KernelShapes& kernels)
        : lanes(kernels.shape[0].lanes), rows(kernels.shape[0].rows), most_vectors(kernels.row_tile_vectors) {}
    template <class T>
    explicit RowTiles(const kernels::KernelTable<T>& kernel)
        : lanes(kernel.lanes), rows(kernel.tiles[0].rows), most_vectors(kernel.row_tile_vectors) {}
};

// A row of results, and how it is split: into as many phases, a power of 2, as take the fewest slots in a step.
struct PhaseRow {
    int64_t pixels, phases = 1, vectors = 1;  // vectors of each phase
    double slots = std::numeric_limits<double>::infinity();  // of a step

    PhaseRow(int64_t of_pixels, const RowTiles& tiles) : pixels(of_pixels) {
        for (int64_t split = 1; split <= std::min(most_phases, tiles.rows); split *= 2) {
            const int64_t count = ceil_div(ceil_div(pixels, split), tiles.lanes), most = tiles.most_vectors[split - 1];
            double of_step = costs::f(count / most * most) * costs::row_slots(split, most);
            if (count % most > 0) of_step += costs::f(count % most) * costs::row_slots(split, count % most);
            if (of_step >= slots) continue;
            slots = of_step;
            phases = split;
            vectors = count;
        }
    }

    int64_t sums(int64_t lanes) const { return phases * vectors * lanes; }
    // From a phase of the source to the next one, for so many taps.
    int64_t pitch(int64_t taps, int64_t lanes) const {
        return round_up(vectors * lanes + (taps + phases - 2) / phases + 1, lanes);
    }
};

template <class T>
struct PhaseBuffers {
    T* source[2];  // a row that a block of taps reads; split once, twice ... in turn
    T* sums;  // [row][phase][pixel of the phase]
    T* joined[2];  // a row's sums, joined
    T* weights;  // of a block, the last one first
    int64_t* offsets;  // of each step
    unsigned char* active;
    kernels::VectorAt* vectors;

    PhaseBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const int64_t lanes = kernel.lanes;
        const RowTiles tiles(kernel);
        int64_t of_source = 0, of_sums = 0, of_row = 0, steps = 0, vectors_most = 0;
        for (const MapPlan& m : plan.maps) {
            const Box box = m.boxes.box(0);
            const int64_t rows = box.extent(0) * box.extent(1) * box.extent(2), taps = m.patches.largest();
            // The last box of a row may be shorter, and have other phases.
            for (int64_t pixels : {box.extent(3), m.boxes.shortest_row()}) {
                const PhaseRow row(pixels, tiles);
                of_source = std::max(of_source, row.phases * row.pitch(taps, lanes));
                of_sums = std::max(of_sums, rows * row.sums(lanes));
                of_row = std::max(of_row, row.sums(lanes));
                vectors_most = std::max(vectors_most, row.vectors);
            }
            const PatchBlock block = patch_block(m.patches, 0);
            const int64_t of_run = std::min(block.run, taps);
            steps = std::max(steps, taps + ceil_div(taps, of_run) * (most_phases - 1));
        }
        for (T*& buffer : source) buffer = carver.take<T>(of_source + 3 * lanes);
        sums = carver.take<T>(of_sums);
        for (T*& buffer : joined) buffer = carver.take<T>(of_row + lanes);
        weights = carver.take<T>(steps + most_phases);
        offsets = carver.take<int64_t>(steps);
        active = carver.take<unsigned char>(steps);
        vectors = carver.take<kernels::VectorAt>(vectors_most);
    }
};

// The steps of a block of taps: runs of them, each of P - 1 more, at which not all rows take part.
struct PhaseSteps {
    int64_t taps = 0, run = 0;

    kernels::Depth depth(int64_t phases) const { return {taps + ceil_div(taps, run) * (phases - 1), run + phases - 1}; }
};

// Finds the offsets of a block's steps in a split row, and which rows take part; `forwards`: later taps read later
// elements.
template <class T>
void find_phase_steps(const PhaseSteps& of, int64_t phases, int64_t pitch, bool forwards,
                      const PhaseBuffers<T>& buffers) {
    int levels = 0;
    while (int64_t(1) << levels < phases) ++levels;
    std::array<int64_t, most_phases> begins{};  // phases lie in the order of their reversed bits
    for (int64_t u = 0; u < phases; ++u)
        for (int bit = 0; bit < levels; ++bit)
            begins[static_cast<size_t>(u)] += (u >> bit & 1) * pitch << (levels - 1 - bit);
    const int64_t last = of.taps + phases - 2;
    const auto all = static_cast<unsigned char>((1 << phases) - 1);
    int64_t* offsets = buffers.offsets;
    unsigned char* active = buffers.active;
    for (int64_t first = 0; first < of.taps; first += of.run) {
        const int64_t count = std::min(of.run, of.taps - first), steps = count + phases - 1;
        for (int64_t s = 0; s < steps; ++s) {
            const int64_t element = forwards ? first + s : last - first - s;
            offsets[s] = begins[static_cast<size_t>(element & (phases - 1))] + (element >> levels);
        }
        // Row b takes part at tap s - b of the run, if there is one.
        std::fill_n(active, steps, all);
        for (int64_t s = 0; s + 1 < phases; ++s) {
            active[s] = static_cast<unsigned char>(active[s] & ((2 << s) - 1));
            active[count + s] = static_cast<unsigned char>(active[count + s] & ~((2 << s) - 1));
        }
        offsets += steps;
        active += steps;
    }
}

// The weights of a block's steps, of which step s begins with row 0's, s elements before those of the first step: row b
// has there that of tap s - b.  Returns where the first step's are.
template <class T>
const T* store_phase_weights(const PhaseSteps& of, const Stored<T>& weights, int64_t weight_step, int64_t phases,
                             const PhaseBuffers<T>& buffers) {
    T* const first_step = buffers.weights + of.depth(phases).steps - 1;
    T* to = first_step;
    for (int64_t first = 0; first < of.taps; first += of.run) {
        const int64_t count = std::min(of.run, of.taps - first);
        const Stored<T> from = weights + first * weight_step;
        if (from.as == Storage::plain)
            for (int64_t j = 0; j < count; ++j) to[-j] = from.plain()[j * weight_step];
        else
            for (int64_t j = 0; j < count; ++j) to[-j] = from[j * weight_step];
        to -= count + phases - 1;
    }
    return first_step;
}

// A row of the source from `first` on, with zeros for what is not there, split into phases.
template <class T>
const T* split_phases(const kernels::KernelTable<T>& kernel, const Stored<T>& row, int64_t step, int64_t extent,
                      int64_t first, int64_t phases, int64_t pitch, const PhaseBuffers<T>& buffers) {
    const int64_t all = phases * pitch, lanes = kernel.lanes;
    T* to = buffers.source[0];
    const int64_t lo = std::clamp<int64_t>(-first, 0, all), hi = std::clamp<int64_t>(extent - first, lo, all);
    std::fill_n(to, lo, T(0));
    if (hi > lo) {
        const Stored<T> from = row + (first + lo) * step;
        reading(kernel, from).copy_rows(from.at, 0, step, 1, hi - lo, to + lo, all - lo, from.end);
    } else {
        std::fill_n(to + lo, all - lo, T(0));
    }
    const auto& plain = reading_plain(kernel);
    const T* from = to;
    for (int64_t parts = 1; parts < phases; parts *= 2) {
        T* const into = buffers.source[from == buffers.source[0] ? 1 : 0];
        const int64_t half = all / parts / 2;
        for (int64_t part = 0; part < parts; ++part)
            plain.copy_rows(from + 2 * half * part, 1, 2, 2, half, into + 2 * half * part, half,
                            from + all + 2 * lanes);
        from = into;
    }
    return from;
}

// Sums of phases, `pitch` apart, as a row of results; `forwards`: the first phase is that of the first result.
template <class T>
void join_phases(const kernels::KernelTable<T>& kernel, const T* sums, const PhaseRow& row, bool forwards, T* result,
                 int64_t step, const PhaseBuffers<T>& buffers) {
    int64_t length = row.vectors * kernel.lanes;
    const T* from = sums;
    for (int64_t parts = row.phases; parts > 1; parts /= 2, length *= 2) {
        const bool last = parts == 2 && step == 1;
        T* const into = last ? result : buffers.joined[from == buffers.joined[0] ? 1 : 0];
        for (int64_t part = 0; part < parts / 2; ++part) {
            const T *const a = from + part * length, *const b = from + (part + parts / 2) * length;
            const kernels::RowPair<T> pair{forwards ? a : b, forwards ? b : a, 0, 0};
            kernel.interleave_rows(&pair, 1, 1, last ? row.pixels : 2 * length, into + 2 * part * length, 0);
        }
        from = into;
    }
    if (from == result) return;
    for (int64_t j = 0; j < row.pixels; ++j) result[j * step] = from[j];
}

// Results that sums are added to, as sums of phases.
template <class T>
void read_phases(const T* result, int64_t step, const PhaseRow& row, bool forwards, int64_t length, T* sums) {
    std::fill_n(sums, row.phases * length, T(0));
    for (int64_t j = 0; j < row.pixels; ++j) {
        const int64_t phase = j % row.phases;
        sums[(forwards ? phase : row.phases - 1 - phase) * length + j / row.phases] = result[j * step];
    }
}

template <class T>
void run_phase_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T*,
                    const T* bias, const PhaseBuffers<T>& buffers, const ProductTask& task) {
    const MapPlan& m = task.map;
    const std::array<AxisMap, 3>& axis = m.map.axis;
    const Box& pixels = task.pixels;
    const int64_t lanes = kernel.lanes;
    const PhaseRow row(pixels.extent(3), RowTiles(kernel));
    const bool forwards = axis[2].taps.size() < 2 || axis[2].taps.apart() > 0;
    const int64_t length = row.vectors * lanes, of_row = row.sums(lanes);
    const TensorStrides &from = plan.source.strides, &to = plan.buffer.strides;
    for (int64_t v = 0; v < row.vectors; ++v) buffers.vectors[v] = {v * lanes, v * lanes};
    PhaseSteps known;  // whose offsets were found
    const auto for_each_row = [&](const auto& use) {
        T* sums = buffers.sums;
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d)
                for (int64_t h = pixels.lo[2]; h < pixels.hi[2]; ++h, sums += of_row) use(n, d, h, sums);
    };
    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        Addend<T> addend = own.addend(true);
        std::array<T, most_phases> biases{};
        if (addend.bias != nullptr) biases.fill(addend.bias[0]);
        const Stored<T> weights =
            operands.w + (group * plan.weights.group + axis[0].taps.weight(0) * plan.weights.axis[0] +
                          axis[1].taps.weight(0) * plan.weights.axis[1]);
        const auto result_of = [&](int64_t n, int64_t d, int64_t h) {
            return own.result + n * to.batch + (axis[0].result_start + d) * to.axis[0] +
                   (axis[1].result_start + h) * to.axis[1] + (axis[2].result_start + pixels.lo[3]) * to.axis[2];
        };
        if (operands.accumulate)
            for_each_row([&](int64_t n, int64_t d, int64_t h, T* sums) {
                read_phases(result_of(n, d, h), to.axis[2], row, forwards, length, sums);
            });
        for (int64_t b = task.first_block(m.patches); b < task.end_block(m.patches); ++b) {
            const PatchBlock block = patch_block(m.patches, b);
            const int64_t lo = block.taps.lo[3], hi = block.taps.hi[3], pitch = row.pitch(hi - lo, lanes);
            const PhaseSteps steps{hi - lo, std::min(block.run, hi - lo)};
            if (steps.taps != known.taps || steps.run != known.run)
                find_phase_steps(steps, row.phases, pitch, forwards, buffers);
            known = steps;
            const Taps& taps = axis[2].taps;
            const int64_t step = plan.weights.axis[2];
            const T* const first_weights = store_phase_weights(
                steps, weights + taps.weight(lo) * step, taps.size() > 1 ? (taps.weight(1) - taps.weight(0)) * step : 1,
                row.phases, buffers);
            const kernels::Depth depth = steps.depth(row.phases);
            const int64_t first = pixels.lo[3] + axis[2].taps.offset(forwards ? lo : hi - 1);
            const auto* const tiles = kernel.row_tile[row.phases - 1];
            const int64_t most = kernel.row_tile_vectors[row.phases - 1];
            for_each_row([&](int64_t n, int64_t d, int64_t h, T* sums) {
                const int64_t z = d * axis[0].source_step + axis[0].taps.offset(0);
                const int64_t y = h * axis[1].source_step + axis[1].taps.offset(0);
                const bool inside = z >= 0 && z < axis[0].source_extent && y >= 0 && y < axis[1].source_extent;
                const Stored<T> source =
                    inside ? own.source + (n * from.batch + z * from.axis[0] + y * from.axis[1]) : own.source;
                const T* const split = split_phases(kernel, source, from.axis[2], inside ? axis[2].source_extent : 0,
                                                    first, row.phases, pitch, buffers);
                for (int64_t v = 0; v < row.vectors; v += most)
                    tiles[std::min(most, row.vectors - v) - 1](depth, first_weights, -1, split, buffers.offsets,
                                                               buffers.active, buffers.vectors + v, sums, length,
                                                               addend.onto, biases.data());
            });
            addend.onto = kernels::Onto::c;
        }
        for_each_row([&](int64_t n, int64_t d, int64_t h, const T* sums) {
            join_phases(kernel, sums, row, forwards, result_of(n, d, h), to.axis[2], buffers);
        });
    }
}

template <class T>
using PhasesProduct = ProductParts<PhaseBuffers<T>, &pack_nothing<T, PhaseBuffers<T>>, &run_phase_task<T>>;

}  // namespace convpp
