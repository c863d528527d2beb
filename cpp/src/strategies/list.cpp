// The table of strategies.  A new one is a folder beside this file and a line here; what else it takes: "How to add an
// algorithm" in docs/architecture.md.
#include <array>

#include "strategies/strategy.hpp"

namespace convpp {

extern const Strategy sliding_strategy, channels_strategy, packed_strategy, rows_strategy, phases_strategy,
    flat_strategy, indirect_strategy, dots_strategy, winograd_strategy, fft_strategy, reference_strategy;

StrategyList strategies() {
    static constexpr std::array<const Strategy*, 11> table{
        &sliding_strategy,  // depthwise, by rule: rows of pixels that several rows of results read
        &channels_strategy,  // few channels a group, by rule: vectors run along the channels of several groups
        &packed_strategy,  // both operands are copied into panels
        &rows_strategy,  // vectors of pixels are read where they lie
        &phases_strategy,  // signals: rows of one channel, split into phases that share what they read
        &flat_strategy,  // the same through planes as if they were one row, all residue classes at once
        &indirect_strategy,  // pixels are read one by one, vectors run along the result channels
        &dots_strategy,  // samples of one pixel: dot products with rows of weights
        &winograd_strategy,  // fewer multiplications, another order of the sum
        &fft_strategy,  // products of spectra, for many taps
        &reference_strategy,  // plain loops: the definition
    };
    return {table.data(), table.data() + table.size()};
}

}  // namespace convpp
