// Axes as tiles, and the lengths of their transforms.  axes.hpp says what comes in and goes out.
#include "strategies/fft/axes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "plan/costs.hpp"

namespace convpp {
namespace {

using costs::f;

// Elements of a transform: in float32 with 16 lanes, 512 KiB, half of L2.
constexpr int64_t most_elems = 8192;

// Of elements, tiles and bytes: so that 64 bits hold them, and what is counted further from them.
constexpr double most_numbers = 0x1p58;

// The lengths there are: numbers of small factors.
bool is_smooth(int64_t n) {
    for (const int64_t p : {2, 3, 5})
        while (n % p == 0) n /= p;
    return n == 1;
}

// (Of a transform that there may be: numbers of small factors become rare.)
int64_t next_length(int64_t n, bool even) {
    n = std::max<int64_t>(n, even ? 2 : 1);
    while (!is_smooth(n) || (even && n % 2 != 0)) ++n;
    return n;
}

// What it takes, in slots of a multiply-add unit (plan/costs.hpp), fitted to 120 calls of ranks 1 to 3, one channel to 64,
// depthwise and dense, all passes, on one thread (Zen 4, AVX-512, float32; the estimate is 0.6 to 1.3 times what was
// measured): each halving of a vector of a transform; each vector that is brought or stored, and each row of them; each
// product of a vector of points; each sum over lanes of one; each number of the transformed weights; each call.
// of_weight and of_stored_sum were raised after the fit (64 to 64 channels at 128x128, two threads): sums and weights of
// all pairs go through memory, so that larger tiles are dearer than their products say (dw of 9x9: 41 -> 8 ms; y of 5x5:
// 9.6 -> 6.6).
constexpr double of_halving = 1.6, moved_vector = 17, moved_row = 380, of_product = 7.8, of_sum = 2.1, of_weight = 0.8,
                 of_call = 6e4, of_stored_sum = 25;

double transform_slots(const FourierMap& m) {
    return f(m.elems()) * of_halving * std::log2(f(std::max<int64_t>(m.elems(), 2)));
}

// Vectors and rows of a tile that are moved.
double moving_slots(int64_t planes, int64_t rows, int64_t columns) {
    return f(planes * rows) * (f(columns) * moved_vector + moved_row);
}

FourierCost cost_of(const FourierMap& m, const FourierSize& size) {
    const std::array<FourierAxis, 3>& a = m.axis;
    const double transform = transform_slots(m), lanes = f(size.lanes);
    const double points = f(a[0].length * a[1].length * (a[2].length / 2 + 1));
    const double in = transform + moving_slots(a[0].reach(), a[1].reach(), a[2].reach());
    const double out = transform + moving_slots(a[0].hop, a[1].hop, a[2].hop);
    const double items = f(m.items()), by_items = f(ceil_div(m.items(), size.lanes));
    const double terms = f(m.terms()), pairs = f(size.filters) * terms;
    const auto vectors = [&](int64_t channels) { return f(ceil_div(channels, size.lanes)); };
    FourierCost cost;
    cost.weights =
        std::ceil(pairs * f(size.groups) / lanes) / f(size.groups) * (transform + moved_row) + of_call / f(size.groups);
    if (m.terms() == 1 && size.filters == 1) {  // vectors along items, or along groups, of which each has its part
        const double of_group = std::min(by_items, items * vectors(size.groups) / f(size.groups));
        cost.sample = of_group * (in + out + points * of_product);
    } else if (size.sums && along_channels(m.source_channels, size.lanes)) {
        const double sources = vectors(m.source_channels);
        cost.sample = items * (sources * in + vectors(size.filters) * out) +
                      sources * points * f(size.filters) * f(m.parts()) * (items * of_product + of_stored_sum);
    } else {
        cost.sample = by_items * (f(m.source_channels) * in + f(size.filters) * out + points * pairs * of_product);
        cost.sample += points * pairs * (size.sums ? of_sum : 2 * of_weight);
    }
    return cost;
}

struct Cut {
    FourierAxis axis;
    double rough;  // what it costs alone
};

// Ways to cut an axis, the cheapest of which are tried with those of the others.
std::vector<Cut> cuts_of(const AxisMap& map, const FourierAxis& axis, bool even, int64_t most) {
    std::vector<Cut> cuts;
    const int64_t count = ceil_div(map.count, axis.spread);  // results of a strand
    const double step = f(axis.spread) * f(std::max(map.source_step, map.result_step));
    const auto add = [&](int64_t parts, int64_t length, int64_t hop) {
        Cut cut{axis, 0};
        FourierAxis& a = cut.axis;
        a.part = ceil_div(axis.taps, parts);
        a.parts = ceil_div(axis.taps, a.part);
        a.length = length;
        a.hop = hop;
        a.tiles = ceil_div(count, hop);
        if (step * (f(a.tiles + a.parts) * f(hop) + f(length)) > most_numbers) return;
        if (f(a.strands) * f(a.tiles + a.parts) > most_numbers) return;
        cut.rough = f(a.tiles + a.parts - 1) * f(length) * (of_halving * std::log2(f(length) + 1) + moved_vector) +
                    f(a.tiles) * f(length) * (f(a.parts) * of_product / 2);
        cuts.push_back(cut);
    };
    if (axis.taps == 1 && !even) {
        add(1, 1, 1);
        return cuts;
    }
    for (int64_t length = next_length(std::min(axis.taps, most) + (even ? 1 : 0), even);
         length <= most && length >= axis.taps;
         length = next_length(length + std::max<int64_t>(1, length / 16), even)) {
        const int64_t hop = length - axis.taps + 1;
        add(1, length, std::min(hop, count));
        if (hop >= count) break;
    }
    for (int64_t parts = 2; parts < axis.taps && cuts.size() < 96; parts += std::max<int64_t>(1, parts / 4)) {
        const int64_t part = ceil_div(axis.taps, parts);
        if (part > most / 2) continue;
        if (part < 4) break;
        const int64_t length = next_length(2 * part - 1, even);
        if (length <= most) add(parts, length, part);
    }
    // The cheapest one of each half octave of lengths: axes share the elements that a transform may have.
    const auto octave = [](const Cut& cut) { return std::lround(2 * std::log2(f(cut.axis.length))); };
    std::sort(cuts.begin(), cuts.end(), [&](const Cut& a, const Cut& b) {
        return octave(a) != octave(b) ? octave(a) < octave(b) : a.rough < b.rough;
    });
    cuts.erase(
        std::unique(cuts.begin(), cuts.end(), [&](const Cut& a, const Cut& b) { return octave(a) == octave(b); }),
        cuts.end());
    return cuts;
}

std::vector<int> radices_of(int64_t n) {
    std::vector<int> radices;
    for (const int p : {5, 3})
        for (; n % p == 0; n /= p) radices.push_back(p);
    int64_t fours = 0;
    for (; n % 4 == 0; n /= 4) ++fours;
    if (n == 2) radices.push_back(2);
    radices.insert(radices.end(), static_cast<size_t>(fours), 4);
    return radices;
}

// Where each frequency ends up: passes leave them in the order of their digits.
std::vector<int32_t> places_of(int64_t n, const std::vector<int>& radices) {
    std::vector<int32_t> place(static_cast<size_t>(n));
    for (int64_t at = 0; at < n; ++at) {
        int64_t frequency = 0, weight = 1, length = n, rest = at;
        for (const int radix : radices) {
            length /= radix;
            frequency += rest / length * weight;
            rest %= length;
            weight *= radix;
        }
        place[static_cast<size_t>(frequency)] = static_cast<int32_t>(at);
    }
    return place;
}

// exp(-2 pi i r / n), 0 <= r < n: by an angle of pi/4 at most, whose rounding is then smaller than that of the results.
std::array<double, 2> root_of_unity(int64_t r, int64_t n) {
    constexpr double half_pi = 1.57079632679489661923;
    const int64_t quarters = 4 * r / n, rest = 4 * r - quarters * n;
    const bool swapped = 2 * rest > n;
    const double angle = half_pi * f(swapped ? n - rest : rest) / f(n);
    double c = std::cos(angle), s = std::sin(angle);
    if (swapped) std::swap(c, s);
    switch (quarters) {
        case 0: return {c, -s};
        case 1: return {-s, -c};
        case 2: return {-c, s};
        default: return {s, c};
    }
}

}  // namespace

// Factors are computed in double whatever they are rounded to.
template <class T>
void FourierTables<T>::make(const std::array<FourierAxis, 3>& axis) {
    const auto add = [](std::vector<T>& to, const std::array<double, 2>& root) {
        to.push_back(static_cast<T>(root[0]));
        to.push_back(static_cast<T>(root[1]));
    };
    for (size_t a = 0; a < 3; ++a) {
        const int64_t n = a == 2 ? axis[a].length / 2 : axis[a].length;
        const std::vector<int> radices = radices_of(n);
        passes[a].points = n;
        passes[a].count = static_cast<int>(radices.size());
        int64_t length = n;
        for (size_t p = 0; p < radices.size(); ++p) {
            passes[a].radix[p] = static_cast<unsigned char>(radices[p]);
            const int64_t m = length / radices[p];
            for (int64_t j = 0; j < m; ++j)
                for (int64_t k = 1; k < radices[p]; ++k) add(factors[a], root_of_unity(j * k, length));
            length = m;
        }
        passes[a].factors = factors[a].data();
        if (a < 2) continue;
        const std::vector<int32_t> place = places_of(n, radices);
        for (int64_t k = 1; k <= n / 2; ++k) {
            low.push_back(place[static_cast<size_t>(k)]);
            high.push_back(place[static_cast<size_t>(n - k)]);
            add(half_factors, root_of_unity(k, 2 * n));
        }
    }
    halves = {static_cast<int64_t>(low.size()), low.data(), high.data(), half_factors.data()};
}

template <class T>
int64_t FourierTables<T>::bytes() const {
    size_t elems = half_factors.size();
    for (const std::vector<T>& of_axis : factors) elems += of_axis.size();
    return static_cast<int64_t>(sizeof *this + elems * sizeof(T) + 2 * low.size() * sizeof(int32_t));
}

template struct FourierTables<float>;
template struct FourierTables<double>;

int64_t FourierPlan::bytes() const {
    auto sum = static_cast<int64_t>(sizeof *this + maps.size() * sizeof(FourierMap));
    for (const FourierTables<float>& tables : float32) sum += tables.bytes();
    for (const FourierTables<double>& tables : float64) sum += tables.bytes();
    return sum;
}

namespace {

constexpr const char* too_large = "tiles, spectra, or where they lie are more than 64 bits hold, expected less";

// What a map's axes are before lengths are chosen; whether positions fit.
bool find_axes(const IndexMap& map, std::array<FourierAxis, 3>& axes) {
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& axis = map.axis[a];
        FourierAxis& own = axes[a];
        own.phases = axis.phases();
        own.taps = ceil_div(axis.taps.size(), own.phases);
        // (A phase of one tap has no next one.)
        const int64_t apart = own.taps > 1 ? axis.taps.apart() * own.phases / axis.source_step : 1;
        own.reversed = apart < 0;
        own.spread = std::abs(apart);
        own.strands = std::min(own.spread, axis.count);
        const Span offsets = axis.taps.offsets(0, axis.taps.size());
        if (f(own.spread) * f(std::max(axis.source_step, axis.result_step)) > most_numbers ||
            f(offsets.hi) > 8 * most_numbers || f(offsets.lo) < -8 * most_numbers)
            return false;
    }
    return true;
}

bool same_before(const FourierAxis& a, const FourierAxis& b) {
    return a.taps == b.taps && a.phases == b.phases && a.spread == b.spread && a.strands == b.strands &&
           a.reversed == b.reversed;
}

// Whether the numbers of tiles, and of elements of all spectra, fit.
bool numbers_fit(const FourierMap& m, const FourierSize& size, double batch) {
    double items = std::max(batch, 1.0) * f(size.groups), points = 1;
    double spectra = 16 * f(size.lanes) * f(m.source_channels);
    for (const FourierAxis& axis : m.axis) {
        items *= f(axis.items());
        spectra *= f(axis.parts);
        points *= f(axis.length);
    }
    return items < most_numbers && points * spectra * (f(size.groups) * f(size.filters) + 1) < most_numbers &&
           points * 16 * f(size.lanes) * f(size.filters) < most_numbers;
}

FourierCost least_cost(const IndexMap& map, const FourierSize& size, double batch, FourierMap& fourier) {
    FourierCost best;
    best.sample = std::numeric_limits<double>::infinity();
    FourierMap tried = fourier;
    const std::array<std::vector<Cut>, 3> cuts{cuts_of(map.axis[0], fourier.axis[0], false, most_elems / 2),
                                               cuts_of(map.axis[1], fourier.axis[1], false, most_elems / 2),
                                               cuts_of(map.axis[2], fourier.axis[2], true, most_elems)};
    for (const Cut& a : cuts[0])
        for (const Cut& b : cuts[1])
            for (const Cut& c : cuts[2]) {
                if (a.axis.length * b.axis.length * c.axis.length > most_elems) continue;
                tried.axis = {a.axis, b.axis, c.axis};
                if (!numbers_fit(tried, size, batch)) continue;
                const FourierCost cost = cost_of(tried, size);
                if (cost.sample + cost.weights / 2 >= best.sample + best.weights / 2) continue;
                best = cost;
                fourier = tried;
            }
    const int64_t row = fourier.axis[2].length / 2 + 1;
    const bool rows = fourier.axis[0].length * fourier.axis[1].length > 1;
    fourier.pitch = rows ? row | 1 : row;
    fourier.points = fourier.axis[0].length * fourier.axis[1].length * fourier.pitch;
    return best;
}

}  // namespace

std::string FourierLengths::choose(const IndexMap& map, double batch, FourierMap& to, FourierCost& cost) {
    FourierMap before;
    if (!find_axes(map, before.axis)) return too_large;
    const std::array<int64_t, 3> counts{map.axis[0].count, map.axis[1].count, map.axis[2].count};
    const auto known = std::find_if(kinds_.begin(), kinds_.end(), [&](const Kind& kind) {
        return kind.counts == counts && same_before(kind.before.axis[0], before.axis[0]) &&
               same_before(kind.before.axis[1], before.axis[1]) && same_before(kind.before.axis[2], before.axis[2]);
    });
    if (known == kinds_.end()) {
        constexpr size_t most_kinds = 64;
        if (kinds_.size() == most_kinds) return "residue classes are of more than 64 kinds, expected fewer";
        before.source_channels = checked_mul(size_.channels, before.phases(), "the phases of the source");
        FourierMap found = before;
        const FourierCost least = least_cost(map, size_, batch, found);
        if (std::isinf(least.sample)) return too_large;
        to = found;
        cost = least;
        kinds_.push_back({before, found, counts, least});
        return {};
    }
    to = known->found;
    cost = known->cost;
    return {};
}

}  // namespace convpp
