// A team without helpers, for programs of one thread (CONVPP_THREADS in CMakeLists.txt): the caller does all tasks.
//
// In:  a job.   Out: each task done once.   Next: team.hpp.
#include <algorithm>

#include "convpp/runtime.hpp"
#include "machine/team.hpp"

namespace convpp {

void Team::run(const Job& job, int) {
    const GivenUp nobody_else;
    for (int64_t lo = 0; lo < job.tasks; lo += job.several)
        job.run(job.context, lo, std::min(lo + job.several, job.tasks), 0, nobody_else);
}

int Team::helpers() { return 0; }
uint64_t Team::forks() { return 0; }  // only tells helpers of a parent's from those of a child's
bool Team::borrows() { return false; }

void borrow_threads(EnterRegion) {}

}  // namespace convpp
