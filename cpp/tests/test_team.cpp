// The team of helpers: each task once, late helpers, many callers, forks, threads that cannot be had, interrupts.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "convpp/error.hpp"
#include "convpp/runtime.hpp"
#include "forks.hpp"
#include "machine/cores.hpp"
#include "machine/interrupt.hpp"
#include "machine/parallel.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Whether it comes true within half a minute: far longer than any machine needs, and no test that passes waits so long.
template <class True>
bool becomes_true(const True& is_true) {
    for (const auto end = Clock::now() + std::chrono::seconds(30); Clock::now() < end;) {
        if (is_true()) return true;
        std::this_thread::sleep_for(milliseconds(1));
    }
    return is_true();
}

// Whether all tasks are done, each once, by threads whose numbers no two have at the same time.
bool each_once(int64_t tasks, int threads) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(tasks)), busy(static_cast<size_t>(threads));
    std::atomic<bool> right{true};
    parallel_for(tasks, threads, [&](int64_t task, int thread) {
        if (thread < 0 || thread >= threads || busy[static_cast<size_t>(thread)].fetch_add(1) != 0) right = false;
        else busy[static_cast<size_t>(thread)].fetch_sub(1);
        done[static_cast<size_t>(task)].fetch_add(1);
    });
    for (const auto& times : done)
        if (times != 1) return false;
    return right;
}

// Whether a helper does a task of a job, sooner or later.
bool helped(int threads = 2) {
    return becomes_true([&] {
        std::atomic<bool> by_helper{false};
        parallel_for(64, threads, [&](int64_t, int thread) {
            if (thread > 0) by_helper = true;
            else std::this_thread::sleep_for(std::chrono::microseconds(50));
        });
        return by_helper.load();
    });
}

// What the system says of a process or a thread, in a line of its own; "" where it does not.
std::string field_of(const std::string& folder, const std::string& name) {
    std::ifstream status(folder + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind(name, 0) == 0) return line.substr(name.size());
    return "";
}

// Of this process; 0 where the system does not say.
int os_threads() {
    const std::string threads = field_of("/proc/self", "Threads:");
    return threads.empty() ? 0 : std::stoi(threads);
}

}  // namespace

TEST_CASE("each task is done once, and a thread's number is its own") {
    for (const int threads : {1, 2, 3, 8, 100})
        for (const int64_t tasks : {0, 1, 2, 3, 17, 1000, 20000}) {
            CAPTURE(threads);
            CAPTURE(tasks);
            for (int i = 0; i < 20; ++i) CHECK(each_once(tasks, threads));
        }
}

TEST_CASE("helpers take part") {
    CHECK(helped(2));
    CHECK(helped(3));
    CHECK(Team::helpers() >= 1);
}

TEST_CASE("tasks may hand out tasks") {
    std::atomic<int> done{0};
    parallel_for(10, 3, [&](int64_t, int) { parallel_for(20, 3, [&](int64_t, int) { ++done; }); });
    CHECK(done == 200);
}

TEST_CASE("many callers share one team") {
    const int callers = 50;  // more than there are slots
    std::atomic<int> right{0};
    std::atomic<bool> ending{false};
    const int before = os_threads();
    std::vector<std::thread> threads;
    for (int i = 0; i < callers; ++i)
        threads.emplace_back([&, i] {
            bool all = true;
            for (int j = 0; j < 20; ++j) all = all && each_once(100 + i, 2 + i % 3);
            if (all) ++right;
            while (!ending) std::this_thread::sleep_for(milliseconds(1));  // it lives on, and keeps no threads
        });
    CHECK(becomes_true([&] { return right == callers; }));
    if (before > 0) {
        CAPTURE(os_threads());
        CHECK(becomes_true([&] { return os_threads() - before - callers <= Team::helpers(); }));
    }
    ending = true;
    for (std::thread& thread : threads) thread.join();
}

TEST_CASE("a caller does not wait for a helper that holds none of its tasks") {
    CHECK(helped());
    // All helpers are held by tasks of another caller until this one is done with a job of its own.
    std::atomic<bool> release{false};
    std::atomic<int> held{0};
    const int threads = Team::helpers() + 1;
    std::thread other([&] {
        parallel_for(threads, threads, [&](int64_t, int) {
            ++held;
            becomes_true([&] { return release.load(); });
        });
    });
    CHECK(becomes_true([&] { return held == threads; }));
    for (int i = 0; i < 100; ++i) CHECK(each_once(50, threads + 1));
    CHECK_FALSE(release.load());
    release = true;
    other.join();
}

TEST_CASE("a caller waits for a helper that holds a task") {
    CHECK(helped());
    std::atomic<int> done{0}, by_helper{0};
    CHECK(becomes_true([&] {
        done = 0;
        parallel_for(8, 2, [&](int64_t, int thread) {
            // Long enough for the caller to go to sleep.
            std::this_thread::sleep_for(milliseconds(thread > 0 ? 30 : 1));
            by_helper += thread;
            ++done;
        });
        CHECK(done == 8);
        return by_helper > 0;
    }));
}

