// What a call by the FFT takes: spectra of boxes, of a thread, of the weights.
//
// In:  a Plan of this strategy, the operands.   Out: where in the workspace spectra lie, counted by the same code.
// Next: result_tiles.hpp, product.hpp.   Before: tiles.hpp.
//
// A spectrum is [point][real, imaginary][lanes].  Those of many terms are [point][real, imaginary][channel][item], so
// that the part p of the taps finds its tile's spectrum some items on.
#pragma once

#include <algorithm>
#include <atomic>

#include "strategies/fft/tiles.hpp"
#include "strategies/product_loop.hpp"

namespace convpp {

template <class T>
struct FourierCall {
    const Plan& plan;
    const kernels::KernelTable<T>& kernel;
    const FourierPlan& fourier;
    const Operands<T>& operands;
    std::atomic<unsigned char>* not_finite;

    FourierCall(const Plan& of_plan, const Operands<T>& of_operands, const RunContext& run)
        : plan(of_plan),
          kernel(kernel_table<T>(of_plan.kernels)),
          fourier(fourier_of(of_plan)),
          operands(of_operands),
          not_finite(run.not_finite) {}

    Transforms<T> transforms(size_t map) const {
        return {kernel, fourier.maps[map], tables_of<T>(fourier)[fourier.maps[map].tables]};
    }
};

// A sum of one term is done by one thread from the source to the results.
inline bool meets_alone(const Plan& plan, const FourierMap& m) {
    return m.terms() == 1 && (plan.pass != Pass::weight_grad || plan.tasks.channels == 1);
}

// The spectra of a box of items of one group: [point][real, imaginary][channel][item]; or (sums_by_channels) [..][item]
// [channel], those of the source in whole vectors.
template <class T>
struct BoxSpectra {
    T *x = nullptr, *y = nullptr;
    int64_t* x_at = nullptr;  // of terms
    int64_t x_pitch, y_pitch, x_half, y_half;

    BoxSpectra(Carver& carver, const Plan& plan, const FourierMap& m, const kernels::KernelTable<T>& kernel) {
        constexpr const char* what = "the spectra of a box";
        const int64_t lanes = kernel.lanes, line = cache_line / static_cast<int64_t>(sizeof(T));
        const int64_t items = m.box_items + m.halo(), filters = plan.tasks.channels;
        const auto odd = [&](int64_t elems) { return (ceil_div(elems, line) | 1) * line; };
        const bool by_channels = m.sums_by_channels;
        x_pitch = round_up(by_channels ? m.source_channels : items, lanes);
        y_pitch = by_channels ? filters : round_up(m.box_items, lanes);
        x_half = odd(checked_mul(by_channels ? items : m.source_channels, x_pitch, what));
        y_half = odd(checked_mul(by_channels ? m.box_items : filters, y_pitch, what));
        // (What lanes of the last term read behind the last item belongs to results that nobody stores.)
        x = carver.take<T>(checked_add(checked_mul(2 * m.points, x_half, what), lanes, what));
        y = carver.take<T>(checked_mul(2 * m.points, y_half, what));
        x_at = carver.take<int64_t>(by_channels ? m.box_items : m.terms());
        if (x_at == nullptr) return;
        if (by_channels)
            for (int64_t i = 0; i < m.box_items; ++i) x_at[i] = i * x_pitch;
        else
            for (int64_t c = 0, t = 0; c < m.source_channels; ++c)
                for (int64_t p = 0; p < m.parts(); ++p) x_at[t++] = c * x_pitch + m.shift_of(p);
    }
};

template <class T>
int64_t largest_box(const Plan& plan, const kernels::KernelTable<T>& kernel) {
    int64_t most = 0;
    for (const FourierMap& m : fourier_of(plan).maps)
        if (!meets_alone(plan, m)) most = std::max(most, measured<BoxSpectra<T>>(plan, m, kernel));
    return most;
}

// What a thread needs.
template <class T>
struct FourierBuffers {
    TileBuffer<T> tiles;
    T *z = nullptr, *product = nullptr;  // spectra
    std::byte* box = nullptr;  // those of a box, where threads take whole ones

    FourierBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) : tiles(carver, kernel) {
        int64_t most = 0;
        for (const FourierMap& m : fourier_of(plan).maps) most = std::max(most, m.spectrum(kernel.lanes));
        z = carver.take<T>(most);
        product = carver.take<T>(most);
        box = carver.take<std::byte>(fourier_of(plan).boxes_of_threads ? largest_box<T>(plan, kernel) : 0);
    }
};

// Transformed weights, by items that are (group, filter, term), or where lanes are groups, spectra of vectors of groups.
struct FourierWeights {
    int64_t items, elems;  // each point's items lie together
    FourierWeights(const Plan& plan, const FourierMap& m, int64_t lanes) {
        constexpr const char* what = "the transformed weights";
        items = checked_mul(checked_mul(plan.tasks.groups, plan.tasks.channels, what), m.terms(), what);
        elems = m.lanes_are_groups ? checked_mul(ceil_div(plan.tasks.groups, lanes), m.spectrum(lanes), what)
                                   : checked_mul(checked_mul(2, m.points, what), items, what);
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

}  // namespace convpp
