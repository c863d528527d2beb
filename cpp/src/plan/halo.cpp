// Slabs of the halo around x: found and planned.  halo.hpp says what they are.
#include "plan/halo.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "plan/class_parts.hpp"

namespace convpp {
namespace {

// Bytes of the gradients that are computed at once, at most, unless a pixel of a sample has more, or there would be
// more than some hundred slabs: then they are larger, up to what would fill memory.
constexpr int64_t gradient_bytes_most = int64_t(1) << 20, memory_bytes = int64_t(1) << 30;
constexpr int64_t most_slabs = 256, least_slabs = 4;
// Of all slabs' plans.  Making them takes up to twice as much, and 64 MiB are all that planning may take.
constexpr int64_t most_plan_bytes = int64_t(20) << 20;

using Spans = std::array<Span, 3>;

// Parts of a box of positions that have at most `limit` elements, of whole rows and slices where possible, in order.
template <class Part>
void for_each_part(const Spans& box, int64_t limit, const Part& part) {
    Extents step{}, parts{};
    for (size_t a = 3; a-- > 0; limit /= box[a].length()) {
        step[a] = std::clamp<int64_t>(limit, 1, box[a].length());
        parts[a] = ceil_div(box[a].length(), step[a]);
    }
    for_each_position(parts, [&](const Extents& index) {
        Spans at{};
        for (size_t a = 0; a < 3; ++a) {
            const int64_t lo = box[a].lo + index[a] * step[a];
            at[a] = {lo, std::min(lo + step[a], box[a].hi)};
        }
        part(at);
    });
}

double as_double(int64_t n) { return static_cast<double>(n); }

HaloAxis halo_axis(const ConvProblem& problem, size_t a, bool any_extent) {
    const Geometry& g = problem.geometry();
    const int64_t kernel = g.kernel[a], pixels = problem.output()[a], stride = g.stride[a], dilation = g.dilation[a];
    HaloAxis axis;
    axis.first = -g.pad_lo[a];
    if (g.boundary[a] == Boundary::zeros) {
        axis.stride = stride;
        axis.dilation = dilation;
    } else if (!any_extent && stride > (kernel - 1) * dilation) {  // a pixel's taps, then the next one's
        axis.inner = axis.stride = kernel;
        axis.step = stride;
        axis.inner_step = dilation;
    } else if (!any_extent && dilation > (pixels - 1) * stride) {  // a tap's pixels, then the next one's
        axis.inner = axis.dilation = pixels;
        axis.step = dilation;
        axis.inner_step = stride;
    } else {
        axis.step = std::gcd(stride, dilation);
        axis.stride = stride / axis.step;
        axis.dilation = dilation / axis.step;
    }
    axis.count = (pixels - 1) * axis.stride + (kernel - 1) * axis.dilation + 1;
    // The first position from `element` on.
    const auto position_from = [&](int64_t element) {
        Span range{0, axis.count};
        while (range.length() > 0) {
            const int64_t middle = range.lo + range.length() / 2;
            if (axis.at(middle) < element) range.lo = middle + 1;
            else range.hi = middle;
        }
        return range.lo;
    };
    axis.inside = {position_from(0), position_from(g.input[a])};
    return axis;
}

}  // namespace

ConvProblem with_zeros_around(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    g.boundary = {};
    return ConvProblem(g);
}

std::shared_ptr<const HaloPlan> plan_halo(const ConvProblem& problem, DType dtype, Algorithm algorithm, Isa isa,
                                          int threads) {
    const bool any_extent = algorithm == Algorithm::stream;
    const Geometry& g = problem.geometry();
    if (problem.flops() == 0 || problem.x_elems() == 0) return nullptr;
    auto halo = std::make_shared<HaloPlan>(HaloPlan{problem, {}, {}, 0, 0});
    const int64_t elem_bytes = dtype == DType::float64 ? 8 : 4;
    Spans inside, read;
    for (size_t a = 0; a < 3; ++a) {
        const HaloAxis& axis = halo->axis[a] = halo_axis(problem, a, any_extent);
        inside[a] = axis.inside;
        read[a] = g.boundary[a] == Boundary::zeros ? inside[a] : Span{0, axis.count};
    }
    std::vector<Spans> boxes;
    for (size_t a = 0; a < 3; ++a) {
        if (g.boundary[a] == Boundary::zeros) continue;
        Spans box = read;
        for (size_t before = 0; before < a; ++before) box[before] = inside[before];
        for (const Span& outside : {Span{0, inside[a].lo}, Span{inside[a].hi, read[a].hi}}) {
            box[a] = outside;
            if (std::all_of(box.begin(), box.end(), [](const Span& s) { return s.length() > 0; })) boxes.push_back(box);
        }
    }
    double positions = 0;
    for (const Spans& box : boxes)
        positions += as_double(box[0].length()) * as_double(box[1].length()) * as_double(box[2].length());
    int64_t classes = 1;  // of a slab, as far as they count; each tap is one where dy has one pixel (one_pixel.hpp)
    for (size_t a = 0; a < 3; ++a) {
        const int64_t of_axis = problem.output()[a] == 1 ? g.kernel[a] : std::min(g.kernel[a], halo->axis[a].stride);
        classes = std::min(saturated_mul(classes, of_axis), most_classes_in_pieces);
    }
    const int64_t slabs = std::clamp(most_classes_in_pieces / classes, least_slabs, most_slabs);
    const double of_slab = positions / as_double(slabs), channels = as_double(g.in_channels);
    if (of_slab * channels * as_double(elem_bytes) > as_double(memory_bytes))
        throw ShapeError("the halo of padding_mode is too large: its gradient has about " +
                         std::to_string(static_cast<int64_t>(std::min(positions, 1e18))) + " positions of " +
                         std::to_string(g.in_channels) + " channels, expected at most " +
                         std::to_string(slabs * memory_bytes / elem_bytes) +
                         " elements, or a stride and a dilation that leave fewer of them out");
    const int64_t sample_limit =
        std::max<int64_t>({1, gradient_bytes_most / elem_bytes / g.in_channels, static_cast<int64_t>(of_slab)});
    int64_t plans = 0;  // bytes of memory
    const auto add_slab = [&](const Spans& box) {
        Geometry slab = g;
        Extents lo{}, extent{};
        int64_t elems = g.in_channels;
        for (size_t a = 0; a < 3; ++a) {
            const HaloAxis& axis = halo->axis[a];
            lo[a] = box[a].lo;
            extent[a] = slab.input[a] = box[a].length();
            slab.boundary[a] = Boundary::zeros;
            slab.stride[a] = axis.stride;
            slab.dilation[a] = axis.dilation;
            slab.pad_lo[a] = box[a].lo;
            slab.pad_hi[a] = axis.count - box[a].hi;
            elems *= box[a].length();
        }
        const auto add = [&](int64_t sample_lo, int64_t sample_hi, int64_t at_once) {
            if (sample_lo == sample_hi) return;
            slab.batch = at_once;
            Plan plan = make_plan(ConvProblem(slab), Pass::input_grad, dtype,
                                  any_extent ? algorithm : Algorithm::direct, isa, threads, !any_extent);
            if (plan.empty()) return;
            plans += plan_bytes(plan);
            if (plans > most_plan_bytes)
                throw ShapeError(
                    "the halo of padding_mode has too many unlike residue classes: its plans take more than " +
                    std::to_string(most_plan_bytes >> 20) + " MiB, expected a smaller stride, kernel or padding");
            halo->gradient_bytes = std::max(halo->gradient_bytes, at_once * elems * elem_bytes);
            halo->column_bytes = std::max(halo->column_bytes, slab.input[2] * static_cast<int64_t>(sizeof(int64_t)));
            halo->slabs.push_back({lo, extent, sample_lo, sample_hi, std::move(plan)});
        };
        const int64_t samples = std::clamp<int64_t>(gradient_bytes_most / elem_bytes / elems, 1, g.batch);
        const int64_t left = g.batch % samples;
        add(0, g.batch - left, samples);
        add(g.batch - left, g.batch, left);
    };
    for (const Spans& box : boxes) for_each_part(box, sample_limit, add_slab);
    return halo->slabs.empty() ? nullptr : halo;
}

}  // namespace convpp
