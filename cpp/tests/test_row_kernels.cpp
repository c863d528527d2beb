// The kernels that move rows, and the tiles that read rows where they lie, on every instruction set of this machine and
// in both types, against the plain loop of their contract (kernels/contract.hpp).
//
// Sources end at a fence, results lie between guards; what a kernel reads only because it moves whole vectors is NaN,
// and so is what it must not write.
#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Onto;
using kernels::TileKernels;

int64_t whole_vectors(int64_t count, int64_t lanes) { return (count + lanes - 1) / lanes * lanes; }

// A source with rows of `count` elements `step` apart between NaN, and the elements that may be read behind it.
template <class T>
Array<T> source_of_rows(int64_t rows, int64_t pitch, int64_t count, int64_t step, int64_t spare, Random& random) {
    Array<T> source(rows == 0 ? 0 : (rows - 1) * pitch + (count - 1) * step + 1 + spare);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < count; ++j)
            source[i * pitch + j * step] =
                made<T>(static_cast<double>(random.integer(1, 1000)));  // no zeros: those are the padding
    return source;
}

// Bands of height x pitch elements as staging makes them (source/staged.hpp): zeros, rows, zeros; some of zeros alone.
template <class S, class T>
void check_bands(const KernelTable<T>& table, int64_t band_count, int64_t step, int64_t count, int64_t pitch,
                 int64_t spare, Random& random) {
    const int64_t lanes = table.lanes;
    std::vector<kernels::Band> bands;
    const int64_t src_pitch = (count - 1) * step + 1 + random.integer(0, 4);
    int64_t source_rows = 0, dst_elems = 0, behind = 0;
    for (int64_t b = 0; b < band_count; ++b) {
        const int64_t rows = random.chance(6) ? 0 : random.integer(1, 5);
        const int64_t rows_before = random.pick({0, 0, 1, 3}), rows_behind = random.pick({0, 0, 1, 2});
        const int64_t height = std::max<int64_t>(1, rows_before + rows + rows_behind);
        const int64_t columns_before = random.integer(0, pitch - count);
        kernels::Band band{source_rows * src_pitch, rows_before * pitch + columns_before, rows, count, height * pitch};
        if (rows == 0) band.before = band.elems, band.count = 0;
        bands.push_back(band);
        source_rows += rows;
        dst_elems += band.elems;
        // The zeros behind the last row may reach over the band's end, by those that lie before its first element.
        behind = std::max<int64_t>(0, band.before + rows * pitch - band.elems);
        if (rows > 0) source_rows += random.integer(0, 1);  // the bands need not follow each other
    }
    int64_t last_row = 0;
    for (const kernels::Band& band : bands)
        if (band.rows > 0) last_row = band.from / src_pitch + band.rows;
    Array<S> source = source_of_rows<S>(last_row, src_pitch, count, step, spare, random);
    Array<T> plane(dst_elems + behind + lanes - 1, guards);
    Panel<T> expected(plane.size());
    int64_t at = 0;
    for (const kernels::Band& band : bands) {
        for (int64_t i = 0; i < band.elems; ++i) expected.set(at + i, T(0));
        for (int64_t i = 0; i < band.rows; ++i)
            for (int64_t j = 0; j < band.count; ++j)
                expected.set(at + band.before + i * pitch + j, value_of(source[band.from + i * src_pitch + j * step]));
        at += band.elems;
    }
    readers_of<S>(table).copy_bands(source.data(), bands.data(), band_count, src_pitch, step, plane.data(), pitch,
                                    source.data() + source.size(), random.integer(0, 100));
    CAPTURE(band_count);
    CAPTURE(step);
    CAPTURE(count);
    CAPTURE(pitch);
    CAPTURE(spare);
    CHECK(expected.first_difference(plane) == -1);
    CHECK(plane.guards_intact());
}

// Rows of two sources that belong between each other: the even elements lie in one, the odd ones in the other.
template <class T>
struct Halves {
    int64_t pitch[2];
    Array<T> half[2];

    // Both are read by whole vectors as long as the longer one has elements.
    Halves(int64_t rows, int64_t count, int64_t lanes, Random& random)
        : pitch{count / 2 + random.integer(0, 5) + 1, (count + 1) / 2 + random.integer(0, lanes)},
          half{fill(rows, pitch[0], (count + 1) / 2, count, lanes, random),
               fill(rows, pitch[1], count / 2, count, lanes, random)} {}

    T at(int64_t row, int64_t j) const { return half[j % 2][row * pitch[j % 2] + j / 2]; }
    kernels::RowPair<T> pair() const { return {half[0].data(), half[1].data(), pitch[0], pitch[1]}; }

private:
    static Array<T> fill(int64_t rows, int64_t pitch, int64_t own, int64_t count, int64_t lanes, Random& random) {
        Array<T> source(rows == 0 ? 0 : (rows - 1) * pitch + whole_vectors((count + 1) / 2, lanes));
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < own; ++j) source[i * pitch + j] = static_cast<T>(random.integer(-1000, 1000));
        return source;
    }
};

