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

// Taps of a row that is split at once: more would take more memory.
inline int64_t taps_at_once(const MapPlan& m) {
    constexpr int64_t most = 8192;
    return std::min(m.map.taps(), std::max(most, m.patches.largest()));
}

// Taps of a run, of a kernel that is one row.
inline int64_t run_of_phases(const MapPlan& m) {
    return m.patches.run_channels > 0 ? m.patches.largest() : std::min(m.patches.run_taps, m.patches.largest());
}

template <class T>
struct PhaseBuffers {
    T* source[2];  // a row that some blocks of taps read; split once, twice ... in turn
    T* sums;  // [row][phase][pixel of the phase]
    T* joined[2];  // a row's sums, joined
    T* weights;  // of these blocks, the last one first
    int64_t* elements;  // of a split row: where they lie
    int64_t* offsets;  // of each step of these blocks
    unsigned char* active;
    kernels::VectorAt* vectors;

    PhaseBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const int64_t lanes = kernel.lanes;
        const RowTiles tiles(kernel);
        int64_t of_source = 0, of_sums = 0, of_row = 0, steps = 0, taps_most = 0, vectors_most = 0;
        for (const MapPlan& m : plan.maps) {
            const Box box = m.boxes.box(0);
            const int64_t rows = box.extent(0) * box.extent(1) * box.extent(2), taps = taps_at_once(m);
            // The last box of a row may be shorter, and have other phases.
            for (int64_t pixels : {box.extent(3), m.boxes.shortest_row()}) {
                const PhaseRow row(pixels, tiles);
                of_source = std::max(of_source, row.phases * row.pitch(taps, lanes));
                of_sums = std::max(of_sums, rows * row.sums(lanes));
                of_row = std::max(of_row, row.sums(lanes));
                vectors_most = std::max(vectors_most, row.vectors);
            }
            taps_most = std::max(taps_most, taps);
            const int64_t of_block = m.patches.largest(), run = run_of_phases(m);
            steps = std::max(steps, taps + (taps / of_block + 2) * ceil_div(of_block, run) * (most_phases - 1));
        }
        for (T*& buffer : source) buffer = carver.take<T>(of_source + 3 * lanes);
        sums = carver.take<T>(of_sums);
        for (T*& buffer : joined) buffer = carver.take<T>(of_row + lanes);
        weights = carver.take<T>(steps + most_phases);
        elements = carver.take<int64_t>(taps_most + 2 * most_phases);
        offsets = carver.take<int64_t>(steps);
        active = carver.take<unsigned char>(steps);
        vectors = carver.take<kernels::VectorAt>(vectors_most);
    }
};

// Some blocks of taps, for which a row is split once.  Their runs have P - 1 steps more than taps, at which not all rows
// take part.
struct TapBlocks {
    int64_t first, end;  // blocks
    int64_t lo, hi;  // taps
    int64_t of_block, run;  // taps of each, but for the last one of all

    TapBlocks(const MapPlan& m, int64_t first_block, int64_t end_block)
        : first(first_block), of_block(m.patches.largest()), run(run_of_phases(m)) {
        end = std::min(end_block, first + std::max<int64_t>(taps_at_once(m) / of_block, 1));
        lo = first * of_block;
        hi = std::min(end * of_block, m.map.taps());
    }
    int64_t taps() const { return hi - lo; }
    int64_t taps_of(int64_t block) const { return std::min(of_block, hi - block * of_block); }

    // The depth of a block's steps.
    kernels::Depth depth(int64_t block, int64_t phases) const {
        return {taps_of(block) + ceil_div(taps_of(block), run) * (phases - 1), run + phases - 1};
    }
    // use(first tap, taps) of each run.
    template <class Use>
    void for_each_run(const Use& use) const {
        for (int64_t block = first; block < end; ++block)
            for (int64_t tap = 0; tap < taps_of(block); tap += run)
                use(block * of_block + tap, std::min(run, taps_of(block) - tap));
    }
};

// Where the elements of a split row lie; phases in the order of their reversed bits.
template <int levels>
void find_split_elements(int64_t count, int64_t pitch, int64_t* to) {
    constexpr int64_t phases = int64_t(1) << levels;
    int64_t begins[phases] = {};
    for (int64_t u = 0; u < phases; ++u)
        for (int bit = 0; bit < levels; ++bit) begins[u] += (u >> bit & 1) * pitch << (levels - 1 - bit);
    for (int64_t at = 0; at * phases < count; ++at)
        for (int64_t u = 0; u < phases; ++u) to[at * phases + u] = begins[u] + at;
}

