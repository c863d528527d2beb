// The operations of each task, counted from the blocks of the plan.  tasks.hpp says what comes in and goes out.
#include <numeric>
#include <utility>

#include "plan/class_parts.hpp"
#include "plan/fold.hpp"
#include "plan/tasks.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

double as_double(int64_t n) { return static_cast<double>(n); }

// Forward and input_grad: of each residue class of a task, its terms for each of the task's results.
void add_products(const Plan& plan, std::vector<double>& flops) {
    if (plan.how == &fold_strategy()) {
        const FoldPlan& fold = own<FoldPlan>(plan);
        for (int64_t index = 0; index < plan.tasks.count; ++index) {
            const int64_t channels = index / fold.sample_blocks % fold.channel_blocks;
            const Plan& products =
                fold.plan(channels == fold.channel_blocks - 1, index % fold.sample_blocks == fold.sample_blocks - 1);
            flops.push_back(products.problem.flops());
        }
        return;
    }
    if (plan.parts != nullptr) {  // a task is a part
        for (int64_t index = 0; index < plan.tasks.count; ++index) {
            std::vector<double> of_part;
            const Plan& own = plan.parts->part(index).plan;
            if (!own.empty()) add_products(own, of_part);
            flops.push_back(std::accumulate(of_part.begin(), of_part.end(), 0.0));
        }
        return;
    }
    const Geometry& g = plan.problem.geometry();
    const int64_t source_channels = (plan.pass == Pass::input_grad ? g.out_channels : g.in_channels) / g.groups;
    for (int64_t index = 0; index < plan.tasks.count; ++index) {
        const ProductTask task(plan, index);
        double multiplications = 0;
        for (const MapPlan* m = &task.map; m != &task.map + task.map.classes; ++m)
            multiplications += as_double(m->map.taps()) * as_double(plan.how->results(plan, *m, task.pixels).elems());
        flops.push_back(2 * multiplications * as_double(source_channels) * as_double(task.channels) *
                        as_double(task.group_hi - task.group_lo));
    }
}

// Weight gradient: (group, block of result channels, block of pairs, chunk of pixels), the last one fastest.
void add_sums(const Plan& plan, std::vector<double>& flops) {
    for (const Plan& piece : plan.pieces) add_sums(piece, flops);
    if (!plan.pieces.empty()) return;
    const MapPlan& m = plan.maps.front();
    std::vector<double> pixels(static_cast<size_t>(plan.tasks.chunks), 0.0);
    for (int64_t index = 0; index < plan.tasks.count; ++index) {
        const SumTask task(plan, index);
        double& of_chunk = pixels[static_cast<size_t>(task.chunk)];
        if (index < plan.tasks.chunks)  // the same for all products
            for (int64_t box = task.box_lo; box < task.box_hi; ++box)
                of_chunk += as_double(plan.how->results(plan, m, m.boxes.box(box)).elems());
        const SumProduct& product = task.product;
        flops.push_back(2 * (as_double(product.channels) * as_double(product.block.size())) * of_chunk);
    }
}

}  // namespace

std::vector<double> task_flops(const Plan& plan) {
    std::vector<double> flops;
    if (plan.tasks.count == 0) return flops;
    flops.reserve(static_cast<size_t>(plan.tasks.count));
    if (plan.pass == Pass::weight_grad) add_sums(plan, flops);
    else add_products(plan, flops);
    if (plan.samples.count == 1) return flops;
    const std::vector<double> one = plan.samples.shared_out
                                        ? std::vector<double>{std::accumulate(flops.begin(), flops.end(), 0.0)}
                                        : std::move(flops);
    flops.clear();
    for (int64_t n = 0; n < plan.samples.count; ++n) flops.insert(flops.end(), one.begin(), one.end());
    return flops;
}

}  // namespace convpp
