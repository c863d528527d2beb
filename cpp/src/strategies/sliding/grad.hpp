// The weight gradient of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  a Plan of this strategy, a task (of one channel), the operands.   Out: sums[tap], then dw.
// Next: kernels/tile/slide_sums.hpp; product.hpp is the same for the other passes.
//
// Pixels run along the lanes; the lanes' sums are kept apart through all boxes and added at the end.
#pragma once

#include <algorithm>
#include <type_traits>

#include "strategies/panel_sums.hpp"
#include "strategies/sliding/strip.hpp"

namespace convpp {

// Rows of dy that are gone through column by column: few enough that memory streams, so many that the source rows read
// twice, those of the kernel's height, stay few.  (Measured, 3x3: bands of 16 KiB took 1.3 to 2 times as long for
// planes of 112x112 and 56x56.)
inline constexpr int64_t band_bytes = 2048, least_band = 4;
template <class T>
int64_t slide_band(const Box& pixels) {
    return std::max(least_band, band_bytes / (static_cast<int64_t>(sizeof(T)) * pixels.extent(3)));
}

template <class T>
struct SlideSumBuffers {
    T* source = nullptr;    // rows of x, with room for whole vectors before and behind
    T* of_lanes = nullptr;  // sums, each lane's apart
    RowWriting<T> writing;
    T* sums = nullptr;

    SlideSumBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel)
        : writing(carver, SumLayout(plan, kernel)) {
        const SumLayout layout(plan, kernel);
        source = carver.take<T>(slide_source_elems(plan, 1, kernel.lanes));
        of_lanes = carver.take<T>(layout.pairs * kernel.lanes);
        sums = carver.take<T>(plan.tasks.chunks > 1 ? 0 : layout.elems);
    }
};

// Adds the products of the task's boxes to each lane's sums.  S: how x and dy are stored.
template <class T, class S>
void sum_strips(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task, const Stored<T>& all_x,
                const Stored<T>& x, const S* dy, const S* dy_end, const SlideSumBuffers<T>& buffers) {
    const MapPlan& m = plan.maps[0];
    const int64_t pitch = plan.result.axis[1];
    for (int64_t b = task.box_lo; b < task.box_hi; ++b) {
        const Box pixels = m.boxes.box(b);
        SlideStrip<T, S> slides(plan, m, pixels, kernel.lanes);
        const int64_t band = slide_band<T>(pixels);
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
                const Stored<T> plane = x + (n * plan.source.strides.batch + d * plan.source.strides.axis[0]);
                if (slides.in_place(plane, all_x)) slides.read_in_place(plane, 1, 0);
                else slides.copy(kernel, plane, 1, 0, reinterpret_cast<S*>(buffers.source));
                const int64_t step = slides.upwards ? -pitch : pitch;
                const S* at = dy + (n * plan.result.batch + d * plan.result.axis[0] + pixels.lo[3] +
                                    (slides.upwards ? pixels.hi[2] - 1 : pixels.lo[2]) * pitch);
                kernels::Strip<T, S> strip = slides.strip;
                for (int64_t left = pixels.extent(2); left > 0; left -= band, at += band * step) {
                    slide_tiles<S>(kernel).sums(strip, at, step, dy_end, std::min(band, left), pixels.extent(3),
                                                lane_run, buffers.of_lanes);
                    strip.first_row += band * strip.direction;
                }
            }
    }
}

template <class T>
void sum_slides(const Plan& plan, const kernels::KernelTable<T>& kernel, const SumTask& task,
                const Operands<T>& operands, T* sums, const SlideSumBuffers<T>& buffers) {
    const SumProduct& product = task.product;
    const int64_t lanes = kernel.lanes, taps = product.block.size();
    T* const of_lanes = buffers.of_lanes;
    std::fill_n(of_lanes, taps * lanes, T(0));
    const Stored<T> x = first_x(plan, product, operands);
    const Stored<T> dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel;
    const auto sum = [&](const auto* first) {
        using S = std::remove_const_t<std::remove_pointer_t<decltype(first)>>;
        if constexpr (std::is_same_v<Computed<S>, T>)
            sum_strips(plan, kernel, task, operands.x, x, first, reinterpret_cast<const S*>(dy.end), buffers);
    };
    with_elements(dy, sum);
    std::fill_n(sums, round_up(taps, lanes), T(0));
    for (int64_t k = 0; k < taps; ++k) {
        T* const lane = of_lanes + k * lanes;
        for (int64_t half = lanes / 2; half > 0; half /= 2)
            for (int64_t i = 0; i < half; ++i) lane[i] += lane[i + half];
        sums[k] = lane[0];
    }
}

template <class T>
using SlidingSums = RowSums<T, SlideSumBuffers<T>, &sum_slides<T>>;

}  // namespace convpp