// Finds the offsets of steps in a split row, and which rows take part; `forwards`: later taps read later elements.
template <class T>
void find_phase_steps(const TapBlocks& blocks, int64_t phases, int64_t pitch, bool forwards,
                      const PhaseBuffers<T>& buffers) {
    const int64_t elements = blocks.taps() + phases - 1;
    static_assert(most_phases == 8);
    (phases == 8   ? &find_split_elements<3>
     : phases == 4 ? &find_split_elements<2>
     : phases == 2 ? &find_split_elements<1>
                   : &find_split_elements<0>)(elements, pitch, buffers.elements);
    const auto all = static_cast<unsigned char>((1 << phases) - 1);
    int64_t* offsets = buffers.offsets;
    unsigned char* active = buffers.active;
    blocks.for_each_run([&](int64_t tap, int64_t count) {
        const int64_t first = tap - blocks.lo, steps = count + phases - 1;
        const int64_t* const from = buffers.elements + (forwards ? first : elements - first - steps);
        if (forwards) std::copy_n(from, steps, offsets);
        else std::reverse_copy(from, from + steps, offsets);
        // Row b takes part at tap s - b of the run, if there is one.
        std::fill_n(active, steps, all);
        for (int64_t s = 0; s + 1 < phases; ++s) {
            active[s] = static_cast<unsigned char>(active[s] & ((2 << s) - 1));
            active[count + s] = static_cast<unsigned char>(active[count + s] & ~((2 << s) - 1));
        }
        offsets += steps;
        active += steps;
    });
}

// The weights of steps, of which each begins with row 0's, an element before those of the last one: row b has there that
// of b taps before.  Returns where the first step's are.
template <class T>
const T* store_phase_weights(const Plan& plan, const MapPlan& m, const TapBlocks& blocks, const Stored<T>& weights,
                             int64_t phases, const PhaseBuffers<T>& buffers) {
    const Taps& taps = m.map.axis[2].taps;
    const int64_t step = taps.size() > 1 ? (taps.weight(1) - taps.weight(0)) * plan.weights.axis[2] : 1;
    int64_t steps = 0;
    blocks.for_each_run([&](int64_t, int64_t count) { steps += count + phases - 1; });
    T* const first_step = buffers.weights + steps - 1;
    T* to = first_step;
    blocks.for_each_run([&](int64_t tap, int64_t count) {
        const Stored<T> from = weights + taps.weight(tap) * plan.weights.axis[2];
        if (from.as == Storage::plain && step == 1)
            std::reverse_copy(from.plain(), from.plain() + count, to - count + 1);
        else
            for (int64_t j = 0; j < count; ++j) to[-j] = from[j * step];
        to -= count + phases - 1;
    });
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

// The tiles of a row.
template <class T>
void multiply_phases(const kernels::KernelTable<T>& kernel, const PhaseRow& row, const kernels::Depth& depth,
                     const T* weights, const T* split, const int64_t* offsets, const unsigned char* active,
                     const kernels::VectorAt* vectors, T* sums, kernels::Onto onto, const T* biases) {
    const auto* const tiles = kernel.row_tile[row.phases - 1];
    const int64_t most = kernel.row_tile_vectors[row.phases - 1];
    for (int64_t v = 0; v < row.vectors; v += most)
        tiles[std::min(most, row.vectors - v) - 1](depth, weights, -1, split, offsets, active, vectors + v, sums,
                                                   row.vectors * kernel.lanes, onto, biases);
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
    int64_t known_first = -1, known_end = -1;  // blocks whose steps were found
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
        const int64_t end = task.end_block(m.patches);
        for (int64_t first = task.first_block(m.patches); first < end;) {
            const TapBlocks blocks(m, first, end);
            const int64_t pitch = row.pitch(blocks.taps(), lanes);
            if (first != known_first || blocks.end != known_end)
                find_phase_steps(blocks, row.phases, pitch, forwards, buffers);
            known_first = first;
            known_end = first = blocks.end;
            const T* const of_first_step = store_phase_weights(plan, m, blocks, weights, row.phases, buffers);
            const int64_t element = pixels.lo[3] + axis[2].taps.offset(forwards ? blocks.lo : blocks.hi - 1);
            for_each_row([&](int64_t n, int64_t d, int64_t h, T* sums) {
                const int64_t z = d * axis[0].source_step + axis[0].taps.offset(0);
                const int64_t y = h * axis[1].source_step + axis[1].taps.offset(0);
                const bool inside = z >= 0 && z < axis[0].source_extent && y >= 0 && y < axis[1].source_extent;
                const Stored<T> source =
                    inside ? own.source + (n * from.batch + z * from.axis[0] + y * from.axis[1]) : own.source;
                const T* const split = split_phases(kernel, source, from.axis[2], inside ? axis[2].source_extent : 0,
                                                    element, row.phases, pitch, buffers);
                Addend<T> onto = addend;
                int64_t step = 0;
                for (int64_t b = blocks.first; b < blocks.end; ++b, onto.onto = kernels::Onto::c) {
                    const kernels::Depth depth = blocks.depth(b, row.phases);
                    multiply_phases(kernel, row, depth, of_first_step - step, split, buffers.offsets + step,
                                    buffers.active + step, buffers.vectors, sums, onto.onto, biases.data());
                    step += depth.steps;
                }
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
