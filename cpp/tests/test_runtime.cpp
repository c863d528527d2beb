// Threads, instruction sets, environment, names; a forked child.
#include <array>
#include <cstdlib>

#if defined(__x86_64__)
#include "machine/x86_features.hpp"
#endif
#include "forks.hpp"
#include "geometries.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

#if CONVPP_TESTS_FORK

// What a process that starts with variable=value sees as its ISA and number of threads, or the error.
std::string seen_with(const char* variable, const std::string& value) {
    return told_by_child([&]() -> std::string {
        unsetenv("CONVPP_MAX_ISA");
        unsetenv("CONVPP_NUM_THREADS");
        setenv(variable, value.c_str(), 1);
        std::string error = message_of<std::invalid_argument>([] { active_isa(); });
        return error.empty() ? std::string(name(active_isa())) + " " + std::to_string(num_threads()) : error;
    });
}

struct Seen {
    std::string value, outcome;
};

std::vector<Seen> seen_with_each(const char* variable, std::vector<std::string> values) {
    std::vector<Seen> seen;
    for (const std::string& value : values) seen.push_back({value, seen_with(variable, value)});
    return seen;
}

#endif

std::vector<std::string> isa_names() {
    std::vector<std::string> names;
    for (const Isa isa : available_isas()) names.emplace_back(name(isa));
    return names;
}

#if CONVPP_TESTS_FORK

// The environment is read once, at the first use: these children start before any test uses the library.
const std::vector<Seen> seen_isas = seen_with_each("CONVPP_MAX_ISA", isa_names());
const std::vector<Seen> seen_bad_isas = seen_with_each("CONVPP_MAX_ISA", {"sse9", "AVX2", "scalar ", "0"});
const std::vector<Seen> seen_threads = seen_with_each("CONVPP_NUM_THREADS", {"1", "3", "1024"});
const std::vector<Seen> seen_bad_threads =
    seen_with_each("CONVPP_NUM_THREADS", {"0", "-1", "1025", "two", "2.5", "3 ", "99999999999999999999"});
const std::vector<Seen> seen_empty = seen_with_each("CONVPP_MAX_ISA", {""});

#endif

}  // namespace

#if defined(__x86_64__)

TEST_CASE("what an x86 CPU has is what the compiler's library says, if it says anything") {
    const X86Features found = x86_features();
    if (__builtin_cpu_supports("sse2") == 0) return;
    CHECK(found.avx2 == (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0));
    CHECK(found.avx512 ==
          (found.avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
           __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0));
    CHECK(found.avx512_bf16 == (found.avx512 && __builtin_cpu_supports("avx512bf16") != 0));
    CHECK(found.amd_family_19 == (__builtin_cpu_is("amdfam19h") != 0));
}

#endif

#if CONVPP_TESTS_FORK

TEST_CASE("CONVPP_MAX_ISA and CONVPP_NUM_THREADS are read at the first use") {
    for (const Seen& seen : seen_isas) {
        CAPTURE(seen.outcome);
        CHECK(seen.outcome.rfind(seen.value + " ", 0) == 0);
    }
    for (const Seen& seen : seen_bad_isas) {
        CAPTURE(seen.outcome);
        CHECK(contains(seen.outcome, "CONVPP_MAX_ISA is '" + seen.value + "'"));
        for (const std::string& valid : isa_names()) CHECK(contains(seen.outcome, valid));
    }
    for (const Seen& seen : seen_threads) CHECK(seen.outcome == isa_names().back() + " " + seen.value);
    for (const Seen& seen : seen_bad_threads) {
        CAPTURE(seen.outcome);
        CHECK(contains(seen.outcome, "CONVPP_NUM_THREADS is '" + seen.value + "', expected an integer from 1 to "));
    }
    for (const Seen& seen : seen_empty) CHECK(seen.outcome.rfind(isa_names().back() + " ", 0) == 0);  // as if not set
}

#endif

TEST_CASE("instruction sets: scalar first, the others ascending") {
    const std::vector<Isa> isas = available_isas();
    REQUIRE(!isas.empty());
    CHECK(isas.front() == Isa::scalar);
    for (size_t i = 1; i < isas.size(); ++i) CHECK(isas[i - 1] < isas[i]);
    CHECK(contains("scalar avx2 avx512 neon", name(active_isa())));
}

TEST_CASE("select_isa takes the available names and lists them for any other") {
    const Isa before = active_isa();
    for (const Isa isa : available_isas()) {
        select_isa(name(isa));
        CHECK(active_isa() == isa);
    }
    select_isa(name(before));
    for (const std::string unknown : {"", "sse9", "AVX2", "avx2 ", "auto"}) {
        const std::string message = message_of<std::invalid_argument>([&] { select_isa(unknown); });
        CAPTURE(message);
        CHECK(contains(message, "isa is '" + unknown + "'"));
        for (const std::string& valid : isa_names()) CHECK(contains(message, valid));
        CHECK(active_isa() == before);
    }
    // A set that this machine lacks is as unknown as any other.
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon}) {
        bool available = false;
        for (const std::string& valid : isa_names()) available |= valid == name(isa);
        CHECK(message_of<std::invalid_argument>([&] { IsaScope{isa}; }).empty() == available);
    }
    CHECK(active_isa() == before);
}

