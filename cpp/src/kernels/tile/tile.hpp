// The register tile: acc[rows][vectors] += broadcast(a[row]) * b[vector], the inner loop of everything.
//
// In: two packed panels (see contract.hpp for the picture), or one, and the other side where it lies: rows through
// pointers, or vectors of columns.  Out: one tile of C.
// All loops over rows and vectors are unrolled, so that the accumulators live in registers; an index that is not known
// at compile time would spill them.  With FMA the compiler contracts each += into one fused operation.
#pragma once

// The sums of a tile's runs (Depth): each is added to those before it, which rest in memory, so that the registers stay
// the accumulators'.
template <class T, int Rows, int Vectors>
struct RunSums {
    static constexpr int elems = Rows * Vectors * lanes_of<T>;
    T* const memory;
    T* before = nullptr;

    // A run ends, and another one begins.
    inline __attribute__((always_inline)) void next(Vector<T> (&acc)[Rows][Vectors]) {
        end(acc);
        before = memory;
        asm("" : "+r"(before));  // compilers would keep a part of it in registers, in place of accumulators
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v) {
                store(before + (r * Vectors + v) * lanes_of<T>, acc[r][v]);
                acc[r][v] = Vector<T>{};
            }
    }
    // The last one ends.
    inline __attribute__((always_inline)) void end(Vector<T> (&acc)[Rows][Vectors]) const {
        if (before == nullptr) return;
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < Vectors; ++v) acc[r][v] += load(before + (r * Vectors + v) * lanes_of<T>);
    }
};

// What the sums are added to.  `at(r, v)` is where the result of row r and vector v lies.
template <class T, int Rows, int Vectors, class At>
inline __attribute__((always_inline)) void add_onto(Vector<T> (&acc)[Rows][Vectors], Onto onto, const T* bias, At at) {
    switch (onto) {
        case Onto::zero: break;
        case Onto::c:
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += load(at(r, v));
            break;
        case Onto::row_bias:
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += bias[r];
            break;
        case Onto::column_bias:
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += load(bias + v * lanes_of<T>);
            break;
    }
}

template <class T, int Rows, int Vectors, class At>
inline __attribute__((always_inline)) void store_sums(const Vector<T> (&acc)[Rows][Vectors], At at) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) store(at(r, v), acc[r][v]);
}

// sums[i][lane] += acc[i], which become 0.
template <class T, int Count>
inline __attribute__((always_inline)) void add_vectors(Vector<T> (&acc)[Count], T* sums) {
#pragma GCC unroll 12
    for (int i = 0; i < Count; ++i) {
        store(sums + i * lanes_of<T>, load(sums + i * lanes_of<T>) + acc[i]);
        acc[i] = Vector<T>{};
    }
}

// Results are asked for before they are stored: a store that misses the caches would hold up those behind it.  64 steps
// are time enough for memory to answer; earlier, what the tile reads would push them out of the L1 again.  (Measured,
// beside asking before the first step: up to a tenth faster where rows of pixels are written after 128 steps, 1 to 4 %
// where pixels of 128 and more channels are.  Nothing for packed tiles; 7 % lost where a tile has 27 steps: below 32,
// never.)
inline int64_t expecting_step(int64_t kc) {
    constexpr int64_t steps_ahead = 64, least_steps = 32, never = -1;
    return kc > steps_ahead ? kc - steps_ahead : kc >= least_steps ? 0 : never;
}

template <class T, int Rows, int Vectors, class At>
inline __attribute__((always_inline)) void expect_results(At at) {
    constexpr int elems_of_line = 64 / static_cast<int>(sizeof(T));
    constexpr int step = lanes_of<T> < elems_of_line ? elems_of_line / lanes_of<T> : 1;  // vectors of a cache line
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; v += step) __builtin_prefetch(at(r, v), 1);
}

template <class T, int PanelRows, int PanelVectors, int Rows, int Vectors>
void tile(Depth depth, const T* a, const T* b, T* c, int64_t ldc, Onto onto, const T* bias) {
    constexpr int lanes = lanes_of<T>;
    const auto at = [=](int r, int v) { return c + r * ldc + v * lanes; };
    Vector<T> acc[Rows][Vectors] = {};
    alignas(64) T memory[RunSums<T, Rows, Vectors>::elems];
    RunSums<T, Rows, Vectors> runs{memory};
    for (int64_t left = depth.steps; left > 0;) {
        for (int64_t k = left < depth.run ? left : depth.run; k > 0; --k) {
            Vector<T> column[Vectors];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) column[v] = load(b + v * lanes);
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < Vectors; ++v) acc[r][v] += a[r] * column[v];
            a += PanelRows;
            b += PanelVectors * lanes;
        }
        left -= depth.run;
        if (left > 0) runs.next(acc);
    }
    runs.end(acc);
    add_onto<T>(acc, onto, bias, at);
    store_sums<T>(acc, at);
}

