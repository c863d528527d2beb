// The kernels of depthwise and grouped layers, whose vectors run along the channels, on every instruction set of this
// machine and in both types, against the plain loop of their contract (kernels/contract.hpp).
//
// Sources end at a fence, results lie between guards.
#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

using kernels::KernelTable;
using kernels::Onto;

// body(index, channels of a group) for each group of a table.
template <class T, class Body>
void for_each_group(const KernelTable<T>& table, const Body& body) {
    for (int index = 0; index < kernels::channel_groups; ++index) {
        const int64_t group = int64_t(1) << index;
        CAPTURE(group);
        if (table.channel_tiles[index] != nullptr) body(index, group);
    }
}

// Elements of a source whose last vector is the last one that is read.
int64_t source_elems(const std::vector<int64_t>& pixels, const std::vector<int64_t>& offsets, int64_t lanes) {
    return pixels.empty() || offsets.empty() ? 0 : largest_of(pixels) + largest_of(offsets) + lanes;
}

// Some rows of `count` pixels, `step` apart (it may be negative), each `pitch` and any elements behind another one.
struct Rows {
    std::vector<int64_t> first, pixels;  // of each row, of all rows

    Rows(Random& random, int64_t rows, int64_t count, int64_t step, int64_t pitch) {
        for (const int64_t row : shuffled(random, rows))
            first.push_back(row * (count * std::abs(step) + pitch) + (step < 0 ? (count - 1) * -step : 0));
        for (const int64_t at : first)
            for (int64_t p = 0; p < count; ++p) pixels.push_back(at + p * step);
    }
};

// Rows of pixels whose results lie elsewhere, with gaps between them; taps in lines.
template <class T>
struct ChannelTiles {
    int64_t group, lanes, line, taps, count, source_step, result_step;
    std::vector<int64_t> offsets;
    Rows pixels, results;
    Array<T> source, weights, bias, c;

    ChannelTiles(const KernelTable<T>& table, int64_t of_group, int64_t lines, int64_t of_line, int64_t pixel_count,
                 Random& random)
        : group(of_group),
          lanes(table.lanes),
          line(of_line),
          taps(lines * of_line),
          count(pixel_count),
          source_step(random.chance(2) ? lanes : -(lanes + 1)),
          result_step(random.chance(2) ? lanes + 3 : -(lanes + 3)),
          offsets(static_cast<size_t>(taps)),
          pixels(random, 3, count, source_step, 5),
          results(random, 3, count, result_step, 0),
          source((line_offsets(random), source_elems(pixels.pixels, offsets, lanes))),
          weights(group * taps * lanes),
          bias(lanes),
          c(3 * count * (lanes + 3), guards) {}

    void line_offsets(Random& random) {
        for (int64_t k = 0; k < taps; k += line) {
            const int64_t first = random.integer(0, 70) + (source_step < 0 ? (line - 1) * -source_step : 0);
            for (int64_t t = 0; t < line; ++t) offsets[static_cast<size_t>(k + t)] = first + t * source_step;
        }
    }

    template <class Fill, class Value>
    void fill(Onto onto, const Fill& fill_array, const Value& value) {
        for (Array<T>* array : {&source, &weights, &bias}) fill_array(*array);
        c.fill_nan();  // c is read only where sums are added to it
        for (const int64_t at : results.pixels)
            for (int64_t lane = 0; onto == Onto::c && lane < lanes; ++lane) c[at + lane] = static_cast<T>(value());
    }

    int64_t run() const { return 2 * line; }  // pairs

    // Sums of runs, through the channels of the group and their taps.
    std::vector<T> expected(Onto onto, bool fused) const {
        std::vector<T> result = contents(c);
        for (size_t p = 0; p < pixels.pixels.size(); ++p)
            for (int64_t lane = 0; lane < lanes; ++lane) {
                SumOfRuns<T> sums{run()};
                for (int64_t channel = 0; channel < group; ++channel)
                    for (int64_t t = 0; t < taps; ++t)
                        sums.add(channel * taps + t, [&](T sum) {
                            return multiply_add(source[pixels.pixels[p] + offsets[static_cast<size_t>(t)] +
                                                       lane / group * group + channel],
                                                weights[(channel * taps + t) * lanes + lane], sum, fused);
                        });
                add_onto(onto, bias[lane], sums.all(), result.at(static_cast<size_t>(results.pixels[p] + lane)));
            }
        return result;
    }

    void run(const KernelTable<T>& table, int index, Onto onto) {
        std::vector<kernels::VectorAt> rows;
        for (size_t r = 0; r < pixels.first.size(); ++r) rows.push_back({pixels.first[r], results.first[r]});
        table.channel_tiles[index]({taps, line, run()}, offsets.data(),
                                   {rows.data(), static_cast<int64_t>(rows.size()), count, source_step, result_step},
                                   source.data(), weights.data(), c.data(), onto,
                                   onto == Onto::column_bias ? bias.data() : nullptr);
    }
};

template <class T, class Fill, class Value>
void check_channel_tiles(const KernelTable<T>& table, Isa isa, std::initializer_list<int64_t> lines_of_taps,
                         Random& random, const Fill& fill, const Value& value) {
    for_each_group(table, [&](int index, int64_t group) {
        for (const int64_t line : lines_of_taps)
            for (int64_t count = 0; count <= 2 * kernels::most_channel_pixels + 3; ++count)
                for (const Onto onto : {Onto::zero, Onto::c, Onto::column_bias}) {
                    const int64_t lines = random.integer(0, 3);
                    ChannelTiles<T> tiles(table, group, lines, line, count, random);
                    tiles.fill(onto, fill, value);
                    const std::vector<T> expected = tiles.expected(onto, is_fused(isa));
                    tiles.run(table, index, onto);
                    CAPTURE(line);
                    CAPTURE(lines);
                    CAPTURE(count);
                    CAPTURE(static_cast<int>(onto));
                    CHECK(holds(tiles.c, expected));
                    CHECK(tiles.c.guards_intact());
                }
    });
}

}  // namespace

