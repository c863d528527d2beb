// Memory that begins at a cache line.
//
// In:  bytes.   Out: such memory, which give_aligned takes back, or null where there is none.   Next: workspace.hpp.
// Both have a source file of their own: a test that links others in their place decides what the core gets.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convpp {

inline constexpr int64_t cache_line = 64;

void* take_aligned(size_t bytes) noexcept;  // a multiple of cache_line
void give_aligned(void* memory) noexcept;

}  // namespace convpp
