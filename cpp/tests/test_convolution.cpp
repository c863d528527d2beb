// The three passes against the reference, exact on integers, and what the door of the core promises: same bits for
// every number of threads and every batch, no call that overruns, no result touched by a call that is refused.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>
#include <type_traits>

#include "support.hpp"

namespace convpp::test {
namespace {

// The operands of one problem, each ending at a fence (or `behind` elements before one).
template <class T>
struct Tensors {
    Array<T> x, w, dy, y_bias, x_bias;

    explicit Tensors(const ConvProblem& problem, int64_t behind = 0)
        : x(problem.x_elems(), behind),
          w(problem.w_elems(), behind),
          dy(problem.y_elems(), behind),
          y_bias(problem.geometry().out_channels, behind),
          x_bias(problem.geometry().in_channels, behind) {}

    std::array<Array<T>*, 5> all() { return {&x, &w, &dy, &y_bias, &x_bias}; }
    void fill_integers(Random& random) {
        for (Array<T>* array : all()) array->fill_integers(random);
    }
    void fill_reals(Random& random) {
        for (Array<T>* array : all()) array->fill_reals(random);
    }

    View<const T> first(Pass pass) const { return pass == Pass::forward ? x.in() : dy.in(); }
    View<const T> second(Pass pass) const { return pass == Pass::weight_grad ? x.in() : w.in(); }
    View<const T> bias(Pass pass) const {
        return pass == Pass::forward ? y_bias.in() : pass == Pass::input_grad ? x_bias.in() : View<const T>{};
    }
};

int64_t result_elems(const ConvProblem& problem, Pass pass) {
    return pass == Pass::forward ? problem.y_elems() : pass == Pass::input_grad ? problem.x_elems() : problem.w_elems();
}

enum class Mode { plain, with_bias, accumulate };

template <class T>
Array<T> run(const Convolution& convolution, const Tensors<T>& tensors, Mode mode = Mode::plain, int threads = 1,
             int64_t behind = guards) {
    const Pass pass = convolution.pass();
    Array<T> result(result_elems(convolution.problem(), pass), behind);  // of NaN
    if (mode == Mode::accumulate)
        for (int64_t i = 0; i < result.size(); ++i) result[i] = static_cast<T>(i % 7 - 3);
    Execution how;
    how.threads = threads;
    how.accumulate = mode == Mode::accumulate;
    convolution.execute(tensors.first(pass), tensors.second(pass),
                        mode == Mode::with_bias ? tensors.bias(pass) : View<const T>{}, result.out(), how);
    CHECK(result.guards_intact());
    return result;
}

// The distance of two arrays, relative to the second.
template <class T>
double relative_error(const Array<T>& got, const Array<T>& expected) {
    double error = 0, size = 0;
    for (int64_t i = 0; i < expected.size(); ++i) {
        const double e = static_cast<double>(expected[i]), difference = static_cast<double>(got[i]) - e;
        error += difference * difference;
        size += e * e;
    }
    return std::sqrt(error / std::max(size, 1.0));
}

// What Winograd's algorithm rounds on integers, at most: several times what it does.  A single result that is wrong by one
// is more, in each of the geometries below.
template <class T>
constexpr double rounding = sizeof(T) == sizeof(float) ? 4e-6 : 2e-14;

// A pass under every instruction set and in every mode against the plain loops: what is computed directly is equal on
// integers, whatever else is chosen automatically is near.
template <class T>
void check_against_reference(const Geometry& g, const Tensors<T>& tensors, int threads = 2) {
    const ConvProblem problem(g);
    for (const Pass pass : all_passes) {
        const Convolution reference(problem, pass, dtype_of<T>, Algorithm::reference);
        for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
            if (pass == Pass::weight_grad && mode == Mode::with_bias) continue;
            const Array<T> expected = run(reference, tensors, mode);
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                INFO(std::string(name(pass)), " mode ", static_cast<int>(mode), " ", std::string(name(isa)), ": ",
                     describe(g));
                const Convolution chosen(problem, pass, dtype_of<T>);
                const bool rounds = chosen.summary().algorithm == "winograd";
                const Array<T> got = run(chosen, tensors, mode, threads);
                if (!rounds) {
                    CHECK(first_difference(got, expected) == -1);
                    continue;
                }
                CHECK(relative_error(got, expected) <= rounding<T>);
                const Convolution direct(problem, pass, dtype_of<T>, Algorithm::direct);
                CHECK(first_difference(run(direct, tensors, mode, threads), expected) == -1);
            }
        }
    }
}

template <class T>
void check_on_integers(const Geometry& g, Random& random, int threads = 2) {
    Tensors<T> tensors{ConvProblem(g)};
    tensors.fill_integers(random);
    check_against_reference(g, tensors, threads);
}

Geometry conv(int rank, int64_t batch, int64_t in, int64_t out, const Extents& input, const Extents& kernel) {
    Geometry g;
    g.rank = rank;
    g.batch = batch;
    g.in_channels = in;
    g.out_channels = out;
    g.input = input;
    g.kernel = kernel;
    return g;
}

Geometry padded(Geometry g, const Extents& lo, const Extents& hi) {
    g.pad_lo = lo;
    g.pad_hi = hi;
    return g;
}