// One step of an indirect tile for a row: its element of A times a vector of B, added to the sums.  (bf16_pairs.cpp has
// another: elements that are two numbers each.)
template <class T>
struct MultiplyAdd {
    static inline __attribute__((always_inline)) T element(const T* a) { return *a; }
    static inline __attribute__((always_inline)) void add(Vector<T>& sums, T a, Vector<T> b) { sums += a * b; }
};

// The same sums in the same order, with rows read where they lie: a pointer for each row, offsets common to all (the
// indirection of Dukhan 2019, one level of it).  The pointers cost a load each, which the loads' ports have to spare.
template <class T, class Step, int PanelVectors, int Rows, int Vectors, class Ask>
inline __attribute__((always_inline)) void indirect_steps(Depth depth, const T* const* rows, const int64_t* offsets,
                                                          const T* b, T* const* c, int64_t column, Onto onto,
                                                          const T* bias, int64_t period, const Ask& ask) {
    constexpr int lanes = lanes_of<T>;
    const auto at = [=](int r, int v) { return c[r] + column + v * lanes; };
    Vector<T> acc[Rows][Vectors] = {};
    alignas(64) T memory[RunSums<T, Rows, Vectors>::elems];
    RunSums<T, Rows, Vectors> runs{memory};
    const T* a[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) a[r] = rows[r];
    const int64_t kc = depth.steps, expect_at = expecting_step(kc);
    int64_t asks_at = 0, run_ends = depth.run < kc ? depth.run : kc, due = 0;
    for (int64_t k = 0; k < kc;) {
        if (k == asks_at) {
            ask();
            asks_at = kc - k > period ? k + period : kc;
        }
        if (k == due) {
            if (k == expect_at) expect_results<T, Rows, Vectors>(at);
            if (k == run_ends) {
                runs.next(acc);
                run_ends = kc - k > depth.run ? k + depth.run : kc;
            }
            due = k < expect_at && expect_at < run_ends ? expect_at : run_ends;
        }
        // The loop over the steps stops where something else is due, and tests nothing meanwhile.
        for (const int64_t stop = asks_at < due ? asks_at : due; k < stop; ++k) {
            const int64_t offset = offsets[k];
            Vector<T> row_of_b[Vectors];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; ++v) row_of_b[v] = load(b + v * lanes);
#pragma GCC unroll 16
            for (int r = 0; r < Rows; ++r) {
                const auto element = Step::element(a[r] + offset);
#pragma GCC unroll 4
                for (int v = 0; v < Vectors; ++v) Step::add(acc[r][v], element, row_of_b[v]);
            }
            b += PanelVectors * lanes;
        }
    }
    runs.end(acc);
    add_onto<T>(acc, onto, bias, at);
    store_sums<T>(acc, at);
}

template <class T, class Step, int PanelVectors, int Rows, int Vectors>
void indirect_tile(Depth depth, const T* const* rows, const int64_t* offsets, const T* b, T* const* c, int64_t column,
                   Onto onto, const T* bias) {
    indirect_steps<T, Step, PanelVectors, Rows, Vectors>(depth, rows, offsets, b, c, column, onto, bias, depth.steps,
                                                         [] {});
}

template <class T, int PanelVectors, int Rows, int Vectors>
void prefetching_tile(Depth depth, const T* const* rows, const int64_t* offsets, const T* b, T* const* c,
                      int64_t column, Onto onto, const T* bias, Prefetch& prefetch) {
    constexpr int line = 64;
    const char *at = prefetch.at, *end = prefetch.end;
    const Stretch* next = prefetch.next;
    const auto ask = [&] {
        if (at >= end) {
            at = next->at;
            end = next->end;
            next += at < end;
        }
        __builtin_prefetch(at, 0, 2);
        at += line;
    };
    indirect_steps<T, MultiplyAdd<T>, PanelVectors, Rows, Vectors>(depth, rows, offsets, b, c, column, onto, bias,
                                                                   prefetch.period, ask);
    prefetch.at = at;
    prefetch.end = end;
    prefetch.next = next;
}

