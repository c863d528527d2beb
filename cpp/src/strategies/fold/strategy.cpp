// Input gradients by folding: products of all pixels of dy and all taps, each added to its element of dx.
//
// In:  a Plan with a FoldPlan.   Out: dx.   Next: product.hpp; plan/fold.hpp, which says when it pays.
//
// It is no choice among others, so no line of the table: its sums have an order of their own.
#include "strategies/fold/product.hpp"

#include "machine/dispatch.hpp"
#include "strategies/product_loop.hpp"

namespace convpp {
namespace {

template <class T>
void run(const Plan& plan, const Operands<T>& operands, const RunContext& context) {
    Carver carver(context.workspace);
    const auto buffers = thread_buffers<FoldBuffers<T>>(carver, plan, kernel_table<T>(plan.kernels), context.threads);
    for (int thread = 0; thread < context.threads; ++thread) buffers[static_cast<size_t>(thread)].find_elements(plan);
    parallel_for(plan.tasks.count, context.threads, [&](int64_t index, int thread) {
        FoldTask<T>(plan, operands, buffers[static_cast<size_t>(thread)], index).run();
    });
}

// (Products pack their own weights: what is computed again has none.)
template <class T>
void prepare_nothing(const Plan&, const Operands<T>&, const RunContext&, T*) {}

template <class T>
void measure(const Plan& plan, WorkspaceBytes& bytes) {
    bytes.of_thread = buffer_bytes<FoldBuffers<T>>(plan, kernel_table<T>(plan.kernels));
}

std::string describe(const Plan& plan) {
    const FoldPlan& fold = own<FoldPlan>(plan);
    return "products of each pixel of dy and each tap, added to dx; " + std::to_string(plan.tasks.count) +
           " tasks of up to " + std::to_string(fold.channels) + " channels x " + std::to_string(fold.samples) +
           " samples; products by " + fold.plan(false, false).how->name + ": " +
           describe_blocking(fold.plan(false, false));
}

const Strategy by_fold = strategy_of_plans("fold", "products folded onto dx", &describe,
                                           {&measure<float>, &prepare_nothing<float>, &run<float>},
                                           {&measure<double>, &prepare_nothing<double>, &run<double>});

}  // namespace

const Strategy& fold_strategy() { return by_fold; }

}  // namespace convpp
