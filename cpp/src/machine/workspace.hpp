// The memory of a call: one aligned block, taken before anything is written, kept by the calling thread for its next
// call, and given back when it is large.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "machine/fences.hpp"
#include "problem/checked.hpp"

namespace convpp {

inline constexpr int64_t cache_line = 64;

// Carves typed arrays out of a block.  With a null block it only measures, so that the same code that lays a workspace
// out also says how large it is.  Sizes that 64 bits do not hold are a ShapeError, while it measures.
class Carver {
public:
    explicit Carver(void* block) : at_(static_cast<std::byte*>(block)) {}
    // What was laid out is not used any more.
    ~Carver() {
        if constexpr (fence_bytes > 0) inspect_fences(at_, used_);
    }
    Carver(const Carver&) = delete;
    Carver& operator=(const Carver&) = delete;

    template <class T>
    T* take(int64_t count) {
        T* const here = at_ ? reinterpret_cast<T*>(at_ + used_) : nullptr;
        const int64_t bytes = checked_mul(count, static_cast<int64_t>(sizeof(T)), what);
        const int64_t lines = checked_add(bytes, cache_line - 1 + fence_bytes, what) / cache_line * cache_line;
        if constexpr (fence_bytes > 0)
            if (here != nullptr) fence_array(here, bytes, lines - bytes);
        used_ = checked_add(used_, lines, what);
        return here;
    }
    int64_t used() const { return used_; }

private:
    static constexpr const char* what = "the workspace";

    std::byte* at_;
    int64_t used_ = 0;
};

// Bytes of what is laid out by a constructor from (carver, arguments).
template <class Layout, class... Arguments>
int64_t measured(const Arguments&... arguments) {
    Carver carver(nullptr);
    static_cast<void>(Layout(carver, arguments...));
    return carver.used();
}

// A value for each thread, in the workspace itself: nothing is allocated, and nothing has to be destroyed.
template <class Buffers>
class ThreadBuffers {
public:
    // make() lays out the buffers of one thread.
    template <class Make>
    ThreadBuffers(Carver& carver, int threads, const Make& make) : first_(carver.take<Buffers>(threads)) {
        static_assert(std::is_trivially_destructible_v<Buffers>);
        for (int t = 0; t < threads; ++t) new (first_ + t) Buffers(make());
    }
    Buffers& operator[](size_t thread) const { return first_[thread]; }

private:
    Buffers* first_;
};

// Owned memory, aligned to a cache line.
class AlignedBlock {
public:
    AlignedBlock() = default;
    // Throws std::bad_alloc.
    explicit AlignedBlock(int64_t bytes) {
        if (bytes > std::numeric_limits<int64_t>::max() - cache_line) throw std::bad_alloc();
        bytes_ = (bytes / cache_line + 1) * cache_line;
        block_.reset(
            static_cast<std::byte*>(std::aligned_alloc(static_cast<size_t>(cache_line), static_cast<size_t>(bytes_))));
        if (block_ == nullptr) throw std::bad_alloc();
    }
    std::byte* data() const { return block_.get(); }
    int64_t bytes() const { return block_ ? bytes_ : 0; }

private:
    struct Free {
        void operator()(std::byte* block) const { std::free(block); }
    };
    std::unique_ptr<std::byte, Free> block_;
    int64_t bytes_ = 0;
};

class Workspace {
public:
    // Throws std::bad_alloc.
    explicit Workspace(int64_t bytes) : block_(kept().bytes() >= bytes ? std::move(kept()) : AlignedBlock(bytes)) {}
    ~Workspace() {
        if (block_.bytes() <= largest_kept && block_.bytes() > kept().bytes()) kept() = std::move(block_);
    }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    std::byte* data() const { return block_.data(); }

private:
    // A call on two threads takes a few MB; more than this is not held between calls.
    static constexpr int64_t largest_kept = int64_t(64) << 20;

    static AlignedBlock& kept() {
        thread_local AlignedBlock block;
        return block;
    }

    AlignedBlock block_;
};

}  // namespace convpp
