// Fences between the arrays of a workspace, in builds that have them.  fences.hpp says what comes in and goes out.
//
// A layout may lie in an array of another one (of a sample in that of all samples), and threads have layouts beside
// each other: none of them may reach the fence of another.
#include "machine/fences.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <utility>

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

// Of malloc: tests count what operator new is asked for, and let it fail.
template <class T>
struct Malloc {
    using value_type = T;
    Malloc() = default;
    template <class Other>
    Malloc(const Malloc<Other>&) {}  // NOLINT: allocators are converted
    T* allocate(size_t count) {
        if (void* const memory = std::malloc(count * sizeof(T))) return static_cast<T*>(memory);
        throw std::bad_alloc();
    }
    void deallocate(T* memory, size_t) { std::free(memory); }
    bool operator==(const Malloc&) const { return true; }
    bool operator!=(const Malloc&) const { return false; }
};

struct Fences {
    using At = const std::byte*;
    std::mutex mutex;
    std::map<At, int64_t, std::less<>, Malloc<std::pair<const At, int64_t>>> bytes_at;  // of the fences that stand

    // use(first fence, behind the last one) of those that reach into [lo, hi).
    template <class Use>
    void between(const std::byte* lo, const std::byte* hi, const Use& use) {
        auto first = bytes_at.lower_bound(lo);
        if (first != bytes_at.begin()) {
            const auto before = std::prev(first);
            if (before->first + before->second > lo) first = before;
        }
        use(first, bytes_at.lower_bound(hi));
    }
};

bool is_marked(const std::byte* fence, int64_t bytes) {
    return std::all_of(fence, fence + bytes, [](std::byte b) { return b == std::byte(mark); });
}

Fences& fences() {
    // Never destroyed: threads may still compute when the program ends.
    alignas(Fences) static std::byte memory[sizeof(Fences)];
    static Fences* const all = [] {
        // A child that is forked while another thread has the lock must not wait for it.
        pthread_atfork([] { fences().mutex.lock(); }, [] { fences().mutex.unlock(); }, [] { fences().mutex.unlock(); });
        return new (memory) Fences;
    }();
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

void inspect_fences(void* block, int64_t bytes) {
    if (block != nullptr) ASAN_UNPOISON_MEMORY_REGION(block, static_cast<size_t>(bytes));
}

#else

void fence_array(void* array, int64_t bytes, int64_t fence) {
    std::byte *const first = static_cast<std::byte*>(array), *const end = first + bytes;
    const std::lock_guard<std::mutex> lock(fences().mutex);
    fences().between(first, end + fence, [](auto lo, auto hi) { broken.fetch_add(std::distance(lo, hi)); });
    std::memset(end, mark, static_cast<size_t>(fence));
    fences().bytes_at[end] = fence;
}

void inspect_fences(void* block, int64_t bytes) {
    if (block == nullptr) return;
    const std::byte* const first = static_cast<const std::byte*>(block);
    const std::lock_guard<std::mutex> lock(fences().mutex);
    fences().between(first, first + bytes, [](auto lo, auto hi) {
        for (auto at = lo; at != hi; ++at)
            if (!is_marked(at->first, at->second)) broken.fetch_add(1);
        fences().bytes_at.erase(lo, hi);
    });
}

#endif

int64_t broken_fences() { return broken.load(); }

}  // namespace convpp
