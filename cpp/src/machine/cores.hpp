// How many cores this process may keep busy.
//
// In:  the system.   Out: a number.   Next: runtime.cpp, whose default number of threads this is.
#pragma once

#include <string>

namespace convpp {

// At least 1: the cores that the calling thread may run on (its affinity), but no more than a container's share of
// processor time comes to (a cgroup's quota, rounded up).
int usable_cores() noexcept;

// The least quota of the cgroups that a process is in, in cores: infinity where there is none.
// `group_file`: /proc/self/cgroup; `root`: where cgroups are mounted.
double cgroup_quota(const std::string& group_file, const std::string& root);

}  // namespace convpp
