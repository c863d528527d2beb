// An operand as its user stores it, and how many bytes that takes: where the core reads it, not what it computes with.
//
// In:  a typed array of the public API.   Out: a handle that counts in elements, whatever their size.
// Only packing reads through it (kernels::Readers), and who needs single elements; tiles read T.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "convpp/half.hpp"
#include "kernels/contract.hpp"

namespace convpp {

using kernels::Storage;

template <class S>
inline constexpr Storage storage_of = Storage::plain;
template <>
inline constexpr Storage storage_of<bfloat16> = Storage::bfloat16;
template <>
inline constexpr Storage storage_of<float16> = Storage::float16;

// Elements from `at` on, of memory that may be read up to `end`.
template <class T>
struct Stored {
    const std::byte* at = nullptr;
    const std::byte* end = nullptr;
    Storage as = Storage::plain;
    int64_t partner_distance = 0;  // bfloat16: each element counts with the one that lies so far on, or (0) alone

    Stored() = default;
    template <class S>
    Stored(const S* first, int64_t elems)
        : at(reinterpret_cast<const std::byte*>(first)),
          end(elems > 0 ? reinterpret_cast<const std::byte*>(first + elems) : at),
          as(storage_of<S>) {}

    explicit operator bool() const { return at != nullptr; }
    int64_t elem_bytes() const { return as == Storage::plain ? static_cast<int64_t>(sizeof(T)) : 2; }
    Stored& operator+=(int64_t elems) {
        at += elems * elem_bytes();
        return *this;
    }
    friend Stored operator+(Stored from, int64_t elems) { return from += elems; }
    // One element; it may lie before `at`.
    T operator[](int64_t i) const {
        if (as == Storage::plain) return plain()[i];
        if (as == Storage::bfloat16)
            return static_cast<T>(static_cast<float>(reinterpret_cast<const bfloat16*>(at)[i]));
        return static_cast<T>(static_cast<float>(reinterpret_cast<const float16*>(at)[i]));
    }
    // For who computes with the elements where they lie: only if they are stored as T.
    const T* plain() const { return reinterpret_cast<const T*>(at); }
    const T* plain_end() const { return reinterpret_cast<const T*>(end); }
};

// use(elements): a pointer of the type that they are stored in.
template <class T, class Use>
void with_elements(const Stored<T>& source, const Use& use) {
    switch (source.as) {
        case Storage::plain: return use(source.plain());
        case Storage::bfloat16: return use(reinterpret_cast<const bfloat16*>(source.at));
        case Storage::float16: return use(reinterpret_cast<const float16*>(source.at));
    }
}

// bfloat16 as bf16 pairs (kernels/tile/bf16_pairs.cpp): each element with its neighbour, read like float32; or with one
// `distance` on.
template <class T>
Stored<T> as_bf16_pairs(Stored<T> operand, int64_t distance) {
    if (distance == 0) operand.as = Storage::plain;
    operand.partner_distance = distance;
    return operand;
}

// Results as their user stores them.
template <class T>
struct Results {
    std::byte* at = nullptr;
    Storage as = Storage::plain;

    Results() = default;
    template <class S>
    explicit Results(S* first) : at(reinterpret_cast<std::byte*>(first)), as(storage_of<S>) {}

    friend Results operator+(Results from, int64_t elems) {
        from.at += elems * (from.as == Storage::plain ? static_cast<int64_t>(sizeof(T)) : 2);
        return from;
    }
    // To be looked at, not read from as an operand: it has no end.
    Stored<T> stored() const {
        Stored<T> here;
        here.at = here.end = at;
        here.as = as;
        return here;
    }
    T operator[](int64_t i) const { return stored()[i]; }
    T* plain() const { return reinterpret_cast<T*>(at); }
};

// Where source and results are halves of the same kind: use(results), of that type, and true.
template <class T, class Use>
bool with_halves(const Stored<T>& source, const Results<T>& results, const Use& use) {
    if (source.as != results.as || source.as == Storage::plain) return false;
    if constexpr (std::is_same_v<T, float>) {
        if (source.as == Storage::bfloat16) use(reinterpret_cast<bfloat16*>(results.at));
        else use(reinterpret_cast<float16*>(results.at));
    }
    return true;
}

// The kernels that read an operand.
template <class T>
const kernels::Readers<T>& reading(const kernels::KernelTable<T>& kernel, const Stored<T>& operand) {
    return kernel.read[static_cast<int>(operand.as)];
}
// Those for what the core computes with.
template <class T>
const kernels::Readers<T>& reading_plain(const kernels::KernelTable<T>& kernel) {
    return kernel.read[static_cast<int>(Storage::plain)];
}

}  // namespace convpp