TEST_CASE_TEMPLATE("tables have the groups of channels that a vector holds", T, float, double) {
    for_each_isa<T>([](const KernelTable<T>& table, Isa) {
        for (int index = 0; index < kernels::channel_groups; ++index) {
            const bool held = (1 << index) <= table.lanes;
            CAPTURE(index);
            CHECK((table.channel_tiles[index] != nullptr) == held);
            CHECK((table.channel_sums[index] != nullptr) == held);
        }
    });
}

TEST_CASE_TEMPLATE("channel_tiles multiply integers exactly and write nothing else", T, float, double) {
    Random random(41);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        check_channel_tiles(
            table, isa, {1, 2, 3, 4, 5, 8}, random, [&](Array<T>& array) { array.fill_integers(random); },
            [&] { return random.integer(-9, 9); });
    });
}

TEST_CASE_TEMPLATE("channel_tiles sum in the order of channels, then taps", T, float, double) {
    Random random(42);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        check_channel_tiles(
            table, isa, {1, 3, 7}, random, [&](Array<T>& array) { array.fill_reals(random); },
            [&] { return random.real(); });
    });
}

TEST_CASE_TEMPLATE("channel_sums", T, float, double) {
    Random random(43);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for_each_group(table, [&](int index, int64_t group) {
            for (int64_t taps = 0; taps <= 20; ++taps)
                for (const int64_t pixels : {0, 1, 2, 7, 30}) {
                    const std::vector<int64_t> offsets = random_offsets(random, taps);
                    const int64_t x_step = random.integer(1, 20), dy_step = lanes + random.integer(0, 5);
                    const Rows at(random, 2, pixels, x_step, 5), of_dy(random, 2, pixels, dy_step, 3);
                    Array<T> x(source_elems(at.pixels, offsets, lanes));
                    Array<T> dy(of_dy.pixels.empty() ? 0 : largest_of(of_dy.pixels) + lanes);
                    Array<T> sums(group * taps * lanes, guards);
                    for (Array<T>* array : {&x, &dy, &sums}) array->fill_integers(random);
                    std::vector<T> expected = contents(sums);
                    for (int64_t channel = 0; channel < group; ++channel)
                        for (int64_t t = 0; t < taps; ++t)
                            for (int64_t lane = 0; lane < lanes; ++lane)
                                for (size_t p = 0; p < at.pixels.size(); ++p)
                                    expected.at(static_cast<size_t>((channel * taps + t) * lanes + lane)) +=
                                        dy[of_dy.pixels[p] + lane] * x[at.pixels[p] + offsets[static_cast<size_t>(t)] +
                                                                       lane / group * group + channel];
                    const std::vector<kernels::VectorAt> rows{{at.first[0], of_dy.first[0]},
                                                              {at.first[1], of_dy.first[1]}};
                    table.channel_sums[index](taps, offsets.data(), {rows.data(), 2, pixels, x_step, dy_step}, 3,
                                              x.data(), dy.data(), sums.data());
                    CAPTURE(taps);
                    CAPTURE(pixels);
                    CHECK(first_difference(sums.data(), expected.data(), sums.size()) == -1);
                    CHECK(sums.guards_intact());
                }
        });
    });
}

TEST_CASE_TEMPLATE("split_channels", S, float, double, bfloat16, float16) {
    using T = Computed<S>;
    Random random(44);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa) {
        const int64_t lanes = table.lanes;
        for (int64_t channels = 1; channels <= 3 * lanes + 1; ++channels)
            for (const int64_t pixels : {0, 1, 2, 7})
                for (const int64_t spare : {int64_t(0), int64_t(1), guards})
                    for (const int64_t gap : {int64_t(0), int64_t(5)}) {  // between pixels, and between vectors
                        const int64_t src_pitch = channels + gap, dst_pitch = pixels * lanes + gap;
                        const int64_t vectors = (channels + lanes - 1) / lanes;
                        Array<S> source(pixels == 0 ? 0 : (pixels - 1) * src_pitch + channels + spare);
                        source.fill_integers(random, 1000);
                        Array<T> split((vectors - 1) * dst_pitch + pixels * lanes, guards);
                        Panel<T> expected(split.size());
                        for (int64_t p = 0; p < pixels; ++p)
                            for (int64_t c = 0; c < channels; ++c)
                                expected.set(c / lanes * dst_pitch + p * lanes + c % lanes,
                                             value_of(source[p * src_pitch + c]));
                        readers_of<S>(table).split_channels(source.data(), src_pitch, pixels, channels, split.data(),
                                                            dst_pitch, source.data() + source.size());
                        CAPTURE(channels);
                        CAPTURE(pixels);
                        CAPTURE(spare);
                        CAPTURE(gap);
                        CHECK(expected.first_difference(split) == -1);
                        CHECK(split.guards_intact());
                        for (int64_t v = 1; v < vectors; ++v) CHECK(all_nan(split, v * dst_pitch - gap, v * dst_pitch));
                    }
    });
}

}  // namespace convpp::test
