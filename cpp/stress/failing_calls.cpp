// A library to preload (LD_PRELOAD, glibc), in which chosen calls fail: memory that there is not, threads that cannot
// be started.
//
// In:  failing_calls_arm(kinds, number, after): of the calls of these kinds, counted from now on, the number-th fails,
// and
//      with `after` all behind it.  (kinds: the sum of 1: operator new and aligned blocks, which only C++ takes here;
//      2: malloc and realloc; 4: pthread_create; 8: calloc.)
// Out: failing_calls_disarm() says how many there were, failed ones included.
// Next: tools/faults.py, which arms it from Python.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>

extern "C" {
// What glibc's malloc and the others are, whoever else takes their names.
void* __libc_malloc(size_t size);  // NOLINT: glibc's names
void* __libc_calloc(size_t count, size_t size);  // NOLINT
void* __libc_realloc(void* memory, size_t size);  // NOLINT
void* __libc_memalign(size_t alignment, size_t size);  // NOLINT
}

namespace {

enum Kind : int { blocks = 1, mallocs = 2, threads = 4, callocs = 8 };

std::atomic<int> armed{0};
std::atomic<int64_t> counted{0}, fails_at{0};
std::atomic<bool> fails_after{false};

bool fails(Kind kind) {
    if ((armed.load(std::memory_order_acquire) & kind) == 0) return false;
    const int64_t number = counted.fetch_add(1) + 1;
    return number == fails_at.load() || (fails_after.load() && number > fails_at.load());
}

void* no_memory() {
    errno = ENOMEM;
    return nullptr;
}

void* take(size_t size) {
    void* const memory = fails(blocks) ? nullptr : __libc_malloc(size > 0 ? size : 1);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(size_t size) { return take(size); }
void* operator new[](size_t size) { return take(size); }

extern "C" {

void* aligned_alloc(size_t alignment, size_t size) noexcept {
    return fails(blocks) ? no_memory() : __libc_memalign(alignment, size);
}
void* malloc(size_t size) noexcept { return fails(mallocs) ? no_memory() : __libc_malloc(size); }
void* calloc(size_t count, size_t size) noexcept { return fails(callocs) ? no_memory() : __libc_calloc(count, size); }
void* realloc(void* memory, size_t size) noexcept {
    return fails(mallocs) ? no_memory() : __libc_realloc(memory, size);
}
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const Create create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    return fails(threads) ? EAGAIN : create(thread, attributes, start, argument);
}

void failing_calls_arm(int kinds, int64_t number, int after) {
    counted.store(0);
    fails_at.store(number);
    fails_after.store(after != 0);
    armed.store(kinds, std::memory_order_release);
}
int64_t failing_calls_disarm() {
    armed.store(0, std::memory_order_release);
    return counted.load();
}
}
