// How the work is to be cut for the threads there are.  setting.hpp says what comes in and goes out.
#include "plan/setting.hpp"

#include <algorithm>

#include "machine/cache.hpp"
#include "plan/one_pixel.hpp"
#include "problem/checked.hpp"

namespace convpp {

namespace {

// What is carried out in place of a problem: with the same arrays, the same terms, but fewer that read padding.  (The
// definition, and a transform that is asked for, stay what they are; so does what must not look at extents.)
ConvProblem carried_out(const ConvProblem& problem, Pass pass, Algorithm algorithm) {
    const bool any = algorithm == Algorithm::automatic || algorithm == Algorithm::direct;
    if (pass != Pass::input_grad || !any || problem.flops() == 0 || problem.x_elems() == 0) return problem;
    return with_joined_pixels(with_taps_apart(problem));
}

}  // namespace

ConvProblem planned_part(const ConvProblem& problem) {
    Geometry g = problem.geometry();
    if (!g.per_sample) return problem;
    g.per_sample = false;
    g.batch = std::min<int64_t>(g.batch, 1);
    return ConvProblem(g);
}

// How threads share samples with weights of their own.  Whole samples cost no barriers, and what a thread packs stays
// in its own cache; but the last round should not leave threads idle for long, and large weights, packed or
// transformed, are better shared by all threads than brought for each (measured, 3x3 256-256 at 7x7: 1.15 times as
// fast; 64-64 at 28x28: 0.7 times).  The weight gradient's chunks (parallel, chunks_wanted) must not depend on the
// threads.
Setting::Setting(const ConvProblem& whole, Pass for_pass, DType for_dtype, Algorithm by, Isa on, int for_threads,
                 bool read_taps_only)
    : problem(carried_out(planned_part(whole), for_pass, by)),
      samples(whole.geometry().per_sample ? whole.geometry().batch : 1),
      pass(for_pass),
      dtype(for_dtype),
      algorithm(by == Algorithm::stream ? Algorithm::direct : by),
      any_extent(by == Algorithm::stream && for_pass != Pass::weight_grad),
      isa(on),
      kernels(kernel_shapes(on, for_dtype)),
      narrow(narrow_vectors(on)),
      bias_elems(result_elems(problem, for_pass) == 0
                     ? 1
                     : result_channels(problem.geometry(), for_pass) / result_channels(whole.geometry(), for_pass)),
      elem_bytes(for_dtype == DType::float64 ? 8 : 4),
      // The weight gradient's chunks are made of boxes of pixels: its bits must not depend on the machine's caches.
      cache_bytes(for_pass == Pass::weight_grad ? usual_cache_bytes : convpp::cache_bytes()),
      threads(for_threads),
      only_read(read_taps_only),
      classes(for_pass == Pass::input_grad ? all_classes(problem) : ClassSpans{}) {
    constexpr int64_t large_weights = int64_t(1) << 20;  // bytes; four times as many when they are transformed
    parallel = problem.flops() + flops_of_weight * static_cast<double>(problem.w_elems()) +
                   flops_of_elem * (static_cast<double>(problem.x_elems()) + static_cast<double>(problem.y_elems())) >
               serial_flops;
    const int64_t rounds = ceil_div(samples, threads);
    const bool even = 8 * rounds * threads <= 9 * samples;
    const bool small = pass == Pass::weight_grad || threads == 1 || problem.w_elems() <= large_weights / elem_bytes;
    shares_samples = samples > 1 && (!parallel || (even && small));
    tasks_wanted = shares_samples ? 1 : std::max(least_tasks_wanted, tasks_of_thread * threads);
    chunks_wanted = ceil_div(usual_chunks_wanted, std::max<int64_t>(samples, 1));
    if (shares_samples && pass != Pass::weight_grad) parallel = false;
}

}  // namespace convpp
