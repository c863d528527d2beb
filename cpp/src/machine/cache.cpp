// What the system says about its caches.  cache.hpp says what goes out.
#include "machine/cache.hpp"

#include <algorithm>

#if defined(__linux__)
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace convpp {
namespace {

int64_t read_l2() {
#if defined(__linux__) && defined(_SC_LEVEL2_CACHE_SIZE)
    return sysconf(_SC_LEVEL2_CACHE_SIZE);
#elif defined(__APPLE__)
    int64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.l2cachesize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
#else
    return 0;
#endif
}

}  // namespace

int64_t cache_bytes() {
    // An L2 that several cores share is larger than what one of them should fill; blocks for less than 256 KiB would
    // spend their time on borders.
    static const int64_t bytes = [] {
        const int64_t l2 = read_l2();
        return l2 <= 0 ? usual_cache_bytes : std::clamp(l2, int64_t(256) << 10, int64_t(2) << 20);
    }();
    return bytes;
}

}  // namespace convpp
