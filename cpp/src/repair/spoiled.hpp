// Elements of dy that are not finite: which taps of which filters they spoil.
//
// In:  a Plan, its Border, dy.   Out: the SpoiledFilter of all filters.   Next: sums.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "machine/parallel.hpp"
#include "problem/border.hpp"
#include "repair/finite.hpp"
#include "repair/shape.hpp"

namespace convpp {

// Which taps of a filter dy has spoiled.  Classes of pixels with elements that are not finite spoil the taps that lie
// outside for them: all but those of the least box, the intersection of theirs.  A sum with a NaN stays one: taps whose
// x meets a NaN need not be computed again.  Of their boxes the largest are known, which is nearly always all.
struct SpoiledFilter {
    static constexpr size_t most_nans = 4;
    std::array<Span, 3> kept;
    std::array<std::array<Span, 3>, most_nans> nans;
    bool any;

    static bool has(const std::array<Span, 3>& box, const Extents& tap) {
        return box[0].has(tap[0]) && box[1].has(tap[1]) && box[2].has(tap[2]);
    }
    static int64_t size(const std::array<Span, 3>& box) { return box[0].length() * box[1].length() * box[2].length(); }

    // Whether a tap is to be computed again.
    bool again(const Extents& tap) const {
        return any && !has(kept, tap) &&
               std::none_of(nans.begin(), nans.end(), [&](const auto& box) { return has(box, tap); });
    }
    bool is_like(const SpoiledFilter& other) const {
        const auto alike = [](const auto& one, const auto& two) {
            return std::equal(one.begin(), one.end(), two.begin(),
                              [](const Span& a, const Span& b) { return a.lo == b.lo && a.hi == b.hi; });
        };
        return any == other.any && alike(kept, other.kept) &&
               std::equal(nans.begin(), nans.end(), other.nans.begin(), alike);
    }
    // All taps are computed again, but those that are NaN.
    void add_all() {
        kept = {};
        any = true;
    }
    void add(const std::array<Span, 3>& taps, bool is_nan) {
        for (size_t a = 0; a < 3; ++a)
            kept[a] = any ? Span{std::max(kept[a].lo, taps[a].lo), std::min(kept[a].hi, taps[a].hi)} : taps[a];
        any = true;
        const auto is_known = [&](const auto& box) {
            return has(box, {taps[0].lo, taps[1].lo, taps[2].lo}) &&
                   has(box, {taps[0].hi - 1, taps[1].hi - 1, taps[2].hi - 1});
        };
        if (!is_nan || size(taps) == 0 || std::any_of(nans.begin(), nans.end(), is_known)) return;
        auto& least = *std::min_element(nans.begin(), nans.end(),
                                        [](const auto& one, const auto& other) { return size(one) < size(other); });
        if (size(taps) > size(least)) least = taps;
    }
};

// Some rows of dy's planes, all samples together: the kinds of elements that they have at each pixel.
struct PlaneKinds {
    static constexpr int64_t most = 8192, most_filters = 128;  // filters: that lie side by side
    std::array<unsigned char, most> of;  // [row][pixel][filter]
    int64_t depth, filters;
    Span rows, columns;