// The same sums in the same order, with columns read where they lie: no packing, one load of a vector for `Rows`
// products.  (Onto::column_bias does not occur.)  Which rows take part in a step is asked only where some do not: a
// branch for each row then, whose pattern repeats from channel to channel.
template <class T, int Rows, int Vectors>
void row_tile(Depth depth, const T* a, int64_t a_step, const T* b, const int64_t* offsets, const unsigned char* active,
              const VectorAt* vectors, T* c, int64_t ldc, Onto onto, const T* bias) {
    constexpr unsigned all = (1u << Rows) - 1;
    const auto at = [=](int r, int v) { return c + r * ldc + vectors[v].result; };
    const T* source[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) source[v] = b + vectors[v].source;
    Vector<T> acc[Rows][Vectors] = {};
    alignas(64) T memory[RunSums<T, Rows, Vectors>::elems];
    RunSums<T, Rows, Vectors> runs{memory};
    int64_t k = 0;
    const auto step = [&](unsigned taking_part) __attribute__((always_inline)) {
        const int64_t offset = offsets[k++];
        Vector<T> column[Vectors];
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) column[v] = load(source[v] + offset);
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r)
            if (taking_part >> r & 1) {
#pragma GCC unroll 8
                for (int v = 0; v < Vectors; ++v) acc[r][v] += a[r] * column[v];
            }
        a += a_step;
    };
    const int64_t kc = depth.steps, expect_at = expecting_step(kc);
    int64_t run_ends = depth.run < kc ? depth.run : kc;
    while (k < kc) {
        // The last elements: vectors mostly lie across two lines.
        if (k == expect_at) expect_results<T, Rows, Vectors>([=](int r, int v) { return at(r, v) + lanes_of<T> - 1; });
        if (k == run_ends) {
            runs.next(acc);
            run_ends = kc - k > depth.run ? k + depth.run : kc;
        }
        const int64_t stop = k < expect_at && expect_at < run_ends ? expect_at : run_ends;
        if (active == nullptr) {
            while (k < stop) step(all);
        } else {
            while (k < stop) {
                if (active[k] == all) step(all);
                else step(active[k]);
            }
        }
    }
    runs.end(acc);
    add_onto<T>(acc, onto, bias, at);
    store_sums<T>(acc, at);
}

// Fills the tiles's table with the indirect tiles of 1..PanelRows rows and 1..PanelVectors vectors.
template <class T, class Step, int PanelRows, int PanelVectors, int Rows = PanelRows, int Vectors = PanelVectors>
void fill_indirect_tiles(TileKernels<T>& tiles) {
    static_assert(PanelRows <= max_tile_rows && PanelVectors <= max_tile_vectors);
    tiles.rows = PanelRows;
    tiles.vectors = PanelVectors;
    tiles.indirect[Rows - 1][Vectors - 1] = &indirect_tile<T, Step, PanelVectors, Rows, Vectors>;
    if constexpr (Vectors > 1) fill_indirect_tiles<T, Step, PanelRows, PanelVectors, Rows, Vectors - 1>(tiles);
    else if constexpr (Rows > 1) fill_indirect_tiles<T, Step, PanelRows, PanelVectors, Rows - 1, PanelVectors>(tiles);
}

// The packed tiles of the same shapes.
template <class T, int PanelRows, int PanelVectors, int Rows = PanelRows, int Vectors = PanelVectors>
void fill_packed_tiles(TileKernels<T>& tiles) {
    tiles.fn[Rows - 1][Vectors - 1] = &tile<T, PanelRows, PanelVectors, Rows, Vectors>;
    if constexpr (Vectors > 1) fill_packed_tiles<T, PanelRows, PanelVectors, Rows, Vectors - 1>(tiles);
    else if constexpr (Rows > 1) fill_packed_tiles<T, PanelRows, PanelVectors, Rows - 1, PanelVectors>(tiles);
}

template <class T, int PanelRows, int PanelVectors>
void fill_tiles(TileKernels<T>& tiles) {
    fill_indirect_tiles<T, MultiplyAdd<T>, PanelRows, PanelVectors>(tiles);
    fill_packed_tiles<T, PanelRows, PanelVectors>(tiles);
    tiles.prefetching = &prefetching_tile<T, PanelVectors, PanelRows, PanelVectors>;
}

// Row tiles use at most `Registers` accumulators; few rows take more vectors, so that the sums' latency is covered.
template <class T, int PanelRows, int Registers, int Rows = PanelRows, int Vectors = 1>
void fill_row_tiles(KernelTable<T>& table) {
    static_assert(PanelRows <= max_row_tile_rows);
    table.row_tile[Rows - 1][Vectors - 1] = &row_tile<T, Rows, Vectors>;
    table.row_tile_vectors[Rows - 1] = Vectors;
    if constexpr (Vectors < max_row_tile_vectors && Rows * (Vectors + 1) <= Registers)
        fill_row_tiles<T, PanelRows, Registers, Rows, Vectors + 1>(table);
    else if constexpr (Rows > 1) fill_row_tiles<T, PanelRows, Registers, Rows - 1, 1>(table);
}

// The machine's peak: 12 independent chains of multiply-adds cover latency times ports on every known core.
template <class T>
int64_t multiply_add_rounds(int64_t steps, T* sink) {
    constexpr int chains = 12;
    Vector<T> acc[chains];
#pragma GCC unroll 16
    for (int j = 0; j < chains; ++j) acc[j] = T(j) + *sink - Vector<T>{};  // unequal, or the compiler makes one of them
    const Vector<T> factor = T(0.5) - Vector<T>{}, term = T(1) - Vector<T>{};
    for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
        for (int j = 0; j < chains; ++j) acc[j] = acc[j] * factor + term;
    }
    Vector<T> sum = acc[0];
#pragma GCC unroll 16
    for (int j = 1; j < chains; ++j) sum += acc[j];
    for (int l = 0; l < lanes_of<T>; ++l) *sink += sum[l];
    return int64_t(2) * chains * lanes_of<T>;
}
