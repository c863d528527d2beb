// Forward and input gradient by Winograd's algorithm:
//
//   U = G w G^T, for each pair of channels                          parallel, once for a call
//   for each group, box of tiles, block of result channels          parallel: the tasks
//     for each block of source channels                             serial: one sum in one order
//       for each vector of them: V = B^T x B, for each tile         (kernels/winograd.hpp)
//       for each point of the tiles: M += V U                       the indirect tile (indirect_product.hpp)
//     for each vector of result channels: y = A^T M A               the same transform with another matrix
//
// All vectors run along channels, so a tile's form, spacing and neighbours do not matter to them.  channels_first planes
// are transposed on the way in and on the way out.   Read before: winograd_tiles.hpp, winograd_weights.hpp.
#include "strategies/winograd/product.hpp"

#include <algorithm>
#include <vector>

#include "machine/dispatch.hpp"
#include "result/order.hpp"
#include "source/prefetch.hpp"
#include "strategies/indirect/multiply.hpp"
#include "strategies/product_loop.hpp"
#include "strategies/winograd/weights.hpp"

namespace convpp {
namespace {

using kernels::KernelTable;
using kernels::TileSteps;

template <class T>
struct WinogradBuffers {
    WeightBuffers<T> transforming;
    LaneCopy<T> copy;
    T* weights = nullptr;  // transformed, of a block and a task, where tasks transform them
    T* v = nullptr;  // transformed source: [point][place][channel]
    T* m = nullptr;  // products: [point][tile][channel]
    T* results = nullptr;  // of one vector of channels
    T* planes = nullptr;  // channels_first halves: the same as planes, before they are rounded
    T* tail = nullptr;
    int64_t* places = nullptr;  // where they begin in the copy
    int64_t* place_to = nullptr;  // and in a point of V
    int64_t* first_place = nullptr;  // of each tile
    int64_t* tile_from = nullptr;  // where it begins in a point of M
    int64_t* tile_to = nullptr;  // and in `results`
    int64_t* taps = nullptr;
    int64_t* offsets = nullptr;  // of the contraction, in V
    const T** rows = nullptr;  // of each tile, in V
    T** products = nullptr;  // in M
    T** in_order = nullptr;  // channels_first: results in the order of the planes
    ResultRun* runs = nullptr;
    kernels::Stretch* stretches = nullptr;  // of what is read and written next
    int64_t v_pitch = 0, m_pitch = 0, v_point = 0, m_point = 0;

    WinogradBuffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel)
        : WinogradBuffers(carver, plan, kernel, WinogradBox(winograd_of(plan), plan.maps[0].boxes.box(0), kernel.lanes)) {}

private:
    WinogradBuffers(Carver& carver, const Plan& plan, const KernelTable<T>& kernel, const WinogradBox& box)
        : transforming(carver, plan, kernel), copy(carver, plan, box.source, box.source, kernel.lanes) {
        const WinogradPlan& w = winograd_of(plan);
        const int64_t place_count = box.place_count(), tile_count = box.tile_count(),
                      width = panel_widths(plan, kernel).channels;
        v_pitch = w.source_block;
        m_pitch = round_up(std::min(plan.tasks.channel_block, plan.tasks.channels), kernel.lanes);
        constexpr const char* what = "the transformed input";
        v_point = apart_by_odd_lines<T>(checked_mul(place_count, v_pitch, what));
        m_point = apart_by_odd_lines<T>(tile_count * m_pitch);
        const WinogradWeights layout(plan, kernel, plan.tasks.channel_block);
        weights =
            carver.take<T>(plan.packing.by_tasks ? w.points() * layout.point_pitch(w.source_block) + kernel.lanes : 0);
        v = carver.take<T>(checked_mul(w.points(), v_point, what));
        m = carver.take<T>(w.points() * m_point);
        results = carver.take<T>(box.results.elems);
        tail = carver.take<T>(int64_t(kernel.tiles[plan.tile.shape].rows) * width);
        places = carver.take<int64_t>(place_count);
        place_to = carver.take<int64_t>(place_count);
        first_place = carver.take<int64_t>(tile_count);
        tile_from = carver.take<int64_t>(tile_count);
        tile_to = carver.take<int64_t>(tile_count);
        taps = carver.take<int64_t>(w.outer_taps());
        offsets = carver.take<int64_t>(w.outer_taps() * w.source_block);
        rows = carver.take<const T*>(tile_count);
        products = carver.take<T*>(tile_count);
        const int64_t pixels = box.results.elems / kernel.lanes;
        in_order = carver.take<T*>(plan.channels_last() ? 0 : pixels);
        planes = carver.take<T>(plan.converts() && !plan.channels_last() ? pixels * kernel.lanes : 0);
        stretches = carver.take<kernels::Stretch>(plan.channels_last() ? most_stretches : 0);
        runs = carver.take<ResultRun>(pixels / box.results.range[2].length);
    }
};

template <class T>
struct SharedTransformed {
    T* weights = nullptr;
    T* bias = nullptr;
    SharedTransformed(Carver& carver, const Plan& plan, const KernelTable<T>& kernel) {
        weights = carver.take<T>(plan.packing.by_tasks ? 0 : packed_weight_elems(plan) + kernel.lanes);
        bias = carver.take<T>(plan.tasks.groups * plan.tasks.channels + kernel.lanes);
    }
};

// Transforms a block of the source's channels for all places of the box.
template <class T>
void transform_source(const Plan& plan, const KernelTable<T>& kernel, const Stored<T>& source, const Box& pixels,
                      const WinogradBox& box, const SourceBlock& block, const WinogradBuffers<T>& buffers) {
    const WinogradPlan& w = winograd_of(plan);
    for (int64_t c = 0; c < block.channels; c += kernel.lanes) {
        const int64_t channels = std::min<int64_t>(kernel.lanes, block.channels - c);
        copy_lanes(plan, kernel, plan.maps[0], source, {pixels, box.source, block.lo + c, channels}, buffers.copy);
        transforms(plan, kernel)
            .source(buffers.copy.padded.copy, buffers.places, WinogradBox::steps(w, box.source), box.place_count(),
                    nullptr, buffers.v + c, buffers.place_to, point_steps(w, buffers.v_point));
    }
}

// The results of one vector of channels go where they belong.
template <class T>
struct ResultWriter {
    const Plan& plan;
    const KernelTable<T>& kernel;
    const WinogradBuffers<T>& buffers;
    int64_t run_count = 0, pixel_count = 0;

    ResultWriter(const Plan& p, const KernelTable<T>& k, const Box& pixels, const WinogradBox& box,
                 const WinogradBuffers<T>& own)
        : plan(p), kernel(k), buffers(own) {
        const std::array<AxisMap, 3>& axis = plan.maps[0].map.axis;
        std::array<int64_t, 3> valid{};
        for (size_t a = 0; a < 3; ++a)
            valid[a] = std::min(box.results.range[a].length, axis[a].count - box.results.range[a].lo);
        const TensorStrides& s = box.results.strides;
        int64_t& pixel = pixel_count;
        for_each_index({pixels.extent(0), valid[0], valid[1], 1}, [&](int64_t n, int64_t d, int64_t h, int64_t) {
            const int64_t offset = (pixels.lo[0] + n) * plan.result.batch +
                                   (axis[0].result_start + box.results.range[0].lo + d) * plan.result.axis[0] +
                                   (axis[1].result_start + box.results.range[1].lo + h) * plan.result.axis[1] +
                                   (axis[2].result_start + box.results.range[2].lo) * plan.result.axis[2];
            const int64_t row = n * s.batch + d * s.axis[0] + h * s.axis[1];
            if (plan.channels_last()) {
                buffers.runs[run_count++] = {offset, row, valid[2]};
                return;
            }
            ResultRun& last = buffers.runs[run_count - (run_count > 0)];
            if (run_count > 0 && last.offset + last.count == offset) last.count += valid[2];
            else buffers.runs[run_count++] = {offset, pixel, valid[2]};
            for (int64_t w = 0; w < valid[2]; ++w) buffers.in_order[pixel++] = buffers.results + row + w * s.axis[2];
        });
    }

