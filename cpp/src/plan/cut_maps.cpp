// The best rectangles of pixels and taps.  cut_maps.hpp says what comes in and goes out.
#include "plan/cut_maps.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "plan/costs.hpp"
#include "problem/border.hpp"

namespace convpp {
namespace {

using costs::f;

// Of an axis: places where it may be cut, stretches; of all axes: maps.  (They bound the time of planning: a tenth of a
// millisecond, for the few problems that are looked at.)
constexpr int64_t most_units = 48, most_stretches = 12;
constexpr size_t most_maps = 64;

// Terms that padding must take of all before anything is looked for, and of the cost before a map is cut.
constexpr double least_padding = 0.25, least_gain = 1.25;

// Weights that are packed for maps, for each that there is: they take memory, and come from a cache that they fill.
constexpr double most_weights = 4;

// The rows of a tile of weights are bound by loads if they are fewer.
constexpr double least_rows = 2;
// A vector of dy that is packed for the pairs of a weight gradient, and the pairs of a full tile.
constexpr double packed_sum = 10, least_pairs = 8;
// A vector of weights that is packed of some taps, which lie apart.  (Measured, 3x3x3: 20 slots in place of 9.)
constexpr double taps_apart = 22;
// An element that is copied with padding, in short rows.
constexpr double copied_elem = 4;
// A vector of dw that is stored element by element, since the taps of a piece lie apart in it; pixels of x that are read
// where they lie, or copied with their padding.  (Measured, weight gradients of 2x2 and 14x14: roughly; so they are cut
// only where that promises more.)
constexpr double stored_apart = 48, read_pixel = 1, copied_pixel = 6, least_gain_of_sums = 1.4;

// An axis of a map: what is cut (pixels, or taps: `own`), and what each reads or is read at (`other`).
class CutAxis {
public:
    CutAxis(const AxisMap& map, bool cuts_taps)
        : border_(map),
          cuts_taps_(cuts_taps),
          count_(cuts_taps ? map.taps.size() : map.count),
          others_(cuts_taps ? map.count : map.taps.size()) {
        starts_.push_back(0);
        if (map.reads_padding()) find_starts();
        starts_.push_back(count_);
    }

    size_t units() const { return starts_.size() - 1; }
    double terms() const { return f(count_) * f(others_); }
    double inside() const {
        double sum = 0;
        for (size_t i = 0; i < units(); ++i) sum += terms(i, i + 1);
        return sum;
    }
    // Units [lo, hi) as one.
    Stretch stretch(size_t lo, size_t hi) const {
        const Span own{starts_[lo], starts_[hi]}, first = other_of(own.lo), last = other_of(own.hi - 1);
        // Others follow the own ones in one direction: those of all between lie between these.
        Span other{std::min(first.lo, last.lo), std::max(first.hi, last.hi)};
        if (other.length() == 0) {  // a map has one of each at least, if it is padding
            other.lo = std::min(other.lo, others_ - 1);
            other.hi = other.lo + 1;
        }
        return cuts_taps_ ? Stretch{other, own} : Stretch{own, other};
    }

    // The fewest terms in 1, 2, .. stretches.
    std::vector<std::vector<Stretch>> find_cuts() const {
        const size_t n = units(), most = std::min(n, static_cast<size_t>(most_stretches));
        std::vector<double> of((n + 1) * (n + 1)), least((most + 1) * (n + 1), std::numeric_limits<double>::infinity());
        std::vector<size_t> from((most + 1) * (n + 1), 0);
        for (size_t lo = 0; lo < n; ++lo)
            for (size_t hi = lo + 1; hi <= n; ++hi) of[lo * (n + 1) + hi] = terms(lo, hi);
        least[0] = 0;
        for (size_t s = 1; s <= most; ++s)
            for (size_t hi = s; hi <= n; ++hi)
                for (size_t lo = s - 1; lo < hi; ++lo) {
                    const double sum = least[(s - 1) * (n + 1) + lo] + of[lo * (n + 1) + hi];
                    if (sum >= least[s * (n + 1) + hi]) continue;
                    least[s * (n + 1) + hi] = sum;
                    from[s * (n + 1) + hi] = lo;
                }
        std::vector<std::vector<Stretch>> cuts;
        for (size_t count = 1; count <= most; ++count) {
            std::vector<Stretch> cut(count);
            for (size_t s = count, hi = n; s > 0; --s) {
                const size_t lo = from[s * (n + 1) + hi];
                cut[s - 1] = stretch(lo, hi);
                hi = lo;
            }
            cuts.push_back(std::move(cut));
        }
        return cuts;
    }

private:
    Span other_of(int64_t own) const { return cuts_taps_ ? border_.pixels_of(own) : border_.taps_of(own); }
    Span own_of(int64_t other) const { return cuts_taps_ ? border_.taps_of(other) : border_.pixels_of(other); }
    double terms(size_t lo, size_t hi) const {
        const Stretch of = stretch(lo, hi);
        return f(of.pixels.length()) * f(of.taps.length());
    }

    // Where the others change; or, if they do so often, places equally far apart.
    void find_starts() {
        for (int64_t own = next_change(0); own < count_; own = next_change(own)) {
            starts_.push_back(own);
            if (static_cast<int64_t>(starts_.size()) <= most_units) continue;
            starts_.resize(1);
            const int64_t step = ceil_div(count_, most_units);
            for (int64_t at = step; at < count_; at += step) starts_.push_back(at);
            return;
        }
    }
    int64_t next_change(int64_t own) const {
        const Span its = other_of(own);
        int64_t next = count_;
        for (const int64_t other : {its.lo - 1, its.lo, its.hi - 1, its.hi}) {
            if (other < 0 || other >= others_) continue;
            const Span ends = own_of(other);
            for (const int64_t end : {ends.lo, ends.hi})
                if (end > own) next = std::min(next, end);
        }
        return next;
    }

