// What the tests of the kernels share: every table of this machine, and what a kernel must have written.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "machine/dispatch.hpp"
#include "source/stored.hpp"
#include "support.hpp"

namespace convpp::test {

inline constexpr std::initializer_list<kernels::Onto> all_starts{kernels::Onto::zero, kernels::Onto::c,
                                                                 kernels::Onto::row_bias, kernels::Onto::column_bias};

// body(table, isa) for each instruction set of this machine.
template <class T, class Body>
void for_each_isa(const Body& body) {
    for (const Isa isa : available_isas()) {
        CAPTURE(std::string(name(isa)));
        body(kernel_table<T>(isa), isa);
    }
}

// body(tiles, rows, vectors) for each tile of a table.
template <class T, class Body>
void for_each_tile(const kernels::KernelTable<T>& table, const Body& body) {
    for (const kernels::TileKernels<T>& tiles : table.tiles)
        for (int rows = 1; rows <= tiles.rows; ++rows)
            for (int vectors = 1; vectors <= tiles.vectors; ++vectors) {
                CAPTURE(rows);
                CAPTURE(vectors);
                body(tiles, rows, vectors);
            }
}

// The kernels that read what is stored as S.
template <class S>
const kernels::Readers<Computed<S>>& readers_of(const kernels::KernelTable<Computed<S>>& table) {
    return table.read[static_cast<int>(storage_of<S>)];
}

template <class T>
T multiply_add(T a, T b, T c, bool fused) {
    return fused ? std::fma(a, b, c) : a * b + c;
}

// The step of a sum on an instruction set: sum + a*b.
template <class T>
auto multiply_add_of(Isa isa) {
    return [fused = is_fused(isa)](T a, T b, T sum) { return multiply_add(a, b, sum, fused); };
}

inline std::vector<int64_t> random_offsets(Random& random, int64_t count) {
    std::vector<int64_t> offsets(static_cast<size_t>(count));
    for (int64_t& offset : offsets) offset = random.integer(0, 70);
    return offsets;
}

// The largest of some offsets, or 0.
inline int64_t largest_of(const std::vector<int64_t>& offsets) {
    return offsets.empty() ? 0 : *std::max_element(offsets.begin(), offsets.end());
}

// The numbers 0 .. count-1 in any order: rows need not lie in memory as they are numbered.
inline std::vector<int64_t> shuffled(Random& random, int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) order[static_cast<size_t>(i)] = i;
    for (int64_t i = count; i-- > 1;)
        std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.integer(0, i))]);
    return order;
}

// What a kernel must have written: `known` elements are exact; the others, which lie between runs or are slack, may
// hold anything.
template <class T>
struct Panel {
    std::vector<T> value;
    std::vector<char> known;
    explicit Panel(int64_t size) : value(static_cast<size_t>(size)), known(static_cast<size_t>(size)) {}
    void set(int64_t at, T v) {
        value.at(static_cast<size_t>(at)) = v;
        known.at(static_cast<size_t>(at)) = 1;
    }
    int64_t first_difference(const Array<T>& got) const {
        for (int64_t i = 0; i < got.size(); ++i)
            if (known[static_cast<size_t>(i)] && !(got[i] == value[static_cast<size_t>(i)])) return i;
        return -1;
    }
};

template <class T>
bool all_nan(const Array<T>& array, int64_t lo, int64_t hi) {
    return std::all_of(array.data() + lo, array.data() + hi, [](T v) { return v != v; });
}

// A copy of what an array holds, to become what a kernel must leave there: what is not written must stay.
template <class T>
std::vector<T> contents(const Array<T>& array) {
    return {array.data(), array.data() + array.size()};
}

template <class T>
bool holds(const Array<T>& array, const std::vector<T>& values) {
    return values.empty() || std::memcmp(values.data(), array.data(), values.size() * sizeof(T)) == 0;
}

// Rows of every `step`-th element of a source, followed by zeros up to the next row.
template <class S, class T>
void check_copied_rows(const kernels::KernelTable<T>& table, const Array<S>& source, int64_t src_pitch, int64_t step,
                       int64_t rows, int64_t count, int64_t dst_pitch) {
    Array<T> plane(rows == 0 ? 0 : rows * dst_pitch + table.lanes - 1, guards);
    Panel<T> expected(plane.size());
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < dst_pitch; ++j)
            expected.set(i * dst_pitch + j, j < count ? value_of(source[i * src_pitch + j * step]) : T(0));
    readers_of<S>(table).copy_rows(source.data(), src_pitch, step, rows, count, plane.data(), dst_pitch,
                                   source.data() + source.size());
    CAPTURE(step);
    CAPTURE(rows);
    CAPTURE(count);
    CAPTURE(dst_pitch);
    CHECK(expected.first_difference(plane) == -1);
    CHECK(plane.guards_intact());
}

