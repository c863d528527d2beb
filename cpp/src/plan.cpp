// Blocks, chunks, tiles and buffers of a pass, by estimates of their cost.  plan.hpp says what comes in and goes out.
#include "plan.hpp"

#include <algorithm>
#include <limits>

#include "checked.hpp"
#include "dispatch.hpp"

namespace convpp {
namespace {

// Depth of a block of the contraction (forward, input_grad), and its columns in weight_grad.  A panel of 48 columns
// and 288 rows is 55 KiB of float32: it streams from L2 at 8 bytes a cycle while the tile multiplies, and a tile's
// accumulators are loaded and stored once in 288 steps.  288 is 32 channels of 3x3 and a multiple of 48.
constexpr int64_t patch_limit = 288;

// The packed pixels of a chunk (patch_limit x pixels) should stay in half of a 1 MiB L2: 396 pixels of float32, which
// is two images of 14x14.
constexpr int64_t chunk_bytes = 446 * 1024;
constexpr int64_t chunk_pixels_most = 1024;

// weight_grad: the pixels that a tile sums between loading and storing its accumulators.
constexpr int64_t sum_pixels = 256;
constexpr int64_t sum_channels = 256;  // 256 x 256 float32 of packed dy: 256 KiB of L2

// Tasks that a pass is cut into if it has the work: 8 for each of 2 threads keep the last one short.
constexpr int64_t tasks_wanted = 16;
constexpr int64_t channels_worth_a_task = 64;  // packing pixels again for 64 channels costs less than 10 %

// Where there are many groups, a task does several: finding out where its pixels lie serves them all.
constexpr int64_t group_tasks_wanted = 64;

// Below this many operations, waking a second thread (2-5 us) costs more than it saves.
constexpr double serial_flops = 1.5e6;

// Partial sums of weight_grad's chunks, together.
constexpr int64_t partial_bytes_most = int64_t(32) << 20;

int64_t panel_width(const Plan& plan, const TileShape& shape, bool of_pixels) {
    return of_pixels == plan.tile.pixels_are_columns ? shape.vectors * shape.lanes : shape.rows;
}

// Slots of the multiply-add units that `rows x columns` results take for one step of the contraction: full tiles are
// bound by multiply-adds, small ones by loads (one for each row and vector) or by the latency of the sum.
double tile_cost(const TileShape& shape, int64_t rows, int64_t columns) {
    const auto slots = [](int64_t r, int64_t v) {
        return r == 0 || v == 0 ? 0.0 : static_cast<double>(std::max({r * v, r + v, int64_t(6)}));
    };
    const int64_t vectors = ceil_div(columns, shape.lanes);
    const int64_t full_rows = rows / shape.rows, rest_rows = rows % shape.rows;
    const int64_t full_vectors = vectors / shape.vectors, rest_vectors = vectors % shape.vectors;
    const auto f = [](int64_t n) { return static_cast<double>(n); };
    return f(full_rows) * f(full_vectors) * slots(shape.rows, shape.vectors) +
           f(full_vectors) * slots(rest_rows, shape.vectors) + f(full_rows) * slots(shape.rows, rest_vectors) +
           slots(rest_rows, rest_vectors);
}

constexpr double packed_row = 3.0;     // slots for a packed vector (or part of one) of pixels
constexpr double strided_store = 2.0;  // slots for an element that is stored on its own

// Chooses the family of tiles, and which side is vectorised, by the cheapest estimate.  `pixels`: how many pixels
// (weight_grad: patch columns) stand against the channels, in how many rows; `terms`: of the sum; a store is strided if
// the vectorised side is not contiguous in the result.
TileChoice choose_tile(const KernelShapes& kernels, int64_t channels, int64_t pixels, int64_t rows_of_pixels,
                       int64_t terms, bool pixels_contiguous, bool channels_contiguous) {
    const auto f = [](int64_t n) { return static_cast<double>(n); };
    TileChoice best;
    best.cost = std::numeric_limits<double>::infinity();
    for (int family = 0; family < kernels::tile_families; ++family) {
        const TileShape& shape = kernels.shape[family];
        for (const bool pixels_are_columns : {true, false}) {
            const int64_t rows = pixels_are_columns ? channels : pixels;
            const int64_t columns = pixels_are_columns ? pixels : channels;
            // Each row of pixels ends with a vector that is partly filled.
            const int64_t packed =
                rows_of_pixels + (pixels_are_columns ? ceil_div(pixels, shape.lanes) : ceil_div(pixels, shape.rows));
            const bool contiguous = pixels_are_columns ? pixels_contiguous : channels_contiguous;
            const bool ragged = columns % shape.lanes != 0 && columns < shape.lanes * shape.vectors;
            double cost = f(terms) * (tile_cost(shape, rows, columns) + packed_row * f(packed));
            if (!contiguous || ragged) cost += strided_store * f(rows) * f(columns);
            if (cost < best.cost) best = {family, pixels_are_columns, shape.rows, shape.vectors * shape.lanes, cost};
        }
    }
    return best;
}

// The most taps of a block.  Where the taps of an axis lie much further apart than a chunk has pixels (dilation), the
// staged part of the source is mostly gaps: then each tap of that axis, and of those outside it, is staged on its own.
// The blocks of taps are part of the order of the sum: they come from the map alone, not from anything that N touches
// (how pixels are cut, whether they are staged).
int64_t taps_limit(const IndexMap& map) {
    constexpr std::array<int64_t, 3> pixels_of_chunk{4, 16, 400};  // along depth, height, width; a rough figure will do
    constexpr int64_t most_gaps = 4;  // staged elements for each that is read
    int64_t inner = 1;
    for (size_t a = 3; a-- > 0;) {
        const auto& taps = map.axis[a].taps;
        const auto [lo, hi] =
            std::minmax_element(taps.begin(), taps.end(), [](const Tap& s, const Tap& t) { return s.shift < t.shift; });
        const int64_t others = static_cast<int64_t>(taps.size()) - 1;
        if (hi->shift - lo->shift > most_gaps * others * std::min(map.axis[a].count, pixels_of_chunk[a]))
            return std::min(inner, patch_limit);
        inner *= static_cast<int64_t>(taps.size());
    }
    return patch_limit;
}

// The same estimate for tiles that read rows of pixels where they lie: nothing is packed, a load of a vector that crosses
// a cache line takes two slots, and a row's last vector may be partly filled.
double row_tile_cost(const KernelShapes& kernels, const MapPlan& m, int64_t batch, int64_t channels, bool together) {
    const TileShape& shape = kernels.shape[0];
    const int64_t length = m.map.axis[2].count, vectors_of_row = ceil_div(length, shape.lanes);
    const auto slots = [&](int64_t rows) {
        const int64_t vectors = kernels.row_tile_vectors[rows - 1];
        return static_cast<double>(std::max({rows * vectors, rows + 2 * vectors, int64_t(6)})) /
               static_cast<double>(vectors);
    };
    const int64_t full = channels / shape.rows, rest = channels % shape.rows;
    const double of_vector = static_cast<double>(full) * slots(shape.rows) + (rest > 0 ? slots(rest) : 0.0);
    const auto f = [](int64_t n) { return static_cast<double>(n); };
    const double vectors = f(batch * (m.map.pixels() / length) * vectors_of_row);
    const double terms = f(m.map.taps() * m.patches.channels);
    const double stores =
        length < shape.lanes || !together ? strided_store * vectors * f(channels * std::min(length, shape.lanes)) : 0;
    return terms * of_vector * vectors + stores;
}

PatchBlocks make_patch_blocks(int64_t channels, const IndexMap& map) {
    const auto taps_of = [&](size_t a) { return static_cast<int64_t>(map.axis[a].taps.size()); };
    PatchBlocks blocks;
    blocks.channels = channels;
    blocks.taps = BoxSplit({1, taps_of(0), taps_of(1), taps_of(2)}, taps_limit(map), 1);
    const int64_t fit = std::max<int64_t>(1, patch_limit / blocks.taps.largest());
    blocks.channel_blocks = ceil_div(channels, fit);
    blocks.channels_per_block = ceil_div(channels, blocks.channel_blocks);
    return blocks;
}

// Where pixels are not packed, a chunk's staged channels are not multiplied by taps: 8192 pixels of one channel are
// 32 KiB of float32; of many channels, a quarter of the L2's share.
int64_t chunk_pixels_of_rows(const MapPlan& m, int64_t elem_bytes) {
    int64_t staged = elem_bytes * m.patches.channels_per_block;  // bytes for each pixel
    for (const AxisMap& axis : m.map.axis) staged *= static_cast<int64_t>(axis.phases.size());
    return std::clamp<int64_t>(chunk_bytes / 4 / staged, 1, 8192);
}

// Rows shorter than a vector are read beyond their end, which only staged ones allow.
void forbid_short_rows_in_place(MapPlan& m, int64_t lanes) { m.in_place &= m.pixels.shortest_row() >= lanes; }

// Estimates for the weight gradient, as in choose_tile: packed (patches and dy are transposed into panels), and as dot
// products of rows.
double packed_sum_cost(const KernelShapes& kernels, const TileChoice& tile, int64_t channels, int64_t columns,
                       int64_t pixels) {
    constexpr double transposed_vector = 8.0;
    const TileShape& shape = kernels.shape[tile.family];
    const double multiply =
        tile.pixels_are_columns ? tile_cost(shape, channels, columns) : tile_cost(shape, columns, channels);
    const double pack =
        transposed_vector * static_cast<double>(ceil_div(columns, shape.lanes) + ceil_div(channels, shape.lanes));
    return static_cast<double>(pixels) * (multiply + pack);
}

double dot_cost(const KernelShapes& kernels, const MapPlan& m, int64_t batch, int64_t channels) {
    constexpr double load = 3.0;  // slots: the rows of a chunk stream from L2, and vectors cross cache lines
    constexpr double ragged_vector = 6.0;  // more of them, to blank the lanes of one that is partly filled
    const auto f = [](int64_t n) { return static_cast<double>(n); };
    const int64_t length = m.map.axis[2].count, lanes = kernels.shape[0].lanes;
    const int64_t columns = m.patches.channels * m.map.taps();
    const double rows = f(batch * (m.map.pixels() / length));
    const double loads =
        f(channels) * f(ceil_div(columns, kernels.dot_columns)) + f(columns) * f(ceil_div(channels, kernels.dot_rows));
    const double of_vector = std::max({f(channels) * f(columns), load * loads, 6.0});
    const double ragged = length % lanes != 0 ? ragged_vector * loads : 0.0;
    return rows * (f(ceil_div(length, lanes)) * of_vector + ragged);
}

BoxSplit split_pixels(const Plan& plan, const IndexMap& map, int64_t limit, int64_t lanes) {
    return BoxSplit({plan.batch, map.axis[0].count, map.axis[1].count, map.axis[2].count}, limit, lanes);
}

void describe_operands(Plan& plan, const ConvProblem& problem) {
    const Geometry& g = problem.geometry();
    const bool to_input = plan.pass == Pass::input_grad;
    const int64_t in = g.in_channels / g.groups, out = g.out_channels / g.groups;
    plan.groups_per_sample = g.groups;
    plan.groups = g.per_sample ? g.groups * g.batch : g.groups;
    plan.batch = g.per_sample ? 1 : g.batch;
    plan.result_channels = to_input ? in : out;
    plan.source_channels = to_input ? out : in;
    const TensorStrides x = tensor_strides(g.layout, g.in_channels, g.input);
    const TensorStrides y = tensor_strides(g.layout, g.out_channels, problem.output());
    plan.source = to_input ? y : x;
    plan.result = to_input ? x : y;
    plan.weight_group = in * out * problem.taps();
    const int64_t per_out = in * problem.taps(), per_in = problem.taps();
    plan.weight_result_channel = to_input ? per_in : per_out;
    plan.weight_source_channel = to_input ? per_out : per_in;
    plan.weight_axis = {g.kernel[1] * g.kernel[2], g.kernel[2], 1};
}

// Forward and input gradient: tasks are (map, group, box of pixels, block of result channels).
void plan_products(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    int64_t pixels = 0, terms = 0, all_terms = 0;
    bool contiguous = plan.result.axis[2] == 1;
    for (const MapPlan& m : plan.maps) {
        pixels += m.map.pixels() * plan.batch;
        terms = std::max(terms, m.map.taps() * plan.source_channels);
        all_terms += m.map.taps() * plan.source_channels;
        if (m.map.axis[2].result_step != 1) contiguous = false;
    }
    const int64_t map_count = static_cast<int64_t>(plan.maps.size());
    const int64_t typical = pixels / map_count, typical_terms = ceil_div(all_terms, map_count);
    const int64_t rows_of_pixels = typical / std::max<int64_t>(1, plan.maps[0].map.axis[2].count);
    plan.tile = choose_tile(kernels, plan.result_channels, typical, rows_of_pixels, typical_terms, contiguous,
                            plan.result.channel == 1);
    double row_cost = 0;
    for (const MapPlan& m : plan.maps)
        row_cost += row_tile_cost(kernels, m, plan.batch, plan.result_channels, contiguous);
    if (row_cost < plan.tile.cost * static_cast<double>(map_count)) {
        const TileShape& rows = kernels.shape[0];
        plan.packs_pixels = false;
        plan.tile = {0, true, rows.rows, rows.vectors * rows.lanes, row_cost};
    }
    const TileShape& shape = kernels.shape[plan.tile.family];
    const int64_t pixel_panel = panel_width(plan, shape, true), channel_panel = panel_width(plan, shape, false);

    const int64_t depth = std::min(patch_limit, std::max<int64_t>(1, terms));
    const int64_t padded_channels = round_up(plan.result_channels, channel_panel);
    int64_t limit = std::min(chunk_bytes / (depth * elem_bytes), chunk_pixels_most);
    if (!plan.packs_pixels) limit = std::max(limit, chunk_pixels_of_rows(plan.maps[0], elem_bytes));
    int64_t splits = 1;  // of the result channels
    if (plan.parallel) {
        // First the channels are split, which costs packing the pixels again, then the pixels into smaller chunks,
        // which fill fewer vectors.
        const int64_t chunks = plan.groups * ceil_div(pixels, limit);
        splits = std::clamp(ceil_div(tasks_wanted, chunks), int64_t(1),
                            std::max<int64_t>(padded_channels / channels_worth_a_task, 1));
        limit = std::min(limit, std::max(ceil_div(pixels * plan.groups * splits, tasks_wanted), 4 * pixel_panel));
    }
    const int64_t waste_unit = plan.tile.pixels_are_columns ? shape.lanes : shape.rows;

    for (MapPlan& m : plan.maps) {
        m.pixels = split_pixels(plan, m.map, std::max<int64_t>(limit, 1), waste_unit);
        if (!plan.packs_pixels) forbid_short_rows_in_place(m, shape.lanes);
    }
    plan.channel_block = round_up(ceil_div(padded_channels, splits), channel_panel);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);

