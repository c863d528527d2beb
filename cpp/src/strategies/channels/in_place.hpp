// Depthwise layers in channels_last whose pixels are read where they lie, a row of results after the other.
//
// In:  a Plan of this strategy whose maps are in place, the operands, a task.   Out: the task's results.
// Next: kernels/channel/pixels.hpp.
//
// The kernel gets a pointer for each pixel that a row of results reads: rows of pointers, one for each row of the
// source, which are made once and serve all rows of results that read it.  Padding is a pixel of zeros.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plan/tasks.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Rows of pointers that are known at a time: those that a row of results reads, and the next ones.
inline int64_t known_rows(const AxisMap& height) { return height.taps.size() + height.source_step; }
inline int64_t known_columns(const AxisMap& width, int64_t count) {
    return (count - 1) * width.source_step + width.taps.size();
}

template <class T>
struct PixelPointers {
    const T** pixels = nullptr;  // [row][column]
    const T* const** lines = nullptr;  // of the kernel
    T* zeros = nullptr;  // a pixel
    T* tail = nullptr;  // the last elements of the source, with room for whole vectors behind

    PixelPointers(Carver& carver, const Plan& plan, int64_t lanes) {
        int64_t elems = 0, lines_most = 0;
        for (const MapPlan& m : plan.maps) {
            if (!m.in_place) return;
            const int64_t columns = known_columns(m.map.axis[2], m.boxes.largest_extent(3));
            elems = std::max(elems, known_rows(m.map.axis[1]) * columns);
            lines_most = std::max<int64_t>(lines_most, m.map.axis[1].taps.size());
        }
        const int64_t channels = round_up(plan.tasks.channel_block, lanes);
        pixels = carver.take<const T*>(elems);
        lines = carver.take<const T* const*>(lines_most);
        zeros = carver.take<T>(channels);
        tail = carver.take<T>(2 * channels);
    }
};

// The rows of pointers to a source's pixels, made as they are asked for.
template <class T>
class PixelRowsKnown {
public:
    // Entry q of a row is column first + q*step; `all`: the source from the first channel on.
    PixelRowsKnown(const PixelPointers<T>& memory, const Plan& plan, const MapPlan& m, const Stored<T>& all,
                   const Box& pixels, int64_t channels, int64_t lanes)
        : memory_(memory),
          strides_(plan.source.strides),
          height_(m.map.axis[1].source_extent),
          width_(m.map.axis[2].source_extent),
          rows_(known_rows(m.map.axis[1])),
          count_(known_columns(m.map.axis[2], pixels.extent(3))) {
        const AxisMap& width = m.map.axis[2];
        backwards = width.taps.size() > 1 && width.taps.apart() < 0;
        step_ = backwards ? -1 : 1;
        first_ = (backwards ? pixels.hi[3] - 1 : pixels.lo[3]) * width.source_step + width.taps.front().offset;
        // Pixels whose vectors reach beyond the end are read from the tail.
        whole_ = round_up(channels, lanes);
        end_ = all.plain_end();
        const int64_t copied = std::min<int64_t>(whole_, end_ - all.plain());
        tail_ = end_ - copied;
        std::fill(std::copy_n(tail_, copied, memory.tail), memory.tail + 2 * whole_, T(0));
        std::fill_n(memory.zeros, whole_, T(0));
    }

    bool backwards;  // entries are in the order of falling columns

    // Of a slice of the source, of which nothing is known.
    void begin(const T* slice, int64_t first_row) {
        slice_ = slice;
        next_ = first_row;
    }
    // Row h, of rows that are asked for in turn, or were among the last ones.
    const T* const* row(int64_t h) {
        for (; next_ <= h; ++next_) make(next_);
        return at(h);
    }

private:
    const T** at(int64_t h) const {
        const int64_t place = h % rows_;
        return memory_.pixels + (place < 0 ? place + rows_ : place) * count_;
    }
    void make(int64_t h) const {
        const T** const to = at(h);
        const bool outside = h < 0 || h >= height_;
        for (int64_t q = 0, column = first_; q < count_; ++q, column += step_) {
            to[q] = memory_.zeros;
            if (outside || column < 0 || column >= width_) continue;
            const T* const pixel = slice_ + h * strides_.axis[1] + column * strides_.axis[2];
            to[q] = end_ - pixel >= whole_ ? pixel : memory_.tail + (pixel - tail_);
        }
    }

