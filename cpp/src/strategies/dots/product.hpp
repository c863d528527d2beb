// A task of a forward pass whose samples are single pixels: dot products of their channels with rows of weights, both
// read where they lie (samples in half are converted once a task).
//
// In:  the Plan, the operands, a task: samples and result channels.   Out: the task's results.
// Next: kernels/tile/dot.hpp.
//
// The sum is of vectors of channels, lane by lane, and of the lanes in the end: an order of its own (SumOrder::lanes).
#pragma once

#include <algorithm>
#include <array>

#include "strategies/product_loop.hpp"

namespace convpp {

template <class T>
struct DotBuffers {
    kernels::RowVectors vectors;  // of a row
    int64_t* rows = nullptr;  // of the weights of a task
    T* samples = nullptr;  // of a task, where they are stored in half

    DotBuffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel) {
        const int64_t most = ceil_div(plan.source.channels, kernel.lanes);
        vectors.at = carver.take<kernels::VectorAt>(most);
        vectors.skip = carver.take<unsigned char>(most);
        vectors.count = carver.take<unsigned char>(most);
        rows = carver.take<int64_t>(std::min(plan.tasks.channel_block, plan.tasks.channels));
        const int64_t elems = plan.maps[0].boxes.largest() * round_up(plan.source.channels, kernel.lanes);
        samples = carver.take<T>(plan.converts() ? elems : 0);
    }
};

// Samples where they lie, or converted: each is multiplied with many rows of weights.
template <class T>
struct DotSamples {
    const T *at, *end;
    int64_t pitch;

    DotSamples(const Plan& plan, const kernels::KernelTable<T>& kernel, const Stored<T>& x, int64_t count, T* converted)
        : at(x.plain()), end(x.plain_end()), pitch(plan.source.strides.batch) {
        if (!plan.converts()) return;
        at = converted;
        pitch = round_up(plan.source.channels, kernel.lanes);
        end = at + count * pitch;
        reading(kernel, x).copy_rows(x.at, plan.source.strides.batch, 1, count, plan.source.channels, converted, pitch,
                                     x.end);
    }
};

template <class T>
void run_dot_task(const Plan& plan, const kernels::KernelTable<T>& kernel, const Operands<T>& operands, const T*,
                  const T* bias, const DotBuffers<T>& buffers, const ProductTask& task) {
    const int64_t terms = plan.source.channels, whole = terms / kernel.lanes, rest = terms % kernel.lanes;
    kernels::RowVectors vectors = buffers.vectors;
    for (int64_t v = 0; v < whole; ++v) vectors.at[v] = {v * kernel.lanes, v * kernel.lanes};
    if (rest > 0) {  // the last vector ends with the row, since behind it may be the end of the array
        vectors.at[whole] = {terms - kernel.lanes, terms - kernel.lanes};
        vectors.skip[whole] = static_cast<unsigned char>(kernel.lanes - rest);
        vectors.count[whole] = static_cast<unsigned char>(rest);
    }
    vectors.whole = whole;
    vectors.total = whole + (rest > 0);
    for (int64_t k = 0; k < task.channels; ++k) buffers.rows[k] = k * plan.weights.result_channel;

    const int64_t samples = task.pixels.extent(0), pitch = plan.buffer.strides.batch;
    for (int64_t group = task.group_lo; group < task.group_hi; ++group) {
        const GroupOperands<T> own(plan, operands, bias, task, group);
        const DotSamples<T> x(plan, kernel, own.source + task.pixels.lo[0] * plan.source.strides.batch, samples,
                              buffers.samples);
        const Stored<T> w = operands.w + (group * plan.weights.group + task.channel_lo * plan.weights.result_channel);
        T* const to = own.result + task.pixels.lo[0] * pitch;
        for (int64_t n = 0; n < samples && !own.accumulate; ++n)
            if (own.bias != nullptr) std::copy_n(own.bias, task.channels, to + n * pitch);
            else std::fill_n(to + n * pitch, task.channels, T(0));
        reading(kernel, w).dot_rows(x.at, x.pitch, x.end, samples, w.at, buffers.rows, task.channels, vectors, lane_run,
                                    to, pitch);
    }
}

template <class T>
using DotProduct = ProductParts<DotBuffers<T>, &pack_nothing<T, DotBuffers<T>>, &run_dot_task<T>>;

}  // namespace convpp
