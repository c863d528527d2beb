// Aligned memory for tests that link a take_aligned of their own (machine/aligned.hpp), whose heap has none of the
// standard's functions for it on every platform.
//
// In:  bytes.   Out: memory that begins at a cache line, or null.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "machine/aligned.hpp"

namespace convpp::test {

// What malloc gave stands in front.
inline void* aligned_memory(size_t bytes) noexcept {
    const auto line = static_cast<size_t>(cache_line);
    void* const whole = std::malloc(bytes + 2 * line);
    if (whole == nullptr) return nullptr;
    auto* const at = static_cast<unsigned char*>(whole) + 2 * line - reinterpret_cast<uintptr_t>(whole) % line;
    reinterpret_cast<void**>(at)[-1] = whole;
    return at;
}
inline void free_aligned_memory(void* memory) noexcept {
    if (memory != nullptr) std::free(static_cast<void**>(memory)[-1]);
}

}  // namespace convpp::test
