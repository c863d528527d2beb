// Slabs of the frame around x: found, computed, added.  frame.hpp says what they are.
#include "repair/halo.hpp"

#include <algorithm>
#include <array>

#include "repair/nonfinite.hpp"
#include "strategies/products.hpp"
#include "machine/parallel.hpp"
#include "problem/checked.hpp"
#include "machine/workspace.hpp"

namespace convpp {
namespace {

// Bytes of the gradients that are computed at once, at most, unless a pixel of a sample has more.
constexpr int64_t gradient_bytes_most = int64_t(1) << 20;

// Positions along an axis: [lo, hi).
struct Span {
    int64_t lo = 0, hi = 0;
    int64_t length() const { return std::max<int64_t>(hi - lo, 0); }
};
using Spans = std::array<Span, 3>;

// What is read along an axis, from the first to the last position.
Span read_span(const ConvProblem& problem, size_t a) {
    const Geometry& g = problem.geometry();
    const int64_t last = (problem.output()[a] - 1) * g.stride[a] + (g.kernel[a] - 1) * g.dilation[a];
    return {-g.pad_lo[a], last - g.pad_lo[a] + 1};
}

// Parts of a box of positions that have at most `limit` elements, of whole rows and slices where possible, in order.
template <class Part>
void for_each_part(const Spans& box, int64_t limit, const Part& part) {
    size_t cut = 2;  // the axis that is cut; those before it are taken one by one
    int64_t behind = 1;
    for (size_t a = 3; a-- > 0;) {
        cut = a;
        if (box[a].length() > limit / behind) break;
        behind *= box[a].length();
    }
    const int64_t step = std::max<int64_t>(1, box[cut].length() > limit / behind ? limit / behind : box[cut].length());
    Spans at = box;
    const auto cut_axis = [&](const auto& self, size_t a) -> void {
        if (a > cut) return part(at);
        const int64_t take = a == cut ? step : 1;
        for (int64_t lo = box[a].lo; lo < box[a].hi; lo += take) {
            at[a] = {lo, std::min(lo + take, box[a].hi)};
            self(self, a + 1);
        }
    };
    cut_axis(cut_axis, 0);
}

Plan planned(const ConvProblem& problem, DType dtype, Isa isa, int threads) {
    Plan plan = make_plan(problem, Pass::input_grad, dtype, Algorithm::direct, isa, threads, true);
    if (plan.empty) return plan;
    if (dtype == DType::float64) measure_implicit_gemm<double>(plan);
    else measure_implicit_gemm<float>(plan);
    return plan;
}

int threads_of(const Plan& plan, int threads) {
    return plan.parallel ? static_cast<int>(std::min<int64_t>(threads, plan.tasks)) : 1;
}

int64_t bytes_of(const Plan& plan, int threads) {
    constexpr const char* what = "the workspace";
    return checked_add(plan.shared_bytes, checked_mul(threads_of(plan, threads), plan.thread_bytes, what), what);
}

// Where the positions of one axis of a slab are folded to, in elements of dx; -1: nowhere.
int64_t border_offset(const ConvProblem& problem, size_t a, int64_t at, const TensorStrides& dx) {
    const int64_t to = border_element(problem.geometry().boundary[a], at, problem.geometry().input[a]);
    return to < 0 ? -1 : to * dx.axis[a];
}

}  // namespace

ConvProblem with_zeros_around(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    g.boundary = {};
    return ConvProblem(g);
}

Halo::Halo(const ConvProblem& problem, DType dtype, Isa isa, int threads) : problem_{problem} {
    const Geometry& g = problem.geometry();
    if (problem.flops() == 0 || problem.x_elems() == 0) return;
    const int64_t elem_bytes = dtype == DType::float64 ? 8 : 4;
    Spans inside, read;
    for (size_t a = 0; a < 3; ++a) {
        const Span all = read_span(problem, a);
        inside[a] = {std::max<int64_t>(all.lo, 0), std::min(all.hi, g.input[a])};
        read[a] = g.boundary[a] == Boundary::zeros ? inside[a] : all;
    }
    const int64_t sample_limit = std::max<int64_t>(1, gradient_bytes_most / elem_bytes / g.in_channels);
    const auto add_slab = [&](const Spans& box) {
        Geometry slab = g;
        Slab added{{}, {}, 0, problem, {}, {}};
        int64_t elems = g.in_channels;
        for (size_t a = 0; a < 3; ++a) {
            added.lo[a] = box[a].lo;
            added.extent[a] = slab.input[a] = box[a].length();
            slab.boundary[a] = Boundary::zeros;
            slab.pad_lo[a] = g.pad_lo[a] + box[a].lo;
            slab.pad_hi[a] = read_span(problem, a).hi - box[a].hi;
            elems *= box[a].length();
        }
        added.samples = std::clamp<int64_t>(gradient_bytes_most / elem_bytes / elems, 1, g.batch);
        slab.batch = added.samples;
        added.problem = ConvProblem(slab);
        added.plan = planned(added.problem, dtype, isa, threads);
        if (added.plan.empty) return;
        slab.batch = g.batch % added.samples;
        if (slab.batch > 0) added.last.push_back(planned(ConvProblem(slab), dtype, isa, threads));
        gradient_bytes_ = std::max(gradient_bytes_, added.samples * elems * elem_bytes);
        column_bytes_ = std::max(column_bytes_, slab.input[2] * static_cast<int64_t>(sizeof(int64_t)));
        slabs_.push_back(std::move(added));
    };
    for (size_t a = 0; a < 3; ++a) {
        if (g.boundary[a] == Boundary::zeros) continue;
        Spans box = read;
        for (size_t before = 0; before < a; ++before) box[before] = inside[before];
        const Span front{read[a].lo, std::min<int64_t>(read[a].hi, 0)};
        const Span behind{std::max(read[a].lo, g.input[a]), read[a].hi};
        for (const Span& outside : {front, behind}) {
            box[a] = outside;
            if (std::all_of(box.begin(), box.end(), [](const Span& s) { return s.length() > 0; }))
                for_each_part(box, sample_limit, add_slab);
        }
    }
}

int64_t Halo::workspace_bytes(int threads) const {
    if (empty()) return 0;
    int64_t most = 0;
    for (const Slab& slab : slabs_) {
        most = std::max(most, bytes_of(slab.plan, threads));
        for (const Plan& last : slab.last) most = std::max(most, bytes_of(last, threads));
    }
    return checked_add(most, gradient_bytes_ + column_bytes_ + 2 * cache_line, "the workspace");
}

namespace {

// dx += the gradients of a slab, where they are folded to.
template <class T>
void add_gradients(const ConvProblem& problem, const Slab& slab, int64_t samples, const T* gradients, T* dx,
                   int threads, int64_t* columns) {
    const Geometry& g = problem.geometry();
    const TensorStrides to = tensor_strides(g.layout, g.in_channels, g.input);
    const TensorStrides from = tensor_strides(g.layout, g.in_channels, slab.extent);
    for (int64_t w = 0; w < slab.extent[2]; ++w) columns[w] = border_offset(problem, 2, slab.lo[2] + w, to);
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
                T* const into = target + border_offset(problem, 0, slab.lo[0] + d, to) +
                                border_offset(problem, 1, slab.lo[1] + h, to);
                if (count == 1)
                    for (int64_t w = 0; w < slab.extent[2]; ++w) into[columns[w]] += row[w * from.axis[2]];
                else
                    for (int64_t w = 0; w < slab.extent[2]; ++w)
                        for (int64_t c = 0; c < count; ++c) into[columns[w] + c] += row[w * from.axis[2] + c];
            }
    });
}

}  // namespace