    const PixelPointers<T>& memory_;
    const TensorStrides& strides_;
    int64_t height_, width_, rows_, count_, first_ = 0, step_ = 1, next_ = 0;
    int64_t whole_ = 0;  // elements of a pixel that are read
    const T *tail_ = nullptr, *end_ = nullptr;
    const T* slice_ = nullptr;
};

template <class T>
void run_pixels_in_place(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                         const MapPlan& m, const ProductTask& task, const T* packed, const T* bias,
                         const PixelPointers<T>& pointers) {
    const Box pixels = pixels_of(m, task.pixels);
    if (pixels.elems() == 0) return;
    const AxisMap &depth = m.map.axis[0], &height = m.map.axis[1], &width = m.map.axis[2];
    const Stored<T> source = operands.source(plan.pass) + task.channel_lo;
    const TensorStrides& to = plan.buffer.strides;
    PixelRowsKnown<T> rows(pointers, plan, m, source, pixels, task.channels, kernel.lanes);
    const int64_t taps = m.map.taps(), lines = height.taps.size(), count = pixels.extent(3);
    const int64_t first_tap = height.taps.front().offset, apart = lines > 1 ? height.taps.apart() : 1;
    const int64_t pixel_step = width.result_step * to.axis[2];
    kernels::ChannelPixels<T> of{};
    of.columns = width.taps.size();
    of.weights_vector = taps * kernel.lanes;
    of.count = count;
    of.channels = task.channels;
    of.result_step = rows.backwards ? -pixel_step : pixel_step;
    of.bias = bias + task.channel_lo;
    const T* const weights = packed + m.weights_at + task.channel_lo * taps;
    const kernels::Onto onto = operands.accumulate ? kernels::Onto::c
                               : operands.bias     ? kernels::Onto::column_bias
                                                   : kernels::Onto::zero;
    // Where the results of a slice's rows lie together, with all their channels.
    const bool follow = onto != kernels::Onto::c && !rows.backwards && width.result_step == 1 &&
                        height.result_step == 1 && task.channels == to.axis[2] && count * to.axis[2] == to.axis[1];
    for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
        for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
            const int64_t slice = d * depth.source_step + depth.taps.front().offset;
            rows.begin(source.plain() + n * plan.source.strides.batch + slice * plan.source.strides.axis[0],
                       pixels.lo[2] * height.source_step + std::min(first_tap, height.taps.back().offset));
            for (int64_t h = pixels.lo[2]; h < pixels.hi[2]; ++h) {
                const int64_t at = h * height.source_step + first_tap;
                rows.row(at + std::max<int64_t>(0, (lines - 1) * apart));
                // Lines outside are left out.
                int64_t lo = 0, hi = lines;
                while (lo < hi && (at + lo * apart < 0 || at + lo * apart >= height.source_extent)) ++lo;
                while (hi > lo && (at + (hi - 1) * apart < 0 || at + (hi - 1) * apart >= height.source_extent)) --hi;
                for (int64_t line = lo; line < hi; ++line) pointers.lines[line - lo] = rows.row(at + line * apart);
                of.lines = pointers.lines;
                of.line_count = hi - lo;
                of.weights = weights + lo * of.columns * kernel.lanes;
                const int64_t below = std::max(at, at + (lines - 1) * apart) + 1;
                of.ahead = below < height.source_extent && h + 1 < pixels.hi[2] ? rows.row(below) : nullptr;
                const int64_t first =
                    width.result_start + width.result_step * (rows.backwards ? pixels.hi[3] - 1 : pixels.lo[3]);
                of.result = operands.sums + task.channel_lo + n * to.batch +
                            (depth.result_start + d * depth.result_step) * to.axis[0] +
                            (height.result_start + h * height.result_step) * to.axis[1] + first * to.axis[2];
                of.spill_end = follow ? of.result + (pixels.hi[2] - h) * to.axis[1] - kernel.lanes : nullptr;
                kernel.channel_pixels[width.source_step - 1](of, onto);
            }
        }
}

}  // namespace convpp
