// The memory of a call: one aligned block, taken before anything is written, kept for the next call, and given back
// when it is large.
//
// In:  how many bytes a call takes.   Out: that block, laid out by Carver.   Next: api/execute.cpp.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "machine/aligned.hpp"
#include "machine/fences.hpp"
#include "problem/checked.hpp"

namespace convpp {

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
        if (bytes > std::numeric_limits<std::ptrdiff_t>::max() - cache_line) throw std::bad_alloc();
        bytes_ = (bytes / cache_line + 1) * cache_line;
        block_.reset(static_cast<std::byte*>(take_aligned(static_cast<size_t>(bytes_))));
        if (block_ == nullptr) throw std::bad_alloc();
    }
    std::byte* data() const { return block_.get(); }
    int64_t bytes() const { return block_ ? bytes_ : 0; }
    std::byte* release() { return block_.release(); }  // to be given to give_aligned()

private:
    struct Free {
        void operator()(std::byte* block) const { give_aligned(block); }
    };
    std::unique_ptr<std::byte, Free> block_;
    int64_t bytes_ = 0;
};

// Blocks that calls have given back, for the next ones: some, of limited size, whichever threads made them.
//
// They are not thread_local: a thread's first use of such a variable takes memory, and where there is none the process
// ends.  A place in a fixed list is one pointer, which is taken and put back whole: no lock is held, also when another
// thread forks, and nothing has to be destroyed.
class KeptBlocks {
public:
    // A call on two threads takes a few MB; more than this is not held between calls, and in all not more than this.
    static constexpr int64_t largest_kept = int64_t(64) << 20, most_kept = int64_t(256) << 20;
    static constexpr size_t places = 32;

    // A block of this many bytes or more; null: there is none.
    static std::byte* take(int64_t bytes) {
        std::byte* const block = place().exchange(nullptr, std::memory_order_acq_rel);
        if (block == nullptr) return nullptr;
        in_all_.fetch_sub(size_of(block), std::memory_order_relaxed);
        if (size_of(block) >= bytes) return block;
        give_aligned(block);  // the larger one that is taken now comes here
        return nullptr;
    }
    // A block of a call that is over.
    static void give(std::byte* block) {
        const int64_t bytes = size_of(block);
        if (bytes <= largest_kept && in_all_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= most_kept) {
            block = place().exchange(block, std::memory_order_acq_rel);
            if (block == nullptr) return;
        }
        if (size_of(block) <= largest_kept) in_all_.fetch_sub(size_of(block), std::memory_order_relaxed);
        give_aligned(block);
    }
    static int64_t bytes() { return in_all_.load(std::memory_order_relaxed); }
    static void drop_all() {
        for (std::atomic<std::byte*>& each : places_)
            if (std::byte* const block = each.exchange(nullptr, std::memory_order_acq_rel)) {
                in_all_.fetch_sub(size_of(block), std::memory_order_relaxed);
                give_aligned(block);
            }
    }
    // Throws std::bad_alloc.
    static std::byte* make(int64_t bytes) {
        if (bytes > std::numeric_limits<int64_t>::max() - cache_line) throw std::bad_alloc();
        AlignedBlock block(bytes + cache_line);
        new (block.data()) int64_t(bytes);
        return block.release();
    }
    static std::byte* data_of(std::byte* block) { return block + cache_line; }

private:
    // What it holds stands in front.
    static int64_t size_of(const std::byte* block) { return *reinterpret_cast<const int64_t*>(block); }

    // That of the calling thread, told by its stack.
    static std::atomic<std::byte*>& place() {
        const char here = 0;
        const auto stack = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&here)) >> 18;
        return places_[stack * UINT64_C(0x9e3779b97f4a7c15) >> 59];
    }

    static_assert(places == 32, "as many as the bits that a place is told by");
    inline static std::array<std::atomic<std::byte*>, places> places_{};
    inline static std::atomic<int64_t> in_all_{0};
};

class Workspace {
public:
    // Throws std::bad_alloc.
    explicit Workspace(int64_t bytes) : block_(KeptBlocks::take(bytes)) {
        if (block_ == nullptr) block_ = KeptBlocks::make(bytes);
    }
    ~Workspace() { KeptBlocks::give(block_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    std::byte* data() const { return KeptBlocks::data_of(block_); }

private:
    std::byte* block_;
};

}  // namespace convpp