template <class T>
void check_interleave(const KernelTable<T>& table, int64_t class_count, int64_t rows, int64_t count, int64_t gap,
                      Random& random) {
    const int64_t dst_pitch = count + gap;
    std::vector<Halves<T>> classes;
    std::vector<kernels::RowPair<T>> pairs;
    for (int64_t c = 0; c < class_count; ++c)  // the first classes have a row more, where rows do not share out evenly
        classes.emplace_back((rows + class_count - 1 - c) / class_count, count, table.lanes, random);
    for (const Halves<T>& halves : classes) pairs.push_back(halves.pair());
    Array<T> plane(rows == 0 ? 0 : (rows - 1) * dst_pitch + count, guards);
    std::vector<T> expected = contents(plane);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < count; ++j)
            expected.at(static_cast<size_t>(i * dst_pitch + j)) =
                classes[static_cast<size_t>(i % class_count)].at(i / class_count, j);
    table.interleave_rows(pairs.data(), class_count, rows, count, plane.data(), dst_pitch);
    CAPTURE(class_count);
    CAPTURE(rows);
    CAPTURE(count);
    CAPTURE(gap);
    CHECK(holds(plane, expected));
    CHECK(plane.guards_intact());
}

}  // namespace

TEST_CASE_TEMPLATE("indirect tiles read their rows where they lie, and multiply integers exactly", T, float, double) {
    Random random(31);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            for (const int64_t depth : {0, 1, 2, 7, 64, 65, 130})
                for (const int64_t column : {0, 5}) {
                    IndirectOperands<T> operands(table, tiles, rows, vectors, depth, column, random);
                    operands.fill([&](Array<T>& array) { array.fill_integers(random); });
                    for (const Onto onto : all_starts) {
                        operands.begin(onto, [&] { return random.integer(-9, 9); });
                        const std::vector<T> expected = operands.expected(onto, multiply_add_of<T>(isa));
                        operands.run(tiles, vectors, onto);
                        CAPTURE(depth);
                        CAPTURE(column);
                        CAPTURE(static_cast<int>(onto));
                        CHECK(holds(operands.c, expected));
                        CHECK(operands.c.guards_intact());
                    }
                }
        });
    });
}

TEST_CASE_TEMPLATE("indirect tiles sum in the order of k: the bits of the packed ones", T, float, double) {
    Random random(32);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for_each_tile(table, [&](const TileKernels<T>& tiles, int rows, int vectors) {
            IndirectOperands<T> operands(table, tiles, rows, vectors, 61, 2, random);
            operands.fill([&](Array<T>& array) { array.fill_reals(random); });
            for (const Onto onto : all_starts) {
                operands.begin(onto, [&] { return random.real(); });
                const std::vector<T> expected = operands.expected(onto, multiply_add_of<T>(isa));
                operands.run(tiles, vectors, onto);
                CAPTURE(static_cast<int>(onto));
                CHECK(holds(operands.c, expected));
            }
        });
    });
}

TEST_CASE_TEMPLATE("prefetching tiles sum as the others do, and go through the list a line every period", T, float,
                   double) {
    Random random(34);
    constexpr int64_t line = 64;
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for (const TileKernels<T>& tiles : table.tiles)
            for (const int64_t depth : {0, 1, 2, 7, 64})
                for (const int64_t period : {1, 2, 5, 64, 100}) {
                    IndirectOperands<T> operands(table, tiles, tiles.rows, tiles.vectors, depth, 2, random);
                    operands.fill([&](Array<T>& array) { array.fill_reals(random); });
                    // Some stretches, the last one not whole lines; then the end.  Their memory is never touched.
                    std::vector<char> memory(4096);
                    std::vector<kernels::Stretch> list;
                    std::vector<const char*> lines;
                    const char* at = memory.data();
                    for (const int64_t bytes : {line, 3 * line, 2 * line - 7}) {
                        list.push_back({at, at + bytes});
                        for (int64_t i = 0; i < bytes; i += line) lines.push_back(at + i);
                        at += 5 * line;
                    }
                    list.push_back({lines.back(), lines.back()});
                    operands.begin(Onto::zero, [] { return 0.0; });
                    const std::vector<T> expected = operands.expected(Onto::zero, multiply_add_of<T>(isa));
                    kernels::Prefetch prefetch{list.data(), lines.back(), lines.back(), period};
                    operands.run(tiles, tiles.vectors, Onto::zero, &prefetch);
                    CAPTURE(depth);
                    CAPTURE(period);
                    CHECK(holds(operands.c, expected));
                    CHECK(operands.c.guards_intact());
                    const int64_t asked = (depth + period - 1) / period, most = static_cast<int64_t>(lines.size());
                    if (asked > 0) CHECK(prefetch.at - line == lines[static_cast<size_t>(std::min(asked, most) - 1)]);
                    CHECK(prefetch.next <= &list.back());
                    CHECK((prefetch.next == &list.back() || asked < most));
                }
    });
}

