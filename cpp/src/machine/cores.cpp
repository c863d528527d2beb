// Asks the system for its cores.  cores.hpp says what counts.
#include "machine/cores.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <limits>
#include <string>

#ifndef CONVPP_NO_THREADS
#include <thread>
#endif
#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#elif defined(_WIN32)
#include <windows.h>
#endif

namespace convpp {
namespace {

constexpr double unlimited = std::numeric_limits<double>::infinity();

#ifdef __linux__

// "max 100000" or "150000 100000": microseconds of processor time in a period (version 2).
double quota_v2(const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) return unlimited;
    return std::strtod(quota.c_str(), nullptr) / period;
}

// Two files, and -1 where there is no limit (version 1).
double quota_v1(const std::string& folder) {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
    double quota = -1, period = 0;
    if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) return unlimited;
    return quota / period;
}

// The least quota of a group and of all groups around it.  (In a container the path may be that of the host, of which
// only the root is to be seen here.)
template <class Quota>
double least_quota(const std::string& root, std::string path, const Quota& quota) {
    double least = unlimited;
    for (;;) {
        least = std::min(least, quota(root + path));
        const size_t slash = path.rfind('/');
        if (slash == std::string::npos) return least;
        path.resize(slash);
    }
}

// The lines of /proc/self/cgroup: "0::/path" (version 2), "4:cpu,cpuacct:/path" (version 1).
double read_quota(const std::string& group_file, const std::string& root) {
    std::ifstream groups(group_file);
    double least = unlimited;
    for (std::string line; std::getline(groups, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        std::string path = line.substr(second + 1);
        if (path == "/") path.clear();
        if (controllers == ",,") least = std::min(least, least_quota(root, path, quota_v2));
        if (controllers.find(",cpu,") != std::string::npos)
            least = std::min(least, least_quota(root + "/cpu", path, quota_v1));
    }
    return least;
}

int cores_of_affinity() {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
    return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));  // more cores than the set has room for
}

#else

double read_quota(const std::string&, const std::string&) { return unlimited; }

int cores_of_affinity() {
#ifdef _WIN32
    // (Of a process that runs on several groups of 64 cores the masks are empty.)
    DWORD_PTR of_process = 0, of_system = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &of_process, &of_system) && of_process != 0)
        return __builtin_popcountll(of_process);
    return static_cast<int>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS));
#elif defined(CONVPP_NO_THREADS)
    return 1;
#else
    return static_cast<int>(std::thread::hardware_concurrency());
#endif
}

#endif

}  // namespace

double cgroup_quota(const std::string& group_file, const std::string& root) { return read_quota(group_file, root); }

int usable_cores() noexcept {
    double quota = unlimited;
    try {
        quota = cgroup_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    } catch (const std::exception&) {  // no memory to read files with: as if there were none
    }
    return std::max(1, static_cast<int>(std::min(static_cast<double>(cores_of_affinity()), std::ceil(quota))));
}

}  // namespace convpp