    template <class T>
    void find(const Plan& plan, const Stored<T>& dy) {
        const TensorStrides& at = plan.result;
        const int64_t width = columns.length();
        std::fill_n(of.data(), rows.length() * width * filters, static_cast<unsigned char>(0));
        const bool whole = filters == 1 && width == plan.problem.output()[2];  // rows that follow each other
        const int64_t elems = filters > 1 ? filters : whole ? rows.length() * width : width;
        for (int64_t n = 0; n < plan.batch(); ++n)
            for (int64_t h = rows.lo; h < (whole ? rows.lo + 1 : rows.hi); ++h)
                for (int64_t u = 0; u < (filters > 1 ? width : 1); ++u)
                    add_kinds(dy + at.offset(n, 0, {depth, h, columns.lo + u}), elems,
                              of.data() + ((h - rows.lo) * width + u) * filters);
    }
    bool any() const {
        return std::any_of(of.data(), of.data() + rows.length() * columns.length() * filters,
                           [](unsigned char kind) { return kind != 0; });
    }
    // Of each filter, the largest kind of a class's pixels; or 0.
    void of_class(const PixelClass& pixels, unsigned char* kinds) const {
        std::fill_n(kinds, filters, static_cast<unsigned char>(0));
        if (!pixels.pixels[0].has(depth)) return;
        const Span h = common(pixels.pixels[1], rows), w = common(pixels.pixels[2], columns);
        for (int64_t row = h.lo; row < h.hi; ++row)
            for (int64_t u = w.lo; u < w.hi; ++u) {
                const unsigned char* const from =
                    of.data() + ((row - rows.lo) * columns.length() + u - columns.lo) * filters;
                for (int64_t k = 0; k < filters; ++k) kinds[k] = std::max(kinds[k], from[k]);
            }
    }

private:
    static Span common(Span one, Span other) { return {std::max(one.lo, other.lo), std::min(one.hi, other.hi)}; }
};

// Looks at dy, filter by filter (channels_last: some filters side by side).
template <class T>
void find_spoiled(const Plan& plan, const Border& border, const Stored<T>& dy, int threads, SpoiledFilter* spoiled) {
    const int64_t filters = plan.problem.geometry().out_channels;
    const int64_t width = plan.result.channel == 1 ? std::min(filters, PlaneKinds::most_filters) : 1;
    const Extents extents = plan.problem.output();
    const int64_t columns = std::clamp<int64_t>(PlaneKinds::most / width, 1, std::max<int64_t>(extents[2], 1));
    const int64_t rows = PlaneKinds::most / width / columns;
    parallel_for(ceil_div(filters, width), threads, [&](int64_t block, int) {
        const int64_t first = block * width;
        PlaneKinds kinds;
        std::array<unsigned char, PlaneKinds::most_filters> found;
        kinds.filters = std::min(width, filters - first);
        std::fill_n(spoiled + first, kinds.filters, SpoiledFilter{});
        for (int64_t d = 0; d < extents[0]; ++d)
            for (int64_t h = 0; h < extents[1]; h += rows)
                for (int64_t w = 0; w < extents[2]; w += columns) {
                    kinds.depth = d;
                    kinds.rows = {h, std::min(h + rows, extents[1])};
                    kinds.columns = {w, std::min(w + columns, extents[2])};
                    kinds.find(plan, dy + first * plan.result.channel);
                    if (!kinds.any()) continue;
                    border.for_each_class([&](const PixelClass& of) {
                        if (border.is_inside(of)) return;
                        kinds.of_class(of, found.data());
                        for (int64_t k = 0; k < kinds.filters; ++k)
                            if (const unsigned char kind = found[static_cast<size_t>(k)]; kind != 0)
                                spoiled[first + k].add(of.taps, kind == kind_nan);
                    });
                }
    });
}

// The block-th `most` of the spoiled filters of [lo, hi).  Returns how many there are.
inline int64_t find_filters(const SpoiledFilter* spoiled, int64_t lo, int64_t hi, int64_t block, int64_t most,
                            int64_t* filters) {
    int64_t found = 0, count = 0;
    for (int64_t k = lo; k < hi && count < most; ++k)
        if (spoiled[k].any && found++ >= block * most) filters[count++] = k;
    return count;
}

// Panels of spoiled filters.
inline int64_t count_panels(const SpoiledFilter* spoiled, const Geometry& g, int64_t width) {
    const int64_t filters = g.out_channels / g.groups;
    int64_t panels = 0;
    for (int64_t group = 0; group < g.groups; ++group) {
        const SpoiledFilter* const first = spoiled + group * filters;
        panels +=
            ceil_div(std::count_if(first, first + filters, [](const SpoiledFilter& of) { return of.any; }), width);
    }
    return panels;
}

}  // namespace convpp
