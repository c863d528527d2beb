// What a box of pixels will read, as stretches of memory that tiles ask for while they multiply the box before.
//
// In:  a Plan, a product, a box of pixels, the operands.   Out: kernels::Ahead, spread evenly over a number of tiles.
// Next: weight_grad.cpp, which asks; kernels/tile.hpp (prefetching_tile), where that happens.
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

// Stretches of memory that are asked for ahead, at most (a list of 32 KiB).
inline constexpr int64_t most_stretches = 2048;

class PrefetchList {
public:
    // `room`: for most_stretches of them.  What is more is not asked for.
    explicit PrefetchList(kernels::Stretch* room) : stretches_(room) {}

    // Pixels count[0] x .. x count[3] of (sample, depth, height, width), step[..] apart along the three axes, from `at`
    // on; `channels` of each.
    template <class T>
    void add(const Stored<T>& at, const TensorStrides& strides, const std::array<int64_t, 4>& count,
             const std::array<int64_t, 3>& step, int64_t channels) {
        if (*std::min_element(count.begin(), count.end()) <= 0) return;  // all of it is padding
        const bool channels_lie_together = strides.channel == 1;
        const Dim sample{count[0], strides.batch}, depth{count[1], step[0] * strides.axis[0]},
            row{count[2], step[1] * strides.axis[1]}, pixel{count[3], step[2] * strides.axis[2]};
        std::array<Dim, 4> dims{sample, depth, row, pixel};
        if (!channels_lie_together) dims = {Dim{channels, strides.channel}, sample, depth, row};
        int64_t elems = channels_lie_together ? channels : (pixel.count - 1) * pixel.step + 1;
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

    // What of some ranges lies inside a tensor: of samples from `at` on, `channels` of each pixel.
    template <class T>
    void add(Stored<T> at, const TensorStrides& strides, const std::array<ReadRange, 3>& ranges, const Extents& extents,
             int64_t samples, int64_t channels) {
        std::array<int64_t, 4> count{samples, 0, 0, 0};
        std::array<int64_t, 3> step{};
        for (size_t a = 0; a < 3; ++a) {
            const Segment inside = inside_part(ranges[a], extents[a], 0);
            at += inside.first * strides.axis[a];
            count[a + 1] = inside.count;
            step[a] = ranges[a].step;
        }
        add(at, strides, count, step, channels);
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
