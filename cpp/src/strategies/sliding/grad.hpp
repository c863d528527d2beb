// The weight gradient of a depthwise layer, channels first, whose kernel slides over rows of pixels.
//
// In:  a Plan whose feed is sliding_rows, a product (one channel), boxes of pixels.   Out: sums[tap].
// Next: kernels/slide.hpp; slide_task.hpp is the same for the other passes.
//
// Pixels run along the lanes; the lanes' sums are kept apart through all boxes and added at the end.
#pragma once

#include <algorithm>

#include "strategies/sliding/strip.hpp"
#include "strategies/sum_task.hpp"

namespace convpp {

template <class T>
void sum_slides(const Plan& plan, const kernels::KernelTable<T>& kernel, const Product& product,
                const SumOperands<T>& operands, int64_t box_lo, int64_t box_hi, T* sums, SumBuffers<T>& buffers) {
    const MapPlan& m = plan.maps[0];
    const int64_t lanes = kernel.lanes, taps = product.block.size(), pitch = plan.result.axis[1];
    T* const of_lanes = buffers.channel_panels;
    std::fill_n(of_lanes, taps * lanes, T(0));
    const Stored<T> x = first_x(plan, product, operands);
    const Stored<T> dy = first_dy(plan, product, operands) + product.channel_lo * plan.result.channel;
    for (int64_t b = box_lo; b < box_hi; ++b) {
        const Box pixels = m.pixels.box(b);
        SlideStrip<T> slides(plan, m, pixels, lanes);
        const int64_t band = slide_band<T>(pixels);
        for (int64_t n = pixels.lo[0]; n < pixels.hi[0]; ++n)
            for (int64_t d = pixels.lo[1]; d < pixels.hi[1]; ++d) {
                slides.read(kernel, x + (n * plan.source.batch + d * plan.source.axis[0]), operands.x,
                            buffers.patch_panels);
                const int64_t step = slides.upwards ? -pitch : pitch;
                Stored<T> at = dy + (n * plan.result.batch + d * plan.result.axis[0] + pixels.lo[3] +
                                     (slides.upwards ? pixels.hi[2] - 1 : pixels.lo[2]) * pitch);
                kernels::Strip<T> strip = slides.strip;
                for (int64_t left = pixels.extent(2); left > 0; left -= band, at += band * step) {
                    const int64_t rows = std::min(band, left);
                    if (plan.converts) {
                        reading(kernel, at)
                            .copy_rows(at.at, step, 1, rows, pixels.extent(3), buffers.dy_rows, pixels.extent(3),
                                       at.end);
                        kernel.slide_sums(strip, buffers.dy_rows, pixels.extent(3),
                                          buffers.dy_rows + rows * pixels.extent(3), rows, pixels.extent(3), of_lanes);
                    } else {
                        kernel.slide_sums(strip, at.plain(), step, at.plain_end(), rows, pixels.extent(3), of_lanes);
                    }
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
