// The weight gradient's chunks of pixels, each summed on its own, added in a tree of fixed shape.
//
// In:  the chunks' sums, one behind the other.   Out: their sum, in place of the first chunk's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/contract.hpp"

namespace convpp {

// Elements [from, from + count) of each chunk's sums; chunks are `pitch` elements apart.
struct ChunkPart {
    int64_t chunks, pitch, from, count;
};

// A piece that stays in L1 at a time.
template <class T>
void add_chunks(const kernels::KernelTable<T>& kernel, const ChunkPart& part, T* sums) {
    constexpr int64_t piece = 512;
    for (int64_t from = part.from, end = from + part.count; from < end; from += piece) {
        const int64_t count = std::min(piece, end - from);
        for (int64_t distance = 1; distance < part.chunks; distance *= 2)
            for (int64_t chunk = 0; chunk + distance < part.chunks; chunk += 2 * distance)
                kernel.add(sums + (chunk + distance) * part.pitch + from, count, sums + chunk * part.pitch + from);
    }
}

}  // namespace convpp
