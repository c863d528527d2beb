// Finds what padding may have spoiled, and computes it again.  nonfinite.hpp says when that happens.
#include "repair/nonfinite.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "machine/dispatch.hpp"
#include "machine/parallel.hpp"
#include "machine/workspace.hpp"
#include "repair/dot_products.hpp"
#include "repair/dot_sums.hpp"
#include "repair/finite.hpp"
#include "repair/lane_products.hpp"
#include "repair/lane_sums.hpp"
#include "strategies/parts/operands.hpp"

namespace convpp {
namespace {

// The pixels of an axis whose taps read no padding.  (What is beyond other boundaries are terms of the sum.)
Span inside_of(const AxisMap& axis) { return axis.has_border() ? Span{0, axis.count} : axis.pixels_inside(); }

using Inside = std::array<Span, 3>;

Inside inside_of(const IndexMap& map) {
    return {inside_of(map.axis[0]), inside_of(map.axis[1]), inside_of(map.axis[2])};
}

// body(u) for every pixel of the map that reads padding at some tap, until it returns false.
template <class Body>
void for_each_border_pixel(const IndexMap& map, const Inside& inside, const Body& body) {
    Extents u{0, 0, 0};
    for (u[0] = 0; u[0] < map.axis[0].count; ++u[0])
        for (u[1] = 0; u[1] < map.axis[1].count; ++u[1]) {
            const bool row_inside = inside[0].has(u[0]) && inside[1].has(u[1]);
            for (u[2] = 0; u[2] < map.axis[2].count; ++u[2]) {
                if (row_inside && inside[2].has(u[2])) u[2] = inside[2].hi;
                if (u[2] < map.axis[2].count && !body(u)) return;
            }
        }
}

constexpr int64_t small_image = 1024;  // pixels

// What a repair takes: what is known of all result channels, or filters; buffers of each thread.
template <class T>
struct RepairMemory {
    TapBounds* bounds;
    SpoiledFilter* spoiled;

    RepairMemory(Carver& carver, const Plan& plan) {
        const bool sums = plan.pass == Pass::weight_grad;
        const Geometry& g = plan.problem.geometry();
        bounds = carver.take<TapBounds>(sums ? 0 : result_channels(g, plan.pass));
        spoiled = carver.take<SpoiledFilter>(sums ? g.out_channels : 0);
    }
};

template <class Buffers, class T>
ThreadBuffers<Buffers> repair_buffers(Carver& carver, const Plan& plan, const kernels::KernelTable<T>& kernel,
                                      int threads) {
    return {carver, threads, [&] { return Buffers(carver, plan, kernel); }};
}

template <class T>
int64_t measure_repair(const Plan& plan, int threads) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    constexpr const char* what = "the workspace";
    const int64_t of_thread =
        plan.pass == Pass::weight_grad
            ? measured<SumRepair<T>>(plan, kernel) + round_up(sizeof(SumRepair<T>) + fence_bytes, cache_line)
            : measured<ProductRepair<T>>(plan, kernel) + round_up(sizeof(ProductRepair<T>) + fence_bytes, cache_line);
    return checked_add(measured<RepairMemory<T>>(plan), checked_mul(threads, of_thread, what), what);
}

template <class T>
void repair_products(const Plan& plan, const Operands<T>& operands, int64_t batch, int threads, std::byte* workspace) {
    Carver carver(workspace);
    const RepairMemory<T> memory(carver, plan);
    const auto buffers = repair_buffers<ProductRepair<T>>(carver, plan, kernel_table<T>(plan.kernels), threads);
    for (const MapPlan& m : plan.maps) {
        if (!m.map.reads_padding()) continue;
        find_bounds(plan, m.map, operands.w, threads, memory.bounds, buffers);
        if (buffers[0].lane.group > 0) repair_lanes(plan, m.map, operands, batch, threads, memory.bounds, buffers);
        else if (buffers[0].dots.used) repair_dots(plan, m.map, operands, batch, threads, memory.bounds, buffers);
        else repair_panels(plan, m.map, operands, batch, threads, memory.bounds, buffers);
    }
}

template <class T>
bool sums_need_repair(const Plan& plan, const Stored<T>& dy, const T* dw) {
    const ConvProblem& problem = plan.problem;
    const Geometry& g = problem.geometry();
    const Inside inside = inside_of(plan.maps[0].map);
    int64_t inner = 1;  // pixels whose taps all read inside
    for (const Span& axis : inside) inner *= axis.length();
    // A product of padding and Inf leaves NaN in dw.  (Elements of dw lie together; those at dy's borders do not: one
    // of them takes as long as some of dw.  Looking at dy took a quarter of a call with 3 channels of x.)
    constexpr int64_t apart = 4;
    const int64_t planes = g.batch * g.out_channels;
    if (dw != nullptr && problem.w_elems() <= apart * planes * (plan.maps[0].map.pixels() - inner) &&
        all_finite(Stored<T>(dw, problem.w_elems()), problem.w_elems()))
        return false;
    // Small images are border for the most part, and sooner looked at from end to end.
    if (plan.maps[0].map.pixels() <= small_image && all_finite(dy, problem.y_elems())) return false;
    bool finite = true;
    for (int64_t i = 0; finite && i < planes; ++i) {
        const Stored<T> plane = dy + i / g.out_channels * plan.result.batch + i % g.out_channels * plan.result.channel;
        for_each_border_pixel(plan.maps[0].map, inside,
                              [&](const Extents& p) { return finite = is_finite(plane[plan.result.offset(0, 0, p)]); });
    }
    return !finite;
}

template <class T>
void repair_sums(const Plan& plan, const Operands<T>& operands, int threads, Carver& carver, const Border& border,
                 const SpoiledFilter* spoiled) {
    const auto buffers = repair_buffers<SumRepair<T>>(carver, plan, kernel_table<T>(plan.kernels), threads);
    if (buffers[0].lane.group > 0) repair_lane_sums(plan, border, operands, threads, spoiled, buffers);
    else if (buffers[0].dots.used) repair_dot_sums(plan, border, operands, threads, spoiled, buffers);
    else repair_sum_panels(plan, border, operands, threads, spoiled, buffers);
}

template <class T>
void repair_sums(const Plan& plan, const Operands<T>& operands, int threads, std::byte* workspace) {
    Carver carver(workspace);
    const RepairMemory<T> memory(carver, plan);
    const Border border(plan.maps[0].map);
    find_spoiled(plan, border, operands.dy, threads, memory.spoiled);
    repair_sums(plan, operands, threads, carver, border, memory.spoiled);
}

}  // namespace

