// Gradients with respect to x: dy at the element that a window took, or its share at each of them.
//
// In:  dy, of max_pool also x.   Out: dx.   Next: windows.hpp, spread.hpp.
//
// What a window took is found out again from x, which is read once: that costs about as much time as writing dx, and
// nobody has to keep it.  Each box of dx asks all windows that read it, so that tasks share no element of dx.
#include "api/check_view.hpp"
#include "pool/divisors.hpp"
#include "pool/results.hpp"
#include "pool/spread.hpp"

namespace convpp {
namespace pool {
namespace {

inline Extents most_windows(const Planes& planes, const Extents& box) {
    Extents windows;
    for (size_t a = 0; a < 3; ++a) windows[a] = std::max<int64_t>(planes.axes[a].most_windows(box[a]), 1);
    return windows;
}

// dx of a box, row by row.
template <class T, class Spread>
void write_rows(const Planes& planes, const ResultRows<T>& rows, const Box& box, int64_t plane, const Spread& spread) {
    const int64_t pitch = planes.axes[2].in * planes.unit, count = box[2].count() * planes.unit;
    for (int64_t d = box[0].lo; d < box[0].hi; ++d) {
        const int64_t at = plane * planes.x_elems() + planes.x_at(d, box[1].lo, box[2].lo);
        const auto place = rows.place(at, pitch, count);
        spread(d - box[0].lo, place.at, place.pitch);
        rows.done(at, pitch, box[1].count(), count);
    }
}

template <class T>
struct MaxBackward {
    Gathering<T> gathering;
    Windows<T> windows;
    ResultRows<T> rows;

