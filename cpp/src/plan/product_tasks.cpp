// The parts of product_tasks.hpp, which says what they are.
#include "plan/product_tasks.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "plan/costs.hpp"
#include "problem/checked.hpp"

namespace convpp {

BoxSplit split_pixels(const Plan& plan, const IndexMap& map, int64_t limit, int64_t lanes, int64_t chunks) {
    return BoxSplit({plan.batch(), map.axis[0].count, map.axis[1].count, map.axis[2].count}, limit, lanes, chunks);
}

// 8192 pixels of one channel are 32 KiB of float32; of many channels, a quarter of the L2's share.
int64_t chunk_pixels_of_rows(const Setting& setting, const MapPlan& m) {
    const int64_t staged = setting.elem_bytes * m.patches.channels_per_block * m.map.phases();  // bytes for each pixel
    return std::clamp<int64_t>(setting.cache_bytes * 7 / 64 / staged, 1, 8192);
}

int64_t staged_pixels_most(const Setting& setting, const MapPlan& m) {
    if (m.in_place) return std::numeric_limits<int64_t>::max();
    constexpr int64_t bytes_of_band = 40;  // of each pixel, where planes are single pixels
    const int64_t bytes = setting.elem_bytes * m.patches.channels_per_block + bytes_of_band;
    return std::max<int64_t>(1, setting.cache_bytes * 7 / 16 / (bytes * m.map.phases()));
}

int64_t copied_pixels_most(const Setting& setting, const MapPlan& m) {
    if (m.in_place) return std::numeric_limits<int64_t>::max();
    const int64_t most = setting.cache_bytes * 7 / 16 / (setting.elem_bytes * m.patches.channels_per_block);
    return std::max<int64_t>(1, most / m.map.source_elems_of_pixel());
}

int64_t packed_pixels_most(const Plan& plan, const Setting& setting) {
    int64_t terms = 1;
    for (const MapPlan& m : plan.maps) terms = std::max(terms, m.map.taps() * plan.source.channels);
    return std::min({chunk_bytes(setting) / (std::min(patch_limit, terms) * setting.elem_bytes), chunk_pixels_most,
                     staged_pixels_most(setting, plan.maps[0])});
}

int64_t staged_row_pixels_most(const Plan& plan, const Setting& setting) {
    return std::max(packed_pixels_most(plan, setting), chunk_pixels_of_rows(setting, plan.maps[0]));
}

int64_t all_pixels(const Plan& plan) {
    int64_t pixels = 0;
    for (const MapPlan& m : plan.maps) pixels += m.map.pixels() * plan.batch();
    return pixels;
}

int64_t padded_channels(const Plan& plan, const Setting& setting) {
    return round_up(plan.tasks.channels, panel_width(plan, tile_shape(plan, setting), false));
}

Cut cut_for_threads(const Plan& plan, const Setting& setting, int64_t pixels_most, bool channels_can_be_split) {
    Cut cut{pixels_most, 1};
    if (!plan.tasks.parallel) return cut;
    const int64_t pixels = all_pixels(plan), pixel_panel = panel_width(plan, tile_shape(plan, setting), true);
    const int64_t chunks = plan.tasks.groups * ceil_div(pixels, cut.pixels);
    if (channels_can_be_split)
        cut.splits = std::clamp(ceil_div(setting.tasks_wanted, chunks), int64_t(1),
                                std::max<int64_t>(padded_channels(plan, setting) / channels_worth_a_task, 1));
    cut.pixels = std::min(
        cut.pixels, std::max(ceil_div(pixels * plan.tasks.groups * cut.splits, setting.tasks_wanted), 4 * pixel_panel));
    return cut;
}

int64_t classes_together(const Plan& plan, size_t leader, bool planes) {
    if (plan.cut) return 1;
    const int64_t step = plan.maps[leader].map.axis[2].result_step;
    const int64_t most = static_cast<int64_t>(most_classes),
                  left = std::min(most + 1, static_cast<int64_t>(plan.maps.size() - leader));
    const auto alike = [&](size_t axes) {  // maps from the leader on that begin where it does, along so many axes
        int64_t count = 0;
        const auto differs = [&](int64_t m) {
            const MapPlan &first = plan.maps[leader], &other = plan.maps[leader + static_cast<size_t>(m)];
            for (size_t a = 0; a < axes; ++a)
                if (other.map.axis[a].result_start != first.map.axis[a].result_start) return true;
            return other.patches.sections() != first.patches.sections();
        };
        while (count < left && !differs(count)) ++count;
        return count;
    };
    if (plan.gaps_from < 3) return alike(plan.gaps_from);
    const int64_t in_row = alike(2), in_plane = alike(1);
    if (in_row != step || in_row > most) return 1;
    return planes && in_plane <= most ? in_plane : in_row;
}

void write_gaps(Plan& plan) {
    if (plan.gaps != Gaps::filled_before || plan.channels_last()) return;
    const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
    for (const MapPlan& m : plan.maps)
        if (m.patches.sections() != plan.maps[0].patches.sections()) return;
    int64_t left = static_cast<int64_t>(most_classes);  // for the same reason
    while (plan.gaps_from > 0 && axis[plan.gaps_from - 1].result_step <= left)
        left /= axis[--plan.gaps_from].result_step;
    if (plan.gaps_from == 0) plan.gaps = Gaps::written_by_tasks;
}

void split_maps(Plan& plan, int64_t pixels_most, int64_t lanes, const ClassesFrom& together) {
    for (size_t leader = 0; leader < plan.maps.size();) {
        const int64_t classes = together(leader);
        const auto first = plan.maps.begin() + static_cast<std::ptrdiff_t>(leader);
        const auto end = first + static_cast<std::ptrdiff_t>(classes);
        IndexMap most = std::max_element(first, end, [](const MapPlan& a, const MapPlan& b) {
                            return a.map.pixels() < b.map.pixels();
                        })->map;
        for (size_t a = 0; a < 3; ++a)  // of a class with gaps alone, perhaps
            if (cell(plan, most, a) > 1) most.axis[a].count = ceil_div(result_extent(plan, a), cell(plan, most, a));
        const BoxSplit split = split_pixels(plan, most, std::max<int64_t>(pixels_most / classes, 1), lanes);
        for (auto m = first; m != end; ++m) {
            m->boxes = split;
            m->classes = m == first ? classes : 0;
        }
        leader += static_cast<size_t>(classes);
    }
}

int64_t box_count(const Plan& plan) {
    int64_t boxes = 0;
    for (const MapPlan& m : plan.maps) boxes += m.classes > 0 ? m.boxes.count() : 0;
    return boxes;
}

void count_tasks(Plan& plan, const Setting& setting, int64_t splits) {
    Tasks& tasks = plan.tasks;
    tasks.channel_block =
        round_up(ceil_div(padded_channels(plan, setting), splits), panel_width(plan, tile_shape(plan, setting), false));
    tasks.group_block = std::clamp<int64_t>(
        tasks.groups * box_count(plan) / (group_tasks_factor * setting.tasks_wanted), 1, tasks.groups);
    for (MapPlan& m : plan.maps) {
        m.first_task = tasks.count;
        if (m.classes > 0)
            tasks.count += ceil_div(tasks.groups, tasks.group_block) * m.boxes.count() * tasks.channel_blocks();
    }
}

void place_weights(Plan& plan, const Setting& setting,
                   const std::function<const MapPlan*(const MapPlan&)>& multiplied) {
    constexpr const char* what = "the packed weights";
    const TileShape& shape = tile_shape(plan, setting);
    const int64_t channel_panel = panel_width(plan, shape, false);
    if (plan.packing.panels == 0) plan.packing.panels = ceil_div(plan.tasks.channels, channel_panel);
    int64_t blocks = 0, packed = 0;
    for (MapPlan& m : plan.maps) {
        m.first_packing_block = blocks;
        const MapPlan* const product = multiplied(m);
        if (product == nullptr) continue;
        blocks += plan.tasks.groups * product->patches.count();
        m.weights_at = packed;
        // Each panel of a block is followed by a vector of slack (weights/panels.hpp says why).
        m.weights_per_group = checked_add(
            checked_mul(plan.packing.panels * channel_panel, product->map.taps() * plan.source.channels, what),
            plan.packing.panels * product->patches.count() * shape.lanes, what);
        packed = checked_add(packed, checked_mul(m.weights_per_group, plan.tasks.groups, what), what);
    }
}

double share_of_packing(const Plan& plan, int64_t at_once) {
    const double pixels = static_cast<double>(plan.maps[0].map.pixels() * plan.batch() / at_once);
    return costs::weight_vector / (costs::weight_vector + pixels);
}

// As long as bringing the source to a task takes, in result channels: an estimate.
ChannelShare share_channels(const Plan& plan, const Setting& setting, int64_t most_channels, int64_t threads) {
    constexpr double channels_of_source = 16;
    ChannelShare best;
    double least = std::numeric_limits<double>::infinity();
    for (const int index : {2, 0, 1}) {  // of equals, the widest
        const TileShape& shape = setting.kernels.shape[index];
        const int64_t panel = shape.vectors * shape.lanes, panels = ceil_div(plan.tasks.channels, panel);
        for (int64_t of_task = 1; of_task <= panels && of_task * panel <= std::max(most_channels, panel); ++of_task) {
            const int64_t tasks = plan.tasks.groups * ceil_div(panels, of_task);
            const double time = static_cast<double>(ceil_div(tasks, threads)) *
                                (static_cast<double>(of_task * panel) + channels_of_source);
            if (time >= least) continue;
            least = time;
            best = {{index, false, shape.rows, panel}, of_task};
        }
    }
    return best;
}

// The buffer has the strides of the largest box, the same for all tasks.
void buffer_results(Plan& plan, bool planes_together) {
    for (const MapPlan& m : plan.maps) plan.sections = std::max(plan.sections, m.patches.sections());
    if (!plan.converts() && plan.sections == 1) return;
    constexpr const char* what = "the buffered results";
    constexpr int64_t line = 16;  // elements; planes begin in lines of their own
    Extents most{1, 1, 1};
    int64_t samples = 1;
    for (size_t leader = 0; leader < plan.maps.size(); ++leader) {
        const MapPlan* const maps = plan.maps.data() + leader;
        if (maps->classes == 0) continue;
        const Box box = maps->boxes.box(0);
        samples = std::max(samples, box.extent(0));
        for (size_t a = 0; a < 3; ++a) {
            // Pixel u of the classes' box is result start + u*step of each of its maps.
            const auto start = [&](int64_t m) {
                return maps[m].map.axis[a].result_start - maps[m].shift[a] * maps[m].map.axis[a].result_step;
            };
            int64_t lo = start(0), hi = start(0);
            for (int64_t m = 1; m < maps->classes; ++m) {
                lo = std::min(lo, start(m));
                hi = std::max(hi, start(m));
            }
            const int64_t step = maps->map.axis[a].result_step;
            const int64_t all =
                cell(plan, maps->map, a) > 1 ? box.extent(a + 1) * step : (box.extent(a + 1) - 1) * step + 1 + hi - lo;
            most[a] = std::max(most[a], all);
        }
    }
    const int64_t channels =
        (plan.tasks.group_block - 1) * plan.tasks.channels + std::min(plan.tasks.channel_block, plan.tasks.channels);
    TensorStrides& s = plan.buffer.strides;
    const bool last = plan.channels_last();
    s = dense_strides(last ? channels : 1, most, what);
    const int64_t all = checked_mul(s.batch, samples, what);
    s.channel = last ? 1 : planes_together ? all : round_up(all, line) + line;
    plan.buffer.elems = last ? all : checked_mul(s.channel, channels, what);
}

}  // namespace convpp
