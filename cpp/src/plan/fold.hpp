// Input gradients of few pixels of dy: the products of all pixels with all taps, folded onto dx.
//
// In:  a ConvProblem, its index maps' costs.   Out: whether it pays; a FoldPlan.
// Next: select.cpp, which plans the products; strategies/fold/strategy.cpp, which folds them.
//
// Each pixel p of dy adds to dx at stride·p + dilation·r - lo, for each tap r.  Where dx is much longer than dy, most
// taps of most of its elements read padding of dy.  But the products themselves, product[c, r, p] = sum over k of
// w[k, c, r] dy[k, p], are a matrix product without padding: the input gradient of a 1x1 convolution with a channel for
// each c and r, whose weights are w as it lies in memory.  What is left is to add each product to its element of dx.
//
// A task does so for some channels of a group, and some samples.  The order of an element's sum is that of the taps, as
// the kernel is stored; so it follows from the shapes of one sample alone.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.hpp"

namespace convpp {

struct FoldPlan final : StrategyPlan {
    int64_t channels = 1, samples = 1;  // of a task
    int64_t channel_blocks = 1, sample_blocks = 1;  // of a group; of the batch
    // Of the products of a task: of all channels, or what is left of a group; of all samples, or what is left of them.
    std::vector<Plan> plans;

    const Plan& plan(bool last_channels, bool last_samples) const {
        return plans[static_cast<size_t>(2 * last_channels + last_samples)];
    }
    int64_t bytes() const override {
        int64_t sum = static_cast<int64_t>(sizeof(FoldPlan));
        for (const Plan& each : plans) sum += plan_bytes(each);
        return sum;
    }
};

// Products of a channel and a sample: taps times pixels of dy.
int64_t products_of_channel(const ConvProblem& problem);

// What folding costs, of a group's channel of dy and vector of channels of dx, in slots of a multiply-add unit; infinity
// where it would take much memory.
double fold_cost(const ConvProblem& problem, double samples);

// How tasks are cut, without their plans.  (By a sample's shapes, but for the samples of a task.)
FoldPlan cut_fold(const ConvProblem& problem);

// The products of some channels and samples.
ConvProblem folded_products(const ConvProblem& problem, int64_t channels, int64_t samples);

}  // namespace convpp
