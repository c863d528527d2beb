// Memory between two pages that must not be touched: whoever reads or writes beyond an end of it ends the program.
//
// In:  bytes.   Out: so many, rounded up to whole pages.   Next: support.hpp, whose arrays lie in them.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#if defined(_WIN32)
#include <windows.h>
#undef far  // macros, for compilers of the 1980s
#undef near
#elif defined(__wasi__)
#include <cstdlib>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace convpp::test {

class FencedPages {
public:
    explicit FencedPages(size_t bytes) {
        const size_t page = page_bytes();
        bytes_ = (bytes + page) / page * page;
        mapped_ = map(bytes_ + 2 * page);
        inner_ = mapped_ + page;
        open(inner_, bytes_);
    }
    FencedPages(FencedPages&& other) noexcept
        : mapped_(std::exchange(other.mapped_, nullptr)), inner_(other.inner_), bytes_(other.bytes_) {}
    FencedPages(const FencedPages&) = delete;
    FencedPages& operator=(const FencedPages&) = delete;
    ~FencedPages() {
        if (mapped_ != nullptr) unmap(mapped_, bytes_ + 2 * page_bytes());
    }

    unsigned char* begin() const { return inner_; }
    unsigned char* end() const { return inner_ + bytes_; }
    size_t bytes() const { return bytes_; }

private:
#if defined(_WIN32)
    static size_t page_bytes() {
        SYSTEM_INFO system;
        GetSystemInfo(&system);
        return system.dwPageSize;
    }
    static unsigned char* map(size_t bytes) {
        if (void* const mapped = VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS))
            return static_cast<unsigned char*>(mapped);
        throw std::bad_alloc();
    }
    static void open(void* first, size_t bytes) {
        if (VirtualAlloc(first, bytes, MEM_COMMIT, PAGE_READWRITE) == nullptr) throw std::bad_alloc();
    }
    static void unmap(void* mapped, size_t) { VirtualFree(mapped, 0, MEM_RELEASE); }
#elif defined(__wasi__)
    // All of a program's memory may be touched: there are no fences.
    static size_t page_bytes() { return 4096; }
    static unsigned char* map(size_t bytes) {
        if (void* const mapped = std::aligned_alloc(page_bytes(), bytes)) return static_cast<unsigned char*>(mapped);
        throw std::bad_alloc();
    }
    static void open(void*, size_t) {}
    static void unmap(void* mapped, size_t) { std::free(mapped); }
#else
    static size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
    static unsigned char* map(size_t bytes) {
        void* const mapped = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) throw std::bad_alloc();
        return static_cast<unsigned char*>(mapped);
    }
    static void open(void* first, size_t bytes) {
        if (mprotect(first, bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    }
    static void unmap(void* mapped, size_t bytes) { munmap(mapped, bytes); }
#endif

    unsigned char* mapped_ = nullptr;
    unsigned char* inner_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace convpp::test
