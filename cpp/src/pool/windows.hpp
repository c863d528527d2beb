// The windows of a box: of each of its rows of x the largest elements (or sums), and of these lines the results.
//
// In:  a box of windows, a plane of x.   Out: results and taps, or sums, where the caller wants them.
// What a box needs of lists is made once, for all planes (`begin`); their memory is the thread's.   Next:
// kernels/contract.hpp; forward.cpp and backward.cpp, which call.
#pragma once

#include <limits>

#include "machine/workspace.hpp"
#include "pool/blocks.hpp"
#include "source/stored.hpp"

namespace convpp::pool {

using kernels::Line;
using kernels::PoolKernels;
using kernels::Tap;
using kernels::TapRange;

enum class Of { maximum, argument, sum };

template <class T>
class Windows {
public:
    // For boxes of at most so many windows.
    Windows(Carver& carver, const Planes& planes, const PoolKernels<T>& kernel, Of what, const Extents& most)
        : planes_(planes), kernel_(kernel), what_(what) {
        const int64_t lanes = kernel.lanes;
        const Axis& width = planes.axes[2];
        int64_t rows = 1, ranges = 0;
        for (size_t a = 0; a < 2; ++a) {
            rows = checked_mul(rows, planes.axes[a].most_elements(most[a]), "the workspace");
            ranges += planes.axes[a].most_elements(most[a]);
        }
        const int64_t windows = round_up(most[2], lanes), lines = most[0] * most[1];
        pitch_ = round_up(most[2] * planes.unit, lanes) + lanes;
        if (planes.unit == 1) {
            before_ = round_up(width.pad, lanes);
            const int64_t exact = (most[2] - 1) * width.stride + width.reach() + 1;
            const int64_t vectors = width.stride <= 2 ? width.stride * windows + width.reach() : 0;
            stage_pitch_ = before_ + round_up(std::max(exact, vectors), lanes);
        } else {
            stage_pitch_ = round_up(width.most_elements(most[2]) * planes.unit, lanes);
        }
        stage_ = carver.take<T>(checked_mul(rows, stage_pitch_, "the workspace") + lanes);
        values_ = carver.take<T>(checked_mul(rows, pitch_, "the workspace"));
        if (what == Of::argument) tap_of_ = carver.take<Tap<T>>(rows * pitch_);
        row_at_ = carver.take<int64_t>(rows);
        staged_at_ = carver.take<int64_t>(rows);
        slots_ = carver.take<int64_t>(ranges);
        lines_ = carver.take<Line<T>>(
            checked_mul(planes.axes[0].most_lines(most[0]), planes.axes[1].most_lines(most[1]), "the workspace"));
        line_begin_ = carver.take<int64_t>(lines + 1);
        if (planes.unit == 1) first_ = carver.take<Tap<T>>(windows);
        else inside_ = carver.take<TapRange>(most[2]);
    }

    void begin(const Box& box) {
        box_ = box;
        for (size_t a = 0; a < 3; ++a) reached_[a] = planes_.axes[a].elements_of(box[a]);
        int64_t* const depths = slots_;
        int64_t* const heights = slots_ + reached_[0].count();
        used_[0] = number_rows(0, depths);
        used_[1] = number_rows(1, heights);
        list_rows(depths, heights);
        list_lines(depths, heights);
        list_columns();
        // Paddings, which stay for all planes.
        const int64_t columns = reached_[2].count() * planes_.unit;
        for (int64_t i = 0; i < used_[0] * used_[1] && planes_.unit == 1; ++i) {
            T* const row = stage_ + i * stage_pitch_;
            std::fill(row, row + before_, filling());
            std::fill(row + before_ + columns, row + stage_pitch_, filling());
        }
    }

    // Of each row of the box's windows what its columns hold.  `x`: a plane.
    void along_rows(Stored<T> x) {
        const Axis& width = planes_.axes[2];
        kernels::WindowRows<T> rows;
        rows.row_at = row_at_;
        rows.source = x.plain();
        rows.source_end = x.plain_end();
        if (!readable(x)) {
            stage(x);
            rows.row_at = staged_at_;
            rows.source = stage_;
            rows.source_end = stage_ + used_[0] * used_[1] * stage_pitch_ + kernel_.lanes;
        }
        rows.rows = used_[0] * used_[1];
        rows.windows = box_[2].count();
        rows.unit = planes_.unit;
        rows.taps = width.taps;
        // (Where there is one alone, the product may not fit 64 bits.)
        rows.step = rows.windows > 1 || planes_.unit == 1 ? width.stride * planes_.unit : 0;
        rows.tap_step = width.taps > 1 || planes_.unit == 1 ? width.dilation * planes_.unit : 0;
        rows.inside = inside_;
        rows.first = first_;
        rows.values = values_;
        rows.tap_of = tap_of_;
        rows.pitch = pitch_;
        const size_t pixels = planes_.unit == 1 ? 0 : 1;
        if (what_ == Of::maximum) kernel_.max_of_rows[pixels](rows);
        else if (what_ == Of::argument) kernel_.argmax_of_rows[pixels](rows);
        else kernel_.sums_of_rows[pixels](rows);
    }

