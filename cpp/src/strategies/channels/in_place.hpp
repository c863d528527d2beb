// Depthwise layers in channels_last, a row of results after the other, all channels of a pixel at a time.
//
// In:  a Plan of this strategy whose maps are in place, the operands, a task.   Out: the task's results.
// Next: kernels/channel/pixels.hpp.
//
// The kernel gets a pointer for each pixel that a row of results reads.  Padding is a pixel of zeros.  Pixels are read
// where they lie, but where several taps read pixels that lie in few sets of the L1 cache, which would push each other
// out, or halves whose results have to be whole sums before they are rounded: their rows are copied once, when the first
// row of results needs them, into a few rows that stay in the L2.  There pixels begin an odd number of lines apart.
// (Measured, 3x3 at 24x24, half of the channels a task: 1536 channels 4.8 ms beside 6.6; where pixels lie apart, 1500
// channels, 4.6 beside 3.6.)
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "plan/tasks.hpp"
#include "source/stored.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Rows of the source that are known at a time: those that a row of results reads, and the next ones.
inline int64_t known_rows(const AxisMap& height) { return height.taps.size() + height.source_step; }
inline int64_t known_columns(const AxisMap& width, int64_t count) {
    return (count - 1) * width.source_step + width.taps.size();
}
inline bool in_few_sets(const Plan& plan, int64_t elem_bytes) {
    constexpr int64_t few_sets_bytes = 2048;  // half of the 4 KiB after which an L1 of 64 sets begins again
    return plan.source.strides.axis[2] * elem_bytes % few_sets_bytes == 0;
}
inline bool copies_pixels(const Plan& plan, const IndexMap& map) {
    return map.taps() > 1 && (plan.converts() || in_few_sets(plan, plan.dtype == DType::float64 ? 8 : 4));
}

// From a copied pixel to the next one: an odd number of cache lines, so that pixels do not push each other out.
inline int64_t copied_pixel(int64_t channels, int64_t elem_bytes) {
    const int64_t line = cache_line / elem_bytes;
    return (ceil_div(channels, line) | 1) * line;
}

template <class T>
struct PixelPointers {
    const T** pixels = nullptr;  // [row][column]
    const T* const** lines = nullptr;  // of the kernel
    T* zeros = nullptr;  // a pixel
    T* copied = nullptr;  // [row][column][channel]
    T* tail = nullptr;  // the last elements of a source that is not copied, with room for whole vectors behind

    PixelPointers(Carver& carver, const Plan& plan, int64_t lanes) {
        int64_t elems = 0, lines_most = 0, copied_elems = 0;
        const int64_t channels = round_up(std::min(plan.tasks.channel_block, plan.tasks.channels), lanes);
        for (const MapPlan& m : plan.maps) {
            if (!m.in_place) return;
            const int64_t columns = known_columns(m.map.axis[2], m.boxes.largest_extent(3));
            elems = std::max(elems, known_rows(m.map.axis[1]) * columns);
            lines_most = std::max<int64_t>(lines_most, m.map.axis[1].taps.size());
            if (copies_pixels(plan, m.map))
                copied_elems = std::max(copied_elems, known_rows(m.map.axis[1]) * columns *
                                                          copied_pixel(channels, static_cast<int64_t>(sizeof(T))));
        }
        pixels = carver.take<const T*>(elems);
        lines = carver.take<const T* const*>(lines_most);
        zeros = carver.take<T>(channels);
        copied = carver.take<T>(copied_elems);
        tail = carver.take<T>(2 * channels);
    }
};

