// Boundaries other than zeros: the border map against a walk, and all passes against the plain loops, exact on
// integers, by every strategy and both algorithms; bits; refusals.
#include <algorithm>
#include <map>
#include <set>

#include "convolution_cases.hpp"
#include "problem/index_map.hpp"

namespace convpp::test {
namespace {

constexpr std::initializer_list<Boundary> other_than_zeros{Boundary::reflect, Boundary::replicate, Boundary::circular,
                                                           Boundary::symmetric};

// The element that the walker stands on after so many steps from element `start`, forwards or backwards.
int64_t walked(Boundary boundary, int64_t n, int64_t start, int64_t steps, int64_t direction) {
    int64_t at = start;
    for (int64_t i = 0; i < steps; ++i) {
        const bool leaves = at + direction < 0 || at + direction >= n;
        if (!leaves) {
            at += direction;
        } else if (boundary == Boundary::circular) {
            at = direction < 0 ? n - 1 : 0;
        } else if (boundary == Boundary::symmetric) {
            direction = -direction;  // and stays for a step
        } else if (boundary == Boundary::reflect && n > 1) {
            direction = -direction;
            at += direction;
        }
    }
    return at;
}

template <class T>
Tensors<T> integers(const ConvProblem& problem, Random& random) {
    Tensors<T> tensors(problem);
    for (Array<T>* const array : {&tensors.x, &tensors.w, &tensors.dy}) array->fill_integers(random);
    return tensors;
}

template <class T>
Array<T> run(const Convolution& convolution, const Tensors<T>& operands, bool accumulate, int threads = 1) {
    return run(convolution, operands, accumulate ? Mode::accumulate : Mode::plain, threads);
}

// Which ways the direct algorithm took, of each pass.
using Ways = std::map<Pass, std::set<std::string>>;

template <class T>
void check(const Geometry& g, Random& random, Ways& ways) {
    const ConvProblem problem(g);
    const Tensors<T> operands = integers<T>(problem, random);
    for (const Pass pass : all_passes) {
        const Convolution reference(problem, pass, dtype_of<T>, Algorithm::reference);
        for (const bool accumulate : {false, true}) {
            const Array<T> expected = run(reference, operands, accumulate);
            for (const Isa isa : available_isas()) {
                const IsaScope scope(isa);
                INFO(std::string(name(pass)), accumulate ? " accumulates " : " ", std::string(name(isa)), ": ",
                     describe(g));
                const Convolution direct(problem, pass, dtype_of<T>, Algorithm::direct);
                CHECK(first_difference(run(direct, operands, accumulate, 2), expected) == -1);
                const std::string blocking = direct.summary().blocking;
                for (const char* const way : {"pixels packed", "vectors of pixels", "pixels one by one",
                                              "vectors of channels", "rows that slide", "nothing to sum"})
                    if (contains(blocking, way)) ways[pass].insert(way);
            }
        }
    }
}

Boundary any_boundary(Random& random) { return static_cast<Boundary>(random.integer(0, 4)); }

Geometry with_boundaries(Geometry g, Random& random) {
    for (size_t a = static_cast<size_t>(3 - g.rank); a < 3; ++a) g.boundary[a] = any_boundary(random);
    return g;
}

Geometry plane(int64_t batch, int64_t in, int64_t out, int64_t groups, int64_t height, int64_t width, int64_t kernel,
               Boundary boundary, Layout layout) {
    Geometry g = conv2d(batch, in, out, height, width, kernel, 1, kernel / 2, 1, groups);
    g.boundary = {Boundary::zeros, boundary, boundary};
    g.layout = layout;
    return g;
}

}  // namespace

TEST_CASE("positions fold to where a walker that turns or jumps at the ends stands") {
    for (const Boundary boundary : other_than_zeros)
        for (int64_t n = 1; n <= 6; ++n)
            for (int64_t at = -25; at < 25 + n; ++at) {
                INFO(std::string(name(boundary)), " n ", n, " at ", at);
                const int64_t start = at < 0 ? 0 : n - 1;
                const int64_t expected = at >= 0 && at < n ? at
                                         : at < 0          ? walked(boundary, n, start, -at, -1)
                                                           : walked(boundary, n, start, at - n + 1, 1);
                CHECK(border_element(boundary, at, n) == expected);
            }
    CHECK(border_element(Boundary::zeros, -1, 3) == -1);
    CHECK(border_element(Boundary::zeros, 3, 3) == -1);
    CHECK(border_element(Boundary::zeros, 2, 3) == 2);
    const int64_t far = int64_t(1) << 60;
    CHECK(border_element(Boundary::reflect, far, far) == far - 2);
    CHECK(border_element(Boundary::symmetric, -far, far) == far - 1);
}

TEST_CASE("where no tap leaves an axis, its boundary is zeros; an axis without elements has no other") {
    Geometry g = plane(1, 1, 1, 1, 7, 7, 3, Boundary::reflect, Layout::channels_first);
    CHECK(ConvProblem(g).geometry().boundary[1] == Boundary::reflect);
    g.pad_lo[1] = g.pad_hi[1] = 0;
    CHECK(ConvProblem(g).geometry().boundary[1] == Boundary::zeros);
    CHECK(ConvProblem(g).geometry().boundary[2] == Boundary::reflect);
    g.pad_hi[1] = 1;
    g.stride[1] = 2;  // 0, 2, 4: the padding is not read
    CHECK(ConvProblem(g).geometry().boundary[1] == Boundary::zeros);
    g.pad_lo[1] = -1;  // 1, 3, 5: it is
    CHECK(ConvProblem(g).geometry().boundary[1] == Boundary::reflect);
    g.input[1] = 0;
    g.pad_lo[1] = 3;
    CHECK(contains(message_of<ShapeError>([&] { ConvProblem{g}; }), "axis 0 is 0, expected 1 or more"));
    g.boundary[1] = Boundary::zeros;
    CHECK(ConvProblem(g).output()[1] == 1);
}

TEST_CASE_TEMPLATE("random convolutions with boundaries equal the reference", T, float, double) {
    Random random(77);
    Ways ways;
    for (int i = 0; i < 50; ++i) check<T>(with_boundaries(random_geometry(random, 2e4), random), random, ways);
    for (int i = 0; i < 12; ++i) {  // far beyond the ends
        Geometry g = with_boundaries(random_geometry(random, 5e3), random);
        const size_t a = static_cast<size_t>(random.integer(3 - g.rank, 2));
        g.pad_lo[a] = random.integer(0, 40);
        g.pad_hi[a] = random.integer(0, 40);
        check<T>(g, random, ways);
    }
    for (const Pass pass : all_passes) {
        CHECK(ways[pass].count("vectors of pixels") == 1);
        CHECK(ways[pass].count("pixels one by one") == 1);
        CHECK(ways[pass].count("vectors of channels") == 1);
    }
}

TEST_CASE_TEMPLATE("layers with boundaries equal the reference by every way", T, float, double) {
    Random random(78);
    Ways ways;
    for (const Layout layout : both_layouts)
        for (const Boundary boundary : other_than_zeros) {
            check<T>(plane(1, 3, 9, 1, 9, 40, 3, boundary, layout), random, ways);  // long rows
            check<T>(plane(2, 1, 6, 1, 12, 7, 5, boundary, layout), random, ways);  // flat ones
            check<T>(plane(1, 40, 10, 1, 7, 6, 3, boundary, layout), random, ways);  // one by one, two blocks of pairs
            check<T>(plane(1, 33, 33, 33, 6, 32, 3, boundary, layout), random, ways);  // depthwise: rows would slide
            check<T>(plane(1, 1, 1, 1, 18, 33, 3, boundary, layout), random, ways);
            check<T>(plane(2, 24, 24, 6, 8, 8, 3, boundary, layout), random, ways);  // groups of 4
            Geometry strided = plane(1, 5, 4, 1, 17, 40, 3, boundary, layout);
            strided.stride = {1, 5, 6};  // phases that are not read are not copied: packed
            strided.pad_lo = {0, 7, 9};
            check<T>(strided, random, ways);
            Geometry volume = plane(1, 4, 5, 1, 6, 8, 3, boundary, layout);
            volume.rank = 3;
            volume.input[0] = 4;
            volume.kernel[0] = 3;
            volume.pad_lo[0] = 5;
            volume.boundary = {boundary, Boundary::zeros, boundary};
            check<T>(volume, random, ways);
        }
    // The input gradient's inner part has zeros around it, and may slide.
    CHECK(ways[Pass::forward].count("rows that slide") == 0);
    CHECK(ways[Pass::weight_grad].count("rows that slide") == 0);
    CHECK(ways[Pass::input_grad].count("rows that slide") == 1);
}

TEST_CASE_TEMPLATE("packed pixels, which few layers take, have boundaries too", T, float, double) {
    Random random(79);
    Ways ways;
    for (const Layout layout : both_layouts)
        for (const int64_t channels : {64, 160}) {
            Geometry g = plane(1, channels, 200, 1, 5, 5, 1, Boundary::circular, layout);
            g.pad_lo = g.pad_hi = {0, 2, 3};
            check<T>(g, random, ways);
            g.stride = {1, 3, 4};
            check<T>(g, random, ways);
        }
    CHECK(ways[Pass::forward].count("pixels packed") == 1);
}

TEST_CASE_TEMPLATE("neither threads nor the batch change bits beside a boundary", T, float, double) {
    Random random(80);
    for (const Layout layout : both_layouts)
        for (const Algorithm algorithm : {Algorithm::direct, Algorithm::winograd, Algorithm::fft}) {
            Geometry g = plane(3, 24, 20, 1, 13, 18, 3, Boundary::symmetric, layout);
            g.pad_lo = {0, 15, 2};
            const ConvProblem problem(g);
            Tensors<T> operands = integers<T>(problem, random);
            for (Array<T>* const array : {&operands.x, &operands.w, &operands.dy}) array->fill_reals(random);
            for (const Pass pass : all_passes) {
                const Convolution all(problem, pass, dtype_of<T>, algorithm);
                const Array<T> expected = run(all, operands, false, 1);
                for (const int threads : {2, 3}) CHECK(same_bits(run(all, operands, false, threads), expected));
                if (pass == Pass::weight_grad) continue;
                Geometry one = g;
                one.batch = 1;
                const Convolution alone(ConvProblem(one), pass, dtype_of<T>, algorithm);
                const int64_t from = operands.first(pass).size / g.batch, elems = expected.size() / g.batch;
                for (int64_t n = 0; n < g.batch; ++n) {
                    Array<T> sample(elems, guards);
                    alone.execute<T>({operands.first(pass).data + n * from, from}, operands.w.in(), {}, sample.out());
                    CHECK(std::memcmp(sample.data(), expected.data() + n * elems,
                                      static_cast<size_t>(elems) * sizeof(T)) == 0);
                }
            }
        }
}

TEST_CASE("a large halo is computed in parts, in bounded memory") {
    Random random(81);
    Geometry g = plane(3, 40, 1, 1, 6, 5, 1, Boundary::reflect, Layout::channels_first);
    g.pad_lo = g.pad_hi = {0, 60, 70};
    const ConvProblem problem(g);
    const Convolution reference(problem, Pass::input_grad, DType::float32, Algorithm::reference);
    const Convolution direct(problem, Pass::input_grad, DType::float32, Algorithm::direct);
    CHECK(direct.summary(2).workspace_bytes < int64_t(6) << 20);
    const Tensors<float> operands = integers<float>(problem, random);
    CHECK(first_difference(run(direct, operands, false, 2), run(reference, operands, false)) == -1);
}

TEST_CASE("samples that a halo leaves over at the end have the bits of single calls") {
    Random random(84);
    Geometry g = plane(5, 16, 4, 1, 64, 300, 3, Boundary::reflect, Layout::channels_first);
    g.pad_lo = g.pad_hi = {0, 20, 20};  // two samples at once, and one is left
    for (const Layout layout : both_layouts) {
        g.layout = layout;
        const ConvProblem problem(g);
        const Tensors<float> operands = integers<float>(problem, random);
        const Convolution all(problem, Pass::input_grad, DType::float32, Algorithm::direct);
        const Array<float> dx = run(all, operands, false, 2);
        Geometry one = g;
        one.batch = 1;
        const Convolution alone(ConvProblem(one), Pass::input_grad, DType::float32, Algorithm::direct);
        const int64_t from = problem.y_elems() / g.batch, to = problem.x_elems() / g.batch;
        for (int64_t n = 0; n < g.batch; ++n) {
            Array<float> sample(to, guards);
            alone.execute<float>({operands.dy.data() + n * from, from}, operands.w.in(), {}, sample.out());
            CHECK(first_difference(sample.data(), dx.data() + n * to, to) == -1);
        }
    }
}

TEST_CASE("the input gradient is finished after its halo has been added") {
    Random random(83);
    const ConvProblem problem(plane(2, 3, 4, 1, 6, 7, 3, Boundary::circular, Layout::channels_last));
    const Tensors<float> operands = integers<float>(problem, random);
    Array<float> bias(3), residual(problem.x_elems());
    bias.fill_integers(random);
    residual.fill_integers(random);
    Execution how;
    how.activation.kind = Activation::Kind::relu;
    std::vector<Array<float>> results;
    for (const Algorithm algorithm : {Algorithm::reference, Algorithm::direct}) {
        results.emplace_back(problem.x_elems(), guards);
        Convolution(problem, Pass::input_grad, DType::float32, algorithm)
            .execute(operands.dy.in(), operands.w.in(), bias.in(), results.back().out(), how, residual.in());
    }
    CHECK(first_difference(results[0], results[1]) == -1);
}

TEST_CASE("what lies beyond a boundary are terms of the sum, also where they are not finite") {
    Geometry g = plane(1, 2, 3, 1, 6, 7, 3, Boundary::reflect, Layout::channels_first);
    g.boundary[2] = Boundary::zeros;
    const ConvProblem problem(g);
    Random random(82);
    for (const Pass pass : all_passes) {
        Tensors<float> operands = integers<float>(problem, random);
        const float inf = std::numeric_limits<float>::infinity();
        operands.w[4] = operands.w[11] = inf;
        operands.x[3] = -inf;
        operands.dy[0] = operands.dy[20] = inf;
        const Convolution reference(problem, pass, DType::float32, Algorithm::reference);
        const Convolution direct(problem, pass, DType::float32, Algorithm::direct);
        for (const bool accumulate : {false, true})
            CHECK(first_difference(run(direct, operands, accumulate, 2), run(reference, operands, accumulate)) == -1);
    }
}

}  // namespace convpp::test
