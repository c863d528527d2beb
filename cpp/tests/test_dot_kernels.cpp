// Dot products of rows, sums of arrays, and the rounds by which the machine's peak is measured, of every instruction
// set of this machine, against the plain loop of their contract (kernels/contract.hpp).
#include <cmath>
#include <vector>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;

}  // namespace

TEST_CASE_TEMPLATE("dot_rows adds the products of the lanes that count", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(5);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 9})
            for (const int64_t columns : {1, 2, 3, 5, 6, 7, 9, 11, 12, 13, 25})
                for (const int64_t whole : {0, 1, 3})
                    for (const int64_t ragged : {0, 1, 2}) {
                        const std::vector<int64_t> offsets = random_offsets(random, columns);
                        std::vector<kernels::VectorAt> at;
                        std::vector<unsigned char> skip, count;
                        int64_t x_end = 0, dy_end = 0;
                        const int64_t dy_pitch = (whole + ragged) * (lanes + 1) + 3;
                        for (int64_t v = 0; v < whole + ragged; ++v) {
                            at.push_back({random.integer(0, 50), v * (lanes + 1)});
                            const int64_t skipped = v < whole ? 0 : random.integer(0, lanes - 1);
                            const int64_t counted = v < whole ? lanes : random.integer(1, lanes - skipped);
                            skip.push_back(static_cast<unsigned char>(skipped));
                            count.push_back(static_cast<unsigned char>(counted));
                            for (const int64_t offset : offsets)
                                x_end = std::max(x_end, offset + at.back().source + lanes);
                            // The last lanes of dy that do not count are not there.
                            dy_end = (rows - 1) * dy_pitch + at.back().result + skipped + counted;
                        }
                        Array<T> dy(dy_end);
                        Array<S> x(x_end);
                        x.fill_integers(random);
                        for (int64_t r = 0; r < rows; ++r)  // what does not count stays NaN
                            for (size_t v = 0; v < at.size(); ++v)
                                for (int64_t lane = skip[v]; lane < skip[v] + count[v]; ++lane)
                                    dy[r * dy_pitch + at[v].result + lane] = static_cast<T>(random.integer(-3, 3));
                        const int64_t pitch = columns + random.integer(0, 3);
                        Array<T> sums((rows - 1) * pitch + columns, guards);
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t j = 0; j < columns; ++j)
                                sums[r * pitch + j] = static_cast<T>(random.integer(-9, 9));
                        std::vector<T> expected(sums.data(), sums.data() + sums.size());
                        for (int64_t r = 0; r < rows; ++r)
                            for (int64_t j = 0; j < columns; ++j)
                                for (size_t v = 0; v < at.size(); ++v)
                                    for (int64_t lane = skip[v]; lane < skip[v] + count[v]; ++lane)
                                        expected[static_cast<size_t>(r * pitch + j)] +=
                                            dy[r * dy_pitch + at[v].result + lane] *
                                            value_of(x[offsets[static_cast<size_t>(j)] + at[v].source + lane]);
                        const kernels::RowVectors vectors{at.data(), skip.data(), count.data(), whole, whole + ragged};
                        readers_of<S>(table).dot_rows(dy.data(), dy_pitch, dy.data() + dy.size(), rows, x.data(),
                                                      offsets.data(), columns, vectors, 2, sums.data(), pitch);
                        CAPTURE(rows);
                        CAPTURE(columns);
                        CAPTURE(whole);
                        CAPTURE(ragged);
                        CHECK(first_difference(sums.data(), expected.data(), sums.size()) == -1);
                        CHECK(sums.guards_intact());
                    }
    });
}

TEST_CASE_TEMPLATE("dot_rows leaves out lanes of x that are not finite and do not count", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (int64_t skipped = 0; skipped < lanes; ++skipped)
            for (int64_t counted = 1; counted <= lanes - skipped; ++counted) {
                Array<T> x(lanes), dy(skipped + counted), sum(1, guards);  // of NaN
                for (int64_t lane = skipped; lane < skipped + counted; ++lane) x[lane] = T(2), dy[lane] = T(3);
                sum[0] = T(1);
                kernels::VectorAt at{0, 0};
                auto skip = static_cast<unsigned char>(skipped), count = static_cast<unsigned char>(counted);
                const int64_t offset = 0;
                readers_of<T>(table).dot_rows(dy.data(), 0, dy.data() + dy.size(), 1, x.data(), &offset, 1,
                                              {&at, &skip, &count, 0, 1}, 1, sum.data(), 1);
                CHECK(sum[0] == static_cast<T>(1 + 6 * counted));
                CHECK(sum.guards_intact());
            }
    });
}

TEST_CASE_TEMPLATE("add", T, float, double) {
    Random random(6);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        for (int64_t count = 0; count <= 70; ++count) {
            CAPTURE(count);
            Array<T> source(count), result(count, guards);
            source.fill_integers(random, 1000);
            result.fill_integers(random, 1000);
            std::vector<T> expected(static_cast<size_t>(count));
            for (int64_t i = 0; i < count; ++i) expected[static_cast<size_t>(i)] = result[i] + source[i];
            table.add(source.data(), count, result.data());
            CHECK(first_difference(result.data(), expected.data(), count) == -1);
            CHECK(result.guards_intact());
        }
    });
}

TEST_CASE_TEMPLATE("multiply_add_rounds counts two operations for each lane of each chain", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        T sink = T(1);
        const int64_t operations = table.multiply_add_rounds(10, &sink);
        CHECK(operations > 0);
        CHECK(operations % (2 * table.lanes) == 0);
        CHECK(std::isfinite(sink));
        CHECK(sink > T(1));  // so that the rounds cannot be left out
    });
}

}  // namespace convpp::test