    int64_t boxes = 0;
    for (const MapPlan& m : plan.maps) boxes += m.pixels.count();
    plan.group_block = std::clamp<int64_t>(plan.groups * boxes / group_tasks_wanted, 1, plan.groups);
    for (MapPlan& m : plan.maps) {
        m.first_task = plan.tasks;
        plan.tasks += ceil_div(plan.groups, plan.group_block) * m.pixels.count() * plan.channel_blocks;
        m.first_packing_block = plan.packing_blocks;
        plan.packing_blocks += plan.groups * m.patches.count();
        m.weights_at = plan.packed_weight_elems;
        // Each panel of a block is followed by a vector of slack (implicit_gemm.cpp says why).
        m.weights_per_group =
            checked_add(checked_mul(padded_channels, m.map.taps() * plan.source_channels, "the packed weights"),
                        padded_channels / channel_panel * m.patches.count() * shape.lanes, "the packed weights");
        plan.packed_weight_elems =
            checked_add(plan.packed_weight_elems, checked_mul(m.weights_per_group, plan.groups, "the packed weights"),
                        "the packed weights");
    }
}

// Weight gradient: tasks are (group, block of out channels, block of patches, chunk of pixels).
void plan_sums(Plan& plan, const KernelShapes& kernels, int64_t elem_bytes) {
    MapPlan& m = plan.maps[0];
    const int64_t columns = m.patches.channels * m.map.taps(), pixels = m.map.pixels() * plan.batch;
    plan.tile = choose_tile(kernels, plan.result_channels, columns, 0, pixels, true, true);
    const TileShape& rows = kernels.shape[0];
    if (plan.result.axis[2] == 1 && dot_cost(kernels, m, plan.batch, plan.result_channels) <
                                        packed_sum_cost(kernels, plan.tile, plan.result_channels, columns, pixels)) {
        plan.packs_pixels = false;
        plan.tile = {0, true, rows.rows, rows.vectors * rows.lanes, 0};
    }
    const TileShape& shape = kernels.shape[plan.tile.family];
    const int64_t channel_panel = panel_width(plan, shape, false), patch_panel = panel_width(plan, shape, true);
    m.pixels = split_pixels(plan, m.map, plan.packs_pixels ? sum_pixels : chunk_pixels_of_rows(m, elem_bytes), 1);
    if (!plan.packs_pixels) forbid_short_rows_in_place(m, shape.lanes);

    const int64_t blocks = ceil_div(plan.result_channels, round_up(sum_channels, channel_panel));
    plan.channel_block = round_up(ceil_div(plan.result_channels, blocks), channel_panel);
    plan.channel_blocks = ceil_div(plan.result_channels, plan.channel_block);

    const int64_t products = plan.groups * plan.channel_blocks * m.patches.count();
    plan.partial_elems = products * plan.channel_block * round_up(m.patches.largest(), patch_panel);
    if (plan.parallel) {
        const int64_t affordable = partial_bytes_most / std::max<int64_t>(plan.partial_elems * elem_bytes, 1);
        plan.chunks = std::max<int64_t>(1, std::min({ceil_div(tasks_wanted, products), m.pixels.count(), affordable}));
    }
    // One chunk needs no memory of its own: its sums live in the workspace of the thread that makes them.
    plan.partial_elems = plan.chunks > 1 ? plan.partial_elems * plan.chunks : 0;
    plan.tasks = products * plan.chunks;
}

}  // namespace

