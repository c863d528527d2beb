// Tiles that multiply pairs of bfloat16 (kernels/tile/bf16_pairs.cpp) against the definition of the instruction: a
// pair's second product is added first, each product and sum is rounded as one (fused), subnormal numbers count as
// zero.
//
// And the kernels that make bf16 pairs.  Where this CPU has none, nothing is tested.
#include <cstring>
#include <limits>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Onto;
using kernels::TileKernels;

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// A pair as the tiles read it: the bits of two bfloat16 (the upper halves of floats), the first one below.
float pair_of(float first, float second) { return from_bits(bits_of(first) >> 16 | (bits_of(second) & 0xffff0000u)); }
float first_of(float pair) { return from_bits(bits_of(pair) << 16); }
float second_of(float pair) { return from_bits(bits_of(pair) & 0xffff0000u); }

float normal(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }

float fused(float a, float b, float sum) { return normal(std::fma(normal(a), normal(b), normal(sum))); }

float dot_step(float a, float b, float sum) {
    return fused(first_of(a), first_of(b), fused(second_of(a), second_of(b), sum));
}

// test(table) for the table that has such tiles, if this machine has one.
template <class Test>
void with_bf16_pairs(const Test& test) {
    for (const Isa isa : available_isas())
        if (kernel_table<float>(isa).has_bf16_pairs) test(kernel_table<float>(isa));
}

template <class Body>
void for_each_bf16_pair_tile(const KernelTable<float>& table, const Body& body) {
    for (const TileKernels<float>& tiles : table.bf16_pairs)
        for (int rows = 1; rows <= tiles.rows; ++rows)
            for (int vectors = 1; vectors <= tiles.vectors; ++vectors) {
                CAPTURE(rows);
                CAPTURE(vectors);
                body(tiles, rows, vectors);
            }
}

template <class Value>
void fill_bf16_pairs(Array<float>& array, const Value& value) {
    for (int64_t i = 0; i < array.size(); ++i) {
        const float first = value();
        array[i] = pair_of(first, value());
    }
}

// Sources and weights are bf16 pairs, bias and results are numbers.
template <class Pair, class Number>
void fill(IndirectOperands<float>& operands, const Pair& pair, const Number& number) {
    fill_bf16_pairs(operands.source, pair);
    fill_bf16_pairs(operands.b, pair);
    for (Array<float>* array : {&operands.row_bias, &operands.column_bias})
        for (int64_t i = 0; i < array->size(); ++i) (*array)[i] = number();
}

bool same_values(const Array<float>& got, const std::vector<float>& expected) {
    return got.size() == static_cast<int64_t>(expected.size()) &&
           first_difference(got.data(), expected.data(), got.size()) == -1;
}

}  // namespace

TEST_CASE("tables without tiles of bf16 pairs say so, the others have the shapes of the table's own") {
    for (const Isa isa : available_isas()) {
        const KernelTable<float>& table = kernel_table<float>(isa);
        CHECK(!kernel_table<double>(isa).has_bf16_pairs);
        for (int f = 0; f < kernels::tile_shapes; ++f) {
            CHECK(table.bf16_pairs[f].rows == (table.has_bf16_pairs ? table.tiles[f].rows : 0));
            CHECK(table.bf16_pairs[f].vectors == (table.has_bf16_pairs ? table.tiles[f].vectors : 0));
            CHECK((table.bf16_pairs[f].indirect[0][0] != nullptr) == table.has_bf16_pairs);
        }
    }
}

TEST_CASE("tiles of bf16 pairs multiply integers exactly and write nothing else") {
    Random random(51);
    with_bf16_pairs([&](const KernelTable<float>& table) {
        for_each_bf16_pair_tile(table, [&](const TileKernels<float>& tiles, int rows, int vectors) {
            for (const int64_t depth : {0, 1, 2, 7, 64, 65, 130})
                for (const int64_t column : {0, 5}) {
                    IndirectOperands<float> operands(table, tiles, rows, vectors, depth, column, random);
                    const auto integer = [&] { return static_cast<float>(random.integer(-9, 9)); };
                    fill(operands, integer, integer);
                    for (const Onto onto : all_starts) {
                        operands.begin(onto, integer);
                        std::vector<float> expected = operands.expected(onto, [](float a, float b, float sum) {
                            return sum + first_of(a) * first_of(b) + second_of(a) * second_of(b);
                        });
                        operands.run(tiles, vectors, onto);
                        CAPTURE(depth);
                        CAPTURE(column);
                        CAPTURE(static_cast<int>(onto));
                        CHECK(same_values(operands.c, expected));
                        CHECK(operands.c.guards_intact());
                    }
                }
        });
    });
}