// Enough work to be spread over threads: cut along pixels, channels, groups, samples, chunks.
std::vector<Geometry> parallel_geometries() {
    std::vector<Geometry> geometries;
    geometries.push_back(padded(conv(2, 4, 16, 20, {1, 14, 14}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.push_back(conv(2, 2, 24, 130, {1, 15, 17}, {1, 1, 1}));  // read in place
    geometries.push_back(conv(2, 2, 96, 21, {1, 40, 37}, {1, 1, 1}));   // the same, in several chunks of vectors
    geometries.push_back(conv(2, 1, 40, 13, {1, 26, 60}, {1, 3, 3}));   // with taps and two blocks of pairs
    geometries.push_back(padded(conv(2, 3, 18, 27, {1, 19, 16}, {1, 3, 5}), {0, 2, 0}, {0, -1, 3}));
    geometries.back().groups = 3;
    geometries.back().stride = {1, 2, 3};
    geometries.back().dilation = {1, 1, 2};
    geometries.push_back(padded(conv(1, 3, 17, 33, {1, 1, 700}, {1, 1, 4}), {0, 0, 5}, {0, 0, 2}));
    geometries.back().stride[2] = 2;
    geometries.push_back(padded(conv(3, 2, 5, 9, {9, 10, 11}, {3, 3, 3}), {1, 1, 1}, {1, 0, 1}));
    geometries.push_back(padded(conv(2, 3, 8, 12, {1, 16, 16}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.back().per_sample = true;
    geometries.back().groups = 2;
    for (const int64_t width : {14, 45}) {  // depthwise: rows shorter and longer than a vector
        geometries.push_back(padded(conv(2, 3, 19, 19, {1, 37, width}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().groups = 19;
    }
    geometries.push_back(conv(2, 2, 8, 12, {1, 100, 101}, {1, 1, 1}));  // most of dx is filled in, in several tasks
    geometries.back().stride = {1, 5, 4};
    // Several chunks, whose sums are added in parts: rows of pairs, and of filters.
    geometries.push_back(padded(conv(2, 4, 40, 72, {1, 17, 19}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.push_back(conv(2, 6, 64, 256, {1, 17, 19}, {1, 1, 1}));
    const size_t count = geometries.size();
    for (size_t i = 0; i < count; ++i) {
        geometries.push_back(geometries[i]);
        geometries.back().layout = Layout::channels_last;
    }
    return geometries;
}

// A call that throws Error, whose message contains `text`, and that leaves `result` as it was.
template <class Error, class T, class Call>
void check_refused(const Array<T>& result, const std::string& text, const Call& call) {
    Array<T> before(result.size());
    std::memcpy(before.data(), result.data(), static_cast<size_t>(result.size()) * sizeof(T));
    const std::string message = message_of<Error>(call);
    INFO("said '", message, "', expected '", text, "' in it");
    CHECK(!message.empty());
    CHECK(contains(message, text));
    CHECK(same_bits(result, before));
    CHECK(result.guards_intact());
}

}  // namespace

TEST_CASE_TEMPLATE("random convolutions equal the reference", T, float, double) {
    Random random(11);
    for (int i = 0; i < 250; ++i) {
        Geometry g = random_geometry(random, 1e5);
        for (const Layout layout : both_layouts) {
            g.layout = layout;
            check_on_integers<T>(g, random, 1 + i % 4);
        }
    }
}

TEST_CASE_TEMPLATE("convolutions that take every path equal the reference", T, float, double) {
    std::vector<Geometry> geometries;
    // More taps than a block holds: staged (padding), read in place, in rows and in single taps of a row.
    geometries.push_back(padded(conv(2, 2, 2, 3, {1, 16, 19}, {1, 17, 19}), {0, 1, 1}, {0, 1, 1}));
    geometries.push_back(conv(2, 2, 2, 3, {1, 19, 21}, {1, 17, 19}));
    geometries.push_back(padded(conv(1, 2, 1, 2, {1, 1, 331}, {1, 1, 331}), {0, 0, 1}, {0, 0, 1}));
    geometries.push_back(conv(1, 2, 3, 1, {1, 1, 700}, {1, 1, 600}));
    geometries.push_back(padded(conv(3, 2, 1, 2, {8, 7, 9}, {7, 6, 8}), {1, 0, 2}, {0, 2, 1}));
    // Taps so far apart that each is staged on its own.
    geometries.push_back(padded(conv(1, 2, 3, 5, {1, 1, 40}, {1, 1, 3}), {0, 0, 20000}, {0, 0, 20000}));
    geometries.back().dilation[2] = 20010;
    geometries.push_back(padded(conv(2, 2, 3, 5, {1, 9, 40}, {1, 3, 3}), {0, 600, 900}, {0, 605, 900}));
    geometries.back().dilation = {1, 601, 905};
    // Strides beyond the kernel, and strides that share factors with the dilation: pixels that no output reads.
    geometries.push_back(conv(2, 2, 5, 7, {1, 13, 14}, {1, 2, 1}));
    geometries.back().stride = {1, 5, 4};
    geometries.push_back(padded(conv(2, 2, 5, 7, {1, 13, 14}, {1, 3, 3}), {0, 2, 1}, {0, 2, 3}));
    geometries.back().stride = {1, 4, 6};
    geometries.back().dilation = {1, 2, 4};
    // Few channels and a stride: residue classes in one product, with unequal taps, shifted by the dilation, some missing,
    // one alone, more of them than rows of a panel, depths and heights among them.
    geometries.push_back(padded(conv(1, 2, 1, 9, {1, 1, 203}, {1, 1, 10}), {0, 0, 3}, {0, 0, 1}));
    geometries.back().stride[2] = 5;
    for (const int64_t channels : {1, 2, 3, 5}) {
        geometries.push_back(padded(conv(2, 2, channels, 6, {1, 37, 40}, {1, 7, 7}), {0, 3, 3}, {0, 3, 2}));
        geometries.back().stride = {1, 2, 2};
    }
    geometries.push_back(padded(conv(2, 2, 2, 5, {1, 31, 33}, {1, 3, 5}), {0, 2, 4}, {0, 1, -1}));
    geometries.back().stride = {1, 2, 3};
    geometries.back().dilation = {1, 3, 2};
    geometries.push_back(padded(conv(2, 2, 3, 4, {1, 40, 41}, {1, 4, 3}), {0, 1, 0}, {0, 2, 1}));
    geometries.back().stride = {1, 5, 4};
    geometries.push_back(conv(2, 1, 3, 20, {1, 34, 51}, {1, 17, 17}));  // more classes than are joined
    geometries.back().stride = {1, 17, 17};
    geometries.push_back(conv(2, 1, 3, 20, {1, 32, 48}, {1, 8, 8}));
    geometries.back().stride = {1, 8, 8};
    geometries.push_back(padded(conv(3, 2, 2, 3, {9, 10, 11}, {3, 3, 3}), {1, 1, 0}, {1, 0, 1}));
    geometries.back().stride = {2, 2, 2};
    geometries.push_back(
        padded(conv(3, 2, 2, 3, {9, 12, 11}, {5, 1, 1}), {2, 0, 0}, {1, 0, 0}));  // rows joined in some
    geometries.back().stride = {3, 1, 1};
    // The same with many channels: tasks write the results between their own, but where padding is cropped.
    geometries.push_back(conv(2, 2, 64, 96, {1, 13, 14}, {1, 1, 1}));
    geometries.back().stride = {1, 2, 2};
    geometries.push_back(padded(conv(3, 2, 48, 64, {5, 6, 10}, {1, 1, 1}), {1, 0, 1}, {0, 0, 2}));
    geometries.back().stride = {2, 1, 3};
    geometries.back().groups = 2;
    geometries.push_back(padded(conv(2, 1, 64, 64, {1, 15, 14}, {1, 1, 1}), {0, -4, 0}, {0, 0, -1}));
    geometries.back().stride = {1, 3, 3};
    // Depthwise, one channel, few channels, more channels than a task or a block of the sum takes.
    geometries.push_back(padded(conv(2, 2, 37, 37, {1, 9, 9}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.back().groups = 37;
    geometries.push_back(padded(conv(2, 1, 1, 1, {1, 30, 31}, {1, 5, 5}), {0, 2, 2}, {0, 2, 2}));
    geometries.push_back(conv(2, 3, 300, 4, {1, 2, 3}, {1, 1, 1}));
    geometries.push_back(conv(2, 1, 4, 530, {1, 3, 3}, {1, 2, 2}));
    geometries.push_back(conv(1, 300, 2, 3, {1, 1, 2}, {1, 1, 2}));  // many samples of one pixel
    // One channel and far more results than source elements in a row, or far fewer: nothing for rows that slide.
    geometries.push_back(padded(conv(2, 1, 1, 1, {1, 10, 10}, {1, 3, 3}), {0, 1, 1}, {0, 2, 7991}));
    geometries.push_back(padded(conv(2, 1, 1, 1, {1, 40, 3000}, {1, 3, 3}), {0, 1, 1}, {0, 1, -2990}));
    // All of x cropped away but one element; an image that is padding alone.
    geometries.push_back(padded(conv(2, 2, 3, 4, {1, 6, 7}, {1, 1, 1}), {0, -3, -6}, {0, -2, 0}));
    geometries.push_back(padded(conv(2, 2, 3, 4, {1, 0, 3}, {1, 2, 2}), {0, 2, 1}, {0, 1, 1}));
    Random random(12);
    for (const Geometry& geometry : geometries)
        for (const Layout layout : both_layouts)
            for (const bool flip : {false, true}) {
                Geometry g = geometry;
                g.layout = layout;
                g.flip = flip;
                check_on_integers<T>(g, random);
            }
}

TEST_CASE_TEMPLATE("convolutions with work for several threads equal the reference", T, float, double) {
    Random random(13);
    for (const Geometry& g : parallel_geometries()) check_on_integers<T>(g, random, 3);
}

TEST_CASE_TEMPLATE("channels around the widths of vectors and tiles equal the reference", T, float, double) {
    Random random(14);
    for (const int64_t channels : {1, 3, 4, 5, 6, 8, 12, 13, 14, 15, 16, 17, 23, 24, 25, 28, 32, 33, 47, 48, 49, 65})
        for (const Layout layout : both_layouts) {
            Geometry g = padded(conv(2, 1, 3, channels, {1, 5, 6}, {1, 3, 2}), {0, 1, 1}, {0, 1, 0});
            g.layout = layout;
            check_on_integers<T>(g, random);
            std::swap(g.in_channels, g.out_channels);
            check_on_integers<T>(g, random);
        }
}

TEST_CASE_TEMPLATE("rows of every length around vectors, for few channels, equal the reference", T, float, double) {
    Random random(27);
    for (int64_t width = 1; width <= 50; ++width) {
        std::vector<Geometry> geometries;
        geometries.push_back(conv(2, 1, 1, 2, {1, 4, width + 2}, {1, 2, 3}));  // y has the width
        geometries.push_back(padded(conv(2, 2, 3, 3, {1, 3, width}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().groups = 3;
        geometries.push_back(padded(conv(2, 1, 2, 9, {1, 5, width + 1}, {1, 3, 4}), {0, 1, 2}, {0, 1, 0}));
        geometries.back().stride = {1, 2, 2};
        geometries.push_back(conv(1, 2, 1, 1, {1, 1, width + 290}, {1, 1, 291}));  // two blocks of taps
        // Depthwise: rows that slide, by kernels of every height and with rows of padding alone.
        const int64_t height = random.integer(1, 20), lines = random.integer(1, 9);
        geometries.push_back(padded(conv(2, 2, 3, 3, {random.integer(1, 2), height, width}, {1, lines, 3}),
                                    {0, random.integer(lines - 1, lines + 2), random.integer(-1, 3)},
                                    {0, random.integer(0, lines + 1), random.integer(3, 4)}));
        geometries.back().rank = 3;
        geometries.back().groups = 3;
        for (Geometry& g : geometries) {
            g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
            g.flip = random.chance(2);
            check_on_integers<T>(g, random);
        }
    }
}

TEST_CASE_TEMPLATE("operands may begin at any element, and a vector may read up to their end alone", T, float, double) {
    Random random(15);
    Geometry depthwise = padded(conv(2, 2, 3, 3, {1, 9, 21}, {1, 3, 3}), {0, 2, 2}, {0, 1, 2});
    depthwise.groups = 3;
    for (const Geometry& g : {padded(conv(2, 2, 5, 17, {1, 7, 9}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}), depthwise,
                              conv(2, 2, 19, 18, {1, 4, 5}, {1, 1, 1}), conv(1, 3, 6, 7, {1, 1, 53}, {1, 1, 5})})
        for (const Layout layout : both_layouts) {
            Geometry geometry = g;
            geometry.layout = layout;
            const ConvProblem problem(geometry);
            Tensors<T> tensors(problem);
            tensors.fill_reals(random);
            for (const Pass pass : all_passes) {
                const Convolution convolution(problem, pass, dtype_of<T>);
                const Array<T> expected = run(convolution, tensors, Mode::plain);
                for (int64_t behind = 1; behind <= 16; ++behind) {
                    Tensors<T> moved(problem, behind);
                    for (size_t i = 0; i < 5; ++i)
                        std::copy_n(tensors.all()[i]->data(), tensors.all()[i]->size(), moved.all()[i]->data());
                    INFO(std::string(name(pass)), " ", behind, " elements before a boundary: ", describe(geometry));
                    CHECK(same_bits(run(convolution, moved, Mode::plain, 1, behind), expected));
                }
            }
        }
}

TEST_CASE_TEMPLATE(
    "rows that are cut into boxes, the last of them shorter than a vector, are not read beyond their end", T, float,
    double) {
    // Lengths of y for which the pixels were once cut like that, under one instruction set or another.
    const std::vector<int64_t> lengths =
        sizeof(T) == 4 ? std::vector<int64_t>{121'100, 127'807, 156'425} : std::vector<int64_t>{35'332, 37'635, 38'809};
    for (const int64_t length : lengths)
        for (const Isa isa : available_isas()) {
            const IsaScope scope(isa);
            const ConvProblem problem(conv(1, 1, 72, 1, {1, 1, length + 3}, {1, 1, 4}));
            Tensors<T> ones(problem);
            for (Array<T>* array : {&ones.x, &ones.w}) std::fill_n(array->data(), array->size(), T(1));
            const Array<T> y = run(Convolution(problem, Pass::forward, dtype_of<T>), ones);
            INFO(std::string(name(isa)), " ", length);
            CHECK(std::all_of(y.data(), y.data() + y.size(), [](T v) { return v == T(72 * 4); }));
        }
}

TEST_CASE_TEMPLATE("the number of threads changes no bit", T, float, double) {
    Random random(16);
    std::vector<Geometry> geometries = parallel_geometries();
    for (const Layout layout : both_layouts) {  // more pixels: weight gradients of several chunks
        geometries.push_back(padded(conv(2, 6, 3, 5, {1, 60, 61}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().layout = layout;
        geometries.push_back(conv(2, 2, 64, 70, {1, 40, 40}, {1, 1, 1}));
        geometries.back().layout = layout;
    }
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        for (const Pass pass : all_passes) {
            int of_several_tasks = 0;
            for (const Geometry& g : geometries) {
                const ConvProblem problem(g);
                Tensors<T> tensors(problem);
                tensors.fill_reals(random);
                INFO(std::string(name(pass)), " ", std::string(name(isa)), ": ", describe(g));
                const Convolution convolution(problem, pass, dtype_of<T>);
                of_several_tasks += convolution.summary().tasks > 1;
                for (const Mode mode : {Mode::plain, Mode::accumulate}) {
                    const Array<T> one = run(convolution, tensors, mode, 1);
                    for (int threads = 2; threads <= 4; ++threads)
                        CHECK(same_bits(run(convolution, tensors, mode, threads), one));
                }
            }
            CHECK(of_several_tasks >= 8);
        }
    }
}

TEST_CASE_TEMPLATE("y and dx have the same bits under every instruction set with fused multiply-adds", T, float,
                   double) {
    Random random(26);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 60; ++i) geometries.push_back(random_geometry(random, 1e5));
    geometries.push_back(padded(conv(2, 2, 3, 5, {1, 24, 40}, {1, 17, 19}), {0, 1, 1}, {0, 1, 1}));
    for (const Geometry& g : geometries) {
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            std::vector<Array<T>> results;
            for (const Isa isa : available_isas()) {
                if (!is_fused(isa)) continue;
                const IsaScope scope(isa);
                results.push_back(run(Convolution(problem, pass, dtype_of<T>), tensors));
            }
            INFO(std::string(name(pass)), ": ", describe(g));
            for (const Array<T>& result : results) CHECK(same_bits(result, results.front()));
        }
    }
}

TEST_CASE_TEMPLATE("a sample has the same bits alone and within a batch", T, float, double) {
    Random random(17);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 30; ++i) geometries.push_back(random_geometry(random, 1e5));
    for (const Geometry& g : geometries) {
        Geometry single = g;
        single.batch = 1;
        const ConvProblem problem(g), problem_of_one(single);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : {Pass::forward, Pass::input_grad}) {
            const Array<T> together = run(Convolution(problem, pass, dtype_of<T>), tensors);
            const Convolution alone(problem_of_one, pass, dtype_of<T>);
            for (int64_t n = 0; n < g.batch; ++n) {
                Tensors<T> sample(problem_of_one);
                std::copy_n(tensors.x.data() + n * sample.x.size(), sample.x.size(), sample.x.data());
                std::copy_n(tensors.dy.data() + n * sample.dy.size(), sample.dy.size(), sample.dy.data());
                std::copy_n(tensors.w.data() + (g.per_sample ? n * sample.w.size() : 0), sample.w.size(),
                            sample.w.data());
                const Array<T> result = run(alone, sample);
                INFO(std::string(name(pass)), " sample ", n, ": ", describe(g));
                CHECK(std::memcmp(result.data(), together.data() + n * result.size(),
                                  static_cast<size_t>(result.size()) * sizeof(T)) == 0);
            }
        }
    }
}

TEST_CASE_TEMPLATE("several threads execute one Convolution at once", T, float, double) {
    Random random(18);
    for (const Geometry& g : parallel_geometries()) {
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_reals(random);
        for (const Pass pass : all_passes) {
            const Convolution convolution(problem, pass, dtype_of<T>);
            const Array<T> expected = run(convolution, tensors);
            std::vector<Array<T>> results;
            for (int i = 0; i < 4; ++i) results.emplace_back(expected.size(), guards);
            std::vector<std::thread> callers;
            for (int i = 0; i < 4; ++i)
                callers.emplace_back([&, i] {
                    Execution how;
                    how.threads = 1 + i % 2;
                    for (int repetition = 0; repetition < 2; ++repetition)
                        convolution.execute(tensors.first(pass), tensors.second(pass), {},
                                            results[static_cast<size_t>(i)].out(), how);
                });
            for (std::thread& caller : callers) caller.join();
            INFO(std::string(name(pass)), ": ", describe(g));
            for (const Array<T>& result : results) {
                CHECK(same_bits(result, expected));
                CHECK(result.guards_intact());
            }
        }
    }
}

TEST_CASE_TEMPLATE("no samples, no channels, no filters", T, float, double) {
    Random random(19);
    for (const Layout layout : both_layouts)
        for (int which = 1; which < 8; ++which) {
            Geometry g = padded(conv(2, 2, 4, 6, {1, 5, 6}, {1, 3, 2}), {0, 1, 0}, {0, 1, 0});
            g.layout = layout;
            g.groups = 2;
            if ((which & 1) != 0) g.batch = 0;
            if ((which & 2) != 0) g.in_channels = 0;
            if ((which & 4) != 0) g.out_channels = 0;
            INFO(describe(g));
            check_on_integers<T>(g, random);
            const ConvProblem problem(g);
            Tensors<T> tensors(problem);
            tensors.fill_integers(random);
            // Sums without terms: y is the bias of its channel, gradients are zero.
            const Array<T> y = run(Convolution(problem, Pass::forward, dtype_of<T>), tensors, Mode::with_bias);
            const int64_t pixels = problem.output()[1] * problem.output()[2];
            int64_t wrong = 0;
            for (int64_t i = 0; i < y.size(); ++i) {
                const int64_t k = layout == Layout::channels_last ? i % g.out_channels : i / pixels % g.out_channels;
                wrong += !(y[i] == tensors.y_bias[k]);
            }
            CHECK(wrong == 0);
            for (const Pass pass : {Pass::input_grad, Pass::weight_grad}) {
                const Array<T> gradient = run(Convolution(problem, pass, dtype_of<T>), tensors);
                CHECK(std::all_of(gradient.data(), gradient.data() + gradient.size(), [](T v) { return v == T(0); }));
            }
        }
}

TEST_CASE_TEMPLATE("weights and gradients that are not finite: padding never makes a NaN", T, float, double) {
    constexpr T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
    Random random(20);
    std::vector<Geometry> geometries{padded(conv(2, 2, 3, 5, {1, 6, 7}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1})};
    for (const int64_t width : {7, 15, 33}) {
        geometries.push_back(padded(conv(2, 2, 3, 3, {1, 6, width}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().groups = 3;
    }
    for (int i = 0; i < 40; ++i) geometries.push_back(random_geometry(random, 2e4));
    for (Geometry g : geometries)
        for (const Layout layout : both_layouts) {
            g.layout = layout;
            const ConvProblem problem(g);
            Tensors<T> tensors(problem);
            tensors.fill_integers(random);
            for (Array<T>* array : {&tensors.w, &tensors.dy, &tensors.x}) {
                for (const T value : {infinity, -infinity, nan})
                    if (array->size() > 0) (*array)[random.integer(0, array->size() - 1)] = value;
                check_against_reference(g, tensors);
                if (random.chance(2)) array->fill_integers(random);  // the next one alone, or all of them
            }
        }
    // By hand: an infinite weight meets one element of x and, at the border, padding.
    const Geometry g = padded(conv(1, 1, 1, 1, {1, 1, 3}, {1, 1, 3}), {0, 0, 1}, {0, 0, 1});
    Tensors<T> tensors{ConvProblem(g)};
    for (int64_t i = 0; i < 3; ++i) tensors.x[i] = T(1), tensors.w[i] = i == 0 ? infinity : T(1), tensors.dy[i] = T(1);
    const Array<T> y = run(Convolution(ConvProblem(g), Pass::forward, dtype_of<T>), tensors);
    CHECK(y[0] == T(2));
    CHECK(y[1] == infinity);
    CHECK(y[2] == infinity);
    tensors.dy[0] = infinity;
    const Array<T> dw = run(Convolution(ConvProblem(g), Pass::weight_grad, dtype_of<T>), tensors);
    CHECK(dw[0] == T(2));  // tap 0 of output 0 is in the padding
    CHECK(dw[1] == infinity);
    CHECK(dw[2] == infinity);
}

TEST_CASE_TEMPLATE("prepared weights give the same bits", T, float, double) {
    Random random(21);
    std::vector<Geometry> geometries = parallel_geometries();
    for (int i = 0; i < 60; ++i) geometries.push_back(random_geometry(random, 1e5));
    geometries.push_back(conv(2, 2, 0, 3, {1, 4, 4}, {1, 2, 2}));
    geometries.push_back(conv(2, 2, 3, 0, {1, 4, 4}, {1, 2, 2}));
    geometries.push_back(conv(2, 0, 3, 3, {1, 4, 4}, {1, 2, 2}));
    for (const Geometry& g : geometries)
        for (const bool finite : {true, false})
            for (const Algorithm algorithm : {Algorithm::direct, Algorithm::reference}) {
                if ((!finite || algorithm == Algorithm::reference) && ConvProblem(g).flops() > 1e5) continue;  // slow
                const ConvProblem problem(g);
                Tensors<T> tensors(problem);
                tensors.fill_reals(random);
                if (!finite && tensors.w.size() > 0)
                    tensors.w[tensors.w.size() / 2] = std::numeric_limits<T>::infinity();
                const Convolution convolution(problem, Pass::forward, dtype_of<T>, algorithm);
                const PreparedWeights prepared = convolution.prepare(tensors.w.in(), 2);
                CHECK(prepared.bytes() >= tensors.w.size() * static_cast<int64_t>(sizeof(T)));
                for (const Mode mode : {Mode::plain, Mode::with_bias, Mode::accumulate}) {
                    const Array<T> expected = run(convolution, tensors, mode);
                    Array<T> got(expected.size(), guards);
                    if (mode == Mode::accumulate)
                        for (int64_t i = 0; i < got.size(); ++i) got[i] = static_cast<T>(i % 7 - 3);
                    Execution how;
                    how.threads = 1;
                    how.accumulate = mode == Mode::accumulate;
                    const Array<T> kept = [&] {  // weights that change after they were prepared do not matter
                        Array<T> copy(tensors.w.size());
                        std::copy_n(tensors.w.data(), copy.size(), copy.data());
                        return copy;
                    }();
                    tensors.w.fill_nan();
                    convolution.execute(tensors.x.in(), prepared,
                                        mode == Mode::with_bias ? tensors.y_bias.in() : View<const T>{}, got.out(),
                                        how);
                    std::copy_n(kept.data(), kept.size(), tensors.w.data());
                    INFO("mode ", static_cast<int>(mode), ": ", describe(g));
                    CHECK(first_difference(got, expected) == -1);
                    CHECK((!finite || same_bits(got, expected)));
                    CHECK(got.guards_intact());
                }
            }
}

TEST_CASE_TEMPLATE("prepared weights serve the Convolution that made them, and its copies", T, float, double) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    Random random(22);
    const ConvProblem problem(padded(conv(2, 2, 3, 5, {1, 6, 7}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    Tensors<T> tensors(problem);
    tensors.fill_integers(random);
    const Tensors<Other> other(problem);
    const Convolution convolution(problem, Pass::forward, dtype_of<T>), pair(problem, Pass::forward, dtype_of<T>);
    const Convolution copy = convolution;  // NOLINT: a copy is what is tested
    auto prepared = std::make_unique<PreparedWeights>(convolution.prepare(tensors.w.in()));
    const PreparedWeights shared = *prepared;
    prepared.reset();
    Array<T> y(problem.y_elems(), guards);
    copy.execute(tensors.x.in(), shared, {}, y.out());
    CHECK(same_bits(y, run(convolution, tensors)));

    check_refused<std::invalid_argument>(y, "another Convolution",
                                         [&] { pair.execute(tensors.x.in(), shared, {}, y.out()); });
    check_refused<ShapeError>(y, "x has ",
                              [&] { copy.execute({tensors.x.data(), tensors.x.size() - 1}, shared, {}, y.out()); });
    check_refused<ShapeError>(y, "y has ", [&] { copy.execute(tensors.x.in(), shared, {}, {y.data(), y.size() + 1}); });
    check_refused<std::invalid_argument>(y, "bias ", [&] {
        Execution how;
        how.accumulate = true;
        copy.execute(tensors.x.in(), shared, tensors.y_bias.in(), y.out(), how);
    });
    check_refused<ShapeError>(y, "w has ", [&] { convolution.prepare({tensors.w.data(), tensors.w.size() - 1}); });
    check_refused<std::invalid_argument>(y, "w is null",
                                         [&] { convolution.prepare(View<const T>{nullptr, tensors.w.size()}); });
    check_refused<DTypeError>(y, name(dtype_of<T>), [&] { convolution.prepare(other.w.in()); });
    Array<Other> of_other(problem.y_elems(), guards);
    check_refused<DTypeError>(of_other, name(dtype_of<T>),
                              [&] { copy.execute(other.x.in(), shared, {}, of_other.out()); });
    for (const Pass pass : {Pass::input_grad, Pass::weight_grad})
        check_refused<std::invalid_argument>(y, name(pass),
                                             [&] { Convolution(problem, pass, dtype_of<T>).prepare(tensors.w.in()); });
}

TEST_CASE_TEMPLATE("arguments that do not fit are refused, and the result is untouched", T, float, double) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    Random random(23);
    Geometry g = padded(conv(2, 2, 4, 6, {1, 6, 7}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1});
    for (const bool empty : {false, true}) {  // checks come first, even if there is nothing to do
        if (empty) g.in_channels = 0;
        const ConvProblem problem(g);
        Tensors<T> tensors(problem);
        tensors.fill_integers(random);
        const Tensors<Other> other(problem);
        for (const Pass pass : all_passes)
            for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::direct, Algorithm::reference}) {
                const Convolution convolution(problem, pass, dtype_of<T>, algorithm);
                const View<const T> first = tensors.first(pass), second = tensors.second(pass),
                                    bias = tensors.bias(pass);
                const std::string first_name = pass == Pass::forward ? "x" : "dy";
                const std::string second_name = pass == Pass::weight_grad ? "x" : "w";
                const std::string result_name = pass == Pass::forward ? "y" : pass == Pass::input_grad ? "dx" : "dw";
                Array<T> result(result_elems(problem, pass), guards);
                const auto execute = [&](View<const T> a, View<const T> b, View<const T> c, View<T> to,
                                         Execution how = {}) {
                    return [=, &convolution] { convolution.execute(a, b, c, to, how); };
                };
                INFO(std::string(name(pass)), " ", std::string(name(algorithm)), ": ", describe(g));
                for (const int64_t off : {-1, 1}) {
                    check_refused<ShapeError>(result, first_name + " has ",
                                              execute({first.data, first.size + off}, second, {}, result.out()));
                    check_refused<ShapeError>(result, second_name + " has ",
                                              execute(first, {second.data, second.size + off}, {}, result.out()));
                    check_refused<ShapeError>(result, result_name + " has ",
                                              execute(first, second, {}, {result.data(), result.size() + off}));
                    if (bias.size > 0)
                        check_refused<ShapeError>(result, "bias has ",
                                                  execute(first, second, {bias.data, bias.size + off}, result.out()));
                }
                if (first.size > 0)
                    check_refused<std::invalid_argument>(result, first_name + " is null",
                                                         execute({nullptr, first.size}, second, {}, result.out()));
                if (second.size > 0)
                    check_refused<std::invalid_argument>(result, second_name + " is null",
                                                         execute(first, {nullptr, second.size}, {}, result.out()));
                if (result.size() > 0)
                    check_refused<std::invalid_argument>(result, result_name + " is null",
                                                         execute(first, second, {}, {nullptr, result.size()}));
                if (pass == Pass::weight_grad)
                    check_refused<std::invalid_argument>(result, "bias is given",
                                                         execute(first, second, tensors.y_bias.in(), result.out()));
                else if (bias.size > 0) {
                    check_refused<std::invalid_argument>(result, "bias is null",
                                                         execute(first, second, {nullptr, bias.size}, result.out()));
                    check_refused<std::invalid_argument>(result, "bias is given",
                                                         execute(first, second, bias, result.out(), {1, true}));
                }
                for (const int threads : {-1, 1025})
                    check_refused<std::invalid_argument>(result, "threads is " + std::to_string(threads),
                                                         execute(first, second, {}, result.out(), {threads, false}));
                Array<Other> of_other(result.size(), guards);
                check_refused<DTypeError>(of_other, std::string("expected ") + name(dtype_of<T>), [&] {
                    convolution.execute(other.first(pass), other.second(pass), {}, of_other.out());
                });
            }
    }
}

TEST_CASE_TEMPLATE("without memory for the workspace a call throws, and the result is untouched", T, float, double) {
    // 2^47 packed weights are more than an address space holds. Their array is not there: it is not read before. (Two
    // residue classes: with one, and so few pixels, each task packs its own weights.)
    constexpr int64_t channels = int64_t(1) << 23;
    Geometry g = conv(1, 1, channels, channels, {1, 1, 2}, {1, 1, 2});
    g.stride[2] = 2;
    const ConvProblem problem(g);
    const Convolution convolution(problem, Pass::input_grad, dtype_of<T>);
    Array<T> dy(channels), dx(2 * channels, guards), w(1);
    check_refused<std::bad_alloc>(dx, "",
                                  [&] { convolution.execute(dy.in(), {w.data(), problem.w_elems()}, {}, dx.out()); });
}

TEST_CASE_TEMPLATE("bias_grad sums over samples and pixels in both layouts", T, float, double) {
    Random random(24);
    for (const Layout layout : both_layouts)
        for (const int64_t batch : {0, 1, 3})
            for (const int64_t channels : {0, 1, 2, 17})
                for (const int64_t pixels : {0, 1, 7, 8, 9, 64, 1000}) {
                    Array<T> dy(batch * channels * pixels), db(channels, guards);
                    dy.fill_integers(random);
                    std::vector<T> expected(static_cast<size_t>(channels));
                    for (int64_t i = 0; i < dy.size(); ++i) {
                        const int64_t k = layout == Layout::channels_last ? i % channels : i / pixels % channels;
                        expected[static_cast<size_t>(k)] += dy[i];
                    }
                    INFO(std::string(name(layout)), " ", batch, " ", channels, " ", pixels);
                    bias_grad(dy.in(), batch, channels, pixels, layout, db.out());
                    CHECK(first_difference(db.data(), expected.data(), channels) == -1);
                    Execution how;
                    how.accumulate = true;
                    bias_grad(dy.in(), batch, channels, pixels, layout, db.out(), how);
                    for (T& value : expected) value *= T(2);
                    CHECK(first_difference(db.data(), expected.data(), channels) == -1);
                    CHECK(db.guards_intact());
                }
}

TEST_CASE_TEMPLATE("bias_grad has the same bits for every number of threads", T, float, double) {
    Random random(25);
    constexpr int64_t batch = 3, channels = 5, pixels = 20'001;  // enough to be spread over threads
    Array<T> dy(batch * channels * pixels);
    dy.fill_reals(random);
    for (const Layout layout : both_layouts) {
        Array<T> one(channels, guards), several(channels, guards);
        bias_grad(dy.in(), batch, channels, pixels, layout, one.out(), {1, false});
        for (int threads = 2; threads <= 4; ++threads) {
            several.fill_nan();
            bias_grad(dy.in(), batch, channels, pixels, layout, several.out(), {threads, false});
            CHECK(same_bits(several, one));
        }
    }
}

TEST_CASE_TEMPLATE("bias_grad refuses what does not fit", T, float, double) {
    Array<T> dy(2 * 3 * 4), db(3, guards);
    const auto call = [&](View<const T> from, int64_t batch, int64_t channels, int64_t pixels, View<T> to) {
        return [=] { bias_grad(from, batch, channels, pixels, Layout::channels_first, to); };
    };
    constexpr int64_t huge = int64_t(1) << 40;
    check_refused<ShapeError>(db, "dy has 24 elements, expected 40", call(dy.in(), 2, 5, 4, db.out()));
    check_refused<ShapeError>(db, "db has 2 elements, expected 3", call(dy.in(), 2, 3, 4, {db.data(), 2}));
    check_refused<std::invalid_argument>(db, "dy", call({nullptr, 24}, 2, 3, 4, db.out()));
    check_refused<std::invalid_argument>(db, "db", call(dy.in(), 2, 3, 4, {nullptr, 3}));
    check_refused<ShapeError>(db, "negative", call(dy.in(), -2, -3, 4, db.out()));
    check_refused<ShapeError>(db, "dy is too large", call(dy.in(), huge, huge, 1, db.out()));
}

}  // namespace convpp::test
