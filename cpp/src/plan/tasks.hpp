// What each task of a plan is: its map, box of pixels, channels, groups; its product and chunk.
//
// In:  a Plan, a task's number.   Out: ProductTask (forward, input_grad), SumTask (weight_grad).
// Next: strategies/product_loop.hpp and strategies/sum_loop.hpp, which hand tasks out.
#pragma once

#include <algorithm>

#include "plan/plan.hpp"

namespace convpp {

// The map that item `index` of all maps belongs to; `first` is the number of the map's first item.
inline const MapPlan& map_of(const Plan& plan, int64_t MapPlan::* first, int64_t index) {
    const auto after = std::upper_bound(plan.maps.begin(), plan.maps.end(), index,
                                        [&](int64_t i, const MapPlan& m) { return i < m.*first; });
    return *(after - 1);
}

struct ProductTask {
    const MapPlan& map;  // the first of the residue classes that it computes
    Box pixels;
    int64_t channel_lo, channels;  // of the group
    int64_t group_lo, group_hi;
    int64_t section = 0;  // of the blocks, that is computed

    // Blocks of one of its maps.
    int64_t first_block(const PatchBlocks& of) const { return of.first_block(section); }
    int64_t end_block(const PatchBlocks& of) const { return of.first_block(section + 1); }

    ProductTask(const Plan& plan, int64_t index) : map(map_of(plan, &MapPlan::first_task, index)) {
        const Tasks& tasks = plan.tasks;
        const int64_t blocks = tasks.channel_blocks();
        index -= map.first_task;
        channel_lo = index % blocks * tasks.channel_block;
        channels = std::min(tasks.channel_block, tasks.channels - channel_lo);
        index /= blocks;
        pixels = map.boxes.box(index % map.boxes.count());
        group_lo = index / map.boxes.count() * tasks.group_block;
        group_hi = std::min(group_lo + tasks.group_block, tasks.groups);
    }
};

// The pixels of a map that a task of its classes computes: the box may reach beyond a class with fewer pixels.
inline Box pixels_of(const MapPlan& m, Box box) {
    for (size_t a = 0; a < 3; ++a) {
        box.hi[a + 1] = std::clamp<int64_t>(box.hi[a + 1] - m.shift[a], 0, m.map.axis[a].count);
        box.lo[a + 1] = std::clamp<int64_t>(box.lo[a + 1] - m.shift[a], 0, box.hi[a + 1]);
    }
    return box;
}

// One product of weight_grad (block of channels x block of pairs): which results, of which group.
struct SumProduct {
    int64_t group = 0, channel_lo = 0, channels = 0;
    int64_t tap_box = 0;
    PatchBlock block;

    SumProduct(const Plan& plan, int64_t index) {
        const PatchBlocks& patches = plan.maps[0].patches;
        const Tasks& tasks = plan.tasks;
        block = patch_block(patches, index % patches.count());
        tap_box = index % patches.count() / patches.channel_blocks;
        index /= patches.count();
        channel_lo = index % tasks.channel_blocks() * tasks.channel_block;
        channels = std::min(tasks.channel_block, tasks.channels - channel_lo);
        group = index / tasks.channel_blocks();
    }
};

// A task of weight_grad: a product over the boxes of a chunk.
struct SumTask {
    int64_t chunk;
    SumProduct product;
    int64_t box_lo, box_hi;

    SumTask(const Plan& plan, int64_t index)
        : chunk(index % plan.tasks.chunks), product(plan, index / plan.tasks.chunks) {
        const int64_t boxes = plan.maps[0].boxes.count();
        box_lo = boxes * chunk / plan.tasks.chunks;
        box_hi = boxes * (chunk + 1) / plan.tasks.chunks;
    }
};

// The operations of each task, a multiply-add counted as two, in the order in which threads take them.
std::vector<double> task_flops(const Plan& plan);

}  // namespace convpp
