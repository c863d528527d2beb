// Memory for packed operands: one aligned block a call, taken before anything is written, kept by the calling thread
// for its next call, and given back when it is large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace convpp {

inline constexpr int64_t cache_line = 64;

// Carves typed arrays out of a block.  With a null block it only measures, so that the same code that lays a workspace
// out also says how large it is.
class Carver {
public:
    explicit Carver(void* block) : at_(static_cast<std::byte*>(block)) {}

    template <class T>
    T* take(int64_t count) {
        T* const here = at_ ? reinterpret_cast<T*>(at_ + used_) : nullptr;
        used_ += (count * static_cast<int64_t>(sizeof(T)) + cache_line - 1) / cache_line * cache_line;
        return here;
    }
    int64_t used() const { return used_; }

private:
    std::byte* at_;
    int64_t used_ = 0;
};

class Workspace {
public:
    // Throws std::bad_alloc.
    explicit Workspace(int64_t bytes) {
        Cached& cached = cache();
        if (cached.bytes >= bytes && cached.block != nullptr) {
            block_ = cached.block;
            bytes_ = cached.bytes;
            cached = {};
        } else {
            bytes_ = (bytes + cache_line - 1) / cache_line * cache_line;
            block_ = std::aligned_alloc(static_cast<size_t>(cache_line), static_cast<size_t>(bytes_ > 0 ? bytes_ : cache_line));
            if (block_ == nullptr) throw std::bad_alloc();
        }
    }
    ~Workspace() {
        Cached& cached = cache();
        if (bytes_ <= largest_kept && bytes_ > cached.bytes) {
            std::free(cached.block);
            cached = {block_, bytes_};
        } else {
            std::free(block_);
        }
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    std::byte* data() const { return static_cast<std::byte*>(block_); }

private:
    // A call on two threads takes a few MB; more than this is not held between calls.
    static constexpr int64_t largest_kept = int64_t(64) << 20;

    struct Cached {
        void* block = nullptr;
        int64_t bytes = 0;
    };
    struct Owner : Cached {
        ~Owner() { std::free(block); }
    };
    static Cached& cache() {
        thread_local Owner owner;
        return owner;
    }

    void* block_ = nullptr;
    int64_t bytes_ = 0;
};

}  // namespace convpp
