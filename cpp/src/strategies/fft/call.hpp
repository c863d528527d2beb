// What a call by the FFT works with: its plan and operands, a thread's buffers, the spectra of a box.
//
// In:  a Plan of this strategy, the operands.   Out: plain structs; memory is taken from a Carver.
// Next: weights.hpp, results.hpp, product.hpp.   Before: tiles.hpp.
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
          kernel(kernel_table<T>(of_plan.isa)),
          fourier(fourier_of(of_plan)),
          operands(of_operands),
          not_finite(run.not_finite) {}

    Transforms<T> transforms(size_t map) const { return {kernel, fourier.maps[map], tables_of<T>(fourier, map)}; }
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

// The source of a map, channel `channel` of all groups and phase `phase`.
template <class T>
void set_source(const Plan& plan, const FourierMap& m, const MapPlan& map, int64_t channel, int64_t item,
                LaneTile& to) {
    const int64_t phases = m.phases();
    const FourierItem place(m, item);
    to = {};
    if (place.sample >= plan.batch()) return;
    to = source_tile(map.map, m, place, channel % phases);
    to.at = place.sample * plan.source.strides.batch + channel / phases * plan.source.strides.channel;
}

inline TileTensor source_tensor(const Plan& plan, const MapPlan& map, const FourierMap& m) {
    TileTensor tensor;
    tensor.steps = plan.source.strides.axis;
    tensor.beyond = map.map.has_border() ? &map.map : nullptr;
    for (size_t a = 0; a < 3; ++a) tensor.limit[a] = m.axis[a].reach();
    return tensor;
}

inline Extents hops_of(const FourierMap& m) { return {m.axis[0].hop, m.axis[1].hop, m.axis[2].hop}; }

}  // namespace convpp