#if CONVPP_TESTS_FORK

TEST_CASE("a forked child has helpers of its own, and its child too") {
    CHECK(helped());
    CHECK(in_child([] {
              if (!each_once(100, 4) || !helped()) return false;
              return in_child([] { return each_once(100, 4) && helped(); }) == 0;
          }) == 0);
    CHECK(helped());
}

TEST_CASE("forks while others hand out tasks") {
    std::atomic<bool> ending{false}, right{true};
    std::vector<std::thread> callers;
    for (int i = 0; i < 3; ++i)
        callers.emplace_back([&, i] {
            while (!ending)
                if (!each_once(40, 2 + i)) right = false;
        });
    for (int i = 0; i < 30; ++i) CHECK(in_child([] { return each_once(50, 4); }) == 0);
    ending = true;
    for (std::thread& caller : callers) caller.join();
    CHECK(right);
}

TEST_CASE("threads that cannot be created are done without") {
    // (Root may have any number of threads: the child becomes somebody else.)
    CHECK(in_child([] {
              if (geteuid() == 0 && setuid(65534) != 0) return true;
              const rlimit none{1, 1};
              setrlimit(RLIMIT_NPROC, &none);
              for (int i = 0; i < 5; ++i)
                  if (!each_once(100, 8)) return false;
              return true;
          }) == 0);
    // Those that could not be had are made later.
    CHECK(in_child([] {
              if (geteuid() != 0 || setuid(65534) != 0 || os_threads() == 0) return true;
              rlimit usual{};
              getrlimit(RLIMIT_NPROC, &usual);
              const rlimit three{std::min<rlim_t>(3, usual.rlim_max), usual.rlim_max};
              setrlimit(RLIMIT_NPROC, &three);
              each_once(100, 8);
              std::this_thread::sleep_for(milliseconds(200));
              setrlimit(RLIMIT_NPROC, &usual);
              return becomes_true([] { return each_once(100, 8) && os_threads() == 8; });
          }) == 0);
    // Room for one stack, not for eight.  (A sanitizer needs more address space than that.)
    if (sanitized) return;
    CHECK(in_child([] {
              const rlimit little{rlim_t(64) << 20, rlim_t(64) << 20};
              setrlimit(RLIMIT_AS, &little);
              for (int i = 0; i < 5; ++i)
                  if (!each_once(100, 16)) return false;
              std::this_thread::sleep_for(milliseconds(300));  // while helpers are being made
              return each_once(100, 16);
          }) == 0);
}

#if defined(__linux__)

// What the system says of each thread but for the first one.
std::vector<std::string> of_helpers(const std::string& field) {
    std::vector<std::string> found;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task"))
        if (thread.path().filename() != std::to_string(getpid())) found.push_back(field_of(thread.path(), field));
    return found;
}

TEST_CASE("helpers leave signals to the program's own threads, but for faults of their own") {
    CHECK(in_child([] {
              if (!helped(3)) return false;
              const auto blocks = [](const std::string& mask, int signal) {
                  return (std::stoull(mask, nullptr, 16) >> (signal - 1) & 1) != 0;
              };
              for (const std::string& mask : of_helpers("SigBlk:"))
                  if (!blocks(mask, SIGINT) || !blocks(mask, SIGTERM) || !blocks(mask, SIGUSR1) ||
                      blocks(mask, SIGSEGV))
                      return false;
              return !of_helpers("SigBlk:").empty();
          }) == 0);
}

TEST_CASE("helpers run on the process's cores, whichever one their first caller has bound itself to") {
    if (usable_cores() < 2) return;
    CHECK(in_child([] {
              std::string of_caller;
              std::thread([&of_caller] {
                  cpu_set_t one, cores;
                  CPU_ZERO(&one);
                  sched_getaffinity(0, sizeof cores, &cores);
                  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
                      if (CPU_ISSET(core, &cores)) CPU_SET(core, &one);
                  if (sched_setaffinity(0, sizeof one, &one) == 0 && helped(3))
                      of_caller = field_of("/proc/thread-self", "Cpus_allowed:");
              }).join();
              return !of_caller.empty() && becomes_true([&] {  // a thread that has ended is listed for a moment
                  const std::vector<std::string> cores = of_helpers("Cpus_allowed:");
                  return cores.size() == 2 && std::count(cores.begin(), cores.end(), of_caller) == 0;
              });
          }) == 0);
}

#endif
#endif

// A region as an OpenMP library has it, of new threads.
void enter_region(void (*body)(void*), void* argument, unsigned threads, unsigned) {
    std::vector<std::thread> others;
    for (unsigned i = 1; i < threads; ++i) others.emplace_back(body, argument);
    body(argument);
    for (std::thread& other : others) other.join();
}