template <class T>
void Halo::add(const Stored<T>& dy, const Stored<T>& w, T* dx, int threads, std::byte* workspace) const {
    const ConvProblem& problem = problem_.front();
    const Geometry& g = problem.geometry();
    const int64_t y_sample = problem.y_elems() / g.batch, x_sample = problem.x_elems() / g.batch;
    Carver carver(workspace);
    T* const gradients = carver.take<T>(gradient_bytes_ / static_cast<int64_t>(sizeof(T)));
    int64_t* const columns = carver.take<int64_t>(column_bytes_ / static_cast<int64_t>(sizeof(int64_t)));
    std::byte* const rest = workspace + carver.used();
    const auto meets_padding =
        std::find_if(slabs_.begin(), slabs_.end(), [](const Slab& slab) { return slab.plan.reads_padding; });
    const bool spoils =
        meets_padding != slabs_.end() && products_need_repair(meets_padding->plan, w, problem.w_elems());
    for (const Slab& slab : slabs_)
        for (int64_t n = 0; n < g.batch; n += slab.samples) {
            const int64_t samples = std::min(slab.samples, g.batch - n);
            const Plan& plan = samples == slab.samples ? slab.plan : slab.last.front();
            const Stored<T> own_dy = dy + n * y_sample;
            const Results<T> to(gradients);
            if (plan.fill_result)
                std::fill_n(gradients, samples * g.in_channels * slab.extent[0] * slab.extent[1] * slab.extent[2],
                            T(0));
            run_implicit_gemm<T>(plan, {own_dy, w, nullptr, {}, to, false, {}}, threads_of(plan, threads), rest);
            if (plan.reads_padding && spoils) {
                Geometry some = slab.problem.geometry();
                some.batch = samples;
                repair_products<T>(ConvProblem(some), plan, {{}, w, own_dy, {}}, {}, to, threads);
            }
            add_gradients(problem, slab, samples, gradients, dx + n * x_sample, plan.parallel ? threads : 1, columns);
        }
}

template void Halo::add(const Stored<float>&, const Stored<float>&, float*, int, std::byte*) const;
template void Halo::add(const Stored<double>&, const Stored<double>&, double*, int, std::byte*) const;

}  // namespace convpp