    // `at`: the first element in the tensor.
    void write(int64_t channels, const ProductOperands<T>& operands, int64_t at) const {
        if (plan.converts()) return round(channels, operands, at);
        T* const result = operands.result.plain() + at;
        if (!plan.channels_last()) {
            write_results(plan, kernel, buffers.in_order, buffers.runs, run_count, channels, result);
        } else {
            for (const ResultRun* run = buffers.runs; run != buffers.runs + run_count; ++run)
                kernel.store_rows(buffers.results + run->first, kernel.lanes, run->count, channels,
                                  result + run->offset, plan.result.axis[2]);
        }
        if (operands.epilogue.none()) return;
        for (const ResultRun* run = buffers.runs; run != buffers.runs + run_count; ++run) {
            T* const from = result + run->offset;
            if (plan.channels_last()) finish(operands, from, plan.result.axis[2], at + run->offset, run->count, channels);
            else finish(operands, from, plan.result.channel, at + run->offset, channels, run->count);
        }
    }

private:
    // Halves go from the buffers to where they belong, and are rounded on the way.
    void round(int64_t channels, const ProductOperands<T>& operands, int64_t at) const {
        if (!plan.channels_last())
            kernel.transpose_rows(buffers.in_order, pixel_count, channels, buffers.planes, pixel_count);
        for (const ResultRun* run = buffers.runs; run != buffers.runs + run_count; ++run) {
            if (plan.channels_last())
                finish(operands, buffers.results + run->first, kernel.lanes, at + run->offset, run->count, channels);
            else finish(operands, buffers.planes + run->first, pixel_count, at + run->offset, channels, run->count);
        }
    }