TEST_CASE("tiles of bf16 pairs sum in the order of k, each pair as the instruction is defined") {
    Random random(52);
    with_bf16_pairs([&](const KernelTable<float>& table) {
        for_each_bf16_pair_tile(table, [&](const TileKernels<float>& tiles, int rows, int vectors) {
            IndirectOperands<float> operands(table, tiles, rows, vectors, 61, 2, random);
            const auto real = [&] { return static_cast<float>(random.real()); };
            fill(operands, real, real);
            for (const Onto onto : all_starts) {
                operands.begin(onto, real);
                const std::vector<float> expected = operands.expected(onto, dot_step);
                operands.run(tiles, vectors, onto);
                CAPTURE(static_cast<int>(onto));
                CHECK(holds(operands.c, expected));
            }
        });
    });
}

TEST_CASE("tiles of bf16 pairs: NaN, Inf, zeros, and numbers near both ends of the range") {
    constexpr float inf = std::numeric_limits<float>::infinity();
    constexpr float smallest = std::numeric_limits<float>::min(), largest = std::numeric_limits<float>::max();
    const std::vector<float> values{
        0.0f,     -0.0f,        1.0f,          -2.5f,           inf,       -inf,    std::nanf(""), largest, -largest,
        smallest, smallest / 2, -smallest / 4, smallest * 1.5f, -smallest, 0x1p-70f};
    Random random(53);
    with_bf16_pairs([&](const KernelTable<float>& table) {
        for (const TileKernels<float>& tiles : table.bf16_pairs)
            for (int i = 0; i < 200; ++i) {
                IndirectOperands<float> operands(table, tiles, tiles.rows, tiles.vectors, 1 + i % 3, 0, random);
                const auto value = [&] {
                    return values[static_cast<size_t>(random.integer(0, static_cast<int64_t>(values.size()) - 1))];
                };
                fill(operands, value, value);
                operands.begin(Onto::c, value);
                const std::vector<float> expected = operands.expected(Onto::c, dot_step);
                operands.run(tiles, tiles.vectors, Onto::c);
                CHECK(same_values(operands.c, expected));
            }
    });
}

TEST_CASE("rows of two planes become rows of bf16 pairs between zeros") {
    Random random(54);
    with_bf16_pairs([&](const KernelTable<float>& table) {
        const int64_t lanes = table.lanes;
        for (const int64_t rows : {0, 1, 2, 5})
            for (int64_t count = 1; count <= 3 * lanes + 1; ++count)
                for (const int64_t padding : {int64_t(0), int64_t(1), lanes - 1, lanes, lanes + 1})
                    for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                        const int64_t step = random.integer(1, 3), read = (count - 1) * step + 1;
                        const int64_t src_pitch = read + random.integer(0, 9), dst_pitch = count + padding;
                        const int64_t plane = rows == 0 ? 0 : (rows - 1) * src_pitch + read;
                        const int64_t partner = random.pick({1, plane, plane + 7});
                        Array<uint16_t> source(rows == 0 ? 0 : plane + partner + spare);
                        for (int64_t i = 0; i < source.size(); ++i)
                            source[i] = static_cast<uint16_t>(random.integer(1, 0xffff));
                        Array<float> pairs(rows == 0 ? 0 : rows * dst_pitch + lanes - 1, guards);
                        std::vector<uint32_t> expected;
                        for (int64_t i = 0; i < rows; ++i)
                            for (int64_t j = 0; j < dst_pitch; ++j) {
                                const int64_t at = i * src_pitch + j * step;
                                expected.push_back(j < count ? source[at] | uint32_t(source[at + partner]) << 16 : 0);
                            }
                        table.copy_bf16_pair_rows(source.data(), partner, src_pitch, step, rows, count, pairs.data(),
                                                  dst_pitch, source.data() + source.size());
                        CAPTURE(rows);
                        CAPTURE(count);
                        CAPTURE(step);
                        CAPTURE(dst_pitch);
                        CHECK(
                            (expected.empty() || std::memcmp(expected.data(), pairs.data(), 4 * expected.size()) == 0));
                        CHECK(pairs.guards_intact());
                    }
    });
}

TEST_CASE("numbers that are bfloat16 are joined to bf16 pairs") {
    Random random(55);
    with_bf16_pairs([&](const KernelTable<float>& table) {
        for (const int64_t vectors : {0, 1, 3}) {
            const int64_t elems = vectors * table.lanes;
            Array<float> low(elems), high(elems), pairs(elems, guards);
            for (int64_t i = 0; i < low.size(); ++i) {
                low[i] = from_bits(static_cast<uint32_t>(random.integer(0, 0xffff)) << 16);
                high[i] = from_bits(static_cast<uint32_t>(random.integer(0, 0xffff)) << 16);
            }
            table.join_bf16_pairs(low.data(), high.data(), vectors, pairs.data());
            for (int64_t i = 0; i < low.size(); ++i) CHECK(bits_of(pairs[i]) == bits_of(pair_of(low[i], high[i])));
            CHECK(pairs.guards_intact());
        }
    });
}

}  // namespace convpp::test
