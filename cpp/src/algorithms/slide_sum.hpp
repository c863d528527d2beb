// The weight gradient of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  a Plan whose feed is sliding_rows, a product (one channel), boxes of pixels.   Out: sums[tap].
// Next: kernels/slide.hpp; slide_task.hpp is the same for the other passes.
//
// Pixels run along the lanes; the lanes' sums are kept apart through all boxes and added at the end.
#pragma once

#include <algorithm>

#include "algorithms/slide_strip.hpp"
#include "algorithms/sum_task.hpp"

namespace convpp {

// Rows of dy that are gone through column by column: little enough that memory streams, enough that the source rows read
// twice, those of the kernel's height, stay few.  (Measured, 3x3: bands of 16 KiB took 1.3 to 2 times as long for planes of
// 112x112 and 56x56.)
inline constexpr int64_t band_bytes = 2048, least_band = 4;

template <class T>
void sum_slides(const Plan& plan, const kernels::KernelTable<T>& kernel, const Product& product,
                const SumOperands<T>& operands, int64_t box_lo, int64_t box_hi, T* sums, SumBuffers<T>& buffers) {
    const MapPlan& m = plan.maps[0];
    const int64_t lanes = kernel.lanes, taps = product.block.size(), pitch = plan.result.axis[1];
    T* const of_lanes = buffers.channel_panels;
    std::fill_n(of_lanes, taps * lanes, T(0));
    const Memory<const T> x = first_x(plan, product, operands);
    const T* const dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel;
    for (int64_t b = box_lo; b < box_hi; ++b) {
        const Box pixels = m.pixels.box(b);
        SlideStrip<T> slides(plan, m, pixels, lanes);
        const int64_t band = std::max(least_band, band_bytes / (static_cast<int64_t>(sizeof(T)) * pixels.extent(3)));
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
                slides.read(x.at + n * plan.source.batch + d * plan.source.axis[0], operands.x, x.end,
                            buffers.patch_panels);
                const int64_t step = slides.upwards ? -pitch : pitch;
                const T* at = dy + n * plan.result.batch + d * plan.result.axis[0] + pixels.lo[3] +
                              (slides.upwards ? pixels.hi[2] - 1 : pixels.lo[2]) * pitch;
                kernels::Strip<T> strip = slides.strip;
                for (int64_t left = pixels.extent(2); left > 0; left -= band, at += band * step) {
                    kernel.slide_sums(strip, at, step, operands.dy + operands.dy_elems, std::min(band, left),
                                      pixels.extent(3), of_lanes);
                    strip.first_row += band * strip.direction;
                }
            }
    }
    std::fill_n(sums, round_up(taps, lanes), T(0));
    for (int64_t k = 0; k < taps; ++k) {
        T* const lane = of_lanes + k * lanes;
        for (int64_t half = lanes / 2; half > 0; half /= 2)
            for (int64_t i = 0; i < half; ++i) lane[i] += lane[i + half];
        sums[k] = lane[0];
    }
}

}  // namespace convpp
