// Where the gradient of a box of dx comes from: which windows read each of its elements, and by which tap.
//
// In:  a box of elements.   Out: lists for kernels/spread.hpp, rows of dy between paddings.   Next: backward.cpp.
#pragma once

#include "pool/windows.hpp"

namespace convpp::pool {

using kernels::Reach;

template <class T>
class Gathering {
public:
    // For boxes of at most so many elements.
    Gathering(Carver& carver, const Planes& planes, const PoolKernels<T>& kernel, bool chosen, const Extents& most)
        : planes_(planes), kernel_(kernel) {
        const Axis& width = planes.axes[2];
        const int64_t lanes = kernel.lanes, unit = planes.unit, pixels = ceil_div(most[2], width.stride);
        const int64_t furthest = (width.stride - 1 + width.reach()) / width.stride;
        // A vector (or a pixel) of dx reads so far in front of the box's windows, and behind.
        before_ = round_up(std::max<int64_t>(width.reach() - width.pad, 0) / width.stride * unit, lanes);
        const int64_t read = unit == 1 ? round_up(pixels, lanes) + furthest : (pixels + furthest) * unit + lanes;
        pitch_ = before_ + round_up(std::max(read, width.most_windows(most[2]) * unit), lanes);
        const int64_t rows = planes.axes[0].most_windows(most[0]) * planes.axes[1].most_windows(most[1]);
        dy_ = carver.take<T>(checked_mul(rows, pitch_, "the workspace") + lanes);
        if (chosen) tap_of_ = carver.take<Tap<T>>(rows * pitch_);
        const int64_t lines =
            checked_mul(readers(planes.axes[0], most[0]), readers(planes.axes[1], most[1]), "the workspace");
        lines_ = carver.take<Line<T>>(lines);
        line_begin_ = carver.take<int64_t>(most[0] * most[1] + 1);
        const int64_t phases = phases_of(most[2]);
        reaches_ = carver.take<Reach<T>>(width.taps);  // each belongs to one phase
        reach_begin_ = carver.take<int64_t>(phases + 1);
        if (tap_of_ != nullptr)
            std::fill_n(tap_of_, rows * pitch_, Tap<T>(kernels::no_tap));  // paddings stay as they are
    }

    // The windows that read the box.
    const Box& windows() const { return windows_; }

    void begin(const Box& box) {
        box_ = box;
        for (size_t a = 0; a < 3; ++a) windows_[a] = planes_.axes[a].windows_of(box[a]);
        list_lines();
        list_reaches();
        // Paddings, which stay for all planes.
        const int64_t columns = windows_[2].count() * planes_.unit;
        for (int64_t i = 0; i < windows_[0].count() * windows_[1].count(); ++i) {
            T* const row = dy_ + i * pitch_;
            std::fill(row, row + before_, T(0));
            std::fill(row + before_ + columns, row + pitch_, T(0));
        }
    }

    // The rows of dy of the box's windows, zeros around them.
    void bring(Stored<T> dy) const {
        const auto copy = kernel_.stage_rows[static_cast<int>(dy.as)];
        for (int64_t o = windows_[0].lo; o < windows_[0].hi && windows_[1].count() > 0; ++o) {
            const Stored<T> from = dy + planes_.y_at(o, windows_[1].lo, windows_[2].lo);
            copy(from.at, planes_.axes[2].out * planes_.unit, windows_[1].count(), windows_[2].count() * planes_.unit,
                 dy.end, T(0), row(o) + before_, pitch_);
        }
    }
    // Rows of the windows at this depth, and where their taps belong.
    T* row(int64_t o) const { return dy_ + (o - windows_[0].lo) * windows_[1].count() * pitch_; }
    void take_taps(int64_t o, kernels::WindowLines<T>& lines) const {
        lines.result_tap = tap_of_ + (o - windows_[0].lo) * windows_[1].count() * pitch_ + before_;
        lines.tap_pitch = pitch_;
        lines.tap_room = pitch_ - before_;
    }
    int64_t pitch() const { return pitch_; }
    int64_t before() const { return before_; }

    // Rows of dx at this depth: to be completed by the caller.
    kernels::Spread<T> spread_at(int64_t depth) const {
        kernels::Spread<T> spread{};
        spread.dy = dy_;
        spread.tap_of = tap_of_;
        spread.lines = lines_;
        spread.line_begin = line_begin_ + depth * box_[1].count();
        spread.reaches = reaches_;
        spread.reach_begin = reach_begin_;
        spread.rows = box_[1].count();
        spread.pixels = box_[2].count();
        spread.unit = planes_.unit;
        spread.step = planes_.axes[2].stride;
        return spread;
    }

private:
    // Two where pixels are written in pairs, also if there is one alone.
    int64_t phases_of(int64_t pixels) const { return std::min(planes_.axes[2].stride, std::max<int64_t>(pixels, 2)); }
    // (element, window) pairs along an axis, at most.
    static int64_t readers(const Axis& axis, int64_t elements) {
        return saturated_mul(elements, std::min(axis.taps, axis.most_windows(1)));
    }

    // The windows that read element e of an axis, in order: use(window, tap).
    template <class Use>
    static void for_each_reader(const Axis& axis, int64_t e, const Use& use) {
        const Span windows = axis.windows_of({e, e + 1});
        for (int64_t window = windows.lo; window < windows.hi; ++window) {
            const int64_t steps = e - axis.position(window);
            if (steps % axis.dilation == 0) use(window, steps / axis.dilation);
        }
    }

    void list_lines() {
        const Axis &depth = planes_.axes[0], &height = planes_.axes[1], &width = planes_.axes[2];
        int64_t count = 0, *begin = line_begin_;
        for (int64_t d = box_[0].lo; d < box_[0].hi; ++d)
            for (int64_t h = box_[1].lo; h < box_[1].hi; ++h) {
                *begin++ = count;
                for_each_reader(depth, d, [&](int64_t o, int64_t t) {
                    for_each_reader(height, h, [&](int64_t p, int64_t r) {
                        const int64_t row = (o - windows_[0].lo) * windows_[1].count() + p - windows_[1].lo;
                        lines_[count++] = {row * pitch_ + before_,
                                           static_cast<Tap<T>>((t * height.taps + r) * width.taps)};
                    });
                });
            }
        *begin = count;
    }

    void list_reaches() {
        const Axis& width = planes_.axes[2];
        int64_t count = 0;
        const int64_t phases = phases_of(box_[2].count());
        for (int64_t phase = 0; phase < phases; ++phase) {
            reach_begin_[phase] = count;
            const int64_t pixels = (box_[2].count() - 1 - phase) / width.stride;
            for (int64_t tap = width.taps; phase < box_[2].count() && tap-- > 0;) {
                const int64_t at = box_[2].lo + phase + width.pad - tap * width.dilation;
                if (at % width.stride != 0) continue;
                const int64_t window =
                    at / width.stride;  // of the phase's first pixel; its last pixel's is `pixels` on
                if (window + pixels < windows_[2].lo || window >= windows_[2].hi || windows_[2].count() == 0) continue;
                reaches_[count++] = {(window - windows_[2].lo) * planes_.unit, static_cast<Tap<T>>(tap)};
            }
        }
        reach_begin_[phases] = count;
    }

    const Planes& planes_;
    const PoolKernels<T>& kernel_;
    int64_t before_, pitch_;
    T* dy_;
    Tap<T>* tap_of_ = nullptr;
    Line<T>* lines_;
    Reach<T>* reaches_;
    int64_t *line_begin_, *reach_begin_;
    Box box_, windows_;
};

}  // namespace convpp::pool
