// The epilogue of a task of forward or input_grad: its sums become results.
//
// In:  a task that has been computed, the residual and the activation of the operands.   Out: the results, where they
// belong.
//
// It runs while the sums are in the caches of the thread that computed them, not in the tiles: those have many ways of
// leaving sums (in place, flat, transposed), and results of half types need whole sums before they are rounded.
// What lies in the caches is read and written again in a few percent of the time that it took to compute.
//
// Where Plan::buffer is used, tasks compute into a buffer of their own, with the strides of the largest box.  To the
// task it looks like the whole tensor: TaskEpilogue puts the tensor's first element in front of it.
// Next: kernels/epilogue/epilogue.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "machine/workspace.hpp"
#include "plan/tasks.hpp"
#include "strategies/operands.hpp"

namespace convpp {

// Results along sample, depth, height and width that are `step` apart.
struct ResultArea {
    std::array<int64_t, 4> lo{0, 0, 0, 0}, count{0, 0, 0, 0}, step{1, 1, 1, 1};
    int64_t elems() const { return count[0] * count[1] * count[2] * count[3]; }
};

// The results of one map.
inline ResultArea area_of(const MapPlan& m, const Box& box) {
    const Box pixels = pixels_of(m, box);
    ResultArea area;
    area.lo[0] = pixels.lo[0];
    area.count[0] = pixels.extent(0);
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& axis = m.map.axis[a];
        area.lo[a + 1] = axis.result_start + pixels.lo[a + 1] * axis.result_step;
        area.count[a + 1] = pixels.extent(a + 1);
        area.step[a + 1] = axis.result_step;
    }
    return area;
}

// The smallest area that holds all results of a task's maps: along an axis where they are alike, with their step (one
// residue class of the height, all of the width), else without gaps.
inline ResultArea bounding_area(const ProductTask& task) {
    ResultArea bounds;
    bool first = true;
    for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m) {
        const ResultArea area = area_of(*m, task.pixels);
        if (area.elems() == 0) continue;
        for (size_t a = 0; a < 4 && !first; ++a) {
            if (area.lo[a] == bounds.lo[a] && area.count[a] == bounds.count[a] && area.step[a] == bounds.step[a])
                continue;
            const auto end = [a](const ResultArea& of) { return of.lo[a] + (of.count[a] - 1) * of.step[a] + 1; };
            const int64_t hi = std::max(end(bounds), end(area));
            bounds.lo[a] = std::min(bounds.lo[a], area.lo[a]);
            bounds.count[a] = hi - bounds.lo[a];
            bounds.step[a] = 1;
        }
        if (first) bounds = area;
        first = false;
    }
    return bounds;
}

// The results of a task that writes gaps: those between its maps', too.
inline ResultArea area_with_gaps(const Plan& plan, const ProductTask& task) {
    ResultArea area = area_of(task.map, task.pixels);
    for (size_t a = 0; a < 3; ++a) {
        const int64_t step = cell(plan, task.map.map, a);
        if (step == 1) continue;
        area.lo[a + 1] = task.pixels.lo[a + 1] * step;
        area.count[a + 1] = std::min(task.pixels.hi[a + 1] * step, result_extent(plan, a)) - area.lo[a + 1];
        area.step[a + 1] = 1;
    }
    return area;
}

// Calls use(area) for areas that together are the task's results, and nothing else.
template <class Use>
void for_each_area(const Plan& plan, const ProductTask& task, bool with_gaps, const Use& use) {
    const MapPlan* const maps = &task.map;
    if (with_gaps) return use(area_with_gaps(plan, task));
    const ResultArea bounds = bounding_area(task);
    int64_t own = 0;
    for (int64_t m = 0; m < task.map.classes; ++m) own += pixels_of(maps[m], task.pixels).elems();
    if (own == bounds.elems()) return use(bounds);
    for (int64_t m = 0; m < task.map.classes; ++m)
        if (pixels_of(maps[m], task.pixels).elems() > 0) use(area_of(maps[m], task.pixels));
}

// Some results in the tensor, and where the task computed them: rows of `count`, for each channel or pixel.
struct ResultRows {
    int64_t at, task_at;  // the first one, in the tensor and where the task computed it
    int64_t rows, count, pitch, task_pitch;
};

// Calls use(ResultRows) for an area of the channels [channel, channel + channels).
template <class Use>
void for_each_rows(const Plan& plan, const ResultArea& area, int64_t channel, int64_t channels, const Use& use) {
    struct Dim {
        int64_t count, step, task_step;
    };
    const TensorStrides &tensor = plan.result, &own = plan.buffer.strides;
    const auto along = [&](size_t a) {
        return Dim{area.count[a + 1], area.step[a + 1] * tensor.axis[a], area.step[a + 1] * own.axis[a]};
    };
    const Dim n{area.count[0], area.step[0] * tensor.batch, area.step[0] * own.batch}, d = along(0), one{1, 1, 1};
    Dim h = along(1), w = along(2), c{channels, tensor.channel, own.channel};
    // What follows each other in both is one: rows of all planes, pixels of all rows.
    const auto join = [](Dim& outer, Dim& inner) {
        if (outer.step != inner.count * inner.step || outer.task_step != inner.count * inner.task_step) return;
        inner.count *= outer.count;
        outer.count = 1;
    };
    if (plan.channels_last()) join(h, w);
    else if (area.step[3] == 1) join(c, h);
    // The last two are the rows, and what lies together in each.
    const std::array<Dim, 6> dims = plan.channels_last() ? std::array<Dim, 6>{n, d, h, one, w, c}
                                    : area.step[3] == 1  ? std::array<Dim, 6>{n, d, c, one, h, w}
                                                         : std::array<Dim, 6>{n, d, h, c, w, one};
    const auto first = [&](const TensorStrides& s) {
        return area.lo[0] * s.batch + area.lo[1] * s.axis[0] + area.lo[2] * s.axis[1] + area.lo[3] * s.axis[2] +
               channel * s.channel;
    };
    const int64_t at = first(tensor), task_at = first(own);
    const std::array<int64_t, 4> counts{dims[0].count, dims[1].count, dims[2].count, dims[3].count};
    for_each_index(counts, [&](int64_t i, int64_t j, int64_t k, int64_t l) {
        const auto offset = [&](int64_t Dim::* step) {
            return i * dims[0].*step + j * dims[1].*step + k * dims[2].*step + l * dims[3].*step;
        };
        use(ResultRows{at + offset(&Dim::step), task_at + offset(&Dim::task_step), dims[4].count, dims[5].count,
                       dims[4].step, dims[4].task_step});
    });
}

