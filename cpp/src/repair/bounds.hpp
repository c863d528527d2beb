// Weights that are not finite: which taps of which result channels, and at which pixels they spoil the result.
//
// In:  a Plan, an IndexMap, the weights.   Out: the TapBounds of all result channels.   Next: products.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "problem/boxes.hpp"
#include "problem/border.hpp"
#include "repair/finite.hpp"
#include "repair/shape.hpp"

namespace convpp {

// The least box that holds all taps of a result channel with a weight that is not finite; and some with a NaN: results
// that read one inside are NaN already, and stay so.
struct TapBounds {
    static constexpr size_t most_nans = 4;
    std::array<Span, 3> of;
    std::array<Extents, most_nans> nans;
    size_t nan_count;

    bool none() const { return of[0].length() == 0; }
    // Whether results of the class's pixels are to be computed again: one of the taps reads padding (an outermost one
    // is outside, if any is), and no NaN is inside.
    bool spoils(const PixelClass& pixels) const {
        bool leaves = false;
        for (size_t a = 0; a < 3; ++a) leaves |= of[a].lo < pixels.taps[a].lo || of[a].hi > pixels.taps[a].hi;
        return leaves && !none() && std::none_of(nans.begin(), nans.begin() + nan_count, [&](const Extents& tap) {
                   return pixels.has(tap);
               });
    }
    void add(const Extents& tap, bool is_nan, const Extents& all) {
        const bool first = none();
        for (size_t a = 0; a < 3; ++a)
            of[a] = first ? Span{tap[a], tap[a] + 1} : Span{std::min(of[a].lo, tap[a]), std::max(of[a].hi, tap[a] + 1)};
        if (!is_nan) return;
        // Those near the kernel's middle are inside for the most pixels.
        const auto distance = [&](const Extents& at) {
            int64_t sum = 0;
            for (size_t a = 0; a < 3; ++a) sum += std::abs(2 * at[a] + 1 - all[a]);
            return sum;
        };
        if (nan_count < most_nans) nans[nan_count++] = tap;
        else {
            auto& farthest = *std::max_element(nans.begin(), nans.end(), [&](const Extents& one, const Extents& other) {
                return distance(one) < distance(other);
            });
            if (distance(tap) < distance(farthest)) farthest = tap;
        }
    }
};

// So many kernels are looked at together.
inline constexpr int64_t kernels_together = 8;

// The bounds of all result channels, of one map.
template <class T, class Buffers>
void find_bounds(const Plan& plan, const IndexMap& map, const Stored<T>& w, int threads, TapBounds* bounds,
                 const ThreadBuffers<Buffers>& buffers) {
    const RepairShape shape(plan);
    const Extents extents = tap_extents(map);
    // Kernels that lie together are looked at together: of a result channel's sources, or (input_grad) of some result
    // channels.
    constexpr int64_t together = kernels_together;
    const bool forward = plan.pass == Pass::forward;
    const int64_t taps = plan.problem.taps(), width = forward ? 1 : together;
    const int64_t blocks = ceil_div(shape.result_channels, width);
    parallel_for(shape.groups * blocks, threads, [&](int64_t task, int thread) {
        unsigned char* const kinds = buffers[static_cast<size_t>(thread)].kinds;  // [kernel][tap]
        const int64_t first = task % blocks * width, count = std::min(width, shape.result_channels - first);
        const int64_t channel = task / blocks * shape.result_channels + first;
        const Stored<T> from = w + shape.weights_at(plan, channel);
        std::fill_n(bounds + channel, count, TapBounds{});
        if (forward && all_finite(from, shape.channels * taps)) return;
        std::fill_n(kinds, together * taps, static_cast<unsigned char>(0));
        const int64_t step = forward ? together : 1;
        for (int64_t c = 0; c < shape.channels; c += step)
            add_kinds(from + c * plan.weights.source_channel,
                      (forward ? std::min(together, shape.channels - c) : count) * taps, kinds);
        if (forward)
            for (int64_t i = taps; i < together * taps; ++i) kinds[i % taps] = std::max(kinds[i % taps], kinds[i]);
        for (int64_t c = 0; c < count; ++c) {
            const unsigned char* const own = kinds + c * taps;
            if (std::all_of(own, own + taps, [](unsigned char kind) { return kind == 0; })) continue;
            for_each_position(extents, [&](const Extents& tap) {
                const unsigned char kind = own[weight_at(plan, map, tap)];
                if (kind != 0) bounds[channel + c].add(tap, kind == kind_nan, extents);
            });
        }
    });
}

}  // namespace convpp
