// The contract of the kernels: what they are given, what they write, and nothing about convolutions.
//
// In:  panels and strided rows of memory.   Out: panels, and tiles of a matrix.
// Implemented in the folders beside this file, compiled once per instruction set (ISA) by kernels.cpp, called by
// source/, weights/, result/ and strategies/.
//
//   The micro-kernel computes one tile of C += A * B from two packed panels:
//
//        row panel A            column panel B                      tile of C
//     kc | a0 a1 .. aPR-1 |   kc | b0 .. b(lanes*PV-1) |       rows | c . . . . . |
//        |    ...         |      |        ...          |            | ...         |  -> ldc apart
//
//   Step k reads PR consecutive scalars of A (each is broadcast) and PV consecutive vectors of B.  A tile of a shape
//   (PR x PV) may use fewer rows and vectors than its panels hold (edges), the panels' pitch stays PR and PV*lanes.
//
// Every element of C is the same sum, whatever the tile: of runs (Depth), each of them in the order of k.
#pragma once

#include <cstdint>

#include "convpp/activation.hpp"
#include "convpp/half.hpp"
#include "kernels/fourier.hpp"

namespace convpp::kernels {

// A stretch of consecutive source elements: src[src .. src+count) goes to position dst of the destination.
struct Run {
    int64_t src;
    int64_t dst;
    int64_t count;
};

// Rows of a padded plane, as copy_bands writes them: `before` zeros, rows of `count` elements with zeros up to the
// pitch behind each, zeros up to `elems` elements in all.
struct Band {
    int64_t from;  // the first element of the first row
    int64_t before, rows, count;
    int64_t elems;
};

// The steps of a product, in runs of so many (the last may be shorter).  The products of a run are added one after the
// other, and the runs' sums then: a long sum is made of shorter ones, which round less.
struct Depth {
    int64_t steps, run;
    explicit Depth(int64_t of_steps) : steps(of_steps), run(of_steps) {}  // one run
    Depth(int64_t of_steps, int64_t of_run) : steps(of_steps), run(of_run) {}
};

// The same, of the taps of each channel of a group.  Taps come in lines of so many, whose offsets are as far apart as
// neighbouring pixels of the source.  A run is some lines.
struct ChannelDepth {
    int64_t taps, line, run;
};

// What the sum of all runs is added to: nothing, C, or a bias.
enum class Onto : int { zero, c, row_bias, column_bias };

template <class T>
using TileFn = void (*)(Depth depth, const T* a, const T* b, T* c, int64_t ldc, Onto onto, const T* bias);

// A tile that reads its rows where they lie: element k of row r is rows[r][offsets[k]]; results go to c[r] + column.  B
// is a column panel as above, and `bias` is of the columns.
template <class T>
using IndirectTileFn = void (*)(Depth depth, const T* const* rows, const int64_t* offsets, const T* b, T* const* c,
                                int64_t column, Onto onto, const T* bias);

// Memory that is read soon.  Every `period` steps a tile asks for the next cache line of it: one at a time and while it
// multiplies, which hides the time that a line takes.  The list ends with an empty stretch, whose line is asked for
// when there is nothing else.
struct Stretch {
    const char *at, *end;
};
struct Prefetch {
    const Stretch* next = nullptr;
    const char *at = nullptr, *end = nullptr;  // of the stretch that is being asked for
    int64_t period = 0;
};

template <class T>
using PrefetchingTileFn = void (*)(Depth depth, const T* const* rows, const int64_t* offsets, const T* b, T* const* c,
                                   int64_t column, Onto onto, const T* bias, Prefetch& prefetch);

// A tile that reads its columns where they lie: vector v of step k is at b + offsets[k] + vectors[v].source, and its
// results go to c + row*ldc + vectors[v].result.  Element k of row r of A is at a + k*a_step + r: of a row panel of tile
// shape 0 the step is PR.  Bit r of active[k] says whether row r takes part in step k; without `active`, all do.
struct VectorAt {
    int64_t source, result;
};

// Rows of `count` pixels: where each begins in the source and in the result (or dy), and how far its pixels are apart.
struct PixelRows {
    const VectorAt* at;
    int64_t rows, count;
    int64_t source_step, result_step;
};

// A row of results of a depthwise layer in channels_last: result(p, c) = C or bias + the sum over lines, then columns,
// of weight(line, column, c) * lines[line][p*stride + column][c], for p < count and c < channels.  S: how source and
// result are stored.
template <class T, class S = T>
struct ChannelPixels {
    const S* const* const* lines;  // of the kernel; of each, pointers to pixels, which are read in whole vectors
    int64_t line_count, columns;
    const S* const* ahead;  // pixels that are asked for, one for each result; or null
    const T* weights;  // [vector][line][column][lane]
    int64_t weights_vector;
    int64_t count, channels;
    S* result;
    int64_t result_step;
    const S* spill_end;  // up to here, elements behind a pixel's channels may be written: others follow
    const T* bias;  // of the channels, in whole vectors
};

// The vectors that a box of pixels consists of: first those whose lanes all count and lie together, then the others.
struct RowVectors {
    VectorAt* at = nullptr;
    unsigned char* skip = nullptr;  // lanes in front that do not count
    unsigned char* count = nullptr;  // lanes after them that do
    int64_t whole = 0, total = 0;
};

// Rows that belong between each other.
template <class T>
struct RowPair {
    const T* even;
    const T* odd;
    int64_t even_pitch, odd_pitch;
};

template <class T>
using RowTileFn = void (*)(Depth depth, const T* a, int64_t a_step, const T* b, const int64_t* offsets,
                           const unsigned char* active, const VectorAt* vectors, T* c, int64_t ldc, Onto onto,
                           const T* bias);

// Rows that slide: kernels of so many lines and columns; weight gradients of three columns.
inline constexpr int most_slide_lines = 9, most_slide_columns = 15, slide_strides = 2, slide_widths = 3;
inline constexpr int strip_taps = 3;

// A part of each row of some planes, and the rows of the source that it reads.  Source elements outside of height x
// width count as 0; outside of the width they are read all the same, as far as whole vectors reach.  S: how source and
// result are stored.
template <class T, class S = T>
struct Strip {
    const S* source;  // of the first plane: row 0, column 0
    int64_t row_step, height, width;
    int64_t first_row, direction;  // of result row 0 at line 0; 1 or -1: rows are numbered with it
    int64_t first_tap, tap_step;  // the column that the first lane reads at tap 0; 1 or -1
    int64_t lines, columns;  // of the kernel

