// Memory that is read soon, as stretches that tiles ask for while they multiply (kernel_table.hpp: Ahead).
//
// In:  blocks of a tensor: which channels of which pixels.   Out: a list of stretches, spread over a number of tiles.
// Used by weight_grad.cpp: a box of pixels is read once, in many short stretches, which the processor does not foresee.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "checked.hpp"
#include "index_map.hpp"
#include "kernels/kernel_table.hpp"

namespace convpp {

class ReadAhead {
public:
    ReadAhead(kernels::Stretch* room, int64_t most) : first_(room), most_(most) {}

    // Pixels count[0] x .. x count[3] of (sample, depth, height, width), `step` apart on each axis (of the tensor), from
    // `at` on; `channels` of each.
    template <class T>
    void add(const T* at, const TensorStrides& strides, const std::array<int64_t, 4>& count,
             const std::array<int64_t, 3>& step, int64_t channels) {
        const bool channels_lie_together = strides.channel == 1;
        const int64_t along_row = step[2] * strides.axis[2];
        int64_t elems = channels_lie_together ? channels : (count[3] - 1) * along_row + 1;
        std::array<Dim, 4> dims;
        if (channels_lie_together)
            dims = {Dim{count[0], strides.batch}, Dim{count[1], step[0] * strides.axis[0]},
                    Dim{count[2], step[1] * strides.axis[1]}, Dim{count[3], along_row}};
        else
            dims = {Dim{channels, strides.channel}, Dim{count[0], strides.batch},
                    Dim{count[1], step[0] * strides.axis[0]}, Dim{count[2], step[1] * strides.axis[1]}};
        // Stretches that follow each other become one.
        for (size_t inner = 4; inner-- > 0 && (dims[inner].count == 1 || dims[inner].step == elems);) {
            elems *= dims[inner].count;
            dims[inner].count = 1;
        }
        for (int64_t i = 0; i < dims[0].count; ++i)
            for (int64_t j = 0; j < dims[1].count; ++j)
                for (int64_t k = 0; k < dims[2].count; ++k)
                    for (int64_t l = 0; l < dims[3].count && used_ + 1 < most_; ++l) {
                        const T* const from = at + i * dims[0].step + j * dims[1].step + k * dims[2].step + l * dims[3].step;
                        const char* const line = reinterpret_cast<const char*>(from) - reinterpret_cast<uintptr_t>(from) % line_bytes;
                        const char* const end = reinterpret_cast<const char*>(from + elems);
                        first_[used_++] = {line, end};
                        lines_ += ceil_div(end - line, line_bytes);
                    }
    }

    // The list, for `tiles` tiles of `depth` steps.
    kernels::Ahead over(int64_t tiles, int64_t depth) const {
        first_[used_] = {nullptr, nullptr};
        return {first_, nullptr, nullptr, lines_ == 0 ? depth : std::max<int64_t>(1, tiles * depth / lines_)};
    }

private:
    static constexpr int64_t line_bytes = 64;
    struct Dim {
        int64_t count = 1, step = 0;
    };
    kernels::Stretch* first_;
    int64_t most_, used_ = 0, lines_ = 0;
};

}  // namespace convpp