    void finish(const ProductOperands<T>& operands, const T* sums, int64_t pitch, int64_t at, int64_t rows,
                int64_t count) const {
        apply_epilogue(kernel, sums, pitch, operands.epilogue.from(at).residual, operands.result + at,
                    plan.channels_last() ? plan.result.axis[2] : plan.result.channel, rows, count,
                    operands.epilogue.activation);
    }
};

// What a source block of a task reads.
template <class T>
void add_source(const Plan& plan, const ProductOperands<T>& operands, const ProductTask& task, const WinogradBox& box,
                const SourceBlock& block, PrefetchList& prefetch) {
    Stored<T> at = operands.source + task.pixels.lo[0] * plan.source.strides.batch +
                   (task.group_lo * plan.source.channels + block.lo) * plan.source.strides.channel;
    std::array<int64_t, 4> count{task.pixels.extent(0), 1, 1, 1};
    for (size_t a = 0; a < 3; ++a) {
        const ReadRange& range = box.source.range[a];
        const int64_t lo = std::max<int64_t>(range.lo, 0);
        count[a + 1] = std::min(range.lo + range.length, plan.maps[0].map.axis[a].source_extent) - lo;
        at += lo * plan.source.strides.axis[a];
    }
    prefetch.add(at, plan.source.strides, count, {1, 1, 1}, block.channels);
}

// While tiles multiply, they ask for what comes next: the next block's source, or the results, and the source of the
// task that the thread probably takes then.  Only in channels_last, where one vector of channels after the other is taken
// out of each pixel.  (Measured, 3x3 float32: 1.03 to 1.23 times as fast; rows of channels_first the processor foresees:
// 0.95 to 1.0 times.)
template <class T>
struct BlockOfTask {
    const ProductTask& task;
    const GroupOperands<T>& own;
    const WinogradBox& box;
    const SourceBlock& block;
    int64_t next_task;
};

template <class T>
kernels::Prefetch prefetch_next(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands,
                                const BlockOfTask<T>& at, const WinogradBuffers<T>& buffers) {
    if (!plan.channels_last()) return {};
    const auto& [task, own, box, block, next_task] = at;
    PrefetchList prefetch(buffers.stretches);
    if (block.index + 1 < SourceBlock::count(plan)) {
        add_source(plan, operands, task, box, SourceBlock(plan, block.index + 1), prefetch);
    } else {
        int64_t to = own.result_at + task.pixels.lo[0] * plan.result.batch;
        std::array<int64_t, 4> count{task.pixels.extent(0), 1, 1, 1};
        for (size_t a = 0; a < 3; ++a) {
            const ReadRange& range = box.results.range[a];
            count[a + 1] = std::min(range.length, plan.maps[0].map.axis[a].count - range.lo);
            to += range.lo * plan.result.axis[a];
        }
        prefetch.add((operands.result + to).stored(), plan.result, count, {1, 1, 1}, task.channels);
        if (next_task < plan.tasks.count) {
            const ProductTask next(plan, next_task);
            add_source(plan, operands, next, WinogradBox(winograd_of(plan), next.pixels, kernel.lanes),
                       SourceBlock(plan, 0), prefetch);
        }
    }
    const auto& tiles = kernel.tiles[plan.tile.shape];
    const int64_t full_tiles = box.tile_count() / tiles.rows * (task.channels / (tiles.vectors * kernel.lanes));
    return prefetch.over(winograd_of(plan).points() * full_tiles, winograd_of(plan).outer_taps() * block.channels);
}

template <class T>
void run_task(const Plan& plan, const KernelTable<T>& kernel, const ProductOperands<T>& operands, const T* weights,
              const T* bias, const WinogradBuffers<T>& buffers, const ProductTask& task, int64_t next_task,
              std::atomic<unsigned char>* spoiled) {
    const WinogradPlan& w = winograd_of(plan);
    const WinogradWeights layout(plan, kernel, weights == nullptr ? plan.tasks.channel_block : plan.tasks.channels);
    const WinogradBox box(w, task.pixels, kernel.lanes);
    const int64_t places = box.place_count(), tiles = box.tile_count(), points = w.points();
    box.find_places(w, buffers.places);
    box.find_tiles(w, buffers.tile_to);
    box.find_first_places(w, buffers.first_place);
    box.find_taps(w, buffers.taps);
    for (int64_t i = 0; i < places; ++i) buffers.place_to[i] = i * buffers.v_pitch;
    for (int64_t i = 0; i < tiles; ++i) buffers.tile_from[i] = i * buffers.m_pitch;
    const ResultWriter<T> writer(plan, kernel, task.pixels, box, buffers);
    const int64_t group = task.group_lo;
    const GroupOperands<T> own(plan, operands, bias, task, group);
    Beginning<T> beginning;
    for (int64_t index = 0; index < SourceBlock::count(plan); ++index) {
        const SourceBlock block(plan, index);
        const int64_t channels = block.channels;
        transform_source(plan, kernel, own.source, task.pixels, box, block, buffers);
        for (int64_t t = 0, k = 0; t < layout.taps; ++t)
            for (int64_t c = 0; c < channels; ++c) buffers.offsets[k++] = buffers.taps[t] * buffers.v_pitch + c;
        const T* u = buffers.weights;
        if (weights == nullptr)
            transform_own_weights(plan, kernel, operands, task, block, buffers.weights, buffers.transforming);
        else
            u = weights + layout.block_at(plan, group, index) + task.channel_lo / layout.width * layout.pitch(channels);
        kernels::Prefetch prefetch = prefetch_next(plan, kernel, operands, {task, own, box, block, next_task}, buffers);
        for (int64_t e = 0; e < points; ++e, u += layout.point_pitch(channels)) {
            for (int64_t i = 0; i < tiles; ++i) {
                buffers.rows[i] = buffers.v + e * buffers.v_point + buffers.first_place[i] * buffers.v_pitch;
                buffers.products[i] = buffers.m + e * buffers.m_point + buffers.tile_from[i];
            }
            multiply_indirect(kernel, kernel.tiles[plan.tile.shape],
                              {{buffers.rows, buffers.offsets, tiles, layout.taps * channels},
                               {u, layout.pitch(channels), task.channels},
                               {buffers.products, buffers.tail, beginning, true},
                               &prefetch});
        }
        beginning.start = kernels::Start::from_c;
    }
    const int64_t samples = task.pixels.extent(0), of_sample = tiles / samples;
    for (int64_t c = 0; c < task.channels; c += kernel.lanes) {
        const T* const own_bias = own.bias != nullptr ? own.bias + c : nullptr;
        for (int64_t n = 0; n < samples; ++n)
            if (!transforms(plan, kernel)
                     .results(buffers.m + c, buffers.tile_from + n * of_sample, point_steps(w, buffers.m_point),
                              of_sample, own_bias, buffers.results, buffers.tile_to + n * of_sample,
                              WinogradBox::steps(w, box.results)))
                spoiled[task.pixels.lo[0] + n].store(1, std::memory_order_relaxed);
        writer.write(std::min<int64_t>(kernel.lanes, task.channels - c), operands,
                     own.result_at + c * plan.result.channel);
    }
}

}  // namespace

