// How many cores this process may keep busy.
//
// In:  the system.   Out: a number.   Next: runtime.cpp, whose default number of threads this is.
#pragma once

namespace convpp {

// At least 1: the cores that the calling thread may run on (its affinity), but no more than a container's share of
// processor time comes to (a cgroup's quota, rounded up).
int usable_cores() noexcept;

}  // namespace convpp