    // Not of sums: what becomes of it.  result(plane, r, i) = C or bias + the sum over lines and taps of
    // weight * source(first_row + direction*(r*stride + line), first_tap + tap_step*tap + i*stride).
    const T* weights;  // [line][tap]
    S* result;  // of the first plane: row 0, lane 0
    int64_t result_step, rows, count;  // results of a row
    int64_t planes, source_plane, weights_plane, result_plane;  // and the steps from plane to plane
    const T* bias;  // of each plane
};

// Winograd's F(outputs, taps): sizes of its tiles.
inline constexpr int winograd_sizes = 3;
inline constexpr int winograd_outputs[winograd_sizes] = {2, 4, 2};
inline constexpr int winograd_taps[winograd_sizes] = {3, 3, 5};

// From a tile's element to the next one along its two axes.  (Tiles along one axis have it as `b`.)
struct TileSteps {
    int64_t a, b;
};

// Some tiles of vectors: the matrix along both axes of the tile at src + from[t], plus the bias (or none), goes to
// dst + to[t].  Returns whether all results are finite.
template <class T>
using TransformFn = bool (*)(const T* src, const int64_t* from, TileSteps in, int64_t count, const T* bias, T* dst,
                             const int64_t* to, TileSteps out);

template <class T>
struct WinogradKernels {
    TransformFn<T> source, weights, results;  // B^T d B, G g G^T, A^T m A
    TransformFn<T> results_adjoint, weights_adjoint;  // A dy A^T, G^T s G
};

inline constexpr int max_tile_rows = 16;
inline constexpr int max_row_tile_rows = 8;
inline constexpr int max_row_tile_vectors = 8;
inline constexpr int max_tile_vectors = 4;
inline constexpr int tile_shapes = 4;
inline constexpr int channel_groups = 4;  // of 1, 2, 4, 8 channels
inline constexpr int most_channel_pixels = 8;  // of a tile

template <class T>
struct TileKernels {
    int rows;  // PR: width of a row panel
    int vectors;  // PV: width of a column panel, in vectors
    TileFn<T> fn[max_tile_rows][max_tile_vectors];  // fn[r-1][v-1] computes r rows and v vectors
    IndirectTileFn<T> indirect[max_tile_rows][max_tile_vectors];
    PrefetchingTileFn<T> prefetching;  // the full indirect tile, asking for memory
};

// How the elements of an operand lie in memory: as those that are computed with, or as halves of float.
enum class Storage : int { plain, bfloat16, float16 };
inline constexpr int storages = 3;

// The kernels that read operands as their users store them.  src and src_end point to elements of one Storage, and all
// positions count such elements; what is written is T.
template <class T>
struct Readers {
    // dst[k*width + run.dst + i] = src[offsets[k] + run.src + i] for every k < rows, every run, every i < run.count.
    // Runs are in order of dst.  Writes up to lanes-1 elements past the last run of the last row (slack), never reads
    // at or past src_end.
    void (*copy_panel)(const void* src, const int64_t* offsets, int64_t rows, const Run* runs, int64_t run_count,
                       T* dst, int64_t width, const void* src_end);

