// The shapes of an instruction set's register tiles.  Included only by kernels.cpp and
// bf16_pairs.cpp, inside its namespace.
#pragma once

// Tile shapes: as many accumulators as the registers hold beside one row of B.  32 registers (AVX-512, NEON): 8x3 uses
// 24 + 3 and loads 0.46 operands a multiply-add; 14x2 uses 28 + 2 and wastes fewer lanes where a panel of 3 vectors
// does not fit; 7x4 uses 28 + 4 and is the best where columns come in fours.  16 registers (SSE2, AVX2): 4x3, 6x2 and
// 3x3 (there is none with four vectors).  How near each comes to the peak: docs/architecture.md.
inline constexpr int wide_vectors = 3, tall_vectors = 2;
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__AVX512F__)
inline constexpr int wide_rows = 4, tall_rows = 6, third_rows = 3, third_vectors = 3, single_rows = 12,
                     accumulators = 12, dot_tile_rows = 3;
#else
inline constexpr int wide_rows = 8, tall_rows = 14, third_rows = 7, third_vectors = 4, single_rows = 16,
                     accumulators = 24, dot_tile_rows = 4;
#endif
