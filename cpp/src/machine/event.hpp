// A number that threads wait on until it changes (what std::atomic::wait is from C++20 on).
//
// Linux has this in the kernel: nobody holds a lock while it is asked, so a thread that loses its core in the middle
// of waking up delays nobody else.  Elsewhere it is made of a mutex and a condition variable.  An Event must live as
// long as the process: destroying one that a thread waits on would hang.
#pragma once

#include <atomic>
#include <cstdint>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace convpp {

class Event {
public:
    uint32_t count() const { return count_.load(std::memory_order_seq_cst); }

    // Returns when the number is not `seen` any more, or sooner.
    void wait(uint32_t seen) {
#ifdef __linux__
        syscall(SYS_futex, &count_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
#else
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return count() != seen; });
#endif
    }

    // Changes the number.  Who reads it afterwards, or waits, sees what was written before.
    void change() {
#ifndef __linux__
        const std::lock_guard<std::mutex> lock(mutex_);
#endif
        count_.fetch_add(1, std::memory_order_seq_cst);
    }

    // Ends the waiting of so many threads (at least).
    void wake(int threads) {
#ifdef __linux__
        syscall(SYS_futex, &count_, FUTEX_WAKE_PRIVATE, threads < 0 ? INT_MAX : threads, nullptr, nullptr, 0);
#else
        if (threads == 1) changed_.notify_one();
        else changed_.notify_all();
#endif
    }

private:
    std::atomic<uint32_t> count_{0};
    static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
#ifndef __linux__
    std::mutex mutex_;
    std::condition_variable changed_;
#endif
};

}  // namespace convpp