    MaxBackward(Carver& carver, const Planes& planes, const PoolKernels<T>& kernel, Isa isa, const Extents& box,
                Results<T> dx, bool accumulate)
        : gathering(carver, planes, kernel, true, box),
          windows(carver, planes, kernel, Of::argument, most_windows(planes, box)),
          rows(carver, isa, dx, accumulate, box[1], box[2] * planes.unit, kernel.lanes) {}
};

// Whether planes are halved by windows of 2 or 3 rows and columns: the pools of most networks, for which there is a
// kernel of its own.
template <class T>
bool halves(const Planes& planes, const Stored<T>& x, const Results<T>& dx, bool accumulate) {
    const auto plain = [](const Axis& axis, int64_t taps, int64_t stride, int64_t pad) {
        return axis.taps == taps && axis.stride == stride && axis.dilation == 1 && axis.pad == pad;
    };
    const int64_t taps = planes.axes[2].taps, pad = planes.axes[2].pad;
    return x.as == kernels::Storage::plain && dx.as == kernels::Storage::plain && !accumulate &&
           ((taps == 2 && pad == 0) || taps == 3) && plain(planes.axes[2], taps, 2, pad) &&
           plain(planes.axes[1], taps, 2, pad) && plain(planes.axes[0], 1, 1, 0);
}

template <class T>
struct HalvingBuffers {
    Tap<T>*near_tap, *row_tap = nullptr;
    T* near_dy;
    HalvingBuffers(Carver& carver, const Planes& planes) {
        const int64_t row = planes.axes[2].out * planes.unit + planes.lanes;
        near_tap = carver.take<Tap<T>>(planes.unit == 1 ? planes.axes[1].out : 2 * row);
        near_dy = carver.take<T>(planes.unit == 1 ? planes.axes[1].out : 2 * row);
        if (planes.unit > 1) row_tap = carver.take<Tap<T>>(2 * row);
    }
};

template <class T>
void halve(const Planes& planes, const PoolKernels<T>& kernel, Stored<T> dy, Stored<T> x, Results<T> dx,
           const Execution& how) {
    const Axis &height = planes.axes[1], &width = planes.axes[2];
    const auto run = kernel.halve[planes.unit == 1 ? 0 : 1][width.taps - 2][width.pad];
    const int64_t x_elems = height.in * width.in * planes.unit, y_elems = height.out * width.out * planes.unit;
    const int64_t count = planes.count * planes.axes[0].in;
    const int threads =
        static_cast<int>(std::min<int64_t>(usable_threads(how.threads), count * x_elems / (1 << 16) + 1));
    const CallBuffers<HalvingBuffers<T>> buffers(threads,
                                                 [&](Carver& carver) { return HalvingBuffers<T>(carver, planes); });
    const AskBetweenTasks asking(how.interrupted);
    parallel_for_planes(count, x_elems, threads, [&](int64_t plane, int thread) {
        kernels::Halving<T> h;
        h.x = x.plain() + plane * x_elems;
        h.x_end = x.plain_end();
        h.dy = dy.plain() + plane * y_elems;
        h.dy_end = dy.plain_end();
        h.dx = dx.plain() + plane * x_elems;
        h.height = height.in;
        h.width = width.in;
        h.rows_of_windows = height.out;
        h.windows_in_row = width.out;
        h.unit = planes.unit;
        h.near_tap = buffers[thread].near_tap;
        h.row_tap = buffers[thread].row_tap;
        h.near_dy = buffers[thread].near_dy;
        run(h);
    });
}

template <class T>
void max_backward(const PoolProblem& problem, Stored<T> dy, Stored<T> x, Results<T> dx, const Execution& how) {
    const Isa isa = active_isa();
    const PoolKernels<T>& kernel = kernels::pool_kernels<T>(isa);
    const Planes planes(problem, kernel.lanes);
    // (Where there are fewer planes than threads, boxes of them are shared out.)
    if (halves(planes, x, dx, how.accumulate) && planes.count * planes.axes[0].in >= usable_threads(how.threads))
        return halve(planes, kernel, dy, x, dx, how);
    const Extents box = box_extents(planes, false);
    const Share share(planes, problem.geometry().input, box, how.threads);
    const CallBuffers<MaxBackward<T>> buffers(share.threads, [&](Carver& carver) {
        return MaxBackward<T>(carver, planes, kernel, isa, box, dx, how.accumulate);
    });
    const AskBetweenTasks asking(how.interrupted);
    for_each_box(
        planes, share, problem.geometry().input, box,
        [&](const Box& elements, int thread) {
            buffers[thread].gathering.begin(elements);
            if (!empty(buffers[thread].gathering.windows()))
                buffers[thread].windows.begin(buffers[thread].gathering.windows());
        },
        [&](const Box& elements, int64_t plane, int thread) {
            MaxBackward<T>& own = buffers[thread];
            const Box& read = own.gathering.windows();
            if (!empty(read)) {
                own.gathering.bring(dy + plane * planes.y_elems());
                own.windows.along_rows(x + plane * planes.x_elems());
                for (int64_t o = read[0].lo; o < read[0].hi; ++o) {
                    kernels::WindowLines<T> lines = own.windows.lines_at(o - read[0].lo);
                    own.gathering.take_taps(o, lines);
                    kernel.argmax_of_lines(lines);
                }
            }
            write_rows(planes, own.rows, elements, plane, [&](int64_t depth, T* to, int64_t pitch) {
                kernels::Spread<T> spread = own.gathering.spread_at(depth);
                spread.dx = to;
                spread.dx_pitch = pitch;
                kernel.spread_chosen(spread);
            });
        });
}

// dy divided by the counts, its rows' sums for each row of dx, and these along the row.
template <class T>
struct AverageBackward {
    Gathering<T> gathering;
    Divisors<T> divisors;
    ResultRows<T> rows;
    T* sums;  // of the windows that read a row
    Line<T>* each;  // the rows themselves
    int64_t* each_begin;

    AverageBackward(Carver& carver, const Planes& planes, const PoolKernels<T>& kernel, Isa isa, const Extents& box,
                    const Average& average, Results<T> dx, bool accumulate)
        : gathering(carver, planes, kernel, false, box),
          divisors(carver, planes, most_windows(planes, box), &average, kernel.lanes),
          rows(carver, isa, dx, accumulate, box[1], box[2] * planes.unit, kernel.lanes) {
        const int64_t lines = std::max(box[1], most_windows(planes, box)[1]);
        sums = carver.take<T>(checked_mul(box[1], gathering.pitch(), "the workspace") + kernel.lanes);
        each = carver.take<Line<T>>(lines);
        each_begin = carver.take<int64_t>(lines + 1);
        for (int64_t i = 0; each != nullptr && i < lines; ++i) {
            each[i] = {i * gathering.pitch() + gathering.before(), 0};
            each_begin[i] = i;
        }
        if (each != nullptr) each_begin[lines] = lines;
    }

