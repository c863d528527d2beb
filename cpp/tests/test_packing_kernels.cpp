// The kernels that pack a source into panels, by rows or transposed, converting halves, of every instruction set of
// this machine, against the plain loop of their contract (kernels/contract.hpp).  Sources end at a fence, panels
// lie between guards.
#include <algorithm>
#include <cmath>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Run;
using kernels::TileKernels;

// A random layout of runs within `width`: in order, mostly without gaps, short and long ones.
std::vector<Run> random_runs(Random& random, int64_t width, int64_t lanes) {
    std::vector<Run> runs;
    int64_t dst = random.chance(4) ? random.integer(0, width - 1) : 0;
    while (dst < width) {
        const int64_t wanted =
            random.pick({1, 1, 2, 3, lanes / 4, lanes - 1, lanes, lanes + 1, 2 * lanes, 3 * lanes, width});
        const int64_t count = std::clamp<int64_t>(wanted, 1, width - dst);
        runs.push_back({random.integer(0, 40), dst, count});
        dst += count + (random.chance(5) ? random.integer(1, 5) : 0);
        if (random.chance(12)) break;
    }
    return runs;
}

// One past the last source element that is asked for.
int64_t source_elems(const std::vector<int64_t>& offsets, const std::vector<Run>& runs) {
    int64_t end = 0;
    for (const int64_t offset : offsets)
        for (const Run& run : runs) end = std::max(end, offset + run.src + run.count);
    return end;
}

// `spare`: elements that follow the source, so that whole vectors may be read there.
template <class S, class T>
void check_copy(const KernelTable<T>& table, const std::vector<int64_t>& offsets, const std::vector<Run>& runs,
                int64_t width, int64_t spare, Random& random) {
    const auto rows = static_cast<int64_t>(offsets.size());
    Array<S> source(source_elems(offsets, runs) + spare);
    source.fill_integers(random, 1000);
    const bool some = rows > 0 && !runs.empty();
    const int64_t end = some ? (rows - 1) * width + runs.back().dst + runs.back().count : 0;
    Array<T> panel(some ? end + table.lanes - 1 : 0, guards);
    Panel<T> expected(panel.size());
    for (int64_t k = 0; k < rows; ++k)
        for (const Run& run : runs)
            for (int64_t i = 0; i < run.count; ++i)
                expected.set(k * width + run.dst + i, value_of(source[offsets[static_cast<size_t>(k)] + run.src + i]));
    readers_of<S>(table).copy_panel(source.data(), offsets.data(), rows, runs.data(), static_cast<int64_t>(runs.size()),
                                    panel.data(), width, source.data() + source.size());
    CHECK(expected.first_difference(panel) == -1);
    CHECK(panel.guards_intact());
    if (some) CHECK(all_nan(panel, 0, runs.front().dst));
}

template <class S, class T>
void check_transpose(const KernelTable<T>& table, const std::vector<int64_t>& offsets, const std::vector<Run>& runs,
                     int64_t width, int64_t spare, Random& random) {
    const auto columns = static_cast<int64_t>(offsets.size());
    Array<S> source(source_elems(offsets, runs) + spare);
    source.fill_integers(random, 1000);
    const int64_t last_row = runs.back().dst + runs.back().count - 1;
    Array<T> panel(last_row * width + columns + table.lanes - 1, guards);
    Panel<T> expected(panel.size());
    // Zeros fill up the last vector, unless it is cut by the next row's begin.
    const int64_t filled = std::min(width, (columns + table.lanes - 1) / table.lanes * table.lanes);
    for (const Run& run : runs)
        for (int64_t i = 0; i < run.count; ++i)
            for (int64_t j = 0; j < filled; ++j)
                expected.set((run.dst + i) * width + j,
                             j < columns ? value_of(source[offsets[static_cast<size_t>(j)] + run.src + i]) : T(0));
    readers_of<S>(table).transpose_panel(source.data(), offsets.data(), columns, runs.data(),
                                         static_cast<int64_t>(runs.size()), panel.data(), width,
                                         source.data() + source.size());
    CHECK(expected.first_difference(panel) == -1);
    CHECK(panel.guards_intact());
    CHECK(all_nan(panel, 0, runs.front().dst * width));
    // Beyond the last vector of a row, nothing is touched.
    for (int64_t row = runs.front().dst; row < last_row && filled < width; ++row)
        if (!all_nan(panel, row * width + filled, (row + 1) * width)) FAIL_CHECK("row " << row);
}

