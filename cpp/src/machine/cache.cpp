// What the system says about its caches.  cache.hpp says what goes out.
#include "machine/cache.hpp"

#include <algorithm>

#if defined(__linux__)
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>

#include <vector>
#endif

namespace convpp {
namespace {

#if defined(__linux__)

// The first line of a small file: "" where there is none.
std::string read_line(const std::string& path) {
    char text[32];
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return "";
    const auto got = read(file, text, sizeof text);
    close(file);
    const std::string line(text, got > 0 ? static_cast<size_t>(got) : 0);
    return line.substr(0, line.find('\n'));
}

// "512K", of the first core's cache of level 2.
int64_t l2_of_first_core() {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index";
    for (char index = '0'; index <= '9'; ++index) {
        if (read_line(folder + index + "/level") != "2") continue;
        const std::string size = read_line(folder + index + "/size");
        char* end = nullptr;
        const int64_t number = std::strtoll(size.c_str(), &end, 10);
        return *end == 'K' ? number << 10 : *end == 'M' ? number << 20 : number;
    }
    return 0;
}

int64_t read_l2() {
    // glibc asks x86's CPUs themselves, and knows nothing of others; musl does not know the name.
#ifdef _SC_LEVEL2_CACHE_SIZE
    if (const int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes;
#endif
    return l2_of_first_core();
}

#elif defined(__APPLE__)

int64_t read_l2() {
    // Of the fast cores, where there are others, which have less.
    for (const char* const name : {"hw.perflevel0.l2cachesize", "hw.l2cachesize"}) {
        int64_t bytes = 0;
        size_t size = sizeof bytes;
        if (sysctlbyname(name, &bytes, &size, nullptr, 0) == 0 && bytes > 0) return bytes;
    }
    return 0;
}

#elif defined(_WIN32)

int64_t read_l2() {
    DWORD bytes = 0;
    GetLogicalProcessorInformation(nullptr, &bytes);
    std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> parts(bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
    if (parts.empty() || !GetLogicalProcessorInformation(parts.data(), &bytes)) return 0;
    int64_t most = 0;  // of cores that differ, the fast ones have more
    for (const SYSTEM_LOGICAL_PROCESSOR_INFORMATION& part : parts)
        if (part.Relationship == RelationCache && part.Cache.Level == 2 && part.Cache.Type != CacheInstruction)
            most = std::max(most, static_cast<int64_t>(part.Cache.Size));
    return most;
}

#else

int64_t read_l2() { return 0; }

#endif

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