template <class T>
bool needs_repair(const Plan& plan, const Operands<T>& operands, bool computed) {
    if (!plan.reads_padding || plan.algorithm == Algorithm::reference) return false;
    if (plan.pass != Pass::weight_grad) return !all_finite(operands.w, plan.problem.w_elems());
    return sums_need_repair(plan, operands.dy, computed ? operands.result.plain() : nullptr);
}

template <class T>
bool repairs_all_sums(const Plan& plan, const Operands<T>& operands, int threads, std::byte* workspace) {
    if (!plan.reads_padding || plan.parts != nullptr || !sums_need_repair<T>(plan, operands.dy, nullptr)) return false;
    Carver carver(workspace);
    const RepairMemory<T> memory(carver, plan);
    const Border border(plan.maps[0].map);
    find_spoiled(plan, border, operands.dy, threads, memory.spoiled);
    // A repair takes as long for a panel of filters as the plan.
    const Geometry& g = plan.problem.geometry();
    const int64_t filters = g.out_channels, taps = border.taps();
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.kernels);
    const int64_t width = kernel.tiles[repair_shape].vectors * kernel.lanes;
    const int64_t panels = g.groups * ceil_div(filters / g.groups, width);
    int64_t bad = 0, again = 0;
    for (int64_t k = 0; k < filters; ++k) {
        bad += memory.spoiled[k].any;
        for (int64_t t = 0; t < taps; ++t) again += memory.spoiled[k].again(border.tap_of(t));
    }
    constexpr double least_share = 0.25;
    const double share = static_cast<double>(again) / static_cast<double>(std::max<int64_t>(bad * taps, 1));
    if (share * static_cast<double>(count_panels(memory.spoiled, g, width)) < least_share * static_cast<double>(panels))
        return false;
    for (int64_t k = 0; k < filters; ++k) memory.spoiled[k].add_all();
    std::fill_n(operands.result.plain(), plan.problem.w_elems(), std::numeric_limits<T>::quiet_NaN());
    repair_sums(plan, operands, threads, carver, border, memory.spoiled);
    return true;
}

// Of a thread, which repairs whole parts.
static int64_t part_repair_bytes(const ClassParts& parts) {
    int64_t most = 0;
    for (const Plan& of_kind : parts.plans) most = std::max(most, repair_bytes(of_kind, 1));
    return round_up(most, cache_line);
}

int64_t repair_bytes(const Plan& plan, int threads) {
    if (!plan.reads_padding || plan.algorithm == Algorithm::reference) return 0;
    if (plan.parts != nullptr) return checked_mul(threads, part_repair_bytes(*plan.parts), "the workspace");
    return plan.dtype == DType::float64 ? measure_repair<double>(plan, threads) : measure_repair<float>(plan, threads);
}

template <class T>
void repair(const Plan& plan, const Operands<T>& operands, int64_t batch, int threads, std::byte* workspace) {
    if (plan.parts != nullptr) {
        const int64_t of_thread = part_repair_bytes(*plan.parts);
        parallel_for(plan.parts->count(), threads, [&](int64_t index, int thread) {
            const ClassParts::Part part = plan.parts->part(index);
            if (part.plan.empty() || !part.plan.reads_padding) return;
            repair(part.plan, operands_of(part, plan, operands), batch, 1, workspace + thread * of_thread);
        });
        return;
    }
    if (plan.pass == Pass::weight_grad) repair_sums(plan, operands, threads, workspace);
    else repair_products(plan, operands, batch, threads, workspace);
}

template bool needs_repair(const Plan&, const Operands<float>&, bool);
template bool needs_repair(const Plan&, const Operands<double>&, bool);
template bool repairs_all_sums(const Plan&, const Operands<float>&, int, std::byte*);
template bool repairs_all_sums(const Plan&, const Operands<double>&, int, std::byte*);
template void repair(const Plan&, const Operands<float>&, int64_t, int, std::byte*);
template void repair(const Plan&, const Operands<double>&, int64_t, int, std::byte*);

}  // namespace convpp