// A sum by its definition: runs of so many steps, each added up one step after the other, then to those before it.
template <class T>
struct SumOfRuns {
    int64_t run;
    T before = T(0), sum = T(0);
    bool several = false;

    // step(sum): the sum with step k more.
    template <class Step>
    void add(int64_t k, const Step& step) {
        if (k > 0 && k % run == 0) {
            before = several ? sum + before : sum;
            sum = T(0);
            several = true;
        }
        sum = step(sum);
    }
    T all() const { return several ? sum + before : sum; }
};

// The sum of all runs is added to what is there.
template <class T>
void add_onto(kernels::Onto onto, T bias, T sum, T& there) {
    there = onto == kernels::Onto::zero ? sum : onto == kernels::Onto::c ? sum + there : sum + bias;
}

// The operands of an indirect tile: rows anywhere in one source, results anywhere in one array.
template <class T>
struct IndirectOperands {
    static constexpr int64_t runs_of = 23;  // steps
    int64_t rows, columns, panel_columns, depth, column;
    std::vector<int64_t> offsets, row_at, result_at;
    Array<T> source, b, c, row_bias, column_bias;

    IndirectOperands(const kernels::KernelTable<T>& table, const kernels::TileKernels<T>& tiles, int tile_rows,
                     int vectors, int64_t kc, int64_t first_column, Random& random)
        : rows(tile_rows),
          columns(int64_t(vectors) * table.lanes),
          panel_columns(int64_t(tiles.vectors) * table.lanes),
          depth(kc),
          column(first_column),
          offsets(random_offsets(random, kc)),
          row_at(static_cast<size_t>(rows)),
          result_at(static_cast<size_t>(rows)),
          source(place_rows(random)),
          b(kc * panel_columns),
          c(rows * (column + columns + 3), guards),
          row_bias(rows),
          column_bias(columns) {
        const std::vector<int64_t> order = shuffled(random, rows);
        for (size_t r = 0; r < order.size(); ++r) result_at[r] = order[r] * (column + columns + 3);
    }

    template <class Fill>
    void fill(const Fill& fill_array) {
        for (Array<T>* array : {&source, &b, &row_bias, &column_bias}) fill_array(*array);
    }

    const T* bias(kernels::Onto onto) const {
        return onto == kernels::Onto::row_bias      ? row_bias.data()
               : onto == kernels::Onto::column_bias ? column_bias.data()
                                                    : nullptr;
    }

    // Results are NaN unless the tile adds to them; the gaps between them always are.
    template <class Value>
    void begin(kernels::Onto onto, const Value& value) {
        c.fill_nan();
        for (int64_t r = 0; onto == kernels::Onto::c && r < rows; ++r)
            for (int64_t j = 0; j < columns; ++j)
                c[result_at[static_cast<size_t>(r)] + column + j] = static_cast<T>(value());
    }

    // Sums of runs, in the order of k.  step(a, b, sum): the sum with one step more.
    template <class Step>
    std::vector<T> expected(kernels::Onto onto, const Step& step) const {
        std::vector<T> result = contents(c);
        for (size_t r = 0; r < row_at.size(); ++r)
            for (int64_t j = 0; j < columns; ++j) {
                SumOfRuns<T> sums{runs_of};
                for (int64_t k = 0; k < depth; ++k)
                    sums.add(k, [&](T sum) {
                        return step(source[row_at[r] + offsets[static_cast<size_t>(k)]], b[k * panel_columns + j], sum);
                    });
                const T bias = onto == kernels::Onto::row_bias ? row_bias[static_cast<int64_t>(r)] : column_bias[j];
                add_onto(onto, bias, sums.all(), result.at(static_cast<size_t>(result_at[r] + column + j)));
            }
        return result;
    }

    void run(const kernels::TileKernels<T>& tiles, int vectors, kernels::Onto onto,
             kernels::Prefetch* prefetch = nullptr) {
        std::vector<const T*> from;
        std::vector<T*> to;
        for (const int64_t at : row_at) from.push_back(source.data() + at);
        for (const int64_t at : result_at) to.push_back(c.data() + at);
        if (prefetch != nullptr)
            return tiles.prefetching({depth, runs_of}, from.data(), offsets.data(), b.data(), to.data(), column, onto,
                                     bias(onto), *prefetch);
        tiles.indirect[rows - 1][vectors - 1]({depth, runs_of}, from.data(), offsets.data(), b.data(), to.data(),
                                              column, onto, bias(onto));
    }

private:
    // Rows may overlap, and two may be one.  Returns the elements of the source: the last one is read.
    int64_t place_rows(Random& random) {
        for (int64_t& at : row_at) at = random.integer(0, 90);
        return depth == 0 ? 0 : largest_of(row_at) + largest_of(offsets) + 1;
    }
};

}  // namespace convpp::test
