// Makes the team's helpers: as many as are asked for, or as many as there can be.  team.hpp says what they do.
#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>

#include <csignal>
#endif
#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#include "machine/cores.hpp"
#include "machine/team.hpp"

namespace convpp {

// More threads than this only wait for each other.
int Team::most_threads() {
    static const int most = std::max(16, 2 * usable_cores());
    return most;
}

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto between_tries = std::chrono::seconds(1);

int64_t ticks() { return Clock::now().time_since_epoch().count(); }
constexpr int64_t ticks(Clock::duration duration) { return duration.count(); }

// A thread inherits these from the one that happened to make it.  Signals are for the program's own threads, but for
// those that a fault in this very thread raises; and the cores are those of the process's first thread, whichever ones
// the caller has bound itself to.
void become_helper() {
#if defined(__unix__) || defined(__APPLE__)
    sigset_t signals;
    sigfillset(&signals);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&signals, fault);
    pthread_sigmask(SIG_SETMASK, &signals, nullptr);
#endif
#ifdef __linux__
    cpu_set_t cores;
    if (sched_getaffinity(getpid(), sizeof cores, &cores) == 0) sched_setaffinity(0, sizeof cores, &cores);
#endif
}

#ifdef _OPENMP

// Returns when the system has stopped counting a thread that ended: somewhat later than joining it.
void wait_until_gone(long thread) {
#ifdef __linux__
    const std::string entry = "/proc/self/task/" + std::to_string(thread);
    for (int i = 0; i < 100 && access(entry.c_str(), F_OK) == 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
#else
    static_cast<void>(thread);
#endif
}

// How many threads (at most `wanted`) this process can have beside those that it has.  An OpenMP library ends the
// process when it cannot create one, so this is found out with threads that do nothing.
int creatable_threads(int wanted) {
    Event ending;
    std::vector<long> ids(static_cast<size_t>(wanted), 0);
    std::vector<std::thread> threads;
    threads.reserve(ids.size());
    try {
        for (long& id : ids)
            threads.emplace_back([&ending, &id] {
#ifdef __linux__
                id = syscall(SYS_gettid);
#endif
                while (ending.count() == 0) ending.wait(0);
            });
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc: so many, then
    }
    ending.change();
    ending.wake(-1);
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < threads.size(); ++i) wait_until_gone(ids[i]);
    return static_cast<int>(threads.size());
}

[[noreturn]] void sleep_for_ever() {
    static Event never;
    for (;;) never.wait(0);
}

#endif

}  // namespace

// Becomes helpers: so many, or as many as there can be.
void Team::run_helpers(int wanted) {
    become_helper();
    int made = 0;
    const auto count_missing = [&] {
        if (made == wanted) return;
        next_try_.store(ticks() + ticks(between_tries), std::memory_order_relaxed);
        asked_for_.fetch_sub(wanted - made, std::memory_order_relaxed);
    };
    try {
#ifdef _OPENMP
        // Twice: the first ones may get stacks that the process had left over, and does not keep.
        made = creatable_threads(creatable_threads(wanted));
#else
        made = 1;
        for (; made < wanted; ++made) std::thread([this] { help_for_ever(); }).detach();
#endif
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc: there are fewer
    }
    count_missing();
#ifdef _OPENMP
    if (made == 0) return;
    // The region's first thread stands for the callers, so that those places that OMP_PLACES gives to the others are
    // the helpers'.
#pragma omp parallel num_threads(made + 1)
    {
        if (omp_get_thread_num() == 0) sleep_for_ever();
        help_for_ever();
    }
#else
    help_for_ever();
#endif
}

void Team::make_helpers(int wanted) {
    const std::unique_lock<std::mutex> lock(making_, std::try_to_lock);
    const int missing = std::min(wanted, most_threads() - 1) - asked_for_.load(std::memory_order_relaxed);
    if (!lock || missing <= 0 || ticks() < next_try_.load(std::memory_order_relaxed)) return;
    asked_for_.fetch_add(missing, std::memory_order_relaxed);
    try {
        std::thread([this, missing] { run_helpers(missing); }).detach();
    } catch (const std::exception&) {  // std::bad_alloc, std::system_error: the caller does without
        asked_for_.fetch_sub(missing, std::memory_order_relaxed);
        next_try_.store(ticks() + ticks(between_tries), std::memory_order_relaxed);
    }
}

}  // namespace convpp
