// Jobs by the OpenMP threads of the caller, in place of the team's helpers: for programs that have such threads anyway.
//
// PyTorch's threads spin for some milliseconds behind each of its operators, and a helper that wakes meanwhile shares a
// core with one of them.  Where both have the same OpenMP library, the threads that spin are had for the asking.
// (Training MobileNet v2 on two cores: a step takes 379 ms with helpers, 287 ms in PyTorch alone.)  The price is that
// of every OpenMP region: a caller waits for all of its threads, also for one that another process keeps from its core;
// and a child that is forked off in the middle of a call (by a signal's handler) waits for threads that it has not got.
//
// A process may have several OpenMP libraries, as wheels bring their own.  The one that counts is asked for the function
// that GCC's compiler calls for a region, which LLVM's and Intel's libraries have, too; so it need not be the one that
// this file is linked to, if any.
//
// In:  a job, a number of threads.   Out: each task done once.   Next: team.hpp, team.cpp.
#include <algorithm>
#include <atomic>
#include <exception>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#include "convpp/runtime.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

// Calls `run(data)` on so many threads, this one among them, and waits for all.
using Region = void (*)(void (*run)(void*), void* data, unsigned threads, unsigned flags);
using ThreadNumber = int (*)();

#ifdef _OPENMP
void own_region(void (*run)(void*), void* data, unsigned threads, unsigned) {
#pragma omp parallel num_threads(static_cast<int>(threads))
    run(data);
}
constexpr Region own = own_region;
int own_thread_number() { return omp_get_thread_num(); }
#else
constexpr Region own = nullptr;
int own_thread_number() { return 0; }
#endif

// Those in use: written before `borrowed_at` says so, both of one library.
struct Library {
    Region region;
    ThreadNumber thread_number;
};
std::atomic<const Library*> borrowed_from{nullptr};

// One more than the number of forks when they were borrowed; 0: they are not.  (OpenMP's threads are not there in a
// forked child, where a region would wait for them for ever.)
std::atomic<uint64_t> borrowed_at{0};

void borrow_from(const Library* library) {
    if (library != nullptr) borrowed_from.store(library, std::memory_order_release);
    borrowed_at.store(library != nullptr ? Team::forks() + 1 : 0, std::memory_order_release);
}

}  // namespace

void borrow_openmp_threads(bool borrowed) {
    static const Library library{own, own_thread_number};
    borrow_from(borrowed && has_openmp() ? &library : nullptr);
}

bool borrow_openmp_threads_of(const std::string& library) {
#if defined(__unix__) || defined(__APPLE__)
    // It stays open: threads may be in a region of it, and it stays loaded.
    void* const handle = dlopen(library.empty() ? nullptr : library.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) return false;
    // (Those of the library itself, and of what it is linked to, in the order in which it finds them.)
    const auto region = reinterpret_cast<Region>(dlsym(handle, "GOMP_parallel"));
    const auto thread_number = reinterpret_cast<ThreadNumber>(dlsym(handle, "omp_get_thread_num"));
    if (region == nullptr || thread_number == nullptr) return false;
    const Library* const before = borrowed_from.load(std::memory_order_acquire);
    const bool same = before != nullptr && before->region == region && before->thread_number == thread_number;
    borrow_from(same ? before : new Library{region, thread_number});  // never deleted: callers may be about to read it
    return true;
#else
    return static_cast<void>(library), false;
#endif
}

bool Team::borrows() { return borrowed_at.load(std::memory_order_acquire) == forks() + 1; }

namespace {

struct Borrowed {
    const Team::Job& job;
    ThreadNumber thread_number;
    std::atomic<int64_t> next{0};
    Team::GivenUp given_up{};
    std::exception_ptr error{};  // of the caller's own thread: others do not throw
};

void take_tasks(void* data) {
    auto& [job, thread_number, next, given_up, error] = *static_cast<Borrowed*>(data);
    const int thread = thread_number();
    try {
        for (int64_t lo = 0; (lo = next.fetch_add(job.several, std::memory_order_relaxed)) < job.tasks;)
            job.run(job.context, lo, std::min(lo + job.several, job.tasks), thread, given_up);
    } catch (...) {
        error = std::current_exception();
        given_up.yes.store(true, std::memory_order_relaxed);
        next.store(job.tasks, std::memory_order_relaxed);
    }
}

}  // namespace

void Team::run_borrowed(const Job& job, int threads) {
    const Library& library = *borrowed_from.load(std::memory_order_acquire);
    Borrowed work{job, library.thread_number};
    library.region(take_tasks, &work, static_cast<unsigned>(threads), 0);
    if (work.error) std::rethrow_exception(work.error);
}

}  // namespace convpp
