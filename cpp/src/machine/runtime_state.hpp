// What the core asks the runtime at each call.
#pragma once

namespace convpp {

void check_threads(int n);          // throws std::invalid_argument unless n is a usable number of threads
int usable_threads(int requested);  // 0: the process's number

}  // namespace convpp
