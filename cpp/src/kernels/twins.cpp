// Twins: indirect tiles for them, acc[row][lane] += the dot product of a[row] and b[lane], one instruction for a vector; and
// what makes them of planes and of packed weights.
//
// A twin is the bfloat16 of two neighbouring source channels, side by side in the four bytes of a float32 (the earlier one
// in the low half).  The tile that reads float32 one by one from anywhere (tile.hpp) reads twins just as well: only what it
// does with them is another operation, a.low * b.low + a.high * b.high.  So these tiles are of the type float; their
// elements of A and B are the bits of twins, sums and bias are numbers.
//
// Compiled with AVX-512 BF16 on top of the flags of avx512, into a namespace of its own (CONVPP_ISA); cpu.cpp adds these
// tiles to the table of avx512 where the CPU has the instruction.  How it rounds: docs/architecture.md.
// Read kernel_table.hpp first.
#include <immintrin.h>

#include "kernels/kernel_table.hpp"

namespace convpp::kernels::CONVPP_ISA {

#include "kernels/tile_shapes.hpp"
#include "kernels/vector.hpp"
#include "kernels/tile.hpp"

struct DotProduct {
    // As an integer: a float register keeps any bits only by custom.
    static inline __attribute__((always_inline)) Vector<int32_t> element(const float* a) {
        int32_t twin;
        __builtin_memcpy(&twin, a, sizeof twin);
        return twin - Vector<int32_t>{};
    }
    static inline __attribute__((always_inline)) void add(Vector<float>& sums, Vector<int32_t> a, Vector<float> b) {
        // The one intrinsic of the library: compilers have no operator for it, and each has a type of its own for bfloat16,
        // which it hides.
        sums = _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(b), reinterpret_cast<__m512bh>(a));
    }
};

// Twins of two planes of bfloat16, whose bits are `low` and `high`.
inline __attribute__((always_inline)) Vector<uint32_t> twins_of(const uint16_t* low, const uint16_t* high) {
    using Halves = VectorOf<uint16_t, CONVPP_VECTOR_BYTES / 2>;
    const typename Halves::type a = *reinterpret_cast<const typename Halves::unaligned*>(low);
    const typename Halves::type b = *reinterpret_cast<const typename Halves::unaligned*>(high);
    return __builtin_convertvector(a, Vector<uint32_t>) | __builtin_convertvector(b, Vector<uint32_t>) << 16;
}

inline __attribute__((always_inline)) void store_twins(float* to, Vector<uint32_t> twins) {
    __builtin_memcpy(to, &twins, sizeof twins);
}

// The first `count` of a vector, where the others must not be read.
inline Vector<uint32_t> last_twins(const uint16_t* low, const uint16_t* high, int64_t count) {
    uint16_t rest[2][lanes_of<float>] = {};
    for (int64_t l = 0; l < count; ++l) {
        rest[0][l] = low[l];
        rest[1][l] = high[l];
    }
    return twins_of(rest[0], rest[1]);
}

void copy_twin_rows(const void* source, int64_t partner, int64_t src_pitch, int64_t rows, int64_t count, float* dst,
                    int64_t dst_pitch, const void* source_end) {
    constexpr int64_t lanes = lanes_of<float>;
    const uint16_t* low = static_cast<const uint16_t*>(source);
    const uint16_t* const end =
        static_cast<const uint16_t*>(source_end) - partner;  // the higher one is read no further
    for (int64_t i = 0; i < rows; ++i, low += src_pitch, dst += dst_pitch) {
        int64_t j = 0;
        for (; j + lanes <= count; j += lanes) {
            __builtin_prefetch(low + 2 * partner + j);
            __builtin_prefetch(low + 3 * partner + j);
            store_twins(dst + j, twins_of(low + j, low + partner + j));
        }
        if (j < count) {
            const auto lanes_that_count = lane_mask<float>(0, static_cast<int>(count - j), LanesOf<lanes>{});
            store_twins(dst + j, (low + j + lanes <= end ? twins_of(low + j, low + partner + j)
                                                         : last_twins(low + j, low + partner + j, count - j)) &
                                     lanes_that_count);
            j += lanes;
        }
        for (; j < dst_pitch; j += lanes) store_twins(dst + j, Vector<uint32_t>{});
    }
}

void join_twins(const float* low, const float* high, int64_t vectors, float* dst) {
    for (int64_t v = 0; v < vectors; ++v, low += lanes_of<float>, high += lanes_of<float>, dst += lanes_of<float>) {
        Vector<uint32_t> a, b;
        __builtin_memcpy(&a, low, sizeof a);
        __builtin_memcpy(&b, high, sizeof b);
        store_twins(dst, a >> 16 | (b & 0xffff0000u));
    }
}

void add_twins(KernelTable<float>& table) {
    fill_indirect_tiles<float, DotProduct, wide_rows, wide_vectors>(table.twins[0]);
    fill_indirect_tiles<float, DotProduct, tall_rows, tall_vectors>(table.twins[1]);
    fill_indirect_tiles<float, DotProduct, third_rows, third_vectors>(table.twins[2]);
    table.copy_twin_rows = &copy_twin_rows;
    table.join_twins = &join_twins;
    table.has_twins = true;
}

}  // namespace convpp::kernels::CONVPP_ISA