BoxSplit::BoxSplit(const std::array<int64_t, 4>& extents, int64_t limit, int64_t lanes) : extents_(extents) {
    int64_t inner = 1;
    for (const int64_t extent : extents)
        if (extent == 0) return;
    axis_ = 3;
    while (axis_ > 0 && inner * extents[axis_] <= limit) inner *= extents[axis_--];
    const int64_t most = std::clamp<int64_t>(limit / inner, 1, extents[axis_]);
    // Among the larger steps, the one whose boxes fill up the fewest vectors (counting an eighth of a vector of fixed
    // cost a box): candidates are tried on a coarse raster so that planning stays cheap.
    double best_vectors = std::numeric_limits<double>::infinity();
    const int64_t raster = std::max<int64_t>(1, most / 128);
    const auto vectors_of = [&](int64_t step) {
        const int64_t elems = step * inner;
        return elems == 0 ? 0.0 : static_cast<double>(ceil_div(elems, lanes)) + 0.125;
    };
    for (int64_t parts = ceil_div(extents[axis_], most), tried = 0; tried < 16; ++tried, parts += raster) {
        const int64_t step = ceil_div(extents[axis_], parts);
        if (step * 2 < most && tried > 0) break;
        const int64_t full = extents[axis_] / step, rest = extents[axis_] % step;
        const double vectors = static_cast<double>(full) * vectors_of(step) + vectors_of(rest);
        if (vectors < best_vectors) {
            best_vectors = vectors;
            step_ = step;
        }
        if (step == 1) break;
    }
    parts_ = ceil_div(extents[axis_], step_);
    count_ = parts_;
    for (size_t a = 0; a < axis_; ++a) count_ *= extents[a];
    largest_ = step_ * inner;
}

