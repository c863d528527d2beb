// What the FFT makes of a pass: how each axis is cut into tiles, and how long their transforms are.
//
// In:  an IndexMap (weight_grad: the forward map).   Out: a FourierPlan.
// Next: axes.cpp (how lengths are chosen), strategy.cpp (when it is chosen), tiles.hpp (where tiles lie in memory).
//
// Overlap-save: a transform of n elements of the source gives n - part + 1 results of `part` taps.  An axis with more
// taps than that is cut into parts: a tile's spectrum then meets the weights of part p in the results that lie p tiles
// before it, so each tile is still transformed once.  Along an axis,
//
//   source = (step*spread) * (tile*hop + i) + step*phase_of_result + base(phase of taps) .. at element i of a tile,
//
// which covers strides (taps that leave the same remainder see every step-th element of the source: each such phase is
// a source channel of its own) and dilations (results that are `spread` apart see the same elements: each such phase is
// a signal of its own).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.hpp"
#include "problem/checked.hpp"

namespace convpp {

struct FourierAxis {
    int64_t taps = 1;  // of the phase that has the most
    int64_t phases = 1;  // of the taps, where there is a stride
    int64_t spread = 1, strands = 1;  // of the results, where there is a dilation: how far they are apart; their phases
    bool reversed = false;  // later taps read earlier elements
    int64_t length = 1;  // of a transform
    int64_t part = 1, parts = 1;  // taps that are transformed together; parts of the taps
    int64_t hop = 1, tiles = 1;  // results of a tile; tiles of a phase of the results

    int64_t reach() const { return hop + part - 1; }  // elements of a tile's source that count
    int64_t items() const { return strands * (tiles + parts - 1); }
};

// The factors of all transforms, as the kernels read them.
template <class T>
struct FourierTables {
    std::array<kernels::FourierPasses<T>, 3> passes;
    std::array<std::vector<T>, 3> factors;
    kernels::FourierHalves<T> halves;
    std::vector<int32_t> low, high;
    std::vector<T> half_factors;

    FourierTables() = default;
    FourierTables(const FourierTables&) = delete;
    FourierTables& operator=(const FourierTables&) = delete;
    void make(const std::array<FourierAxis, 3>& axis);
    int64_t bytes() const;
};

// One map.  An item is a tile's place in the grid (sample, phase and tile of each axis), numbered from the last axis on.
struct FourierMap {
    std::array<FourierAxis, 3> axis;
    int64_t pitch = 0, points = 0;  // of a row, and of all rows: points of a spectrum, some of them unused
    int64_t source_channels = 0;  // of a group, times the phases of its taps
    bool lanes_are_groups = false;  // vectors run along the groups' channels, not along items
    bool sums_by_channels = false;  // weight_grad of many channels: vectors run along the source's
    int64_t box_items = 0, boxes = 0;  // of a task; in all
    int64_t chunks = 1;  // weight_grad: of the boxes
    int64_t weights_at = 0;  // first element of its transformed weights
    size_t tables = 0;  // its factors

    int64_t items() const { return axis[0].items() * axis[1].items() * axis[2].items(); }  // of a sample
    int64_t parts() const { return axis[0].parts * axis[1].parts * axis[2].parts; }
    int64_t phases() const { return axis[0].phases * axis[1].phases * axis[2].phases; }
    int64_t terms() const { return source_channels * parts(); }  // of a result's sum, at each frequency
    int64_t elems() const { return axis[0].length * axis[1].length * axis[2].length; }
    // From an item to the one whose spectrum the last part of the taps meets.
    int64_t halo() const { return shift_of(parts() - 1); }
    int64_t shift_of(int64_t part) const {
        const int64_t c = part % axis[2].parts, b = part / axis[2].parts % axis[1].parts,
                      a = part / axis[2].parts / axis[1].parts;
        return (a * axis[1].items() + b) * axis[2].items() + c;
    }
    // Elements of a spectrum whose vectors have so many lanes: odd numbers of them, so that neighbouring spectra do not
    // meet in the caches.
    int64_t spectrum(int64_t lanes) const { return (2 * points + 1) * lanes; }
};

// weight_grad: whether vectors run along the source's channels, which fill them then.  No sum over lanes has to be made.
inline bool along_channels(int64_t source_channels, int64_t lanes) {
    return 4 * source_channels >= 3 * round_up(source_channels, lanes);
}

struct FourierPlan : StrategyPlan {
    std::vector<FourierMap> maps;
    std::vector<FourierTables<float>> float32;  // of the maps' lengths; of the type that is computed with
    std::vector<FourierTables<double>> float64;
    bool boxes_of_threads = false;  // threads take whole boxes; else they share each
    double weight_share = 0;  // of the time, an estimate

    int64_t bytes() const override;
};

template <class T>
const std::vector<FourierTables<T>>& tables_of(const FourierPlan& plan) {
    if constexpr (sizeof(T) == sizeof(double)) return plan.float64;
    else return plan.float32;
}

inline const FourierPlan& fourier_of(const Plan& plan) { return own<FourierPlan>(plan); }

// What a pass over one group would take, in slots of a multiply-add unit.
struct FourierCost {
    double weights = 0, sample = 0;
};

struct FourierSize {
    int64_t channels, filters, groups, lanes, elem_bytes;
    bool sums;  // weight_grad
};

// Chooses the axes and lengths of maps that cost the least for one sample.  Residue classes are looked at once for each
// kind of them, of which there are few: along an axis they differ by a tap or a result.
class FourierLengths {
public:
    explicit FourierLengths(const FourierSize& size) : size_(size) {}
    // Empty text, or why the map is not served.  (`batch` decides whether 64 bits hold all tiles, and nothing else.)
    std::string choose(const IndexMap& map, double batch, FourierMap& to, FourierCost& cost);

private:
    struct Kind {
        FourierMap before, found;
        std::array<int64_t, 3> counts;
        FourierCost cost;
    };
    FourierSize size_;
    std::vector<Kind> kinds_;
};

}  // namespace convpp
