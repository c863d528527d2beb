// What planning may look at: the request, the machine it is for, and how finely the work is to be cut.
//
// In:  a ConvProblem, the pass, the element type, the algorithm, the instruction set, threads.   Out: a Setting.
// Next: plan.hpp (what comes of it), select.cpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "convpp/convolution.hpp"
#include "machine/dispatch.hpp"
#include "problem/index_map.hpp"

namespace convpp {

// Tasks that a pass is cut into if it has the work: 8 for each thread keep the last ones short.  How forward and
// input_grad are cut changes no bit; the weight gradient's chunks of pixels do, so their number never looks at threads.
inline constexpr int64_t tasks_of_thread = 8, least_tasks_wanted = 16, usual_chunks_wanted = 16;

// Below this many operations, waking a second thread (2-5 us) costs more than it saves.
// Where a result has few terms, memory takes the time: an element of x or y as long as so many operations (4 bytes at
// 27 GB/s); one of the weights, which are mostly packed, twice as long (measured, 6 to 13 cycles for a vector of 16).
inline constexpr double serial_flops = 1.5e6, flops_of_elem = 15, flops_of_weight = 30;

struct Setting {
    // `threads`: how many the plan should have tasks for; they change how it is cut, never a bit of its results.
    // `only_read`: see input_grad_maps.
    Setting(const ConvProblem& whole, Pass pass, DType dtype, Algorithm algorithm, Isa isa, int threads,
            bool only_read);

    // Of one sample where each has weights of its own, else the whole; or what does the same (plan/one_pixel.hpp).
    ConvProblem problem;
    int64_t samples;      // that have weights of their own; else 1
    Pass pass;
    DType dtype;
    Algorithm algorithm;
    bool any_extent;  // y and dx: the order of the sums must not depend on extents of x (Algorithm::stream)
    Isa isa;
    KernelShapes kernels;
    std::optional<NarrowVectors> narrow;  // that could take the place of the isa's
    int64_t bias_elems;   // result channels of the problem that have the same bias: pixels, where they are joined
    int64_t elem_bytes;   // of what is computed with
    int64_t cache_bytes;  // of L2, that blocks are made for
    int threads;
    bool only_read;
    ClassSpans classes;  // input_grad: those that are planned, by their first taps
    bool some_classes = false;  // they are not all: what the others write is nobody's gap
    // input_grad: dy and w are parts of larger arrays, with the strides of those.
    struct Within {
        TensorStrides dy;
        int64_t dy_channel;  // from one to the next, in w
    };
    std::optional<Within> within;

    bool shares_samples;  // threads take whole samples; else they share the tasks of one after the other
    bool parallel;        // there is enough work for more than one thread
    int64_t tasks_wanted, chunks_wanted;
};

// Threads that should have tasks; one, where threads take whole samples.
inline int64_t threads_planned_for(const Setting& setting) {
    return std::max<int64_t>(setting.tasks_wanted / tasks_of_thread, 1);
}

// What a pass writes: elements; channels (forward, input_grad).
inline int64_t result_elems(const ConvProblem& problem, Pass pass) {
    return pass == Pass::forward ? problem.y_elems() : pass == Pass::input_grad ? problem.x_elems() : problem.w_elems();
}
inline int64_t result_channels(const Geometry& g, Pass pass) {
    return pass == Pass::forward ? g.out_channels : g.in_channels;
}

// What a plan is made for: one sample where each has weights of its own, else the problem itself.
ConvProblem planned_part(const ConvProblem& problem);

}  // namespace convpp
