// Slabs of the halo around x: computed, added.  halo.hpp says what comes in and goes out.
#include "repair/halo.hpp"

#include <algorithm>

#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "problem/checked.hpp"
#include "repair/finite.hpp"
#include "repair/nonfinite.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

// Where a position of one axis of the halo is folded to, in elements of dx.
int64_t border_offset(const HaloPlan& halo, size_t a, int64_t position, const TensorStrides& dx) {
    const Geometry& g = halo.problem.geometry();
    return border_element(g.boundary[a], halo.axis[a].at(position), g.input[a]) * dx.axis[a];
}

// dx += the gradients of a slab, where they are folded to.
template <class T>
void add_gradients(const HaloPlan& halo, const Slab& slab, int64_t samples, const T* gradients, T* dx, int threads,
                   int64_t* columns) {
    const Geometry& g = halo.problem.geometry();
    const TensorStrides to = x_strides(halo.problem), from = tensor_strides(g.layout, g.in_channels, slab.extent);
    for (int64_t w = 0; w < slab.extent[2]; ++w) columns[w] = border_offset(halo, 2, slab.lo[2] + w, to);
    // A channel's plane, or a cache line or two of the channels of all pixels.
    const bool last = g.layout == Layout::channels_last;
    const int64_t width = last ? 32 : 1, blocks = ceil_div(g.in_channels, width);
    parallel_for(samples * blocks, threads, [&](int64_t task, int) {
        const int64_t channel = task % blocks * width, count = std::min(width, g.in_channels - channel);
        const T* const source = gradients + task / blocks * from.batch + channel * from.channel;
        T* const target = dx + task / blocks * to.batch + channel * to.channel;
        for (int64_t d = 0; d < slab.extent[0]; ++d)
            for (int64_t h = 0; h < slab.extent[1]; ++h) {
                const T* const row = source + d * from.axis[0] + h * from.axis[1];
                T* const into =
                    target + border_offset(halo, 0, slab.lo[0] + d, to) + border_offset(halo, 1, slab.lo[1] + h, to);
                if (count == 1)
                    for (int64_t w = 0; w < slab.extent[2]; ++w) into[columns[w]] += row[w * from.axis[2]];
                else
                    for (int64_t w = 0; w < slab.extent[2]; ++w)
                        for (int64_t c = 0; c < count; ++c) into[columns[w] + c] += row[w * from.axis[2] + c];
            }
    });
}

}  // namespace

int64_t halo_bytes(const HaloPlan& halo, int threads) {
    int64_t most = 0;
    for (const Slab& slab : halo.slabs)
        for (const auto bytes : {&workspace_bytes, &repair_bytes})
            most = std::max(most, bytes(slab.plan, threads_of(slab.plan, threads)));
    return checked_add(most, halo.gradient_bytes + halo.column_bytes + 2 * (cache_line + fence_bytes), "the workspace");
}

template <class T>
void add_halo(const HaloPlan& halo, const Operands<T>& operands, int threads, std::byte* workspace) {
    const ConvProblem& problem = halo.problem;
    const Geometry& g = problem.geometry();
    const int64_t y_sample = problem.y_elems() / g.batch, x_sample = problem.x_elems() / g.batch;
    Carver carver(workspace);
    T* const gradients = carver.take<T>(halo.gradient_bytes / static_cast<int64_t>(sizeof(T)));
    int64_t* const columns = carver.take<int64_t>(halo.column_bytes / static_cast<int64_t>(sizeof(int64_t)));
    std::byte* const rest = workspace + carver.used();
    const bool meets_padding =
        std::any_of(halo.slabs.begin(), halo.slabs.end(), [](const Slab& slab) { return slab.plan.reads_padding; });
    const bool spoils = meets_padding && !all_finite(operands.w, problem.w_elems());
    for (const Slab& slab : halo.slabs)
        for (int64_t n = slab.sample_lo; n < slab.sample_hi; n += slab.plan.batch()) {
            const Plan& plan = slab.plan;
            Operands<T> own;
            own.dy = operands.dy + n * y_sample;
            own.w = operands.w;
            own.result = Results<T>(gradients);
            if (plan.gaps == Gaps::filled_before) std::fill_n(gradients, plan.problem.x_elems(), T(0));
            entry<T>(*plan.how).run(plan, own, {threads_of(plan, threads), rest, nullptr});
            if (plan.reads_padding && spoils) repair(plan, own, plan.batch(), threads_of(plan, threads), rest);
            add_gradients(halo, slab, plan.batch(), gradients, operands.result.plain() + n * x_sample,
                          plan.tasks.parallel ? threads : 1, columns);
        }
}

template void add_halo(const HaloPlan&, const Operands<float>&, int, std::byte*);
template void add_halo(const HaloPlan&, const Operands<double>&, int, std::byte*);

}  // namespace convpp
