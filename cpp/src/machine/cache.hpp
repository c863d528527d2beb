// The size of the cache that blocks are made for.
//
// Out: bytes of a core's L2, read from the system once; a usual size where it does not say.
#pragma once

#include <cstdint>

namespace convpp {

inline constexpr int64_t usual_cache_bytes = int64_t(1) << 20;

int64_t cache_bytes();

}  // namespace convpp
