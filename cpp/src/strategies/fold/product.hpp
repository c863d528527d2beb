// A task of a folded input gradient: its products, added to dx.
//
// In:  a Plan with a FoldPlan, the operands.   Out: the results of some channels and samples.
// Next: plan/fold.hpp, which says what products are.
#pragma once

#include <algorithm>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "plan/fold.hpp"
#include "strategies/strategy.hpp"

namespace convpp {

// What a thread needs.
template <class T>
struct FoldBuffers {
    T *products,
        *sums;  // sums: [channel][element], or (channels last) [element][channel]; one more of what is left out
    int32_t* element;  // of dx, that a product is added to: [tap][pixel], or (channels last) [pixel][tap]
    std::byte* workspace;  // of the products' plan

    FoldBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>&) {
        const FoldPlan& fold = own<FoldPlan>(plan);
        const int64_t each = products_of_channel(plan.problem);
        products = carver.take<T>(each * fold.channels * fold.samples);
        sums = carver.take<T>((elements(plan) + 1) * fold.channels);
        element = carver.take<int32_t>(each);
        int64_t bytes = 0;
        for (const Plan& of : fold.plans) bytes = std::max(bytes, workspace_bytes(of, 1));
        workspace = carver.take<std::byte>(bytes);
    }

    static int64_t elements(const Plan& plan) {
        const Extents& x = plan.problem.geometry().input;
        return x[0] * x[1] * x[2];
    }
    // Where products are added, those outside of x to an element that nobody reads.
    void find_elements(const Plan& plan) const {
        const Geometry& g = plan.problem.geometry();
        const bool last = plan.channels_last();
        const int64_t outside = elements(plan), taps = plan.problem.taps();
        const Extents& y = plan.problem.output();
        const int64_t pixels = y[0] * y[1] * y[2];
        int64_t tap = 0;
        for_each_position(g.kernel, [&](const Extents& stored) {
            int64_t pixel = 0;
            for_each_position(y, [&](const Extents& p) {
                int64_t at = 0;
                for (size_t a = 0; a < 3; ++a) {
                    const int64_t r = g.flip ? g.kernel[a] - 1 - stored[a] : stored[a];
                    const int64_t h = p[a] * g.stride[a] + r * g.dilation[a] - g.pad_lo[a];
                    at = at < 0 || h < 0 || h >= g.input[a] ? -1 : at * g.input[a] + h;
                }
                element[last ? pixel * taps + tap : tap * pixels + pixel] = static_cast<int32_t>(at < 0 ? outside : at);
                ++pixel;
            });
            ++tap;
        });
    }
};

template <class T>
class FoldTask {
public:
    FoldTask(const Plan& plan, const Operands<T>& operands, const FoldBuffers<T>& buffers, int64_t index)
        : plan_(plan), fold_(own<FoldPlan>(plan)), operands_(operands), buffers_(buffers) {
        const Geometry& g = plan.problem.geometry();
        sample_lo_ = index % fold_.sample_blocks * fold_.samples;
        samples_ = std::min(fold_.samples, g.batch - sample_lo_);
        index /= fold_.sample_blocks;
        const int64_t of_group = g.in_channels / g.groups;
        group_ = index / fold_.channel_blocks;
        first_ = index % fold_.channel_blocks * fold_.channels;
        channels_ = std::min(fold_.channels, of_group - first_);
        channel_lo_ = group_ * of_group + first_;
        element_ = plan.channels_last() ? channels_ : 1;
    }

    void run() const {
        multiply();
        for (int64_t n = 0; n < samples_; ++n) {
            begin_sums(sample_lo_ + n);
            const T* const products = buffers_.products + n * each_ * channels_;
            if (plan_.channels_last()) add_pixels(products);
            else add_channels(products);
            write(sample_lo_ + n);
        }
    }

private:
    void multiply() const {
        const Plan& products = fold_.plan(channels_ < fold_.channels, samples_ < fold_.samples);
        const TensorStrides& dy = plan_.source.strides;
        Operands<T> own;
        own.dy = operands_.dy + (sample_lo_ * dy.batch + group_ * plan_.source.channels * dy.channel);
        own.w = operands_.w + (group_ * plan_.weights.group + first_ * plan_.weights.result_channel);
        own.result = Results<T>(buffers_.products);
        entry<T>(*products.how).run(products, own, {1, buffers_.workspace, nullptr});
    }

    // What products are added to.
    void begin_sums(int64_t n) const {
        const int64_t from = n * plan_.result.batch + channel_lo_ * plan_.result.channel;
        for (int64_t c = 0; c < channels_; ++c) {
            T* const to = buffers_.sums + c * channel_;
            const T bias = operands_.bias ? operands_.bias[(channel_lo_ + c) / plan_.bias_elems] : T(0);
            for (int64_t e = 0; e < elements_; ++e)
                to[e * element_] = operands_.accumulate
                                       ? operands_.result[from + c * plan_.result.channel + e * plan_.result.axis[2]]
                                       : bias;
            to[elements_ * element_] = T(0);
        }
    }

    // Taps in the order of the kernel: each element meets one pixel at each, at most.
    void add_channels(const T* products) const {
        for (int64_t c = 0; c < channels_; ++c, products += each_) {
            T* const to = buffers_.sums + c * channel_;
            for (int64_t i = 0; i < each_; ++i) to[buffers_.element[i]] += products[i];
        }
    }
    // The same order: later taps meet earlier pixels (flipped: later ones).
    void add_pixels(const T* products) const {
        const int64_t taps = plan_.problem.taps(), pixels = each_ / taps;
        const bool flip = plan_.problem.geometry().flip;
        for (int64_t i = 0; i < pixels; ++i) {
            const int64_t p = flip ? i : pixels - 1 - i;
            const int32_t* const element = buffers_.element + p * taps;
            const T* from = products + p * channels_ * taps;
            for (int64_t c = 0; c < channels_; ++c, from += taps)
                for (int64_t r = 0; r < taps; ++r) buffers_.sums[element[r] * channels_ + c] += from[r];
        }
    }

    void write(int64_t n) const {
        const int64_t to = n * plan_.result.batch + channel_lo_ * plan_.result.channel;
        const bool last = plan_.channels_last();
        const SumRows<T> rows{buffers_.sums, last ? channels_ : elements_ + 1, last ? elements_ : channels_,
                              last ? channels_ : elements_};
        apply_epilogue(kernel_table<T>(plan_.kernels), operands_.epilogue.from(to), rows, operands_.result + to,
                       last ? plan_.result.axis[2] : plan_.result.channel);
    }

    const Plan& plan_;
    const FoldPlan& fold_;
    const Operands<T>& operands_;
    const FoldBuffers<T>& buffers_;
    int64_t sample_lo_, samples_, group_, first_, channels_, channel_lo_;
    const int64_t each_ = products_of_channel(plan_.problem), elements_ = FoldBuffers<T>::elements(plan_);
    // From a sum to that of the next channel, or element.
    const int64_t channel_ = plan_.channels_last() ? 1 : elements_ + 1;
    int64_t element_ = 1;
};

}  // namespace convpp
