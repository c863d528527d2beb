// How the work is cut: boxes of a plane, and planes, which threads take in any order.
//
// In:  the axes of a pooling.   Out: calls of a task for (box, planes).   Next: windows.hpp.
// A plane is all pixels of one channel, or in channels last of one sample, whose pixels have `unit` elements each.  How a
// plane is cut changes no bit: each result is computed by itself, and in the same order, in whatever box it lies.
#pragma once

#include "machine/parallel.hpp"
#include "machine/runtime_state.hpp"
#include "machine/workspace.hpp"
#include "pool/axis.hpp"

namespace convpp::pool {

struct Planes {
    std::array<Axis, 3> axes;
    int64_t unit, count, lanes;

    Planes(const PoolProblem& problem, int64_t lanes_of_vector) : axes(axes_of(problem)), lanes(lanes_of_vector) {
        const PoolGeometry& g = problem.geometry();
        const bool last = g.layout == Layout::channels_last;
        unit = last ? g.channels : 1;
        count = last ? g.batch : g.batch * g.channels;
    }
    int64_t x_elems() const { return axes[0].in * axes[1].in * axes[2].in * unit; }
    int64_t y_elems() const { return axes[0].out * axes[1].out * axes[2].out * unit; }
    int64_t x_at(int64_t d, int64_t h, int64_t w) const { return ((d * axes[1].in + h) * axes[2].in + w) * unit; }
    int64_t y_at(int64_t d, int64_t h, int64_t w) const { return ((d * axes[1].out + h) * axes[2].out + w) * unit; }
};

// Elements of x in a box: of float, an eighth of a usual L2, so that what is made of them fits there, too.
inline constexpr int64_t box_elems = 1 << 15;

// Extents of the boxes, of windows or of elements: whole rows, then whole planes, as far as `box_elems` allow.  Where
// windows overlap, boxes read more than they are: at least three times as long, they read at most a third more.
inline Extents box_extents(const Planes& planes, bool of_windows) {
    Extents box{1, 1, 1};
    for (size_t a = 3; a-- > 0;) {
        int64_t others = planes.unit;
        for (size_t b = 0; b < 3; ++b)
            if (b != a) others = saturated_mul(others, of_windows ? planes.axes[b].most_elements(box[b]) : box[b]);
        const Axis& axis = planes.axes[a];
        const int64_t whole = of_windows ? axis.out : axis.in, step = of_windows ? axis.stride : 1;
        const int64_t allowed = std::max(box_elems / std::max<int64_t>(others, 1), 4 * (axis.reach() + 1));
        const int64_t most = std::clamp((allowed - axis.reach() - 1) / step + 1, int64_t(1), whole);
        const int64_t parts = ceil_div(whole, most);
        // Boxes of elements begin where a window's step does, and hold whole vectors.
        const int64_t unit = a < 2 ? 1 : of_windows ? planes.lanes : planes.lanes * std::min(axis.stride, whole);
        box[a] = std::min(round_up(ceil_div(whole, parts), unit), whole);
    }
    return box;
}

// Of x in a task: some microseconds.
inline constexpr int64_t task_elems = 1 << 16;

// How a call is shared out: tasks of about as many elements each, and threads that are worth waking up.
struct Share {
    int64_t items, tasks;
    int threads;
    Extents parts;  // boxes along each axis

    Share(const Planes& planes, const Extents& whole, const Extents& box, int requested) {
        for (size_t a = 0; a < 3; ++a) parts[a] = ceil_div(whole[a], box[a]);
        items = parts[0] * parts[1] * parts[2] * planes.count;
        tasks = std::clamp(planes.count * planes.x_elems() / task_elems, int64_t(1), items);
        threads = static_cast<int>(std::min<int64_t>(usable_threads(requested), tasks));
    }
};

// task(index, thread) for planes of so many elements, as many in a row as are worth a thread's while.
template <class Task>
void parallel_for_planes(int64_t planes, int64_t elems, int threads, const Task& task) {
    const int64_t each = std::max<int64_t>(task_elems / std::max<int64_t>(elems, 1), 1);
    parallel_for(ceil_div(planes, each), threads, [&](int64_t index, int thread) {
        for (int64_t plane = index * each; plane < std::min(index * each + each, planes); ++plane) task(plane, thread);
    });
}

// Buffers for each thread, in one block that is taken before anything is written.
template <class Buffers>
class CallBuffers {
public:
    // make(carver) lays out those of one thread.
    template <class Make>
    CallBuffers(int threads, const Make& make)
        : workspace_(checked_mul(threads, bytes_of(make), "the workspace")),
          carver_(workspace_.data()),
          buffers_(carver_, threads, [&] { return make(carver_); }) {}
    Buffers& operator[](int thread) const { return buffers_[static_cast<size_t>(thread)]; }

private:
    template <class Make>
    static int64_t bytes_of(const Make& make) {
        Carver carver(nullptr);
        static_cast<void>(make(carver));
        return carver.used() + round_up(sizeof(Buffers) + fence_bytes, cache_line);
    }
    Workspace workspace_;
    Carver carver_;
    ThreadBuffers<Buffers> buffers_;
};

// task(box, plane, thread) for all boxes of all planes; begin(box, thread) before a thread's first plane of a box.
template <class Begin, class Task>
void for_each_box(const Planes& planes, const Share& share, const Extents& whole, const Extents& box,
                  const Begin& begin, const Task& task) {
    parallel_for(share.tasks, share.threads, [&](int64_t index, int thread) {
        // (A product of items and tasks may not fit 64 bits.)
        const int64_t each = share.items / share.tasks, rest = share.items % share.tasks;
        const int64_t lo = index * each + std::min(index, rest), hi = lo + each + (index < rest ? 1 : 0);
        Box current;
        int64_t of = -1;
        for (int64_t item = lo; item < hi; ++item) {
            int64_t part = item / planes.count;
            if (part != of) {
                of = part;
                for (size_t a = 3; a-- > 0; part /= share.parts[a]) {
                    current[a].lo = part % share.parts[a] * box[a];
                    current[a].hi = std::min(current[a].lo + box[a], whole[a]);
                }
                begin(current, thread);
            }
            task(current, item % planes.count, thread);
        }
    });
}

}  // namespace convpp::pool