// The rows of pointers to a source's pixels, made as they are asked for.  S: as which they are read.
template <class T, class S>
class PixelRows {
    static constexpr bool converts = std::is_same_v<S, T>;  // what is copied, if it is halves

public:
    // Entry q of a row is column first + q*step; `all`: the source from the first channel on.
    PixelRows(const PixelPointers<T>& memory, const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m,
              const Stored<T>& all, const Box& pixels, int64_t channels)
        : pixels_(reinterpret_cast<const S**>(memory.pixels)),
          zeros_(reinterpret_cast<S*>(memory.zeros)),
          copied_(reinterpret_cast<S*>(memory.copied)),
          copied_tail_(reinterpret_cast<S*>(memory.tail)),
          read_(reading(kernel, all)),
          strides_(plan.source.strides),
          copies_(copies_pixels(plan, m.map) && (converts || in_few_sets(plan, static_cast<int64_t>(sizeof(S))))),
          channels_(channels),
          whole_(round_up(channels, int64_t(kernel.lanes))),
          pitch_(copied_pixel(whole_, static_cast<int64_t>(sizeof(S)))),
          height_(m.map.axis[1].source_extent),
          width_(m.map.axis[2].source_extent),
          rows_(known_rows(m.map.axis[1])),
          count_(known_columns(m.map.axis[2], pixels.extent(3))),
          all_(all),
          end_(reinterpret_cast<const S*>(all.end)) {
        const AxisMap& width = m.map.axis[2];
        backwards = width.taps.size() > 1 && width.taps.apart() < 0;
        step_ = backwards ? -1 : 1;
        first_ = (backwards ? pixels.hi[3] - 1 : pixels.lo[3]) * width.source_step + width.taps.front().offset;
        lo_ = std::clamp<int64_t>(std::min(first_, first_ + (count_ - 1) * step_), 0, width_);
        hi_ = std::clamp<int64_t>(std::max(first_, first_ + (count_ - 1) * step_) + 1, lo_, width_);
        std::fill_n(zeros_, whole_, S{});
        if (copies_) {
            for (int64_t row = 0; row < rows_; ++row)
                point(at(row), [&](int64_t column) { return copy_of(row) + (column - lo_) * pitch_; });
            return;
        }
        // Pixels whose vectors reach beyond the end are read from the tail.
        const int64_t copied = std::min<int64_t>(whole_, end_ - reinterpret_cast<const S*>(all.at));
        tail_ = end_ - copied;
        std::fill(std::copy_n(tail_, copied, copied_tail_), copied_tail_ + 2 * whole_, S{});
    }

    bool backwards;  // entries are in the order of falling columns
    bool copies() const { return copies_; }

    // Of a slice of the source, of which nothing is known.
    void begin(const Stored<T>& slice, int64_t first_row) {
        slice_ = slice;
        next_ = first_row;
    }
    // Row h inside, of rows that are asked for in turn, or were among the last ones.
    const S* const* row(int64_t h) {
        for (; next_ <= h; ++next_)
            if (next_ >= 0 && next_ < height_) make(next_);
        return at(h);
    }

private:
    const S** at(int64_t h) const { return pixels_ + h % rows_ * count_; }
    S* copy_of(int64_t h) const { return copied_ + h % rows_ * count_ * pitch_; }

    // Row by row, of which pixel_at(column) are the pixels inside.
    template <class PixelAt>
    void point(const S** row, const PixelAt& pixel_at) const {
        for (int64_t q = 0, column = first_; q < count_; ++q, column += step_)
            row[q] = column >= lo_ && column < hi_ ? pixel_at(column) : zeros_;
    }
    void make(int64_t h) const {
        const Stored<T> from = slice_ + (h * strides_.axis[1] + lo_ * strides_.axis[2]);
        const S* const first = reinterpret_cast<const S*>(from.at);
        if (!copies_) {
            point(at(h), [&](int64_t column) {
                const S* const pixel = first + (column - lo_) * strides_.axis[2];
                return end_ - pixel >= whole_ ? pixel : copied_tail_ + (pixel - tail_);
            });
        } else if constexpr (converts) {
            read_.copy_rows(from.at, strides_.axis[2], 1, hi_ - lo_, channels_, copy_of(h), pitch_, all_.end);
        } else {
            for (int64_t i = 0; i < hi_ - lo_; ++i)
                std::copy_n(first + i * strides_.axis[2], channels_, copy_of(h) + i * pitch_);
        }
    }

