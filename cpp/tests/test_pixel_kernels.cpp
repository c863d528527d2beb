// Rows of a depthwise layer in channels_last, whose pixels are read through pointers (kernels/channel/pixels.hpp), on
// every instruction set of this machine and as all types are stored, against the plain loop of their contract.
#include "kernel_cases.hpp"
#include "strategies/channels/in_place.hpp"

namespace convpp::test {
namespace {

using kernels::ChannelPixels;
using kernels::KernelTable;
using kernels::Onto;

// Pixels anywhere in one source; results one behind the other, or apart, in either direction.
template <class S>
struct PixelsCase {
    using T = Computed<S>;
    int64_t stride, lanes, whole;
    Array<S> source;
    Array<T> weights, bias;
    Array<S> result;
    std::vector<const S*> pixels;
    std::vector<const S* const*> lines;
    ChannelPixels<T, S> of{};

    PixelsCase(const KernelTable<T>& table, int64_t step, int64_t channels, int64_t count, Random& random)
        : stride(step),
          lanes(table.lanes),
          whole((channels + lanes - 1) / lanes * lanes),
          source(50 * whole),
          weights(whole * lines_most * columns_most),
          bias(whole),
          result(count * (channels + random.integer(0, 1) * 5), guards) {
        const bool backwards = random.chance(3);
        of.line_count = random.integer(0, lines_most);
        of.columns = random.integer(1, columns_most);
        of.count = count;
        of.channels = channels;
        const int64_t entries = (count - 1) * stride + of.columns, pitch = result.size() / count;
        for (int64_t i = 0; i < lines_most * entries; ++i)
            pixels.push_back(source.data() + random.integer(0, 49 * whole));
        for (int64_t line = 0; line < lines_most; ++line) lines.push_back(pixels.data() + line * entries);
        of.lines = lines.data();
        of.ahead = random.chance(2) ? pixels.data() : nullptr;
        of.weights = weights.data();
        of.weights_vector = of.line_count * of.columns * lanes;
        of.result = result.data() + (backwards ? (count - 1) * pitch : 0);
        of.result_step = backwards ? -pitch : pitch;
        of.spill_end = !backwards && pitch == channels ? result.data() + result.size() - lanes : nullptr;
        of.bias = bias.data();
    }

    static constexpr int64_t lines_most = 4, columns_most = 5;

    std::vector<S> expected(Onto onto, bool fused) const {
        std::vector<S> all = contents(result);
        for (int64_t p = 0; p < of.count; ++p)
            for (int64_t c = 0; c < of.channels; ++c) {
                T sum = T(0);
                for (int64_t line = 0; line < of.line_count; ++line)
                    for (int64_t s = 0; s < of.columns; ++s) {
                        const int64_t tap = line * of.columns + s;
                        const T w = weights[c / lanes * of.weights_vector + tap * lanes + c % lanes];
                        sum =
                            multiply_add(value_of(lines[static_cast<size_t>(line)][p * stride + s][c]), w, sum, fused);
                    }
                S& to = all.at(static_cast<size_t>(of.result - result.data() + p * of.result_step + c));
                T value = value_of(to);
                add_onto(onto, bias[c], sum, value);
                to = made<S>(static_cast<double>(value));
            }
        return all;
    }
};

}  // namespace

TEST_CASE_TEMPLATE("pixels in place sum in the order of lines, then columns, and write nothing else", S, float, double,
                   bfloat16, float16) {
    using T = Computed<S>;
    Random random(53);
    for_each_isa<T>([&](const KernelTable<T>& table, Isa isa) {
        for (int64_t stride = 1; stride <= kernels::slide_strides; ++stride)
            for (const Onto onto : {Onto::zero, Onto::c, Onto::column_bias})
                for (int repeat = 0; repeat < 150; ++repeat) {
                    if (onto == Onto::c && sizeof(S) < sizeof(T)) continue;
                    PixelsCase<S> one(table, stride, random.integer(1, 3 * table.lanes), random.integer(1, 25), random);
                    one.source.fill_reals(random);
                    for (Array<T>* array : {&one.weights, &one.bias}) array->fill_reals(random);
                    one.result.fill_nan();
                    if (onto == Onto::c) {
                        one.result.fill_reals(random);
                        one.of.spill_end = nullptr;
                    }
                    const std::vector<S> expected = one.expected(onto, is_fused(isa));
                    pixel_tiles<S>(table).of[stride - 1](one.of, onto);
                    CAPTURE(stride);
                    CAPTURE(one.of.channels);
                    CAPTURE(one.of.count);
                    CAPTURE(one.of.columns);
                    CAPTURE(static_cast<int>(onto));
                    CHECK(holds(one.result, expected));
                    CHECK(one.result.guards_intact());
                }
    });
}

}  // namespace convpp::test
