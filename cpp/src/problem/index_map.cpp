// Index maps of the passes, axis by axis.  index_map.hpp says what they mean.
#include "problem/index_map.hpp"

#include <algorithm>
#include <map>

#include "problem/checked.hpp"

namespace convpp {
namespace {

// Where tap r of an axis stands in the stored kernel: flip rotates it.
int64_t stored_tap(const Geometry& g, size_t axis, int64_t r) { return g.flip ? g.kernel[axis] - 1 - r : r; }

int64_t residue(int64_t at, int64_t period) { return at - floor_div(at, period) * period; }

// Puts the taps in the order of the sum and finds their phases.
void finish_taps(AxisMap& map) {
    std::sort(map.taps.begin(), map.taps.end(), [](const Tap& a, const Tap& b) { return a.weight < b.weight; });
    for (const Tap& tap : map.taps) map.phases.push_back(residue(tap.offset, map.source_step));
    std::sort(map.phases.begin(), map.phases.end());
    map.phases.erase(std::unique(map.phases.begin(), map.phases.end()), map.phases.end());
    for (Tap& tap : map.taps) {
        tap.shift = floor_div(tap.offset, map.source_step);
        const int64_t phase = residue(tap.offset, map.source_step);
        tap.phase = std::lower_bound(map.phases.begin(), map.phases.end(), phase) - map.phases.begin();
    }
}

AxisMap forward_axis(const ConvProblem& problem, size_t axis) {
    const Geometry& g = problem.geometry();
    AxisMap map;
    map.count = problem.output()[axis];
    map.source_step = g.stride[axis];
    map.source_extent = g.input[axis];
    map.boundary = g.boundary[axis];
    for (int64_t r = 0; r < g.kernel[axis]; ++r)
        map.taps.push_back({stored_tap(g, axis, r), r * g.dilation[axis] - g.pad_lo[axis], 0, 0});
    finish_taps(map);
    return map;
}

// Takes out the taps that read outside the source at all pixels.
void keep_read_taps(AxisMap& map) {
    const auto unread = [&](const Tap& tap) {
        return tap.offset >= map.source_extent || tap.offset + (map.count - 1) * map.source_step < 0;
    };
    map.taps.erase(std::remove_if(map.taps.begin(), map.taps.end(), unread), map.taps.end());
}

// The residue classes (h + lo) mod stride that have taps, in ascending order; pixels of other classes are read by none.
std::vector<AxisMap> input_grad_axis(const ConvProblem& problem, size_t axis, bool only_read) {
    const Geometry& g = problem.geometry();
    const int64_t step = g.stride[axis], lo = g.pad_lo[axis];
    std::map<int64_t, std::vector<int64_t>> taps_of;  // of each residue
    for (int64_t r = 0; r < g.kernel[axis]; ++r) taps_of[r * g.dilation[axis] % step].push_back(r);
    std::vector<AxisMap> classes;
    for (const auto& [residue, taps] : taps_of) {
        const int64_t first = ceil_div(lo - residue, step);  // the pixel h = step*u + residue - lo is >= 0 from here
        const int64_t last = floor_div(g.input[axis] - 1 + lo - residue, step);
        if (last < first) continue;
        AxisMap map;
        map.count = last - first + 1;
        map.source_extent = problem.output()[axis];
        map.result_step = step;
        map.result_start = step * first + residue - lo;
        for (const int64_t r : taps)
            map.taps.push_back({stored_tap(g, axis, r), first + (residue - r * g.dilation[axis]) / step, 0, 0});
        if (only_read) keep_read_taps(map);
        if (map.taps.empty()) continue;
        finish_taps(map);
        classes.push_back(map);
    }
    return classes;
}

// One tap that reads each result pixel's own source pixel, on the whole axis of both.
bool is_identity(const AxisMap& axis) {
    return axis.taps.size() == 1 && axis.taps[0].offset == 0 && axis.source_step == 1 && axis.result_step == 1 &&
           axis.result_start == 0 && axis.count == axis.source_extent;
}

}  // namespace

int64_t border_element(Boundary boundary, int64_t at, int64_t n) {
    if (at >= 0 && at < n) return at;
    switch (boundary) {
        case Boundary::zeros: return -1;
        case Boundary::replicate: return at < 0 ? 0 : n - 1;
        case Boundary::circular: return residue(at, n);
        case Boundary::symmetric: at = residue(at, 2 * n); return std::min(at, 2 * n - 1 - at);
        case Boundary::reflect:
            if (n == 1) return 0;
            at = residue(at, 2 * (n - 1));
            return std::min(at, 2 * (n - 1) - at);
    }
    return -1;
}

Span read_span(const ConvProblem& problem, size_t axis) {
    const Geometry& g = problem.geometry();
    const int64_t last = (problem.output()[axis] - 1) * g.stride[axis] + (g.kernel[axis] - 1) * g.dilation[axis];
    return {-g.pad_lo[axis], last - g.pad_lo[axis] + 1};
}

Span AxisMap::pixels_inside() const {
    const auto [lowest, highest] = std::minmax_element(
        taps.begin(), taps.end(), [](const Tap& tap, const Tap& other) { return tap.offset < other.offset; });
    const int64_t lo = std::clamp<int64_t>(ceil_div(-lowest->offset, source_step), 0, count);
    const int64_t hi = floor_div(source_extent - 1 - highest->offset, source_step) + 1;
    return {lo, std::clamp(hi, lo, count)};
}

int64_t IndexMap::taps() const {
    int64_t total = 1;
    for (const AxisMap& a : axis) total *= static_cast<int64_t>(a.taps.size());
    return total;
}

int64_t IndexMap::phases() const {
    int64_t total = 1;
    for (const AxisMap& a : axis) total *= static_cast<int64_t>(a.phases.size());
    return total;
}

int64_t IndexMap::pixels() const { return axis[0].count * axis[1].count * axis[2].count; }

int64_t IndexMap::source_elems_of_pixel() const {
    constexpr int64_t most = int64_t(1) << 40;  // beyond all blocks
    int64_t elems = 1;
    for (const AxisMap& a : axis) elems = a.source_step > most / elems ? most : elems * a.source_step;
    return elems;
}

bool IndexMap::reads_mostly_gaps() const {
    constexpr double most_gaps = 4.0;  // elements copied for each that is read
    double copied = 1.0;
    for (const AxisMap& a : axis) copied *= static_cast<double>(a.source_step) / static_cast<double>(a.phases.size());
    return copied > most_gaps;
}

IndexMap forward_map(const ConvProblem& problem) {
    return {{forward_axis(problem, 0), forward_axis(problem, 1), forward_axis(problem, 2)}};
}

InputGradMaps input_grad_maps(const ConvProblem& problem, bool only_read) {
    const std::array<std::vector<AxisMap>, 3> axes{input_grad_axis(problem, 0, only_read),
                                                   input_grad_axis(problem, 1, only_read),
                                                   input_grad_axis(problem, 2, only_read)};
    InputGradMaps maps;
    for (size_t axis = 0; axis < 3; ++axis) {
        int64_t covered = 0;
        for (const AxisMap& map : axes[axis]) covered += map.count;
        if (covered < problem.geometry().input[axis]) maps.covers_input = false;
    }
    for (const AxisMap& d : axes[0])
        for (const AxisMap& h : axes[1])
            for (const AxisMap& w : axes[2]) maps.classes.push_back({{d, h, w}});
    return maps;
}

JointMap joint_map(const std::vector<const IndexMap*>& classes) {
    JointMap joint{*classes.front(), std::vector<Extents>(classes.size())};
    for (size_t a = 0; a < 3; ++a) {
        const auto first = [&](const IndexMap* m) { return m->axis[a].taps.front().shift; };
        AxisMap& axis = joint.map.axis[a];
        int64_t lowest = first(classes.front());
        for (const IndexMap* m : classes) {
            lowest = std::min(lowest, first(m));
            if (m->axis[a].taps.size() > axis.taps.size()) axis.taps = m->axis[a].taps;
        }
        const int64_t moved = lowest - axis.taps.front().shift;
        for (Tap& tap : axis.taps) {
            tap.offset += moved * axis.source_step;
            tap.shift += moved;
        }
        int64_t last_begin = 0, first_end = classes.front()->axis[a].count + first(classes.front()) - lowest;
        for (size_t i = 0; i < classes.size(); ++i) {
            const int64_t begin = first(classes[i]) - lowest, end = begin + classes[i]->axis[a].count;
            joint.shift[i][a] = begin;
            axis.count = std::max(axis.count, end);
            last_begin = std::max(last_begin, begin);
            first_end = std::min(first_end, end);
        }
        joint.overlap &= last_begin < first_end;
    }
    return joint;
}

IndexMap joined_rows(IndexMap map) {
    if (!map.reads_inside()) return map;  // who repairs what padding spoils needs to know its rows
    for (size_t a = 2; a-- > 0 && is_identity(map.axis[2]) && is_identity(map.axis[a]);) {
        map.axis[2].count *= map.axis[a].count;
        map.axis[2].source_extent *= map.axis[a].source_extent;
        map.axis[a].count = map.axis[a].source_extent = 1;
    }
    return map;
}

TensorStrides dense_strides(int64_t pixel, const Extents& extents, const char* what) {
    TensorStrides strides;
    strides.axis[2] = pixel;
    strides.axis[1] = checked_mul(strides.axis[2], extents[2], what);
    strides.axis[0] = checked_mul(strides.axis[1], extents[1], what);
    strides.batch = checked_mul(strides.axis[0], extents[0], what);
    return strides;
}

TensorStrides tensor_strides(Layout layout, int64_t channels, const Extents& extents) {
    const bool first = layout == Layout::channels_first;
    TensorStrides strides = dense_strides(first ? 1 : channels, extents, "the tensor");
    strides.channel = first ? strides.batch : 1;
    if (first) strides.batch *= channels;
    return strides;
}

TensorStrides x_strides(const ConvProblem& problem) {
    return tensor_strides(problem.geometry().layout, problem.geometry().in_channels, problem.geometry().input);
}

TensorStrides y_strides(const ConvProblem& problem) {
    return tensor_strides(problem.geometry().layout, problem.geometry().out_channels, problem.output());
}

}  // namespace convpp
