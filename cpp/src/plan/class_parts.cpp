// Residue classes cut into parts that are alike.  class_parts.hpp says what comes in and goes out.
#include "plan/class_parts.hpp"

#include <algorithm>
#include <numeric>

namespace convpp {
namespace {

// Classes of a part, at most: as many as one product computes together (strategies/flat/joint.hpp).  The weights of a
// part, which each thread packs for itself, should stay in its L2: 512 KiB of float32.
constexpr int64_t classes_of_part = 256, weights_of_part = int64_t(1) << 17;

// Kinds of an axis, and stretches that are looked at, at most.
constexpr size_t most_kinds = 64;
constexpr int64_t most_stretches = 100'000;

// From class `tap` of an axis on, the classes that are like it but for where their pixels and taps begin.  `own` is its
// map.
int64_t alike_from(const Geometry& g, size_t a, int64_t tap, const AxisMap& own) {
    const int64_t step = g.stride[a], every = step / std::gcd(step, g.dilation[a]);
    const int64_t apart = g.dilation[a] % step;  // from residue to residue
    const int64_t at = tap * g.dilation[a] % step, lo = g.pad_lo[a], last = g.input[a] - 1 + lo;
    int64_t alike = g.kernel[a] - tap - (own.taps.size() - 1) * every;  // have as many taps
    if (apart == 0) return alike;
    alike = std::min(alike, (step - 1 - at) / apart + 1);  // until residues begin anew
    // The first pixel is step * u + residue - lo for the least u that makes it 0 or more, the last one for the largest
    // that makes it an element.
    alike = std::min(alike, ceil_div(lo - (ceil_div(lo - at, step) - 1) * step - at, apart));
    return std::min(alike, (last - floor_div(last - at, step) * step - at) / apart + 1);
}

bool cut_axis(const ConvProblem& problem, size_t a, int64_t count, int64_t most, ClassParts& parts) {
    struct Kind {
        int64_t classes, pixels, taps, offset, result_at;
    };
    const Geometry& g = problem.geometry();
    std::vector<Kind> kinds;
    int64_t looked_at = 0;
    for (int64_t tap = 0, classes = 0; tap < count; tap += classes) {
        if (++looked_at > most_stretches) return false;
        const AxisMap map = class_axis(problem, a, tap);
        classes = std::min({most, count - tap, alike_from(g, a, tap, map)});
        if (map.count == 0) continue;
        const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) {
            return kind.classes == classes && kind.pixels == map.count && kind.taps == map.taps.size() &&
                   kind.offset == map.taps.offset(0);
        });
        const size_t kind = static_cast<size_t>(same - kinds.begin());
        if (same == kinds.end()) {
            if (kinds.size() == most_kinds) return false;
            kinds.push_back({classes, map.count, map.taps.size(), map.taps.offset(0), map.result_start});
            parts.kinds[a].push_back({tap, tap + classes});
        }
        const int64_t taps_on = tap - parts.kinds[a][kind].lo;
        parts.stretches[a].push_back(
            {static_cast<int64_t>(kind), map.result_start - kinds[kind].result_at, g.flip ? -taps_on : taps_on});
    }
    return true;
}

}  // namespace

int64_t class_count(const ConvProblem& problem) {
    const Extents counts = class_counts(problem);
    return counts[0] * counts[1] * counts[2];  // at most as many as taps
}

std::shared_ptr<ClassParts> cut_classes(const ConvProblem& problem) {
    const Extents counts = class_counts(problem);
    auto parts = std::make_shared<ClassParts>();
    const int64_t weights = problem.w_elems() / class_count(problem);  // of a class
    int64_t most = std::clamp<int64_t>(weights_of_part / std::max<int64_t>(weights, 1), 1, classes_of_part);
    int64_t planned = 1;
    for (size_t a = 3; a-- > 0;) {
        if (!cut_axis(problem, a, counts[a], most, *parts)) return nullptr;
        most = std::max<int64_t>(1, most / counts[a]);
        int64_t classes = 0;
        for (const Span& kind : parts->kinds[a]) classes += kind.length();
        planned *= classes;  // of an axis at most 64 * 256
        if (planned > most_classes_in_pieces) return nullptr;
    }
    return parts;
}

}  // namespace convpp