// Widths of the panels of a table's tile shapes, and odd ones.
template <class T>
std::vector<int64_t> panel_widths(const KernelTable<T>& table) {
    std::vector<int64_t> widths{1, 3, 5, 13, 37, 3 * int64_t(table.lanes) + 1};
    for (const TileKernels<T>& tiles : table.tiles) {
        widths.push_back(tiles.rows);
        widths.push_back(int64_t(tiles.vectors) * table.lanes);
    }
    return widths;
}

}  // namespace

TEST_CASE_TEMPLATE("copy_rows", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(8);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t step : {1, 2, 3, 4, 5})
            for (const int64_t rows : {0, 1, 2, 5})
                for (int64_t count = 1; count <= 3 * lanes + 1; ++count)
                    for (const int64_t padding : {int64_t(0), int64_t(1), lanes - 1, lanes, lanes + 1})
                        for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                            const int64_t read = (count - 1) * step + 1, src_pitch = read + random.integer(0, 9);
                            const int64_t dst_pitch = count + padding;
                            Array<S> source(rows == 0 ? 0 : (rows - 1) * src_pitch + read + spare);
                            source.fill_integers(random, 1000);
                            CAPTURE(spare);
                            check_copied_rows(table, source, src_pitch, step, rows, count, dst_pitch);
                        }
    });
}

TEST_CASE_TEMPLATE("readers convert every half, also one by one", S, bfloat16, float16) {
    constexpr int64_t count = 1 << 16;
    Array<S> source(count);
    for (int64_t i = 0; i < count; ++i) source[i] = {static_cast<uint16_t>(i)};
    for_each_isa<float>([&](const KernelTable<float>& table, Isa) {
        for (const int64_t step : {1, 3, 4, 5}) {  // whole vectors, some of one's elements, single ones
            const int64_t elems = (count + step - 1) / step;
            Array<float> copy(elems + table.lanes - 1, guards);
            readers_of<S>(table).copy_rows(source.data(), 0, step, 1, elems, copy.data(), elems, source.data() + count);
            for (int64_t i = 0; i < elems; ++i) {
                const float expected = static_cast<float>(source[i * step]);
                if (std::isnan(expected) ? !std::isnan(copy[i])
                                         : std::memcmp(&copy[i], &expected, sizeof expected) != 0)
                    FAIL_CHECK("bits " << i * step);
            }
        }
    });
}

TEST_CASE_TEMPLATE("copy_panel", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(3);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (const int64_t width : panel_widths(table)) {
            CAPTURE(width);
            for (const int64_t rows : {0, 1, 2, 7, 20}) {
                CAPTURE(rows);
                check_copy<S>(table, random_offsets(random, rows), {}, width, 0, random);
                for (const int64_t spare : {int64_t(0), int64_t(1), guards}) {
                    CAPTURE(spare);
                    // One run of each length: the commonest panel, with a path of its own.
                    for (int64_t count = 1; count <= width; ++count)
                        check_copy<S>(table, random_offsets(random, rows), {{3, 0, count}}, width, spare, random);
                    for (int i = 0; i < 20; ++i)
                        check_copy<S>(table, random_offsets(random, rows), random_runs(random, width, table.lanes),
                                      width, spare, random);
                }
            }
        }
    });
}

TEST_CASE_TEMPLATE("transpose_panel", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(4);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        std::vector<int64_t> widths = panel_widths(table);
        widths.push_back(3 * lanes);
        for (const int64_t width : widths)
            for (int64_t columns = 1; columns <= std::min(width, 3 * lanes); ++columns) {
                CAPTURE(width);
                CAPTURE(columns);
                for (const int64_t spare : {int64_t(0), guards}) {
                    CAPTURE(spare);
                    for (const int64_t depth : {int64_t(1), (lanes + 3) / 4, lanes, 2 * lanes + 3})
                        check_transpose<S>(table, random_offsets(random, columns), {{2, 0, depth}}, width, spare,
                                           random);
                    check_transpose<S>(table, random_offsets(random, columns), random_runs(random, 40, lanes), width,
                                       spare, random);
                }
            }
    });
}

}  // namespace convpp::test