TEST_CASE("a plan keeps the instruction set that was selected when it was made") {
    Geometry g;
    g.input = {1, 5, 5};
    g.kernel = {1, 3, 3};
    for (const Isa isa : available_isas()) {
        const Convolution made = [&] {
            const IsaScope scope(isa);
            return Convolution(ConvProblem(g), Pass::forward, DType::float32);
        }();
        for (const Isa later : available_isas()) {
            const IsaScope scope(later);
            CHECK(made.summary().isa == name(isa));
        }
    }
}

TEST_CASE("the number of threads has limits") {
    const int before = num_threads();
    CHECK(before >= 1);
    for (const int n : {1, 2, 1024}) {
        set_num_threads(n);
        CHECK(num_threads() == n);
    }
    set_num_threads(3);
    for (const int n : {0, -1, 1025, 1 << 30}) {
        const std::string message = message_of<std::invalid_argument>([&] { set_num_threads(n); });
        CHECK(contains(message, "threads is " + std::to_string(n) + ", expected an integer from 1 to 1024"));
        CHECK(num_threads() == 3);
    }
    for (const int n : {-1, 1025})
        CHECK(contains(message_of<std::invalid_argument>([&] { measure_peak(DType::float32, n); }), "threads is "));
    set_num_threads(before);
}

TEST_CASE("a bandwidth is positive, and needs bytes") {
    for (const int64_t bytes : {1, 1000, 300'000}) CHECK(measure_bandwidth(bytes, 2) > 0);
    for (const int64_t bytes : {0, -1})
        CHECK(contains(message_of<std::invalid_argument>([&] { measure_bandwidth(bytes, 1); }),
                       "bytes is " + std::to_string(bytes) + ", expected at least 1"));
    CHECK(contains(message_of<std::invalid_argument>([] { measure_bandwidth(1, -1); }), "threads is "));
}

TEST_CASE("a summary says what a call will do") {
    const int before = num_threads();
    Geometry g = conv(2, 4, 16, 32, {1, 30, 30}, {1, 3, 3});
    const ConvProblem problem(g);
    for (const Pass pass : all_passes) {
        const Convolution convolution(problem, pass, DType::float64, Algorithm::direct);
        const Summary three = convolution.summary(3), one = convolution.summary(1);
        CHECK(three.algorithm == "direct");
        CHECK(three.op == name(pass));
        CHECK(three.isa == name(active_isa()));
        CHECK(three.dtype == "float64");
        CHECK(three.flops == problem.flops());
        CHECK(three.tasks > 3);
        CHECK(three.threads == 3);
        CHECK(one.threads == 1);
        CHECK(three.tasks == one.tasks);
        CHECK(three.parallel);
        CHECK(one.workspace_bytes_per_thread > 0);
        CHECK(three.workspace_bytes == one.workspace_bytes + 2 * one.workspace_bytes_per_thread);
        CHECK(!three.blocking.empty());
        set_num_threads(2);
        CHECK(convolution.summary().threads == 2);
        set_num_threads(before);
        CHECK(convolution.pass() == pass);
        CHECK(convolution.dtype() == DType::float64);
        CHECK(convolution.problem().y_elems() == problem.y_elems());
        CHECK(Convolution(problem, pass, DType::float32, Algorithm::reference).summary().algorithm == "reference");
    }
    g.batch = 1;
    g.in_channels = 1;
    const Convolution small(ConvProblem(g), Pass::forward, DType::float32);  // half a million operations
    CHECK(small.summary(3).threads == 1);
    CHECK_FALSE(small.summary(3).parallel);
}

TEST_CASE("names, version, compiler") {
    CHECK(std::string(name(Isa::scalar)) == "scalar");
    CHECK(std::string(name(Isa::avx2)) == "avx2");
    CHECK(std::string(name(Isa::avx512)) == "avx512");
    CHECK(std::string(name(Isa::neon)) == "neon");
    CHECK(std::string(name(Algorithm::automatic)) == "auto");
    CHECK(std::string(name(Algorithm::direct)) == "direct");
    CHECK(std::string(name(Algorithm::reference)) == "reference");
    CHECK(std::string(version()) == CONVPP_VERSION);
    CHECK((contains(compiler(), "GCC ") || contains(compiler(), "Clang ")));
}

#if CONVPP_TESTS_FORK

// The parent's helpers do not exist in the child: a call must not wait for them, and makes its own.
TEST_CASE("a forked child computes the same bits and does not hang") {
    const ConvProblem problem(conv(2, 4, 16, 32, {1, 30, 30}, {1, 3, 3}));
    Random random(1);
    Array<float> x(problem.x_elems()), w(problem.w_elems()), y(problem.y_elems(), guards);
    x.fill_reals(random);
    w.fill_reals(random);
    const Convolution forward(problem, Pass::forward, DType::float32);
    Execution how;
    how.threads = 2;
    forward.execute(x.in(), w.in(), {}, y.out(), how);
    const std::string outcome = told_by_child([&]() -> std::string {
        Array<float> again(problem.y_elems(), guards);
        forward.execute(x.in(), w.in(), {}, again.out(), how);
        return same_bits(again, y) ? "same bits on " + std::to_string(forward.summary(2).threads) : "other bits";
    });
    CHECK(outcome == "same bits on 2");
    CHECK(forward.summary(2).threads == 2);
}

#endif

}  // namespace convpp::test
