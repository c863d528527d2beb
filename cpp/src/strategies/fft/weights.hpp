// The weights as the FFT multiplies with them: spectra of the taps, part by part and phase by phase.
//
// In:  a Plan, the weights as the user stores them.   Out: spectra, laid out by FourierWeights.   Next: product.hpp.
#pragma once

#include "machine/parallel.hpp"
#include "strategies/fft/call.hpp"

namespace convpp {

// Transformed weights, by items that are (group, filter, term), or where lanes are groups, spectra of vectors of groups.
struct FourierWeights {
    int64_t items, pitch, elems;
    FourierWeights(const Plan& plan, const FourierMap& m, int64_t lanes) {
        constexpr const char* what = "the transformed weights";
        items = checked_mul(checked_mul(plan.tasks.groups, plan.tasks.channels, what), m.terms(), what);
        pitch = items;
        elems = m.lanes_are_groups ? checked_mul(ceil_div(plan.tasks.groups, lanes), m.spectrum(lanes), what)
                                   : checked_mul(checked_mul(2, m.points, what), pitch, what);
    }
};

inline TileTensor kernel_tensor(const Plan& plan, const FourierMap& m) {
    TileTensor tensor;
    tensor.steps = plan.weights.axis;
    for (size_t a = 0; a < 3; ++a) tensor.limit[a] = m.axis[a].part;
    return tensor;
}

// The taps of pair (filter, term) of a group.
inline LaneTile pair_tile(const Plan& plan, const MapPlan& map, const FourierMap& m, int64_t group, int64_t filter,
                          int64_t term) {
    const int64_t channel = term / m.parts();
    LaneTile tile = kernel_tile(map.map, m, term % m.parts(), channel % m.phases());
    tile.at = group * plan.weights.group + filter * plan.weights.result_channel +
              channel / m.phases() * plan.weights.source_channel;
    return tile;
}

template <class T>
void transform_weights(const FourierCall<T>& call, size_t index, int threads, T* to,
                       const ThreadBuffers<FourierBuffers<T>>& buffers) {
    const Plan& plan = call.plan;
    const FourierMap& m = call.fourier.maps[index];
    const Transforms<T> transforms = call.transforms(index);
    const int64_t lanes = call.kernel.lanes, filters = plan.tasks.channels, terms = m.terms();
    const FourierWeights layout(plan, m, lanes);
    const TileTensor tensor = kernel_tensor(plan, m);
    parallel_for(ceil_div(layout.items, lanes), threads, [&](int64_t vector, int thread) {
        const FourierBuffers<T>& own = buffers[static_cast<size_t>(thread)];
        for (int64_t l = 0; l < lanes; ++l) {
            const int64_t item = vector * lanes + l;
            LaneTile& tile = own.tiles.tiles[l];
            tile = {};
            if (item < layout.items)
                tile =
                    pair_tile(plan, plan.maps[index], m, item / terms / filters, item / terms % filters, item % terms);
        }
        T* const z = m.lanes_are_groups ? to + vector * m.spectrum(lanes) : own.z;
        transforms.forward(call.operands.w, tensor, own.tiles, transforms.scale(), z);
        if (!m.lanes_are_groups)
            call.kernel.store_rows(z, lanes, 2 * m.points, std::min(lanes, layout.items - vector * lanes),
                                   to + vector * lanes, layout.pitch);
    });
}

}  // namespace convpp
