// Asks the system for aligned memory.  aligned.hpp says what comes in and goes out.
#include "machine/aligned.hpp"

#include <cstdlib>

#ifdef _WIN32
#include <malloc.h>
#endif

namespace convpp {

#ifdef _WIN32

// Windows' C library has no std::aligned_alloc, since its free() could not take such memory back.
void* take_aligned(size_t bytes) noexcept { return _aligned_malloc(bytes, static_cast<size_t>(cache_line)); }
void give_aligned(void* memory) noexcept { _aligned_free(memory); }

#else

void* take_aligned(size_t bytes) noexcept { return std::aligned_alloc(static_cast<size_t>(cache_line), bytes); }
void give_aligned(void* memory) noexcept { std::free(memory); }

#endif

}  // namespace convpp