    // dst[(run.dst + i)*width + j] = src[offsets[j] + run.src + i] for every j < columns: the same, transposed.
    // The columns that fill up the last vector become 0.  Slack and src_end as above.
    void (*transpose_panel)(const void* src, const int64_t* offsets, int64_t columns, const Run* runs,
                            int64_t run_count, T* dst, int64_t width, const void* src_end);

    // Rows of a padded plane: for each i < rows, dst[i*dst_pitch + j] = src[i*src_pitch + j*step] for j < count, and 0
    // for count <= j < dst_pitch.  Writes whole vectors, up to lanes-1 elements behind the last row; reads none at or
    // past src_end.
    void (*copy_rows)(const void* src, int64_t src_pitch, int64_t step, int64_t rows, int64_t count, T* dst,
                      int64_t dst_pitch, const void* src_end);

    // One band after the other, rows as in copy_rows.  Where a band's first row begins within a row of the plane, zeros
    // behind its last one reach as far into the next band, which is written later; behind the last band, that far and
    // lanes-1 elements more.  What is copied next lies `prefetch` elements on, and is asked for meanwhile.
    void (*copy_bands)(const void* src, const Band* bands, int64_t band_count, int64_t src_pitch, int64_t step, T* dst,
                       int64_t dst_pitch, const void* src_end, int64_t prefetch);

    // Pixels of some channels become vectors of channels, one behind the other: dst[v*dst_pitch + p*lanes + l] =
    // src[p*src_pitch + v*lanes + l], for the channels there are.  Reads whole vectors before src_end.
    void (*split_channels)(const void* src, int64_t src_pitch, int64_t pixels, int64_t channels, T* dst,
                           int64_t dst_pitch, const void* src_end);

    // sums[r*pitch + j] += sum over vectors v and their lanes of dy[r*dy_pitch + vectors[v].result + lane] *
    // x[offsets[j] + vectors[v].source + lane], for r < rows and j < columns.  The first `whole` vectors take all
    // lanes, the others those of [skip[v], skip[v] + count[v]).  Reads no dy at or past dy_end.  The first vectors are
    // added in runs of so many.
    void (*dot_rows)(const T* dy, int64_t dy_pitch, const T* dy_end, int64_t rows, const void* x,
                     const int64_t* offsets, int64_t columns, const RowVectors& vectors, int64_t run, T* sums,
                     int64_t pitch);
};

// of[stride-1][width][lines-1]: of a strip that has `count` results in a row, at most half a vector (width 0), one or
// two, and more than those of the width before.  Null: half a vector is no vector, or sums would not fit the registers.
template <class T, class S>
struct SlideTiles {
    void (*of[slide_strides][slide_widths][most_slide_lines])(const Strip<T, S>& strip, Onto onto);

    // sums[line*strip_taps + tap][lane] += the sum over rows r and columns of dy[r*dy_step + column] * the strip's
    // source at (first_row + direction*(r + line), column + tap), columns in turn along the lanes, in runs of so many
    // rows of a vector at least.  Reads no dy at or past dy_end.
    void (*sums)(const Strip<T, S>& strip, const S* dy, int64_t dy_step, const S* dy_end, int64_t rows, int64_t columns,
                 int64_t run, T* sums);
};
// For each stride.
template <class T, class S>
struct ChannelPixelTiles {
    void (*of[slide_strides])(const ChannelPixels<T, S>& pixels, Onto onto);
};

template <class T>
struct KernelTable {
    int lanes;  // elements of a vector
    TileKernels<T> tiles[tile_shapes];

    // float32, and only where the CPU multiplies pairs of bfloat16 (tile/bf16_pairs.cpp): indirect tiles of the same
    // shapes, and none else, whose elements of A and B are the bits of bf16 pairs.
    bool has_bf16_pairs;
    TileKernels<T> bf16_pairs[tile_shapes];

