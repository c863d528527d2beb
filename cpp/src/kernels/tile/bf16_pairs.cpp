// bf16 pairs: indirect tiles for them, acc[row][lane] += the dot product of a[row] and b[lane], one instruction for a
// vector; and what makes them of planes and of packed weights.
//
// A pair is the bfloat16 of two neighbouring source channels, side by side in the four bytes of a float32 (the earlier
// one in the low half).  The tile that reads float32 one by one from anywhere (tile.hpp) reads bf16 pairs just as well:
// only what it does with them is another operation, a.low * b.low + a.high * b.high.  So these tiles are of the type
// float; their elements of A and B are the bits of bf16 pairs, sums and bias are numbers.
//
// Compiled with AVX-512 BF16 on top of the flags of avx512, into a namespace of its own (CONVPP_ISA); cpu.cpp adds
// these tiles to the table of avx512 where the CPU has the instruction.  How it rounds: docs/architecture.md.
// Read contract.hpp first.
#include <immintrin.h>

#include "kernels/contract.hpp"

namespace convpp::kernels::CONVPP_ISA {

#include "kernels/tile/tile_shapes.hpp"
#include "kernels/vector.hpp"
#include "kernels/tile/tile.hpp"

struct DotProduct {
    // As an integer: a float register keeps any bits only by custom.
    static inline __attribute__((always_inline)) Vector<int32_t> element(const float* a) {
        int32_t pair;
        __builtin_memcpy(&pair, a, sizeof pair);
        return pair - Vector<int32_t>{};
    }
    static inline __attribute__((always_inline)) void add(Vector<float>& sums, Vector<int32_t> a, Vector<float> b) {
        // An intrinsic: compilers have no operator for it, and each has a type of its own for bfloat16, which it hides.
        sums = _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(b), reinterpret_cast<__m512bh>(a));
    }
};

// bf16 pairs of two planes of bfloat16, whose bits are `low` and `high`.
inline __attribute__((always_inline)) Vector<uint32_t> pairs_of(const uint16_t* low, const uint16_t* high) {
    using Halves = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
    const typename Halves::type a = *reinterpret_cast<const typename Halves::unaligned*>(low);
    const typename Halves::type b = *reinterpret_cast<const typename Halves::unaligned*>(high);
    return __builtin_convertvector(a, Vector<uint32_t>) | __builtin_convertvector(b, Vector<uint32_t>) << 16;
}

inline __attribute__((always_inline)) void store_pairs(float* to, Vector<uint32_t> bf16_pairs) {
    __builtin_memcpy(to, &bf16_pairs, sizeof bf16_pairs);
}

// Every second pair: each half of it lies in the lower half of 32 bits.
inline __attribute__((always_inline)) Vector<uint32_t> every_second_pair(const uint16_t* low, const uint16_t* high) {
    Vector<uint32_t> a, b;
    __builtin_memcpy(&a, low, sizeof a);
    __builtin_memcpy(&b, high, sizeof b);
    return (a & 0xffffU) | b << 16;
}

// The first `count` of a vector, where the others must not be read, or elements lie apart.
inline Vector<uint32_t> some_pairs(const uint16_t* low, const uint16_t* high, int64_t step, int64_t count) {
    uint16_t some[2][lanes_of<float>] = {};
    for (int64_t l = 0; l < count; ++l) {
        some[0][l] = low[l * step];
        some[1][l] = high[l * step];
    }
    return pairs_of(some[0], some[1]);
}

void copy_bf16_pair_rows(const void* source, int64_t partner, int64_t src_pitch, int64_t step, int64_t rows,
                         int64_t count, float* dst, int64_t dst_pitch, const void* source_end) {
    constexpr int64_t lanes = lanes_of<float>;
    const uint16_t* low = static_cast<const uint16_t*>(source);
    const uint16_t* const end =
        static_cast<const uint16_t*>(source_end) - partner;  // the higher one is read no further
    for (int64_t i = 0; i < rows; ++i, low += src_pitch, dst += dst_pitch) {
        int64_t j = 0;
        for (; j < count; j += lanes) {
            const uint16_t *const a = low + j * step, *const b = a + partner;
            const int64_t left = count - j < lanes ? count - j : lanes;
            Vector<uint32_t> pairs;
            if (step == 1 && a + lanes <= end) {
                __builtin_prefetch(a + 2 * partner);
                __builtin_prefetch(a + 3 * partner);
                pairs = pairs_of(a, b);
            } else if (step == 2 && a + 2 * lanes <= end) {
                __builtin_prefetch(a + 2 * partner);
                __builtin_prefetch(a + 3 * partner);
                pairs = every_second_pair(a, b);
            } else {
                pairs = some_pairs(a, b, step, left);
            }
            if (left < lanes) pairs &= lane_mask<float>(0, static_cast<int>(left), LanesOf<lanes>{});
            store_pairs(dst + j, pairs);
        }
        for (; j < dst_pitch; j += lanes) store_pairs(dst + j, Vector<uint32_t>{});
    }
}

void join_bf16_pairs(const float* low, const float* high, int64_t vectors, float* dst) {
    for (int64_t v = 0; v < vectors; ++v, low += lanes_of<float>, high += lanes_of<float>, dst += lanes_of<float>) {
        Vector<uint32_t> a, b;
        __builtin_memcpy(&a, low, sizeof a);
        __builtin_memcpy(&b, high, sizeof b);
        store_pairs(dst, a >> 16 | (b & 0xffff0000u));
    }
}

void add_bf16_pairs(KernelTable<float>& table) {
    fill_indirect_tiles<float, DotProduct, wide_rows, wide_vectors>(table.bf16_pairs[0]);
    fill_indirect_tiles<float, DotProduct, tall_rows, tall_vectors>(table.bf16_pairs[1]);
    fill_indirect_tiles<float, DotProduct, third_rows, third_vectors>(table.bf16_pairs[2]);
    fill_indirect_tiles<float, DotProduct, single_rows, 1>(table.bf16_pairs[3]);
    table.copy_bf16_pair_rows = &copy_bf16_pair_rows;
    table.join_bf16_pairs = &join_bf16_pairs;
    table.has_bf16_pairs = true;
}

}  // namespace convpp::kernels::CONVPP_ISA
