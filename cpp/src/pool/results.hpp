// Rows of results in the user's array: computed there, or in a buffer from which they are added or rounded.
//
// In:  a box's rows.   Out: rows of the array.   Next: forward.cpp, backward.cpp.
#pragma once

#include "machine/dispatch.hpp"
#include "pool/blocks.hpp"
#include "strategies/operands.hpp"

namespace convpp::pool {

template <class T>
class ResultRows {
public:
    // For boxes of at most so many elements of a row, and rows at one depth.
    ResultRows(Carver& carver, Isa isa, Results<T> results, bool accumulate, int64_t rows, int64_t elems, int64_t lanes)
        : table_(kernel_table<T>(isa)), results_(results), accumulate_(accumulate) {
        if (!in_place()) buffer_ = carver.take<T>(checked_mul(rows, elems, "the workspace") + lanes);
    }

    // Where rows of `count` elements that belong at `at`, `pitch` apart, are computed, and how far they are apart there.
    struct Place {
        T* at;
        int64_t pitch;
    };
    Place place(int64_t at, int64_t pitch, int64_t count) const {
        if (in_place()) return {(results_ + at).plain(), pitch};
        return {buffer_, count};
    }
    void done(int64_t at, int64_t pitch, int64_t rows, int64_t count) const {
        if (in_place()) return;
        const Results<T> to = results_ + at;
        Epilogue<T> epilogue;
        if (accumulate_) epilogue.residual = to.stored();
        apply_epilogue(table_, epilogue, {buffer_, count, rows, count}, to, pitch);
    }

private:
    bool in_place() const { return results_.as == kernels::Storage::plain && !accumulate_; }

    const kernels::KernelTable<T>& table_;
    Results<T> results_;
    bool accumulate_;
    T* buffer_ = nullptr;
};

}  // namespace convpp::pool
