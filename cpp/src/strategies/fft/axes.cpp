// Axes as tiles, and the lengths of their transforms.  axes.hpp says what comes in and goes out.
#include "strategies/fft/axes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "plan/costs.hpp"

namespace convpp {
namespace {

using costs::f;

// Elements of a transform: in float32 with 16 lanes, 512 KiB, half of L2.
constexpr int64_t most_elems = 8192;

// The lengths there are: numbers of small factors.
bool is_smooth(int64_t n) {
    for (const int64_t p : {2, 3, 5})
        while (n % p == 0) n /= p;
    return n == 1;
}

int64_t next_length(int64_t n, bool even) {
    n = std::max<int64_t>(n, even ? 2 : 1);
    while (!is_smooth(n) || (even && n % 2 != 0)) ++n;
    return n;
}

// What it takes, in slots of a multiply-add unit (plan/costs.hpp), fitted to 120 calls of ranks 1 to 3, one channel to 64,
// depthwise and dense, all passes, on one thread (Zen 4, AVX-512, float32; the estimate is 0.6 to 1.3 times what was
// measured): each halving of a vector of a transform; each vector that is brought or stored, and each row of them; each
// product of a vector of points; each sum over lanes of one; each number of the transformed weights; each call.
constexpr double of_halving = 1.6, moved_vector = 17, moved_row = 380, of_product = 7.8, of_sum = 2.1, of_weight = 0.25,
                 of_call = 6e4;

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
        cost.sample = items * (sources * in + vectors(size.filters) * out +
                               sources * points * f(size.filters) * f(m.parts()) * of_product);
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
    const auto add = [&](int64_t parts, int64_t length, int64_t hop) {
        Cut cut{axis, 0};
        FourierAxis& a = cut.axis;
        a.part = ceil_div(axis.taps, parts);
        a.parts = ceil_div(axis.taps, a.part);
        a.length = length;
        a.hop = hop;
        a.tiles = ceil_div(count, hop);
        cut.rough = f(a.tiles + a.parts - 1) * f(length) * (of_halving * std::log2(f(length) + 1) + moved_vector) +
                    f(a.tiles) * f(length) * (f(a.parts) * of_product / 2);
        cuts.push_back(cut);
    };
    if (axis.taps == 1 && !even) {
        add(1, 1, 1);
        return cuts;
    }
    for (int64_t length = next_length(axis.taps + (even ? 1 : 0), even); length <= most;
         length = next_length(length + std::max<int64_t>(1, length / 16), even)) {
        const int64_t hop = length - axis.taps + 1;
        add(1, length, std::min(hop, count));
        if (hop >= count) break;
    }
    for (int64_t parts = 2; parts < axis.taps && cuts.size() < 96; parts += std::max<int64_t>(1, parts / 4)) {
        const int64_t part = ceil_div(axis.taps, parts);
        const int64_t length = next_length(2 * part - 1, even);
        if (length > most) continue;
        if (part < 4) break;
        add(parts, length, part);
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

}  // namespace

// Factors are computed in double whatever they are rounded to.
template <class T>
FourierTables<T>::FourierTables(const std::array<FourierAxis, 3>& axis) {
    constexpr double pi = 3.14159265358979323846;
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
                for (int64_t k = 1; k < radices[p]; ++k) {
                    const double angle = -2 * pi * f(j * k) / f(length);
                    factors[a].push_back(static_cast<T>(std::cos(angle)));
                    factors[a].push_back(static_cast<T>(std::sin(angle)));
                }
            length = m;
        }
        passes[a].factors = factors[a].data();
        if (a < 2) continue;
        const std::vector<int32_t> place = places_of(n, radices);
        for (int64_t k = 1; k <= n / 2; ++k) {
            low.push_back(place[static_cast<size_t>(k)]);
            high.push_back(place[static_cast<size_t>(n - k)]);
            half_factors.push_back(static_cast<T>(std::cos(-pi * f(k) / f(n))));
            half_factors.push_back(static_cast<T>(std::sin(-pi * f(k) / f(n))));
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
    const auto add = [&](const auto& tables) {
        for (size_t i = 0; i < tables.size(); ++i)
            if (i == 0 || tables[i] != tables[i - 1]) sum += tables[i]->bytes();
    };
    add(float32);
    add(float64);
    return sum;
}

std::string fourier_axes(const IndexMap& map, FourierMap& fourier) {
    for (size_t a = 0; a < 3; ++a) {
        const AxisMap& axis = map.axis[a];
        FourierAxis& own = fourier.axis[a];
        own.phases = axis.phases();
        own.taps = ceil_div(axis.taps.size(), own.phases);
        const int64_t apart = axis.taps.size() > 1 ? axis.taps.apart() * own.phases / axis.source_step : 1;
        own.reversed = apart < 0;
        own.spread = std::max<int64_t>(std::abs(apart), 1);
        own.strands = std::min(own.spread, axis.count);
        constexpr int64_t farthest = int64_t(1) << 31;  // so that positions of whole transforms fit 64 bits
        if (own.spread > farthest || axis.source_step > farthest)
            return "the taps of an axis, or what results read, are more than 2^31 elements apart, expected less";
    }
    return {};
}

FourierCost choose_lengths(const IndexMap& map, const FourierSize& size, FourierMap& fourier) {
    fourier.source_channels = checked_mul(size.channels, fourier.phases(), "the phases of the source");
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

}  // namespace convpp