    // Rows of results of the windows at depth `depth` of the box, made of these lines: to be completed by the caller.
    kernels::WindowLines<T> lines_at(int64_t depth) const {
        kernels::WindowLines<T> lines{};
        lines.values = values_;
        lines.tap_of = tap_of_;
        lines.lines = lines_;
        lines.line_begin = line_begin_ + depth * box_[1].count();
        lines.rows = box_[1].count();
        lines.count = box_[2].count() * planes_.unit;
        return lines;
    }

private:
    T filling() const { return what_ == Of::sum ? T(0) : -std::numeric_limits<T>::infinity(); }

    // Rows that windows read get numbers, the others -1.
    int64_t number_rows(size_t a, int64_t* slots) const {
        const Axis& axis = planes_.axes[a];
        std::fill_n(slots, reached_[a].count(), int64_t(-1));
        for (int64_t window = box_[a].lo; window < box_[a].hi; ++window) {
            const TapRange inside = axis.inside(window);
            for (int64_t tap = inside.lo; tap < inside.hi; ++tap)
                slots[axis.position(window) + tap * axis.dilation - reached_[a].lo] = 0;
        }
        int64_t used = 0;
        for (int64_t i = 0; i < reached_[a].count(); ++i)
            if (slots[i] == 0) slots[i] = used++;
        return used;
    }

    // Where each row's first window has its first tap: in the plane, and where rows are staged.
    void list_rows(const int64_t* depths, const int64_t* heights) {
        const int64_t at = planes_.axes[2].position(box_[2].lo), first = planes_.unit == 1 && at < 0 ? at : 0;
        const int64_t staged = planes_.unit == 1 ? before_ + first : (at - reached_[2].lo) * planes_.unit;
        int64_t row = 0;
        for (int64_t d = 0; d < reached_[0].count(); ++d)
            for (int64_t h = 0; depths[d] >= 0 && h < reached_[1].count(); ++h) {
                if (heights[h] < 0) continue;
                row_at_[row] = planes_.x_at(reached_[0].lo + d, reached_[1].lo + h, 0) + at * planes_.unit;
                staged_at_[row] = row * stage_pitch_ + staged;
                ++row;
            }
    }

    void list_lines(const int64_t* depths, const int64_t* heights) {
        const Axis &depth = planes_.axes[0], &height = planes_.axes[1];
        int64_t count = 0, *begin = line_begin_;
        for (int64_t o = box_[0].lo; o < box_[0].hi; ++o)
            for (int64_t p = box_[1].lo; p < box_[1].hi; ++p) {
                *begin++ = count;
                const TapRange of_depth = depth.inside(o), of_height = height.inside(p);
                for (int64_t t = of_depth.lo; t < of_depth.hi; ++t)
                    for (int64_t r = of_height.lo; r < of_height.hi; ++r) {
                        const int64_t d = depths[depth.position(o) + t * depth.dilation - reached_[0].lo];
                        const int64_t h = heights[height.position(p) + r * height.dilation - reached_[1].lo];
                        const int64_t tap = (t * height.taps + r) * planes_.axes[2].taps;
                        lines_[count++] = {(d * used_[1] + h) * pitch_, static_cast<Tap<T>>(tap)};
                    }
            }
        *begin = count;
    }

    void list_columns() {
        for (int64_t i = 0; i < box_[2].count(); ++i) {
            const TapRange inside = planes_.axes[2].inside(box_[2].lo + i);
            if (planes_.unit > 1) inside_[i] = inside;
            else first_[i] = static_cast<Tap<T>>(inside.lo < inside.hi ? inside.lo : kernels::no_tap);
        }
        if (planes_.unit == 1)
            std::fill(first_ + box_[2].count(), first_ + round_up(box_[2].count(), kernel_.lanes), Tap<T>(0));
    }

    // Whether kernels may read the plane where it lies.
    bool readable(const Stored<T>& x) const {
        if (x.as != kernels::Storage::plain) return false;
        if (planes_.unit > 1) return true;
        const Axis& width = planes_.axes[2];
        const int64_t last = width.position(box_[2].hi - 1) + width.reach();
        if (width.position(box_[2].lo) < 0 || last >= width.in) return false;
        if (width.stride > 2) return true;
        const int64_t vectors = width.stride * round_up(box_[2].count(), kernel_.lanes) + width.reach();
        return row_at_[used_[0] * used_[1] - 1] + vectors <= x.plain_end() - x.plain();
    }

    void stage(const Stored<T>& x) {
        const auto copy = kernel_.stage_rows[static_cast<int>(x.as)];
        const int64_t first = (reached_[2].lo - planes_.axes[2].position(box_[2].lo)) * planes_.unit;
        const int64_t count = reached_[2].count() * planes_.unit, row = planes_.axes[2].in * planes_.unit;
        const bool all = used_[1] == reached_[1].count();
        const int64_t together = all ? used_[1] : 1;
        for (int64_t i = 0; i < used_[0] * used_[1]; i += together)
            copy((x + (row_at_[i] + first)).at, row, together, count, x.end, filling(),
                 stage_ + i * stage_pitch_ + before_, stage_pitch_);
    }

    const Planes& planes_;
    const PoolKernels<T>& kernel_;
    Of what_;
    int64_t pitch_, stage_pitch_, before_ = 0;
    T *stage_, *values_;
    Tap<T>*tap_of_ = nullptr, *first_ = nullptr;
    TapRange* inside_ = nullptr;
    int64_t *row_at_, *staged_at_, *slots_, *line_begin_;
    Line<T>* lines_;
    // Of the box: its windows, the elements that they reach over, rows that they read.
    Box box_, reached_;
    std::array<int64_t, 2> used_{};
};

}  // namespace convpp::pool
