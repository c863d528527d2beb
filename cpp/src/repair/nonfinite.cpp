// Finds what padding may have spoiled, and computes it again.  nonfinite.hpp says when that happens.
#include "repair/nonfinite.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <cstddef>

#include "machine/parallel.hpp"
#include "machine/dispatch.hpp"
#include "plan/class_parts.hpp"

namespace convpp {
namespace {

template <class T>
bool is_finite(T value) {
    return value - value == T(0);
}

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

// Integer arithmetic on the bits: the compiler vectorises it, which it must not do with a sum of floats.
template <class Bits>
bool all_finite(const std::byte* values, int64_t count, Bits exponent) {
    Bits found = 0;
    for (int64_t i = 0; i < count; ++i) {
        Bits bits;
        std::memcpy(&bits, values + i * static_cast<int64_t>(sizeof bits), sizeof bits);
        found |= static_cast<Bits>((bits & exponent) == exponent);
    }
    return found == 0;
}

}  // namespace

template <class T>
bool all_finite(const Stored<T>& values, int64_t count) {
    switch (values.as) {
        case Storage::bfloat16: return all_finite(values.at, count, uint16_t(0x7f80));
        case Storage::float16: return all_finite(values.at, count, uint16_t(0x7c00));
        case Storage::plain: break;
    }
    if (sizeof(T) == sizeof(float)) return all_finite(values.at, count, uint32_t(0x7f800000));
    return all_finite(values.at, count, uint64_t(0x7ff0000000000000));
}

namespace {

template <class T>
void repair_products(const Plan& plan, const Operands<T>& operands, int threads) {
    const kernels::KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const ConvProblem& problem = plan.problem;
    const int64_t channels = result_channels(problem.geometry(), plan.pass);
    parallel_for(plan.batch() * channels, threads, [&](int64_t task, int) {
        const int64_t n = task / channels, channel = task % channels;
        for_each_map(plan, [&](const IndexMap& map, const Extents& begin) {
            for_each_border_pixel(map, inside_of(map), [&](const Extents& u) {
                Extents at{};
                for (size_t a = 0; a < 3; ++a)
                    at[a] = begin[a] + map.axis[a].result_start + u[a] * map.axis[a].result_step;
                const T sum = reference::result_at(problem, plan.pass, operands, n, channel, at);
                const int64_t offset = plan.result.offset(n, channel, at);
                apply_epilogue(kernel, operands.epilogue.from(offset), {&sum, 1, 1, 1}, operands.result + offset, 1);
                return true;
            });
        });
    });
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
void repair_sums(const Plan& plan, const Operands<T>& operands, int threads, unsigned char* spoiled) {
    const ConvProblem& problem = plan.problem;
    T* const dw = operands.result.plain();
    const Geometry& g = problem.geometry();
    const IndexMap& map = plan.maps[0].map;
    const int64_t in = g.in_channels / g.groups, taps = problem.taps();
    const Inside inside = inside_of(map);
    std::fill_n(spoiled, g.out_channels * taps, static_cast<unsigned char>(0));
    parallel_for(g.out_channels, threads, [&](int64_t k, int) {
        unsigned char* const flags = spoiled + k * taps;
        for (int64_t n = 0; n < g.batch; ++n)
            for_each_border_pixel(map, inside, [&](const Extents& p) {
                if (is_finite(operands.dy[plan.result.offset(n, k, p)])) return true;
                Extents h{};
                for_each_position(g.kernel, [&](const Extents& r) {
                    if (!reference::input_of(problem, p, r, h)) flags[reference::weight_offset(problem, 0, 0, r)] = 1;
                });
                return true;
            });
        for_each_position(g.kernel, [&](const Extents& r) {
            if (flags[reference::weight_offset(problem, 0, 0, r)] == 0) return;
            for (int64_t c = 0; c < in; ++c)
                dw[reference::weight_offset(problem, k, c, r)] = reference::weight_grad_at(problem, operands, k, c, r);
        });
    });
}

}  // namespace

template <class T>
bool needs_repair(const Plan& plan, const Operands<T>& operands, bool computed) {
    if (!plan.reads_padding) return false;
    if (plan.pass != Pass::weight_grad) return !all_finite(operands.w, plan.problem.w_elems());
    return sums_need_repair(plan, operands.dy, computed ? operands.result.plain() : nullptr);
}

template <class T>
void repair(const Plan& plan, const Operands<T>& operands, int threads, unsigned char* spoiled) {
    if (plan.pass == Pass::weight_grad) repair_sums(plan, operands, threads, spoiled);
    else repair_products(plan, operands, threads);
}

template bool all_finite(const Stored<float>&, int64_t);
template bool all_finite(const Stored<double>&, int64_t);
template bool needs_repair(const Plan&, const Operands<float>&, bool);
template bool needs_repair(const Plan&, const Operands<double>&, bool);
template void repair(const Plan&, const Operands<float>&, int, unsigned char*);
template void repair(const Plan&, const Operands<double>&, int, unsigned char*);

}  // namespace convpp