// Calls use(ResultRows) for all results of a task.
template <class Use>
void for_each_result_rows(const Plan& plan, const ProductTask& task, bool with_gaps, const Use& use) {
    // Whole groups follow each other.
    const int64_t of_group = plan.tasks.channels, groups = task.group_hi - task.group_lo;
    const int64_t at_once = task.channels == of_group ? groups : 1;
    for_each_area(plan, task, with_gaps, [&](const ResultArea& area) {
        for (int64_t group = task.group_lo; group < task.group_hi; group += at_once)
            for_each_rows(plan, area, group * of_group + task.channel_lo, at_once * task.channels, use);
    });
}

// The buffer of one thread.
template <class T>
struct ResultBuffer {
    T* at = nullptr;
    T* of_section = nullptr;  // after the first
    ResultBuffer(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        if (!plan.buffer.used()) return;
        at = carver.take<T>(plan.buffer.elems + 2 * kernel.lanes);
        if (plan.sections > 1) of_section = carver.take<T>(plan.buffer.elems + 2 * kernel.lanes);
    }
};

// Whether nothing becomes of a task's sums than that they are rounded.
template <class T>
bool rounds_alone(const Plan& plan, const Operands<T>& operands) {
    return plan.converts() && plan.sections == 1 && plan.gaps_from == 3 && operands.epilogue.none() &&
           !operands.accumulate;
}

template <class T>
class TaskEpilogue {
public:
    TaskEpilogue(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands,
                 const ResultBuffer<T>& buffer, const ProductTask& task)
        : plan_(plan), kernel_(kernel), task_(task), stored_(operands), own_(operands), buffer_(buffer) {
        own_.sums = operands.result.plain();
        if (!plan.buffer.used()) return;
        const ResultArea area = plan.gaps_from < 3 ? area_with_gaps(plan, task) : bounding_area(task);
        const TensorStrides& s = plan.buffer.strides;
        const int64_t channel = task.group_lo * plan.tasks.channels + task.channel_lo;
        int64_t origin = area.lo[0] * s.batch + channel * s.channel;
        for (size_t a = 0; a < 3; ++a) origin += area.lo[a + 1] * s.axis[a];
        own_.sums = buffer.at - origin;
        own_.epilogue = {};
        if (operands.accumulate)
            for_each_result_rows(plan, task, false, [&](const ResultRows& r) {
                for (int64_t i = 0; i < r.rows; ++i)
                    for (int64_t j = 0; j < r.count; ++j)
                        own_.sums[r.task_at + i * r.task_pitch + j] = stored_.result[r.at + i * r.pitch + j];
            });
    }

    // What the task computes with.
    const Operands<T>& operands() const { return own_; }

    // The sums of a further section, which `run` computes with the operands that it is given, are added to the others.
    template <class Run>
    void add_section(const Run& run) const {
        Operands<T> apart = own_;
        apart.sums = own_.sums + (buffer_.of_section - buffer_.at);
        apart.bias = {};
        apart.accumulate = false;
        run(apart);
        for_each_result_rows(plan_, task_, false, [&](const ResultRows& r) {
            for (int64_t at = r.task_at, i = 0; i < r.rows; ++i, at += r.task_pitch)
                kernel_.add(apart.sums + at, r.count, own_.sums + at);
        });
    }

    // `applied`: the task has done so where it computed in the result (strategies/rows/row_product.hpp).
    void apply(bool applied) const {
        if (!plan_.buffer.used() && (stored_.epilogue.none() || applied)) return;
        const bool with_gaps = plan_.gaps_from < 3 && !stored_.accumulate;
        for_each_result_rows(plan_, task_, with_gaps, [&](const ResultRows& r) {
            if (plan_.buffer.used() && !plan_.channels_last()) expect_plane(r);
            const SumRows<T> sums{own_.sums + r.task_at, r.task_pitch, r.rows, r.count};
            apply_epilogue(kernel_, stored_.epilogue.from(r.at), sums, stored_.result + r.at, r.pitch);
        });
    }

private:
    // A plane's part is short, and the next ones' are in other pages, where no prefetcher of the hardware looks: stores
    // that miss the caches would hold up those behind them.
    void expect_plane(const ResultRows& r) const {
        constexpr int64_t planes_ahead = 4, most_bytes = 1024, line = 64;
        const Results<T> next = stored_.result + (r.at + planes_ahead * plan_.result.channel);
        const int64_t bytes = std::min(((next + r.count).at - next.at) * r.rows, most_bytes);
        for (int64_t at = 0; at < bytes; at += line) __builtin_prefetch(next.at + at, 1);
    }

    const Plan& plan_;
    const kernels::KernelTable<T>& kernel_;
    const ProductTask& task_;
    const Operands<T>& stored_;
    Operands<T> own_;
    const ResultBuffer<T>& buffer_;
};

}  // namespace convpp
