// Forward passes: the largest and the mean element of each window.
//
// In:  x.   Out: y, and places.   Next: windows.hpp, backward.cpp.
#include "api/check_view.hpp"
#include "pool/divisors.hpp"
#include "pool/results.hpp"
#include "pool/windows.hpp"

namespace convpp {
namespace pool {
namespace {

// What a thread needs.
template <class T>
struct Forward {
    Windows<T> windows;
    ResultRows<T> rows;
    Divisors<T> divisors;
    Tap<T>* taps = nullptr;  // of a box's results at one depth
    int64_t tap_pitch = 0;

    Forward(Carver& carver, const Planes& planes, const PoolKernels<T>& kernel, Isa isa, Of what, const Extents& box,
            Results<T> y, const Average* average)
        : windows(carver, planes, kernel, what, box),
          rows(carver, isa, y, false, box[1], box[2] * planes.unit, kernel.lanes),
          divisors(carver, planes, box, average, kernel.lanes) {
        if (what != Of::argument) return;
        tap_pitch = round_up(box[2] * planes.unit, kernel.lanes);
        taps = carver.take<Tap<T>>(checked_mul(box[1], tap_pitch, "the workspace"));
    }
};

// The place of a tap of the first window, relative to its position; windows are their positions further on.
class Places {
public:
    explicit Places(const Planes& planes) : planes_(planes) {}
    // Of a row of windows.
    template <class T>
    void write(const Tap<T>* taps, int64_t o, int64_t p, Span columns, int64_t* to) const {
        const Axis &depth = planes_.axes[0], &height = planes_.axes[1], &width = planes_.axes[2];
        for (int64_t q = columns.lo; q < columns.hi; ++q)
            for (int64_t e = 0; e < planes_.unit; ++e, ++taps, ++to) {
                const int64_t tap = *taps;
                if (tap < 0) {
                    *to = -1;
                    continue;
                }
                const int64_t line = tap / width.taps, column = tap - line * width.taps;
                const int64_t plane = line / height.taps, row = line - plane * height.taps;
                const int64_t d = depth.position(o) + plane * depth.dilation;
                const int64_t h = height.position(p) + row * height.dilation;
                *to = (d * height.in + h) * width.in + width.position(q) + column * width.dilation;
            }
    }

private:
    const Planes& planes_;
};

template <class T>
void run(const PoolProblem& problem, Of what, const Average* average, Stored<T> x, Results<T> y, int64_t* indices,
         const Execution& how) {
    const Isa isa = active_isa();
    const PoolKernels<T>& kernel = kernels::pool_kernels<T>(isa);
    const Planes planes(problem, kernel.lanes);
    const Extents box = box_extents(planes, true);
    const Share share(planes, problem.output(), box, how.threads);
    const Places places(planes);
    const CallBuffers<Forward<T>> buffers(
        share.threads, [&](Carver& carver) { return Forward<T>(carver, planes, kernel, isa, what, box, y, average); });
    const AskBetweenTasks asking(how.interrupted);
    for_each_box(
        planes, share, problem.output(), box,
        [&](const Box& windows, int thread) {
            buffers[thread].windows.begin(windows);
            if (average != nullptr) buffers[thread].divisors.begin(windows);
        },
        [&](const Box& windows, int64_t plane, int thread) {
            Forward<T>& own = buffers[thread];
            Stored<T> source = x + plane * planes.x_elems();
            own.windows.along_rows(source);
            const int64_t pitch = planes.axes[2].out * planes.unit, count = windows[2].count() * planes.unit;
            for (int64_t o = windows[0].lo; o < windows[0].hi; ++o) {
                const int64_t at = plane * planes.y_elems() + planes.y_at(o, windows[1].lo, windows[2].lo);
                kernels::WindowLines<T> lines = own.windows.lines_at(o - windows[0].lo);
                const auto place = own.rows.place(at, pitch, count);
                lines.result = place.at;
                lines.result_pitch = place.pitch;
                if (what == Of::maximum) {
                    kernel.max_of_lines(lines);
                } else if (what == Of::sum) {
                    own.divisors.use(o - windows[0].lo, lines);
                    kernel.sums_of_lines(lines);
                } else {
                    lines.result_tap = own.taps;
                    lines.tap_pitch = lines.tap_room = own.tap_pitch;
                    kernel.argmax_of_lines(lines);
                    for (int64_t p = windows[1].lo; p < windows[1].hi; ++p)
                        places.write<T>(own.taps + (p - windows[1].lo) * own.tap_pitch, o, p, windows[2],
                                        indices + at + (p - windows[1].lo) * pitch);
                }
                own.rows.done(at, pitch, windows[1].count(), count);
            }
        });
}

}  // namespace
}  // namespace pool

template <class S, class R>
void max_pool(const PoolProblem& problem, View<const S> x, View<R> y, View<int64_t> indices, const Execution& how) {
    using T = Computed<S>;
    check_view(x, problem.x_elems(), "x");
    check_view(y, problem.y_elems(), "y");
    if (indices.size != 0 || indices.data != nullptr) check_view(indices, problem.y_elems(), "indices");
    if (problem.y_elems() == 0) return;
    const pool::Of what = indices.data == nullptr ? pool::Of::maximum : pool::Of::argument;
    pool::run<T>(problem, what, nullptr, Stored<T>(x.data, x.size), Results<T>(y.data), indices.data, how);
}

template <class S, class R>
void avg_pool(const PoolProblem& problem, const Average& average, View<const S> x, View<R> y, const Execution& how) {
    using T = Computed<S>;
    check_view(x, problem.x_elems(), "x");
    check_view(y, problem.y_elems(), "y");
    pool::check_average(problem);
    if (problem.y_elems() == 0) return;
    pool::run<T>(problem, pool::Of::sum, &average, Stored<T>(x.data, x.size), Results<T>(y.data), nullptr, how);
}

template void max_pool(const PoolProblem&, View<const float>, View<float>, View<int64_t>, const Execution&);
template void max_pool(const PoolProblem&, View<const double>, View<double>, View<int64_t>, const Execution&);
template void max_pool(const PoolProblem&, View<const bfloat16>, View<bfloat16>, View<int64_t>, const Execution&);
template void max_pool(const PoolProblem&, View<const float16>, View<float16>, View<int64_t>, const Execution&);
template void max_pool(const PoolProblem&, View<const bfloat16>, View<float>, View<int64_t>, const Execution&);
template void max_pool(const PoolProblem&, View<const float16>, View<float>, View<int64_t>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const float>, View<float>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const double>, View<double>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const bfloat16>, View<bfloat16>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const float16>, View<float16>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const bfloat16>, View<float>, const Execution&);
template void avg_pool(const PoolProblem&, const Average&, View<const float16>, View<float>, const Execution&);

}  // namespace convpp