    const S** const pixels_;
    S *const zeros_, *const copied_, *const copied_tail_;
    const kernels::Readers<T>& read_;
    const TensorStrides& strides_;
    const bool copies_;
    const int64_t channels_, whole_, pitch_, height_, width_, rows_,
        count_;  // whole_: elements of a pixel that are read
    const Stored<T> all_;
    const S* const end_;
    int64_t first_ = 0, step_ = 1, lo_ = 0, hi_ = 0, next_ = 0;
    const S* tail_ = nullptr;
    Stored<T> slice_;
};

// The tiles for pixels and results that are stored as S.
template <class S, class T>
const kernels::ChannelPixelTiles<T, S>& pixel_tiles(const kernels::KernelTable<T>& kernel) {
    if constexpr (std::is_same_v<S, bfloat16>) return kernel.channel_pixels_bfloat16;
    else if constexpr (std::is_same_v<S, float16>) return kernel.channel_pixels_float16;
    else return kernel.channel_pixels;
}

// Results are stored as S, from `first_result` on (of all channels), with the strides `to`.
template <class T, class S>
void run_pixels_in_place(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                         const MapPlan& m, const ProductTask& task, const T* packed, const T* bias,
                         const PixelPointers<T>& pointers, S* first_result, const TensorStrides& to) {
    const Box pixels = pixels_of(m, task.pixels);
    if (pixels.elems() == 0) return;
    const AxisMap &depth = m.map.axis[0], &height = m.map.axis[1], &width = m.map.axis[2];
    const Stored<T> source = operands.source(plan.pass) + task.channel_lo;
    PixelRows<T, S> rows(pointers, plan, kernel, m, source, pixels, task.channels);
    const int64_t taps = m.map.taps(), lines = height.taps.size(), count = pixels.extent(3);
    const int64_t first_tap = height.taps.front().offset, apart = lines > 1 ? height.taps.apart() : 1;
    const int64_t pixel_step = width.result_step * to.axis[2];
    kernels::ChannelPixels<T, S> of{};
    const S* const** const line_pixels = reinterpret_cast<const S* const**>(pointers.lines);
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
            rows.begin(source + (n * plan.source.strides.batch + slice * plan.source.strides.axis[0]),
                       pixels.lo[2] * height.source_step + std::min(first_tap, height.taps.back().offset));
            for (int64_t h = pixels.lo[2]; h < pixels.hi[2]; ++h) {
                const int64_t at = h * height.source_step + first_tap;
                // Lines outside are left out.
                int64_t lo = 0, hi = lines;
                while (lo < hi && (at + lo * apart < 0 || at + lo * apart >= height.source_extent)) ++lo;
                while (hi > lo && (at + (hi - 1) * apart < 0 || at + (hi - 1) * apart >= height.source_extent)) --hi;
                // Rows are asked for upwards.
                for (int64_t i = lo; i < hi; ++i) {
                    const int64_t line = apart > 0 ? i : hi - 1 - (i - lo);
                    line_pixels[line - lo] = rows.row(at + line * apart);
                }
                of.lines = line_pixels;
                of.line_count = hi - lo;
                of.weights = weights + lo * of.columns * kernel.lanes;
                const int64_t below = std::max(at, at + (lines - 1) * apart) + 1;
                of.ahead = !rows.copies() && below >= 0 && below < height.source_extent && h + 1 < pixels.hi[2]
                               ? rows.row(below)
                               : nullptr;
                const int64_t first =
                    width.result_start + width.result_step * (rows.backwards ? pixels.hi[3] - 1 : pixels.lo[3]);
                of.result = first_result + task.channel_lo + n * to.batch +
                            (depth.result_start + d * depth.result_step) * to.axis[0] +
                            (height.result_start + h * height.result_step) * to.axis[1] + first * to.axis[2];
                of.spill_end = follow ? of.result + (pixels.hi[2] - h) * to.axis[1] - kernel.lanes : nullptr;
                pixel_tiles<S>(kernel).of[width.source_step - 1](of, onto);
            }
        }
}

}  // namespace convpp
