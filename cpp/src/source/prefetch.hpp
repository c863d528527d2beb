// What a box of pixels will read, as stretches of memory that tiles ask for while they multiply the box before.
//
// In:  parts of tensors, and what of each is read.   Out: kernels::Prefetch, spread evenly over a number of tiles.
// Next: strategies/sum_prefetch.hpp and strategies/winograd/, which ask; kernels/tile/tile.hpp, where tiles do.
//
// The weight gradient reads each element of x and dy a few times at most, in stretches that are too short for the
// processor to foresee them.  Copying or packing such a box would wait for memory at every one of them.  Asked for
// while the tiles multiply, line by line, it costs nearly nothing.  (Asked for between two tiles, all at once, it costs
// what it saves: the lines on their way leave no room for what the next tile loads.)
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/contract.hpp"
#include "problem/checked.hpp"
#include "source/layout.hpp"
#include "source/stored.hpp"

namespace convpp {

// Stretches of memory in a list, at most (32 KiB).
inline constexpr int64_t most_stretches = 2048;

class PrefetchList {
public:
    // `room`: for most_stretches of them.  What is more is not asked for.
    explicit PrefetchList(kernels::Stretch* room) : stretches_(room) {}

    // What of some ranges lies inside a tensor.
    template <class T>
    void add(const SourcePart<T>& part, const std::array<ReadRange, 3>& ranges) {
        const TensorStrides& strides = part.strides;
        const bool channels_lie_together = strides.channel == 1;
        const Dim sample{part.samples, strides.batch}, channel{part.channels, strides.channel};
        std::array<Dim, 3> axis;
        Stored<T> at = part.first;
        for (size_t a = 0; a < 3; ++a) {
            const Segment inside = inside_part(ranges[a], part.extents[a], 0);
            if (inside.count == 0) return;  // all of it is padding
            at += inside.first * strides.axis[a];
            axis[a] = {inside.count, ranges[a].step * strides.axis[a]};
        }
        std::array<Dim, 4> dims{sample, axis[0], axis[1], axis[2]};
        if (!channels_lie_together) dims = {channel, sample, axis[0], axis[1]};
        int64_t elems = channels_lie_together ? part.channels : (axis[2].count - 1) * axis[2].step + 1;
        for (size_t d = 4; d-- > 0 && (dims[d].count == 1 || dims[d].step == elems);) {  // those that follow each other
            elems *= dims[d].count;
            dims[d].count = 1;
        }
        for (int64_t i = 0; i < dims[0].count; ++i)
            for (int64_t j = 0; j < dims[1].count; ++j)
                for (int64_t k = 0; k < dims[2].count; ++k)
                    for (int64_t l = 0; l < dims[3].count && count_ < most_stretches - 1; ++l)
                        add(at + i * dims[0].step + j * dims[1].step + k * dims[2].step + l * dims[3].step, elems);
    }

    // The list, asked for by `tiles` tiles of `depth` steps; null if it is empty.
    kernels::Prefetch over(int64_t tiles, int64_t depth) const {
        if (lines_ == 0) return {};
        const char* const last = stretches_[count_ - 1].at;
        stretches_[count_] = {last, last};
        return {stretches_, last, last, std::max<int64_t>(1, tiles * depth / lines_)};
    }

private:
    static constexpr int64_t line_bytes = 64;
    struct Dim {
        int64_t count = 1, step = 0;
    };

    template <class T>
    void add(const Stored<T>& from, int64_t elems) {
        const char* const at = reinterpret_cast<const char*>(from.at);
        const char* const line = at - reinterpret_cast<std::uintptr_t>(at) % line_bytes;
        const char* const end = at + elems * from.elem_bytes();
        stretches_[count_++] = {line, end};
        lines_ += ceil_div(end - line, line_bytes);
    }

    kernels::Stretch* stretches_;
    int64_t count_ = 0, lines_ = 0;
};

}  // namespace convpp
