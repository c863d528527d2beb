// Where tasks of forward and input_grad compute results that they cannot leave in the tensor: a buffer of each thread.
//
// In:  a plan with its boxes.   Out: Plan::task_result, the buffer's strides, the same for all tasks.
// Next: algorithms/task_results.hpp.
#include <algorithm>

#include "plan/plan_parts.hpp"

namespace convpp {

void buffer_results(Plan& plan) {
    constexpr const char* what = "the buffered results";
    constexpr int64_t line = 16;  // elements; planes begin in lines of their own
    Extents most{1, 1, 1};
    int64_t samples = 1;
    for (size_t leader = 0; leader < plan.maps.size(); ++leader) {
        const MapPlan* const maps = plan.maps.data() + leader;
        if (maps->classes == 0) continue;
        const Box box = maps->pixels.box(0);
        samples = std::max(samples, box.extent(0));
        for (size_t a = 0; a < 3; ++a) {
            // Pixel u of the family is result start + u*step of each of its maps.
            const auto start = [&](int64_t m) {
                return maps[m].map.axis[a].result_start - maps[m].shift[a] * maps[m].map.axis[a].result_step;
            };
            int64_t lo = start(0), hi = start(0);
            for (int64_t m = 1; m < maps->classes; ++m) {
                lo = std::min(lo, start(m));
                hi = std::max(hi, start(m));
            }
            const int64_t gap = plan.writes_gaps ? maps->map.axis[a].result_step : 1;  // behind the last one, too
            most[a] = std::max(most[a], (box.extent(a + 1) - 1) * maps->map.axis[a].result_step + gap + hi - lo);
        }
    }
    const int64_t channels =
        (plan.group_block - 1) * plan.result_channels + std::min(plan.channel_block, plan.result_channels);
    TensorStrides& s = plan.task_result;
    const bool last = plan.channels_last;
    s.axis[2] = last ? channels : 1;
    s.axis[1] = checked_mul(s.axis[2], most[2], what);
    s.axis[0] = checked_mul(s.axis[1], most[1], what);
    s.batch = checked_mul(s.axis[0], most[0], what);
    const int64_t all = checked_mul(s.batch, samples, what);
    s.channel = last ? 1 : round_up(all, line) + line;
    plan.buffer_elems = last ? all : checked_mul(s.channel, channels, what);
    plan.buffered = true;
}

}  // namespace convpp