    BorderAxis border_;
    bool cuts_taps_;
    int64_t count_, others_;
    std::vector<int64_t> starts_;  // of units, and the end of the last one
};

AxisMap part_of(const AxisMap& axis, const Stretch& stretch) {
    AxisMap part = axis;
    part.count = stretch.pixels.length();
    part.result_start += stretch.pixels.lo * axis.result_step;
    part.taps = axis.taps.part(stretch.taps.lo, stretch.taps.hi).moved(stretch.pixels.lo);
    return part;
}

// What a stretch counts for in the cost of a map.
struct Counts {
    double pixels, taps;
    bool whole, pads;  // has all taps of its axis; reads padding
};

using AxisCuts = std::vector<std::vector<Counts>>;  // into 1, 2, .. stretches

Counts counts_of(const AxisMap& axis, const Stretch& stretch) {
    return {f(stretch.pixels.length()), f(stretch.taps.length()), stretch.taps.length() == axis.taps.size(),
            !part_of(axis, stretch).reads_inside()};
}

AxisCuts counts_of(const AxisMap& axis, const std::vector<std::vector<Stretch>>& cuts) {
    AxisCuts counts;
    for (const std::vector<Stretch>& cut : cuts) {
        counts.emplace_back();
        for (const Stretch& stretch : cut) counts.back().push_back(counts_of(axis, stretch));
    }
    return counts;
}

// Of a map that has a stretch of each axis.
double cost_of(const Counts& d, const Counts& h, const Counts& w, const CutCosts& costs) {
    const double pixels = costs.samples * d.pixels * h.pixels * w.pixels, taps = d.taps * h.taps * w.taps;
    const bool pads = d.pads || h.pads || w.pads, whole = d.whole && h.whole && w.whole;
    if (costs.channels == 0) {
        const double of_tap = std::max(pixels, least_rows) + (whole ? costs::weight_vector : taps_apart);
        const double copied =
            costs.samples * (d.pixels + d.taps - 1) * (h.pixels + h.taps - 1) * (w.pixels + w.taps - 1);
        return taps * of_tap + (pads ? copied * copied_elem / costs.vectors : 0) + costs.of_map;
    }
    return pixels * (std::max(taps, least_pairs / costs.channels) + packed_sum / costs.channels) +
           pixels * (pads ? copied_pixel : read_pixel) + (w.whole ? 0 : taps * stored_apart / w.taps) + costs.of_map;
}

// The cost of some stretches of each axis, and the weights of all their maps.
struct Costs {
    double all = 0, taps = 0;
};
Costs costs_of(const std::array<const std::vector<Counts>*, 3>& cut, const CutCosts& costs) {
    Costs sum;
    for (const Counts& d : *cut[0])
        for (const Counts& h : *cut[1])
            for (const Counts& w : *cut[2]) {
                sum.all += cost_of(d, h, w, costs);
                sum.taps += d.taps * h.taps * w.taps;
            }
    return sum;
}

}  // namespace

std::vector<IndexMap> MapCut::maps(const IndexMap& whole) const {
    std::vector<IndexMap> maps;
    for (const Stretch& d : axis[0])
        for (const Stretch& h : axis[1])
            for (const Stretch& w : axis[2])
                maps.push_back({{part_of(whole.axis[0], d), part_of(whole.axis[1], h), part_of(whole.axis[2], w)}});
    return maps;
}

MapCut best_cut(const IndexMap& map, const CutCosts& costs) {
    MapCut best;
    for (size_t a = 0; a < 3; ++a) best.axis[a] = {{{0, map.axis[a].count}, {0, map.axis[a].taps.size()}}};
    if (!map.reads_padding() || map.pixels() == 0 || map.taps() == 0) return best;
    const bool cuts_taps = costs.channels > 0;
    const std::array<CutAxis, 3> axes{CutAxis(map.axis[0], cuts_taps), CutAxis(map.axis[1], cuts_taps),
                                      CutAxis(map.axis[2], cuts_taps)};
    double inside = 1;
    for (const CutAxis& axis : axes) inside *= axis.inside() / axis.terms();
    if (inside > 1 - least_padding) return best;
    std::array<std::vector<std::vector<Stretch>>, 3> cuts;
    std::array<AxisCuts, 3> counts;
    std::array<std::vector<Counts>, 3> uncut;
    for (size_t a = 0; a < 3; ++a) {
        cuts[a] = axes[a].find_cuts();
        counts[a] = counts_of(map.axis[a], cuts[a]);
        uncut[a] = {counts_of(map.axis[a], best.axis[a].front())};
    }
    const Costs whole = costs_of({&uncut[0], &uncut[1], &uncut[2]}, costs);
    double least = whole.all / (cuts_taps ? least_gain_of_sums : least_gain);
    for (size_t d = 0; d < counts[0].size(); ++d)
        for (size_t h = 0; h < counts[1].size(); ++h)
            for (size_t w = 0; w < counts[2].size(); ++w) {
                if ((d + 1) * (h + 1) * (w + 1) > most_maps) break;
                const Costs cost = costs_of({&counts[0][d], &counts[1][h], &counts[2][w]}, costs);
                if (cost.all >= least || cost.taps > most_weights * whole.taps) continue;
                least = cost.all;
                best = {{cuts[0][d], cuts[1][h], cuts[2][w]}, cost.all / whole.all};
            }
    return best;
}

}  // namespace convpp