TEST_CASE("OpenMP's threads may be borrowed") {
    borrow_threads(enter_region);
    CHECK(borrows_threads());
    for (const int threads : {1, 2, 3, 8})
        for (const int64_t tasks : {0, 1, 3, 1000}) CHECK(each_once(tasks, threads));
    std::atomic<int> done{0};
    parallel_for(10, 3, [&](int64_t, int) { parallel_for(20, 3, [&](int64_t, int) { ++done; }); });
    CHECK(done == 200);
    std::vector<std::thread> callers;
    std::atomic<int> right{0};
    for (int i = 0; i < 4; ++i) callers.emplace_back([&] { right += each_once(500, 2); });
    for (std::thread& caller : callers) caller.join();
    CHECK(right == 4);
    CHECK(in_child([] { return !borrows_threads() && each_once(1000, 3); }) == 0);  // OpenMP's are not there
    borrow_threads(nullptr);
    CHECK(!borrows_threads());
}

// ---------------------------------------------------------------- interrupts

namespace {

// Tasks of a millisecond for half a minute, unless they are interrupted: how many were done.
int64_t work_for_long(int threads) {
    std::atomic<int64_t> done{0};
    parallel_for(30000, threads, [&](int64_t, int) {
        std::this_thread::sleep_for(milliseconds(1));
        ++done;
    });
    return done;
}

}  // namespace

TEST_CASE("a call is given up between tasks") {
    for (const int threads : {1, 2, 3}) {
        CAPTURE(threads);
        int asked = 0;
        const std::function<bool()> interrupted = [&] { return ++asked == 2; };
        {
            const AskBetweenTasks asking(interrupted);
            CHECK_THROWS_AS(work_for_long(threads), Interrupted);
        }
        CHECK(asked == 2);
        CHECK(each_once(1000, threads));  // nobody is asked any more
        CHECK(asked == 2);
    }
}

TEST_CASE("helpers give up in the middle of the tasks that they took at once") {
    const std::function<bool()> interrupted = [] { return true; };
    std::atomic<int64_t> done{0};
    const auto start = Clock::now();
    {
        const AskBetweenTasks asking(interrupted);
        // At two threads a hundred thousand of these are taken eight hundred at a time.
        CHECK_THROWS_AS(parallel_for(100000, 2,
                                     [&](int64_t, int) {
                                         std::this_thread::sleep_for(milliseconds(1));
                                         ++done;
                                     }),
                        Interrupted);
    }
    CHECK(done < 10 * std::chrono::duration_cast<milliseconds>(Clock::now() - start).count());
    CHECK(done < 700);
}

TEST_CASE("borrowed threads give up, too") {
    borrow_threads(enter_region);
    {
        const std::function<bool()> interrupted = [] { return true; };
        const AskBetweenTasks asking(interrupted);
        for (const int threads : {2, 3}) CHECK_THROWS_AS(work_for_long(threads), Interrupted);
    }
    CHECK(each_once(1000, 3));
    borrow_threads(nullptr);
}

TEST_CASE("a short call is not asked about, and neither is one of another thread") {
    int asked = 0;
    const std::function<bool()> interrupted = [&] { return ++asked > 0; };
    const AskBetweenTasks asking(interrupted);
    CHECK(each_once(1000, 2));
    CHECK(asked == 0);
    std::thread other([] { parallel_for(120, 1, [](int64_t, int) { std::this_thread::sleep_for(milliseconds(1)); }); });
    other.join();
    CHECK(asked == 0);
}

TEST_CASE("a call that is given up while tasks hand out tasks") {
    const std::function<bool()> interrupted = [] { return true; };
    const AskBetweenTasks asking(interrupted);
    CHECK_THROWS_AS(parallel_for(4, 3,
                                 [&](int64_t, int thread) {
                                     if (thread == 0) work_for_long(1);
                                     else std::this_thread::sleep_for(milliseconds(20));
                                 }),
                    Interrupted);
}

#if CONVPP_TESTS_FORK

TEST_CASE("whoever is asked may fork") {
    int child_status = -1;
    bool forked = false;
    const std::function<bool()> interrupted = [&] {
        if (forked) return true;
        forked = true;
        const pid_t child = fork();
        if (child == 0) alarm(60);
        else waitpid(child, &child_status, 0);
        return false;
    };
    const pid_t parent = getpid();
    bool given_up = false;
    try {
        const AskBetweenTasks asking(interrupted);
        work_for_long(2);
    } catch (const Interrupted&) {
        given_up = true;
    }
    if (getpid() != parent) _exit(given_up && each_once(100, 3) && helped() ? 0 : 1);
    CHECK(given_up);
    CHECK(child_status == 0);
    CHECK(each_once(100, 3));
}

#endif

}  // namespace convpp::test
