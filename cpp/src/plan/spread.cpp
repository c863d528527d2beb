// The operations of each task, counted from the blocks of the plan.  spread.hpp says what comes in and goes out.
#include "plan/spread.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "strategies/product_task.hpp"
#include "strategies/winograd/tiles.hpp"
#include "plan/plan.hpp"

namespace convpp {
namespace {

double as_double(int64_t n) { return static_cast<double>(n); }

// Pixels of a map in a box of its product.
double pixels_in(const Plan& plan, const MapPlan& m, const Box& box) {
    return as_double((plan.algorithm == Algorithm::winograd ? results_of(plan, box) : pixels_of(m, box)).elems());
}

// Result channels in each block of them: what `struct Product` of sum_task.hpp takes.
int64_t channels_of_block(const Plan& plan, int64_t block) {
    return std::min(plan.channel_block, plan.result_channels - block * plan.channel_block);
}

// Forward and input_grad: of each map of a task's family, its terms for each of the task's results.
void add_products(const Plan& plan, std::vector<double>& flops) {
    for (int64_t index = 0; index < plan.tasks; ++index) {
        const ProductTask task(plan, index);
        double multiplications = 0;
        for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m)
            multiplications += as_double(m->map.taps()) * pixels_in(plan, *m, task.pixels);
        flops.push_back(2 * multiplications * as_double(plan.bf16_pairs ? 2 * plan.source_channels : plan.source_channels) *
                        as_double(task.channels) * as_double(task.group_hi - task.group_lo));
    }
}

// Weight gradient: (group, block of result channels, block of pairs, chunk of pixels), the last one fastest.
void add_sums(const Plan& plan, std::vector<double>& flops) {
    const MapPlan& m = plan.maps.front();
    std::vector<double> pixels(static_cast<size_t>(plan.chunks), 0.0);
    const int64_t boxes = m.pixels.count();
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk)
        for (int64_t box = boxes * chunk / plan.chunks; box < boxes * (chunk + 1) / plan.chunks; ++box)
            pixels[static_cast<size_t>(chunk)] += pixels_in(plan, m, m.pixels.box(box));
    for (int64_t group = 0; group < plan.groups; ++group)
        for (int64_t block = 0; block < plan.channel_blocks; ++block)
            for (int64_t pairs = 0; pairs < m.patches.count(); ++pairs) {
                const double results =
                    as_double(channels_of_block(plan, block)) * as_double(patch_block(m.patches, pairs).size());
                for (const double of_chunk : pixels) flops.push_back(2 * results * of_chunk);
            }
}

}  // namespace

std::vector<double> task_flops(const Plan& plan) {
    std::vector<double> flops;
    if (plan.tasks == 0) return flops;
    flops.reserve(static_cast<size_t>(plan.tasks));
    if (plan.pass == Pass::weight_grad) add_sums(plan, flops);
    else add_products(plan, flops);
    if (plan.samples == 1) return flops;
    const std::vector<double> one =
        plan.shares_samples ? std::vector<double>{std::accumulate(flops.begin(), flops.end(), 0.0)} : std::move(flops);
    flops.clear();
    for (int64_t n = 0; n < plan.samples; ++n) flops.insert(flops.end(), one.begin(), one.end());
    return flops;
}

}  // namespace convpp
