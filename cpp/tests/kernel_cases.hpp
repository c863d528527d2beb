// What the tests of the kernels share: every table of this machine, and what a kernel must have written.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "dispatch.hpp"
#include "stored.hpp"
#include "support.hpp"

namespace convpp::test {

inline constexpr std::initializer_list<kernels::Start> all_starts{
    kernels::Start::zero, kernels::Start::from_c, kernels::Start::row_bias, kernels::Start::column_bias};

// body(table, isa) for each instruction set of this machine.
template <class T, class Body>
void for_each_isa(const Body& body) {
    for (const Isa isa : available_isas()) {
        CAPTURE(std::string(name(isa)));
        body(kernel_table<T>(isa), isa);
    }
}

// body(family, rows, vectors) for each tile of a table.
template <class T, class Body>
void for_each_tile(const kernels::KernelTable<T>& table, const Body& body) {
    for (const kernels::TileFamily<T>& family : table.family)
        for (int rows = 1; rows <= family.rows; ++rows)
            for (int vectors = 1; vectors <= family.vectors; ++vectors) {
                CAPTURE(rows);
                CAPTURE(vectors);
                body(family, rows, vectors);
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

// What a kernel must have written: `known` elements are exact; the others, which lie between runs or are slack, may hold
// anything.
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

}  // namespace convpp::test
