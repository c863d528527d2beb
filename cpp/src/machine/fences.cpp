// Fences between the arrays of a workspace, in builds that have them.  fences.hpp says what comes in and goes out.
//
// Several layouts lie in one block one after the other (of samples, of a plan and of the one that computes again), and
// each may lie where the fences of an earlier one were.  So a fence is looked at when its memory is laid out anew, and
// when the block goes out of use.
#include "machine/fences.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif

namespace convpp {
namespace {

std::atomic<int64_t> broken{0};

#ifndef ASAN_POISON_MEMORY_REGION

constexpr int mark = 0xb5;

struct Fences {
    std::mutex mutex;
    std::map<const std::byte*, int64_t> bytes_at;  // of the fences that stand

    void forget(const std::byte* lo, const std::byte* hi) {
        auto first = bytes_at.lower_bound(lo);
        if (first != bytes_at.begin()) {
            const auto before = std::prev(first);
            if (before->first + before->second > lo) first = before;
        }
        auto last = first;
        for (; last != bytes_at.end() && last->first < hi; ++last)
            if (!std::all_of(last->first, last->first + last->second, [](std::byte b) { return b == std::byte(mark); }))
                broken.fetch_add(1);
        bytes_at.erase(first, last);
    }
};

Fences& fences() {
    static Fences* const all = new Fences;  // never destroyed: threads may still compute when the program ends
    return *all;
}

#endif

}  // namespace

#ifdef ASAN_POISON_MEMORY_REGION

void fence_array(void* array, int64_t bytes, int64_t fence) {
    std::byte* const end = static_cast<std::byte*>(array) + bytes;
    ASAN_UNPOISON_MEMORY_REGION(array, static_cast<size_t>(bytes));
    ASAN_POISON_MEMORY_REGION(end, static_cast<size_t>(fence));
}

void inspect_fences(void* block, int64_t bytes) { ASAN_UNPOISON_MEMORY_REGION(block, static_cast<size_t>(bytes)); }

#else

void fence_array(void* array, int64_t bytes, int64_t fence) {
    std::byte* const first = static_cast<std::byte*>(array);
    const std::lock_guard<std::mutex> lock(fences().mutex);
    fences().forget(first, first + bytes + fence);
    std::memset(first + bytes, mark, static_cast<size_t>(fence));
    fences().bytes_at[first + bytes] = fence;
}

void inspect_fences(void* block, int64_t bytes) {
    const std::byte* const first = static_cast<const std::byte*>(block);
    const std::lock_guard<std::mutex> lock(fences().mutex);
    fences().forget(first, first + bytes);
}

#endif

int64_t broken_fences() { return broken.load(); }

}  // namespace convpp
