// What a task of forward or input_grad computes: some groups' blocks of result channels, for one box of pixels.
//
// In:  a Plan, the task's number.   Out: its map, box, channels and groups, and where their operands lie.
#pragma once

#include <algorithm>

#include "strategies/products.hpp"
#include "strategies/packed/panel_product.hpp"
#include "source/staged.hpp"
#include "plan/plan.hpp"

namespace convpp {

// The map that item `index` of all maps belongs to; `first` is the number of the map's first item.
inline const MapPlan& map_of(const Plan& plan, int64_t MapPlan::* first, int64_t index) {
    const auto after = std::upper_bound(plan.maps.begin(), plan.maps.end(), index,
                                        [&](int64_t i, const MapPlan& m) { return i < m.*first; });
    return *(after - 1);
}

struct ProductTask {
    const MapPlan& map;  // the first of its family
    Box pixels;
    int64_t channel_lo, channels;  // of the group
    int64_t group_lo, group_hi;

    ProductTask(const Plan& plan, int64_t index) : map(map_of(plan, &MapPlan::first_task, index)) {
        index -= map.first_task;
        channel_lo = index % plan.channel_blocks * plan.channel_block;
        channels = std::min(plan.channel_block, plan.result_channels - channel_lo);
        index /= plan.channel_blocks;
        pixels = map.pixels.box(index % map.pixels.count());
        group_lo = index / map.pixels.count() * plan.group_block;
        group_hi = std::min(group_lo + plan.group_block, plan.groups);
    }
};

// The pixels of a map that a task of its family computes: the box may reach beyond a class with fewer pixels.
inline Box pixels_of(const MapPlan& m, Box box) {
    for (size_t a = 0; a < 3; ++a) {
        box.hi[a + 1] = std::clamp<int64_t>(box.hi[a + 1] - m.shift[a], 0, m.map.axis[a].count);
        box.lo[a + 1] = std::clamp<int64_t>(box.lo[a + 1] - m.shift[a], 0, box.hi[a + 1]);
    }
    return box;
}

// One group's part of a task: its source, its first result, what its sums start from.
template <class T>
struct GroupOperands {
    Stored<T> source;
    T* result = nullptr;  // where it is computed
    int64_t result_at;  // where it belongs
    const T* bias;
    bool accumulate;

    GroupOperands(const Plan& plan, const ProductOperands<T>& operands, const T* all_bias, const ProductTask& task,
                  int64_t group)
        : accumulate(operands.accumulate) {
        const int64_t first_channel = group * plan.result_channels + task.channel_lo;
        source = operands.source + group * plan.source_channels * plan.source.channel;
        if (operands.sums != nullptr) result = operands.sums + first_channel * plan.task_result.channel;
        result_at = first_channel * plan.result.channel;
        bias = operands.bias ? all_bias + first_channel : nullptr;
    }

    Beginning<T> beginning(bool channels_are_rows) const {
        if (accumulate) return {kernels::Start::from_c, nullptr};
        if (bias == nullptr) return {};
        return {channels_are_rows ? kernels::Start::row_bias : kernels::Start::column_bias, bias};
    }
};

}  // namespace convpp