template <class T>
void measure_winograd_product(const Plan& plan, WorkspaceBytes& bytes) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver shared(nullptr), thread(nullptr);
    SharedTransformed<T>(shared, plan, kernel);
    measure_buffers<WinogradBuffers<T>>(thread, plan, kernel);
    bytes = {shared.used(), thread.used()};
}

template <class T>
void transform_product_weights(const Plan& plan, const PassOperands<T>& operands, const RunContext& run,
                               T* transformed) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    Carver carver(run.workspace);
    SharedTransformed<T>(carver, plan, kernel);
    transform_all_weights(plan, kernel, ProductOperands<T>(operands), run.threads, transformed,
                          thread_buffers<WinogradBuffers<T>>(carver, plan, kernel, run.threads));
}

template <class T>
void run_winograd_product(const Plan& plan, const PassOperands<T>& of, const RunContext& run) {
    const KernelTable<T>& kernel = kernel_table<T>(plan.isa);
    const ProductOperands<T> operands(of);
    const int threads = run.threads;
    Carver carver(run.workspace);
    const SharedTransformed<T> shared(carver, plan, kernel);
    const auto buffers = thread_buffers<WinogradBuffers<T>>(carver, plan, kernel, threads);
    if (operands.bias) {
        copy_bias(plan, operands.bias, shared.bias);
        const int64_t channels = plan.tasks.groups * plan.tasks.channels;
        std::fill_n(shared.bias + channels, kernel.lanes, T(0));  // read in whole vectors, and looked at for NaN
    }
    const bool transforms_all = operands.packed == nullptr && !plan.packing.by_tasks;
    if (transforms_all) transform_all_weights(plan, kernel, operands, threads, shared.weights, buffers);
    const T* const weights = transforms_all ? shared.weights : operands.packed;
    parallel_for(plan.tasks.count, threads, [&](int64_t task, int thread) {
        run_task(plan, kernel, operands, weights, shared.bias, buffers[static_cast<size_t>(thread)],
                 ProductTask(plan, task), task + threads, run.not_finite);
    });
}

template void measure_winograd_product<float>(const Plan&, WorkspaceBytes&);
template void measure_winograd_product<double>(const Plan&, WorkspaceBytes&);
template void transform_product_weights(const Plan&, const PassOperands<float>&, const RunContext&, float*);
template void transform_product_weights(const Plan&, const PassOperands<double>&, const RunContext&, double*);
template void run_winograd_product(const Plan&, const PassOperands<float>&, const RunContext&);
template void run_winograd_product(const Plan&, const PassOperands<double>&, const RunContext&);

}  // namespace convpp