    // Divides the rows of dy.
    void divide(const PoolKernels<T>& kernel, const Box& read, int64_t unit) const {
        for (int64_t o = read[0].lo; o < read[0].hi; ++o) {
            kernels::WindowLines<T> lines{};
            lines.values = gathering.row(o);
            lines.lines = each;
            lines.line_begin = each_begin;
            lines.rows = read[1].count();
            lines.count = read[2].count() * unit;
            lines.result = gathering.row(o) + gathering.before();
            lines.result_pitch = gathering.pitch();
            divisors.use(o - read[0].lo, lines);
            kernel.sums_of_lines(lines);
        }
    }
    // Of each row of dx at this depth, the sum of the rows of dy whose windows read it, with the zeros around them.
    void add_rows(const PoolKernels<T>& kernel, const kernels::Spread<T>& spread) const {
        kernels::WindowLines<T> lines{};
        lines.values = spread.dy - gathering.before();
        lines.lines = spread.lines;
        lines.line_begin = spread.line_begin;
        lines.rows = spread.rows;
        lines.count = lines.result_pitch = gathering.pitch();
        lines.result = sums;
        kernel.sums_of_lines(lines);
    }
};

template <class T>
void average_backward(const PoolProblem& problem, const Average& average, Stored<T> dy, Results<T> dx,
                      const Execution& how) {
    const Isa isa = active_isa();
    const PoolKernels<T>& kernel = kernels::pool_kernels<T>(isa);
    const Planes planes(problem, kernel.lanes);
    const Extents box = box_extents(planes, false);
    const Share share(planes, problem.geometry().input, box, how.threads);
    const CallBuffers<AverageBackward<T>> buffers(share.threads, [&](Carver& carver) {
        return AverageBackward<T>(carver, planes, kernel, isa, box, average, dx, how.accumulate);
    });
    const AskBetweenTasks asking(how.interrupted);
    for_each_box(
        planes, share, problem.geometry().input, box,
        [&](const Box& elements, int thread) {
            buffers[thread].gathering.begin(elements);
            buffers[thread].divisors.begin(buffers[thread].gathering.windows());
        },
        [&](const Box& elements, int64_t plane, int thread) {
            AverageBackward<T>& own = buffers[thread];
            const Box& read = own.gathering.windows();
            if (!empty(read)) {
                own.gathering.bring(dy + plane * planes.y_elems());
                own.divide(kernel, read, planes.unit);
            }
            write_rows(planes, own.rows, elements, plane, [&](int64_t depth, T* to, int64_t pitch) {
                kernels::Spread<T> spread = own.gathering.spread_at(depth);
                own.add_rows(kernel, spread);
                spread.dy = own.sums;
                spread.lines = own.each;
                spread.line_begin = own.each_begin;
                spread.dx = to;
                spread.dx_pitch = pitch;
                kernel.spread_all(spread);
            });
        });
}

}  // namespace
}  // namespace pool

template <class S, class R>
void max_pool_input_grad(const PoolProblem& problem, View<const S> dy, View<const S> x, View<R> dx,
                         const Execution& how) {
    using T = Computed<S>;
    check_view(dy, problem.y_elems(), "dy");
    check_view(x, problem.x_elems(), "x");
    check_view(dx, problem.x_elems(), "dx");
    if (problem.x_elems() == 0) return;
    pool::max_backward<T>(problem, Stored<T>(dy.data, dy.size), Stored<T>(x.data, x.size), Results<T>(dx.data), how);
}

template <class S, class R>
void avg_pool_input_grad(const PoolProblem& problem, const Average& average, View<const S> dy, View<R> dx,
                         const Execution& how) {
    using T = Computed<S>;
    check_view(dy, problem.y_elems(), "dy");
    check_view(dx, problem.x_elems(), "dx");
    pool::check_average(problem);
    if (problem.x_elems() == 0) return;
    pool::average_backward<T>(problem, average, Stored<T>(dy.data, dy.size), Results<T>(dx.data), how);
}

template void max_pool_input_grad(const PoolProblem&, View<const float>, View<const float>, View<float>,
                                  const Execution&);
template void max_pool_input_grad(const PoolProblem&, View<const double>, View<const double>, View<double>,
                                  const Execution&);
template void max_pool_input_grad(const PoolProblem&, View<const bfloat16>, View<const bfloat16>, View<bfloat16>,
                                  const Execution&);
template void max_pool_input_grad(const PoolProblem&, View<const float16>, View<const float16>, View<float16>,
                                  const Execution&);
template void max_pool_input_grad(const PoolProblem&, View<const bfloat16>, View<const bfloat16>, View<float>,
                                  const Execution&);
template void max_pool_input_grad(const PoolProblem&, View<const float16>, View<const float16>, View<float>,
                                  const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const float>, View<float>, const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const double>, View<double>,
                                  const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const bfloat16>, View<bfloat16>,
                                  const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const float16>, View<float16>,
                                  const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const bfloat16>, View<float>,
                                  const Execution&);
template void avg_pool_input_grad(const PoolProblem&, const Average&, View<const float16>, View<float>,
                                  const Execution&);

}  // namespace convpp
