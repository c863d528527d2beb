// The threads that help callers, and how they are handed work.
//
// A caller puts its job into a free slot, wakes helpers, and does tasks itself.  A helper joins an open slot and takes
// tasks off the same counter.  When none is left the caller closes the slot and waits for those helpers alone that
// still hold a task.  So a helper that comes late, or that another process keeps from its core, costs nothing; and
// where there are no helpers the caller does all by itself.
//
// The helpers are one team for all callers, made when they are first asked for, and sleep soon when idle.  They are no
// threads of an OpenMP library: that would count them as its own, and let the threads of other users of it (PyTorch's)
// wait asleep from then on, as if cores were scarce, which makes their small operators twice as slow.
//
// In:  a job: a number of independent tasks.   Out: each task done once.
// Next: event.hpp; team.cpp (work), team_helpers.cpp (how helpers are made), team_borrowed.cpp (how to do without);
// team_alone.cpp (where a program has one thread);
// parallel.hpp (how all this is used).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#ifndef CONVPP_NO_THREADS
#include <mutex>

#include "machine/event.hpp"
#endif

namespace convpp {

class Team {
public:
    // Set when the caller gives its job up.
    struct GivenUp {
        std::atomic<bool> yes{false};
        operator bool() const { return yes.load(std::memory_order_relaxed); }
    };

    struct Job {
        // Does tasks [lo, hi) as the thread of this number, which no other thread of the job has.
        void (*run)(const void* context, int64_t lo, int64_t hi, int thread, const GivenUp&) = nullptr;
        const void* context = nullptr;
        int64_t tasks = 0;
        int64_t several = 1;  // tasks that are taken at once
    };

    // Does a job with at most so many threads, the caller among them.  Throws what `run` throws on the caller's thread
    // (it must not throw on others), when no helper holds a task any more.
    static void run(const Job& job, int threads);

    static int helpers();  // how many there are now
    static uint64_t forks();  // how often this process was forked, its parents' forks included
    static bool borrows();  // whether the caller's OpenMP threads do its jobs, in place of helpers

#ifndef CONVPP_NO_THREADS

private:
    // A job and who is at it.  Slots are never freed, so that a helper that comes too late looks at a slot still.
    struct alignas(64) Slot {
        std::atomic<uint64_t> state{0};  // see State; 0: the slot is free
        std::atomic<int64_t> next{0};    // the first task that nobody has taken
        Job job;
        GivenUp given_up;
        Event left;  // helpers, while the caller waits
        std::atomic<bool> waited_for{false};
    };
    class Call;
    static void run_borrowed(const Job& job, int threads);

    Team() = default;
    static Team& get();
    static int most_threads();
    static int handle_forks();
    static const int handles_forks_;

    Slot* open(const Job& job, int helpers);
    static void close(Slot& slot, bool given_up);
    bool help_one();
    [[noreturn]] void help_for_ever();
    void make_helpers(int wanted);
    void run_helpers(int wanted);

    // More callers than this at once do without helpers: they keep the machine busy by themselves.
    static constexpr size_t slot_count = 32;
    std::array<Slot, slot_count> slots_;
    Event opened_;                      // slots
    std::atomic<int> callers_{0};
    std::atomic<int> core_of_caller_{-1};  // the last one
    std::atomic<int> sleepers_{0}, spinners_{0};  // helpers that wait for work, asleep or awake
    std::atomic<int> asked_for_{0}, helpers_{0};
    std::atomic<int64_t> next_try_{0};  // to make helpers, after it failed
    std::mutex making_;

#endif
};

}  // namespace convpp
