// Slabs of the halo around x: found and planned.  halo.hpp says what they are.
#include "plan/halo.hpp"

#include <algorithm>
#include <array>

namespace convpp {
namespace {

// Bytes of the gradients that are computed at once, at most, unless a pixel of a sample has more.
constexpr int64_t gradient_bytes_most = int64_t(1) << 20;

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

}  // namespace

ConvProblem with_zeros_around(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    g.boundary = {};
    return ConvProblem(g);
}

std::shared_ptr<const HaloPlan> plan_halo(const ConvProblem& problem, DType dtype, Isa isa, int threads) {
    const Geometry& g = problem.geometry();
    if (problem.flops() == 0 || problem.x_elems() == 0) return nullptr;
    auto halo = std::make_shared<HaloPlan>(HaloPlan{problem, {}, 0, 0});
    const int64_t elem_bytes = dtype == DType::float64 ? 8 : 4;
    Spans inside, read;
    for (size_t a = 0; a < 3; ++a) {
        const Span all = read_span(problem, a);
        inside[a] = {std::max<int64_t>(all.lo, 0), std::min(all.hi, g.input[a])};
        read[a] = g.boundary[a] == Boundary::zeros ? inside[a] : all;
    }
    const int64_t sample_limit = std::max<int64_t>(1, gradient_bytes_most / elem_bytes / g.in_channels);
    const auto add_slab = [&](const Spans& box) {
        Geometry slab = g;
        Extents lo{}, extent{};
        int64_t elems = g.in_channels;
        for (size_t a = 0; a < 3; ++a) {
            lo[a] = box[a].lo;
            extent[a] = slab.input[a] = box[a].length();
            slab.boundary[a] = Boundary::zeros;
            slab.pad_lo[a] = g.pad_lo[a] + box[a].lo;
            slab.pad_hi[a] = read_span(problem, a).hi - box[a].hi;
            elems *= box[a].length();
        }
        const auto add = [&](int64_t sample_lo, int64_t sample_hi, int64_t at_once) {
            if (sample_lo == sample_hi) return;
            slab.batch = at_once;
            Plan plan = make_plan(ConvProblem(slab), Pass::input_grad, dtype, Algorithm::direct, isa, threads, true);
            if (plan.empty()) return;
            halo->gradient_bytes = std::max(halo->gradient_bytes, at_once * elems * elem_bytes);
            halo->column_bytes = std::max(halo->column_bytes, slab.input[2] * static_cast<int64_t>(sizeof(int64_t)));
            halo->slabs.push_back({lo, extent, sample_lo, sample_hi, std::move(plan)});
        };
        const int64_t samples = std::clamp<int64_t>(gradient_bytes_most / elem_bytes / elems, 1, g.batch);
        const int64_t left = g.batch % samples;
        add(0, g.batch - left, samples);
        add(g.batch - left, g.batch, left);
    };
    for (size_t a = 0; a < 3; ++a) {
        if (g.boundary[a] == Boundary::zeros) continue;
        Spans box = read;
        for (size_t before = 0; before < a; ++before) box[before] = inside[before];
        const Span front{read[a].lo, std::min<int64_t>(read[a].hi, 0)};
        const Span behind{std::max(read[a].lo, g.input[a]), read[a].hi};
        for (const Span& outside : {front, behind}) {
            box[a] = outside;
            if (std::all_of(box.begin(), box.end(), [](const Span& s) { return s.length() > 0; }))
                for_each_part(box, sample_limit, add_slab);
        }
    }
    return halo->slabs.empty() ? nullptr : halo;
}

}  // namespace convpp