Box BoxSplit::box(int64_t index) const {
    Box box;
    box.hi = extents_;
    box.lo[axis_] = index % parts_ * step_;
    box.hi[axis_] = std::min(box.lo[axis_] + step_, extents_[axis_]);
    index /= parts_;
    for (size_t a = axis_; a-- > 0; index /= extents_[a]) {
        box.lo[a] = index % extents_[a];
        box.hi[a] = box.lo[a] + 1;
    }
    return box;
}

PatchBlock patch_block(const PatchBlocks& blocks, int64_t index) {
    PatchBlock block;
    block.taps = blocks.taps.box(index / blocks.channel_blocks);
    block.channel_lo = index % blocks.channel_blocks * blocks.channels_per_block;
    block.channel_hi = std::min(block.channel_lo + blocks.channels_per_block, blocks.channels);
    int64_t taps_before = 0;  // in lexicographic order
    for (size_t a = 1; a < 4; ++a) taps_before = taps_before * blocks.taps.extents()[a] + block.taps.lo[a];
    block.start = blocks.channels * taps_before + block.channel_lo * block.taps.elems();
    return block;
}

Plan make_plan(const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm, Isa isa) {
    const KernelShapes kernels = kernel_shapes(isa, dtype);
    const int64_t elem_bytes = dtype == DType::float32 ? 4 : 8;
    Plan plan;
    plan.pass = pass;
    plan.algorithm = algorithm == Algorithm::automatic ? Algorithm::direct : algorithm;
    plan.isa = isa;
    plan.parallel = problem.flops() > serial_flops;
    describe_operands(plan, problem);
    if (pass == Pass::input_grad) {
        InputGradMaps maps = input_grad_maps(problem);
        plan.fill_result = !maps.covers_input;
        for (IndexMap& map : maps.classes) plan.maps.emplace_back(std::move(map));
    } else {
        plan.maps.emplace_back(forward_map(problem));
    }
    for (const MapPlan& m : plan.maps) plan.reads_padding |= !m.map.reads_inside();
    const int64_t results = pass == Pass::forward      ? problem.y_elems()
                            : pass == Pass::input_grad ? problem.x_elems()
                                                       : problem.w_elems();
    plan.empty = problem.flops() == 0 || results == 0 || plan.maps.empty();
    if (plan.empty || plan.algorithm == Algorithm::reference) return plan;
    for (MapPlan& m : plan.maps) {
        // Rows of consecutive elements, all inside the source, need no padded copy.
        m.in_place = plan.source.axis[2] == 1 && m.map.axis[2].source_step == 1 && m.map.reads_inside();
        m.patches = make_patch_blocks(plan.source_channels, m.map);
    }
    if (pass == Pass::weight_grad) plan_sums(plan, kernels, elem_bytes);
    else plan_products(plan, kernels, elem_bytes);
    return plan;
}

std::string describe_blocking(const Plan& plan) {
    if (plan.algorithm == Algorithm::reference) return "plain loops";
    if (plan.empty) return "nothing to sum";
    const MapPlan& m = plan.maps.front();
    const auto text = [](int64_t n) { return std::to_string(n); };
    return std::string("tile ") + text(plan.tile.rows) + " " +
           (plan.tile.pixels_are_columns     ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           " x " + text(plan.tile.columns) + " " +
           (!plan.tile.pixels_are_columns    ? "channels"
            : plan.pass == Pass::weight_grad ? "patch elements"
                                             : "pixels") +
           "; " + text(plan.tasks) + " tasks of up to " + text(plan.channel_block) + " channels x " +
           text(m.pixels.largest()) + " pixels; " + text(m.patches.count()) + " blocks of up to " +
           text(m.patches.largest()) + " (channel, tap) pairs; " + text(static_cast<int64_t>(plan.maps.size())) +
           (plan.maps.size() == 1 ? " index map" : " residue classes") + (m.in_place ? ", read in place" : "");
}

}  // namespace convpp