    // Rows of a padded plane of bf16 pairs: as copy_rows, but from two planes of bfloat16, `partner` elements apart
    // (positions in the source are of bfloat16).  Reads none at or past src_end.
    void (*copy_bf16_pair_rows)(const void* src, int64_t partner, int64_t src_pitch, int64_t step, int64_t rows,
                                int64_t count, T* dst, int64_t dst_pitch, const void* src_end);

    // bf16 pairs of `vectors` whole vectors each of two numbers that are bfloat16.
    void (*join_bf16_pairs)(const T* low, const T* high, int64_t vectors, T* dst);

    // row_tile[r-1][v-1] for r <= tiles[0].rows and v <= row_tile_vectors[r-1].
    int row_tile_vectors[max_row_tile_rows];
    RowTileFn<T> row_tile[max_row_tile_rows][max_row_tile_vectors];

    // What slides; with halves as source and result, which are not added to (of float32).
    SlideTiles<T, T> slide;
    SlideTiles<T, bfloat16> slide_bfloat16;
    SlideTiles<T, float16> slide_float16;

    // For each Storage; of double, plain alone.
    Readers<T> read[storages];

    // dst[j*dst_pitch + i] = rows[i][j] for i < count, j < columns: the transpose of what indirect tiles leave.  Reads
    // whole vectors of the rows, writes nothing else.
    void (*transpose_rows)(const T* const* rows, int64_t count, int64_t columns, T* dst, int64_t dst_pitch);

    // dst[i*dst_pitch + j] = src[i*src_pitch + j] for i < rows, j < count.  Reads whole vectors; in the end nothing
    // else is changed.
    void (*store_rows)(const T* src, int64_t src_pitch, int64_t rows, int64_t count, T* dst, int64_t dst_pitch);

    // A plane of `rows` rows whose rows belong to the classes in turn, and in each row the elements to `even` and `odd`
    // in turn: dst[i*dst_pitch + j] = (j even ? even : odd)[i/classes*pitch + j/2] of class i % classes, for j < count.
    // Reads whole vectors; in the end nothing else is changed.
    void (*interleave_rows)(const RowPair<T>* classes, int64_t class_count, int64_t rows, int64_t count, T* dst,
                            int64_t dst_pitch);

    // A full tile of dot_rows has dot_tile_rows x dot_tile_columns sums.
    int dot_tile_rows, dot_tile_columns;

    // Groups of 2^i channels whose vectors run along the channels (channel.hpp); null where a vector holds no group.
    // channel_tiles: c[pixel][lane] = C or bias + the sum over channels of the group, then taps, of
    // weights[channel][tap][lane] * source[pixel + offsets[tap] + lane's group + channel], for the pixels of some rows.
    // channel_sums: sums[channel][tap][lane] += sum over pixels of dy[pixel][lane] * x[pixel + offsets[tap] + ..], in
    // runs of so many pixels.
    void (*channel_tiles[channel_groups])(const ChannelDepth& depth, const int64_t* offsets, const PixelRows& rows,
                                          const T* source, const T* weights, T* c, Onto onto, const T* bias);
    void (*channel_sums[channel_groups])(int64_t taps, const int64_t* offsets, const PixelRows& rows, int64_t run,
                                         const T* x, const T* dy, T* sums);

    ChannelPixelTiles<T, T> channel_pixels;
    ChannelPixelTiles<T, bfloat16> channel_pixels_bfloat16;
    ChannelPixelTiles<T, float16> channel_pixels_float16;

    // winograd[size][axes - 1]: along one axis of the tile, or two.
    WinogradKernels<T> winograd[winograd_sizes][2];

    FourierKernels<T> fourier;

    // result[i*pitch + j] = activation(src[i*src_pitch + j] + residual[i*pitch + j]) for i < rows, j < count; without a
    // residual (null), of src alone.  The result may be src.  For each Storage of the result and of the residual; null
    // where both are halves, but not the same.
    void (*apply_epilogue[storages][storages])(const T* src, int64_t src_pitch, const void* residual, void* result,
                                               int64_t pitch, int64_t rows, int64_t count,
                                               const Activation& activation);

    // dz[i] = dy[i] * activation'(value[i]) for i < count; activation.hpp says which value.  dz may be dy or value.
    void (*multiply_derivative)(const T* dy, const T* value, int64_t count, const Activation& activation, T* dz);

    // dst[i] += src[i] for i < count.
    void (*add)(const T* src, int64_t count, T* dst);

    // Runs `steps` rounds of independent multiply-adds in registers; returns the floating-point operations of a round.
    int64_t (*multiply_add_rounds)(int64_t steps, T* sink);
};

}  // namespace convpp::kernels
