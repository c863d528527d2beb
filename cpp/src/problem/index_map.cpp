// Index maps of the passes, axis by axis.  index_map.hpp says what they mean.
#include "problem/index_map.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "problem/checked.hpp"

namespace convpp {
namespace {

// Taps of one residue class are so many taps apart, whose offsets are a multiple of the stride.
int64_t taps_of_class_apart(const Geometry& g, size_t axis) {
    return g.stride[axis] / std::gcd(g.stride[axis], g.dilation[axis]);
}

int64_t residue(int64_t at, int64_t period) { return at - floor_div(at, period) * period; }

// Tap first, first + every, .. of an axis, `count` of them, in the order of the stored kernel.  The first one reads
// `offset`, the next one `apart` further on.
struct TapsOfKernel {
    int64_t first, every, count, offset, apart;
    Taps stored(const Geometry& g, size_t axis, int64_t source_step) const {
        if (!g.flip) return {count, first, every, offset, apart, source_step};
        const int64_t last = first + (count - 1) * every;
        return {count, g.kernel[axis] - 1 - last, every, offset + (count - 1) * apart, -apart, source_step};
    }
};

AxisMap forward_axis(const ConvProblem& problem, size_t axis) {
    const Geometry& g = problem.geometry();
    AxisMap map;
    map.count = problem.output()[axis];
    map.source_step = g.stride[axis];
    map.source_extent = g.input[axis];
    map.boundary = g.boundary[axis];
    map.taps = TapsOfKernel{0, 1, g.kernel[axis], -g.pad_lo[axis], g.dilation[axis]}.stored(g, axis, map.source_step);
    return map;
}

// Without the taps that read outside the source at all pixels.
Taps read_taps(const AxisMap& map) {
    // Of taps i, those whose offset lies in (-reach, extent): neighbours, as offsets ascend or descend.
    const int64_t reach = (map.count - 1) * map.source_step;
    const int64_t apart = map.taps.apart(), first = map.taps.offset(0);
    int64_t lo = 0, hi = map.taps.size();
    if (apart > 0) {
        lo = std::clamp<int64_t>(ceil_div(-reach - first, apart), 0, hi);
        hi = std::clamp<int64_t>(ceil_div(map.source_extent - first, apart), lo, hi);
    } else {
        lo = std::clamp<int64_t>(floor_div(first - map.source_extent, -apart) + 1, 0, hi);
        hi = std::clamp<int64_t>(floor_div(first + reach, -apart) + 1, lo, hi);
    }
    return map.taps.part(lo, hi);
}

// Some of the residue classes of an axis that have pixels and taps, in ascending order of (h + lo) mod stride; pixels
// of other classes are read by none.
std::vector<AxisMap> input_grad_axis(const ConvProblem& problem, size_t axis, Span of_classes, bool only_read) {
    const Geometry& g = problem.geometry();
    std::vector<std::pair<int64_t, int64_t>> order;  // (residue, first tap)
    for (int64_t tap = of_classes.lo; tap < of_classes.hi; ++tap)
        order.emplace_back(tap * g.dilation[axis] % g.stride[axis], tap);
    std::sort(order.begin(), order.end());
    std::vector<AxisMap> classes;
    for (const auto& [residue, tap] : order) {
        const AxisMap map = class_axis(problem, axis, tap, only_read);
        if (map.count > 0 && !map.taps.empty()) classes.push_back(map);
    }
    return classes;
}

// One tap that reads each result pixel's own source pixel, on the whole axis of both.
bool is_identity(const AxisMap& axis) {
    return axis.taps.size() == 1 && axis.taps.offset(0) == 0 && axis.source_step == 1 && axis.result_step == 1 &&
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

Taps::Taps(int64_t count, int64_t weight, int64_t weight_step, int64_t offset, int64_t offset_step, int64_t source_step)
    : count_(count),
      weight_(weight),
      weight_step_(weight_step),
      offset_(offset),
      offset_step_(offset_step),
      source_step_(source_step),
      period_(source_step == 1 ? 1 : std::min(count, source_step / std::gcd(offset_step, source_step))) {}

Taps Taps::part(int64_t lo, int64_t hi) const {
    if (lo >= hi) return {};
    return {hi - lo, weight(lo), weight_step_, offset(lo), offset_step_, source_step_};
}

Taps Taps::moved(int64_t shift) const {
    return {count_, weight_, weight_step_, offset_ + shift * source_step_, offset_step_, source_step_};
}

Span AxisMap::pixels_inside() const {
    const Span offsets = taps.offsets(0, taps.size());
    const int64_t lo = std::clamp<int64_t>(ceil_div(-offsets.lo, source_step), 0, count);
    const int64_t hi = floor_div(source_extent - 1 - offsets.hi, source_step) + 1;
    return {lo, std::clamp(hi, lo, count)};
}

int64_t IndexMap::taps() const {
    int64_t total = 1;
    for (const AxisMap& a : axis) total *= a.taps.size();
    return total;
}

int64_t IndexMap::phases() const {
    int64_t total = 1;
    for (const AxisMap& a : axis) total *= a.phases();
    return total;
}

int64_t IndexMap::pixels() const {
    int64_t total = 1;
    for (const AxisMap& a : axis) total = saturated_mul(total, a.count);
    return total;
}

int64_t IndexMap::source_elems_of_pixel() const {
    constexpr int64_t most = int64_t(1) << 40;  // beyond all blocks
    int64_t elems = 1;
    for (const AxisMap& a : axis) elems = a.source_step > most / elems ? most : elems * a.source_step;
    return elems;
}

bool IndexMap::reads_mostly_gaps() const {
    constexpr double most_gaps = 4.0;  // elements copied for each that is read
    double copied = 1.0;
    for (const AxisMap& a : axis) copied *= static_cast<double>(a.source_step) / static_cast<double>(a.phases());
    return copied > most_gaps;
}

IndexMap forward_map(const ConvProblem& problem) {
    return {{forward_axis(problem, 0), forward_axis(problem, 1), forward_axis(problem, 2)}};
}

AxisMap class_axis(const ConvProblem& problem, size_t axis, int64_t first_tap, bool only_read) {
    const Geometry& g = problem.geometry();
    const int64_t step = g.stride[axis], lo = g.pad_lo[axis], every = taps_of_class_apart(g, axis);
    const int64_t at = first_tap * g.dilation[axis], residue = at % step;
    const int64_t first = ceil_div(lo - residue, step);  // the pixel h = step*u + residue - lo is >= 0 from here
    const int64_t last = floor_div(g.input[axis] - 1 + lo - residue, step);
    AxisMap map;
    map.count = std::max<int64_t>(last - first + 1, 0);
    map.source_extent = problem.output()[axis];
    map.result_step = step;
    map.result_start = step * first + residue - lo;
    // Taps of a class lie whole strides apart; the source is dy, whose step is 1.
    map.taps = TapsOfKernel{first_tap, every, ceil_div(g.kernel[axis] - first_tap, every),
                            first + (residue - at) / step, -(g.dilation[axis] / (step / every))}
                   .stored(g, axis, 1);
    if (only_read && map.count > 0) map.taps = read_taps(map);
    return map;
}

Extents class_counts(const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    Extents counts{};
    for (size_t a = 0; a < 3; ++a) counts[a] = std::min(g.kernel[a], taps_of_class_apart(g, a));
    return counts;
}

int64_t most_class_taps(const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    int64_t taps = 1;
    for (size_t a = 0; a < 3; ++a) taps *= ceil_div(g.kernel[a], taps_of_class_apart(g, a));
    return taps;
}

InputGradMaps input_grad_maps(const ConvProblem& problem, bool only_read, const ClassSpans& of_classes) {
    const std::array<std::vector<AxisMap>, 3> axes{input_grad_axis(problem, 0, of_classes[0], only_read),
                                                   input_grad_axis(problem, 1, of_classes[1], only_read),
                                                   input_grad_axis(problem, 2, of_classes[2], only_read)};
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

ClassSpans all_classes(const ConvProblem& problem) {
    const Extents counts = class_counts(problem);
    return {{{0, counts[0]}, {0, counts[1]}, {0, counts[2]}}};
}

InputGradMaps input_grad_maps(const ConvProblem& problem, bool only_read) {
    return input_grad_maps(problem, only_read, all_classes(problem));
}

JointMap joint_map(const std::vector<const IndexMap*>& classes) {
    JointMap joint{*classes.front(), std::vector<Extents>(classes.size())};
    for (size_t a = 0; a < 3; ++a) {
        const auto first = [&](const IndexMap* m) { return m->axis[a].taps.shift(0); };
        AxisMap& axis = joint.map.axis[a];
        int64_t lowest = first(classes.front());
        for (const IndexMap* m : classes) {
            lowest = std::min(lowest, first(m));
            if (m->axis[a].taps.size() > axis.taps.size()) axis.taps = m->axis[a].taps;
        }
        axis.taps = axis.taps.moved(lowest - axis.taps.shift(0));
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
        int64_t joined = 0;  // (Of an empty batch, planes may have more pixels than 64 bits count.)
        if (__builtin_mul_overflow(map.axis[2].count, map.axis[a].count, &joined)) break;
        map.axis[2].count = map.axis[2].source_extent = joined;  // the same, of an identity
        map.axis[a].count = map.axis[a].source_extent = 1;
    }
    return map;
}

std::vector<IndexMap> joined_rows(std::vector<IndexMap> classes) {
    std::vector<IndexMap> joined;
    for (const IndexMap& map : classes) joined.push_back(joined_rows(map));
    const auto as_the_first = [&](const IndexMap& map) {
        for (size_t a = 0; a < 3; ++a)
            if (map.axis[a].source_extent != joined.front().axis[a].source_extent) return false;
        return true;
    };
    return std::all_of(joined.begin(), joined.end(), as_the_first) ? joined : classes;
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
    if (first) strides.batch = checked_mul(strides.batch, channels, "the tensor");
    return strides;
}

TensorStrides x_strides(const ConvProblem& problem) {
    return tensor_strides(problem.geometry().layout, problem.geometry().in_channels, problem.geometry().input);
}

TensorStrides y_strides(const ConvProblem& problem) {
    return tensor_strides(problem.geometry().layout, problem.geometry().out_channels, problem.output());
}

}  // namespace convpp
