// Vectors of source channels whose lanes are what lanes of result channels read, for groups of any few channels.
//
// In:  a MapPlan, a box of pixels, some result channels, a source in channels_last.   Out: a LaneCopy: of each vector
// of result channels, a vector of the first source channel of each lane's group, one of the second, and so on.
// Next: strategies/channels/product.hpp, to which they are taps of one channel.
//
// Some pixels at a time are transposed into rows of channels, and back again, with the rows in another order.
#pragma once

#include <algorithm>

#include "source/lanes.hpp"

namespace convpp {

// How many channels a group has on the source's side and on the result's.
struct GroupChannels {
    int64_t source, result;
};

// What a thread needs to gather lanes.
template <class T>
struct LaneGather {
    T* rows = nullptr;  // of some pixels of each channel
    const T** row_of_lane = nullptr;  // of all vectors
    int64_t* pixels = nullptr;  // where they lie

    LaneGather(Carver& carver, const Plan& plan, int64_t lanes, const GroupChannels& group, bool gathers) {
        if (!gathers) return;
        const int64_t most = round_up(plan.tasks.channel_block, lanes);
        const int64_t groups = ceil_div(most, group.result) + 1;
        rows = carver.take<T>((groups * group.source + 1) * lanes);
        row_of_lane = carver.take<const T*>(most * group.source);
        pixels = carver.take<int64_t>(lanes);
    }
};

// Copies what a block of result channels reads, and zeros around what lies inside of x.
template <class T>
void gather_lanes(const Plan& plan, const kernels::KernelTable<T>& kernel, const MapPlan& m, const Stored<T>& source,
                  const LaneBlock& block, const GroupChannels& group, const LaneGather<T>& gather, T* to) {
    const CopyLayout& layout = block.layout;
    const int64_t lanes = kernel.lanes, blocks = ceil_div(block.channels, lanes) * group.source;
    const int64_t first = block.channel / group.result * group.source;
    const int64_t end = ((block.channel + block.channels - 1) / group.result + 1) * group.source;
    const SourcePart<T> part =
        part_of(source, plan.source.strides, source_extents(m.map), block.pixels, first, end - first);
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t lane = 0; lane < lanes; ++lane) {
            // (Lanes beyond the channels repeat the last one.)
            const int64_t channel = block.channel + std::min(b / group.source * lanes + lane, block.channels - 1);
            const int64_t row = channel / group.result * group.source + b % group.source - first;
            gather.row_of_lane[b * lanes + lane] = gather.rows + row * lanes;
        }
    const int64_t row_step = layout.range[1].step * part.strides.axis[1];
    const int64_t column_step = layout.range[2].step * part.strides.axis[2];
    for (int64_t p = 0; p < lanes; ++p) gather.pixels[p] = p * column_step;
    const kernels::Run all{0, 0, end - first};
    CopyBands(layout, part).for_each([&](const kernels::Band& band) {
        to = write_band(layout, blocks, band, row_step, to, [&](T* at, int64_t row) {
            for (int64_t p = 0; p < band.count; p += lanes) {
                const int64_t count = std::min(lanes, band.count - p);
                reading(kernel, part.first)
                    .transpose_panel((part.first + (row + p * column_step)).at, gather.pixels, count, &all, 1,
                                     gather.rows, lanes, part.first.end);
                for (int64_t b = 0; b < blocks; ++b)
                    kernel.transpose_rows(gather.row_of_lane + b * lanes, lanes, count,
                                          at + b * layout.elems + p * lanes, lanes);
            }
        });
    });
}

}  // namespace convpp
