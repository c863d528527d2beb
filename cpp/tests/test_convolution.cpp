// The three passes against the reference, exact on integers: every path, every mode, operands that are empty or not
// finite.
#include <algorithm>
#include <limits>

#include "convolution_cases.hpp"

namespace convpp::test {

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
    // Few channels and a stride: residue classes in one product, with unequal taps, shifted by the dilation, some
    // missing, one alone, more of them than rows of a panel, depths and heights among them.
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
        // Depthwise: rows that slide, by kernels of every height and width, and with rows of padding alone.
        const int64_t height = random.integer(1, 20), lines = random.integer(1, 9);
        const int64_t columns = random.chance(2) ? 3 : random.integer(1, 9), step = random.chance(3) ? 2 : 1;
        geometries.push_back(padded(conv(2, 2, 3, 3, {random.integer(1, 2), height, width}, {1, lines, columns}),
                                    {0, random.integer(lines - 1, lines + 2), random.integer(-1, columns)},
                                    {0, random.integer(0, lines + 1), random.integer(columns, columns + 1)}));
        geometries.back().stride = {1, step, step};
        geometries.back().rank = 3;
        geometries.back().groups = 3;
        geometries.push_back(conv(2, 3, 3, 3, {1, random.integer(1, 6), width}, {1, 1, 1}));  // a plane is one row
        geometries.back().groups = 3;
        for (Geometry& g : geometries) {
            g.layout = random.chance(2) ? Layout::channels_first : Layout::channels_last;
            g.flip = random.chance(2);
            check_on_integers<T>(g, random);
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

}  // namespace convpp::test