TEST_CASE_TEMPLATE("transpose_rows", T, float, double) {
    Random random(33);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes, most = 2 * lanes + 3;
        for (int64_t count = 0; count <= most; ++count)
            for (int64_t columns = 1; columns <= most; ++columns)
                for (const int64_t gap : {int64_t(0), int64_t(3), lanes}) {
                    // Rows in any order and apart; what fills up their last vectors is NaN.
                    const int64_t row_elems = whole_vectors(columns, lanes), pitch = row_elems + random.integer(0, 2);
                    Array<T> source(count == 0 ? 0 : (count - 1) * pitch + row_elems);
                    std::vector<const T*> rows;
                    for (const int64_t row : shuffled(random, count)) {
                        rows.push_back(source.data() + row * pitch);
                        for (int64_t j = 0; j < columns; ++j)
                            source[row * pitch + j] = static_cast<T>(random.integer(-1000, 1000));
                    }
                    const int64_t dst_pitch = count + gap;
                    Array<T> result((columns - 1) * dst_pitch + count, guards);
                    std::vector<T> expected = contents(result);
                    for (int64_t j = 0; j < columns; ++j)
                        for (int64_t i = 0; i < count; ++i)
                            expected.at(static_cast<size_t>(j * dst_pitch + i)) = rows[static_cast<size_t>(i)][j];
                    table.transpose_rows(rows.data(), count, columns, result.data(), dst_pitch);
                    CAPTURE(count);
                    CAPTURE(columns);
                    CAPTURE(gap);
                    CHECK(holds(result, expected));
                    CHECK(result.guards_intact());
                }
    });
}

TEST_CASE_TEMPLATE("copy_rows leaves out what lies between the rows' elements, even if it is not finite", S, float,
                   double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(34);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t step : {1, 2, 3, 4, 5})
            for (int64_t count = 1; count <= 2 * lanes + 3; ++count)
                for (const int64_t padding : {int64_t(0), int64_t(1), lanes + 1})
                    for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                        const int64_t rows = random.integer(1, 4), dst_pitch = count + padding;
                        const int64_t src_pitch = (count - 1) * step + 1 + random.integer(0, 9);
                        Array<S> source = source_of_rows<S>(rows, src_pitch, count, step, spare, random);
                        CAPTURE(spare);
                        check_copied_rows(table, source, src_pitch, step, rows, count, dst_pitch);
                    }
    });
}

TEST_CASE_TEMPLATE("copy_bands", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(35);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t band_count : {0, 1, 2, 5})
            for (const int64_t step : {1, 2, 3, 4, 5})
                for (int64_t count = 1; count <= 2 * lanes + 3; ++count)
                    for (const int64_t padding : {int64_t(0), int64_t(1), int64_t(2), lanes + 1})
                        for (const int64_t spare : {int64_t(0), int64_t(1), guards})
                            check_bands<S>(table, band_count, step, count, count + padding, spare, random);
    });
}

TEST_CASE_TEMPLATE("store_rows", T, float, double) {
    Random random(36);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t rows : {int64_t(0), int64_t(1), int64_t(2), int64_t(5), lanes, lanes + 3})
            for (int64_t count = 1; count <= 3 * lanes + 1; ++count)
                for (const int64_t gap : {int64_t(0), int64_t(1), lanes + 2}) {  // 0: rows are joined
                    const int64_t src_pitch = count + random.integer(0, 3), dst_pitch = count + gap;
                    Array<T> source(rows == 0 ? 0 : (rows - 1) * src_pitch + whole_vectors(count, lanes));
                    for (int64_t i = 0; i < rows; ++i)
                        for (int64_t j = 0; j < count; ++j)
                            source[i * src_pitch + j] = static_cast<T>(random.integer(-1000, 1000));
                    Array<T> result(rows == 0 ? 0 : (rows - 1) * dst_pitch + count, guards);
                    std::vector<T> expected = contents(result);
                    for (int64_t i = 0; i < rows; ++i)
                        for (int64_t j = 0; j < count; ++j)
                            expected.at(static_cast<size_t>(i * dst_pitch + j)) = source[i * src_pitch + j];
                    table.store_rows(source.data(), src_pitch, rows, count, result.data(), dst_pitch);
                    CAPTURE(rows);
                    CAPTURE(count);
                    CAPTURE(gap);
                    CHECK(holds(result, expected));
                    CHECK(result.guards_intact());
                }
    });
}

TEST_CASE_TEMPLATE("interleave_rows", T, float, double) {
    Random random(37);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t class_count : {1, 2, 3})
            for (const int64_t rows : {int64_t(0), int64_t(1), int64_t(2), int64_t(5), 2 * lanes + 1})
                for (int64_t count = 1; count <= 4 * lanes + 3; ++count)
                    for (const int64_t gap : {int64_t(0), int64_t(1), 2 * lanes + 1})  // 0: rows are joined
                        check_interleave(table, class_count, rows, count, gap, random);
    });
}

}  // namespace convpp::test
