// The same as products.hpp for groups of a few channels that are no vectors (lanes.hpp): products of rows of taps and
// of what they read.
//
//   for each group, sample, part of the classes of pixels                               parallel: the tasks
//     sums[result channel][pixel] = over source channels and rows of taps inside: w * x  (kernels/tile/dot.hpp)
//
// In:  a Plan and the operands of a call that has been carried out.   Out: results as the definition has them.
// Next: nonfinite.cpp, which chooses.
#pragma once

#include <algorithm>
#include <cstdint>

#include "machine/parallel.hpp"
#include "repair/dots.hpp"
#include "repair/products.hpp"

namespace convpp {

// Of one map, a group and a sample.
template <class T>
struct DotProducts {
    const Plan& plan;
    const IndexMap& map;
    const Border& border;
    const kernels::KernelTable<T>& kernel;
    const Operands<T>& operands;
    const TapBounds* bounds;
    const ProductRepair<T>& own;
    int64_t group, n;
    const RepairShape shape{plan};
    const RepairDots<T>& dots = own.dots;
    const int64_t lanes = kernel.lanes, taps = border.taps();
    const int64_t phases = dots.phases_of(map.axis[2], shape.extents[2]);
    const int64_t pitch = round_up(ceil_div(shape.extents[2], phases), lanes);
    const int64_t rows = shape.extents[0] * shape.extents[1];  // of a plane
    const std::array<SourceSteps, 3> step{SourceSteps(map.axis[0], shape.extents[1] * pitch),
                                          SourceSteps(map.axis[1], pitch), SourceSteps(map.axis[2], 1)};
    const bool turned = step[2].tap < 0;

    void run(int64_t part, int64_t parts) const {
        const int64_t first = group * shape.result_channels, count = shape.result_channels;
        if (std::all_of(bounds + first, bounds + first + count, [](const TapBounds& of) { return of.none(); })) return;
        copy_source();
        for (int64_t j = 0; j < count; ++j) {
            own.channels[j] = first + j;
            copy_weights(operands.w + shape.weights_at(plan, first + j), dots.w + j * shape.channels * taps);
        }
        int64_t index = 0;
        border.for_each_class([&](const PixelClass& of) {
            if (index++ % parts == part && find_wanted(bounds, of, count, own)) repair_class(of);
        });
    }

private:
    // [channel][phase][row][pixel]
    void copy_source() const {
        const TensorStrides& x = shape.strides;
        const Stored<T> from = operands.source(plan.pass) + (n * x.batch + group * shape.channels * x.channel);
        for (int64_t c = 0; c < shape.channels; ++c)
            copy_phases(kernel, from + c * x.channel, x, shape.extents, phases, pitch,
                        dots.x + c * phases * rows * pitch);
    }
    // [channel][tap], along the width in the order of what they read
    void copy_weights(const Stored<T>& w, T* to) const {
        for (int64_t c = 0; c < shape.channels; ++c)
            for_each_position(border.tap_extents(), [&](Extents tap) {
                if (turned) tap[2] = border.axis[2].taps() - 1 - tap[2];
                *to++ = w[c * plan.weights.source_channel + weight_at(plan, map, tap)];
            });
    }

    // The rows of taps inside, with the first pixel at 0.
    kernels::RowVectors find_vectors(const PixelClass& of) const {
        const int64_t width = of.taps[2].length(), whole = width / lanes, columns = border.axis[2].taps();
        const int64_t first = turned ? columns - of.taps[2].hi : of.taps[2].lo;
        int64_t count = 0, all_whole = 0;
        for (const bool rest : {false, true}) {
            for (int64_t c = 0; c < shape.channels; ++c)
                for (int64_t d = of.taps[0].lo; d < of.taps[0].hi; ++d)
                    for (int64_t h = of.taps[1].lo; h < of.taps[1].hi; ++h) {
                        const kernels::VectorAt row{c * phases * rows * pitch + (d - of.taps[0].lo) * step[0].tap +
                                                        (h - of.taps[1].lo) * step[1].tap,
                                                    c * taps + (d * border.axis[1].taps() + h) * columns + first};
                        for (int64_t v = 0; v < whole && !rest; ++v) dots.put(count++, row, v * lanes, 0, lanes);
                        if (rest && width > whole * lanes)
                            dots.put(count++, row, whole * lanes, 0, width - whole * lanes);
                    }
            if (!rest) all_whole = count;
        }
        return {dots.at, dots.skip, dots.count, all_whole, count};
    }

    void repair_class(const PixelClass& of) const {
        const bool any = of.tap_count() > 0;
        const kernels::RowVectors vectors = any ? find_vectors(of) : kernels::RowVectors{};
        const int64_t count = shape.result_channels, most = dots.most_vectors;
        int64_t pixels = 0;
        const auto flush = [&] {
            for (int64_t j = 0; j < count; ++j)
                std::fill_n(dots.part + j * most, pixels, operands.bias ? operands.bias[own.channels[j]] : T(0));
            const int64_t size = shape.channels * taps;
            if (any)
                reading_plain(kernel).dot_rows(dots.w, size, dots.w + count * size, count, dots.x, dots.offsets, pixels,
                                               vectors, std::max<int64_t>(vectors.whole, 1), dots.part, most);
            write_repaired(plan, kernel, operands, own, {dots.part, 1, most}, pixels, count);
            pixels = 0;
        };
        Extents u{};
        for (u[0] = of.pixels[0].lo; u[0] < of.pixels[0].hi; ++u[0])
            for (u[1] = of.pixels[1].lo; u[1] < of.pixels[1].hi; ++u[1])
                for (u[2] = of.pixels[2].lo; u[2] < of.pixels[2].hi; ++u[2]) {
                    own.result_at[pixels] = result_at(plan, map, n, u);
                    dots.offsets[pixels++] = any ? source_of(of, u) : 0;
                    if (pixels == most) flush();
                }
        if (pixels > 0) flush();
    }
    int64_t source_of(const PixelClass& of, const Extents& u) const {
        const int64_t column = step[2].at(u[2], turned ? of.taps[2].hi - 1 : of.taps[2].lo);
        return step[0].at(u[0], of.taps[0].lo) + step[1].at(u[1], of.taps[1].lo) + column % phases * rows * pitch +
               column / phases;
    }
};

// Of one map.
template <class T>
void repair_dots(const Plan& plan, const IndexMap& map, const Operands<T>& operands, int64_t batch, int threads,
                 const TapBounds* bounds, const ThreadBuffers<ProductRepair<T>>& buffers) {
    const Border border(map);
    const int64_t items = RepairShape(plan).groups * batch;
    const int64_t parts = std::min<int64_t>(threads, repair_parts(items, threads));
    parallel_for(items * parts, threads, [&](int64_t task, int thread) {
        DotProducts<T>{plan,
                       map,
                       border,
                       kernel_table<T>(plan.kernels),
                       operands,
                       bounds,
                       buffers[static_cast<size_t>(thread)],
                       task / parts / batch,
                       task / parts % batch}
            .run(task % parts, parts);
    });
}

}  // namespace convpp
