// Makes the team's helpers: as many as are asked for, or as many as there can be.  team.hpp says what they do.
#include <algorithm>
#include <chrono>
#include <exception>
#include <system_error>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>

#include <csignal>
#endif
#ifdef __linux__
#include <sched.h>
#include <unistd.h>
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

}  // namespace

// Becomes helpers: so many, or as many as there can be.
void Team::run_helpers(int wanted) {
    become_helper();
    int made = 1;
    try {
        for (; made < wanted; ++made) std::thread([this] { help_for_ever(); }).detach();
    } catch (const std::exception&) {  // std::system_error, std::bad_alloc: there are fewer
        next_try_.store(ticks() + ticks(between_tries), std::memory_order_relaxed);
        asked_for_.fetch_sub(wanted - made, std::memory_order_relaxed);
    }
    help_for_ever();
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
