// The table of strategies and what plans say of it: who serves, who refuses, which one is chosen; plans are complete.
#include <cmath>
#include <string>

#include "plan/halo.hpp"
#include "plan_cases.hpp"

namespace convpp::test {
namespace {

constexpr std::initializer_list<DType> all_types{DType::float32, DType::float64, DType::bfloat16, DType::float16};

// Regular, depthwise, grouped, strided, 1x1, first layers, few pixels, and some that only a random generator draws:
// each strategy is chosen for one of them.
std::vector<Geometry> geometries() {
    std::vector<Geometry> layers{
        conv2d(2, 64, 64, 28, 28, 3, 1, 1),        conv2d(1, 32, 32, 56, 56, 3, 1, 1, 1, 32),
        conv2d(1, 64, 64, 14, 14, 3, 1, 1, 1, 16), conv2d(2, 20, 70, 15, 17, 5, 3, 2, 2),
        conv2d(2, 64, 128, 14, 14, 1, 1, 0),       conv2d(1, 3, 32, 40, 40, 7, 2, 3),
        conv2d(1, 3, 5, 20, 20, 3, 1, 0),          conv1d(2, 7, 9, 300, 5, 1, 2),
    };
    layers.push_back(conv1d(2, 1, 1, 30'000, 512, 1, 0));
    layers.push_back(conv1d(1, 1, 1, 2'000, 65, 1, 0));
    layers.push_back(conv2d(1, 16, 16, 60, 60, 31, 1, 15, 1, 16));
    layers.push_back(conv2d(3, 100, 70, 1, 1, 1, 1, 0));
    layers.push_back(conv2d(3, 8, 12, 16, 16, 3, 1, 1));
    layers.back().per_sample = true;
    layers.push_back(conv2d(2, 6, 10, 12, 12, 3, 1, 2));
    layers.back().boundary = {Boundary::zeros, Boundary::reflect, Boundary::circular};
    Random random(7);
    for (int i = 0; i < 20; ++i) layers.push_back(random_geometry(random, 1e6));
    return in_both_layouts(std::move(layers));
}

// By whatever algorithm serves the geometry.
template <class Body>
void for_each_convolution(const Body& body) {
    for (const Geometry& g : geometries())
        for (const Pass pass : all_passes)
            for (const DType dtype : all_types)
                for (const Algorithm algorithm : {Algorithm::automatic, Algorithm::direct, Algorithm::winograd,
                                                  Algorithm::fft, Algorithm::reference}) {
                    INFO(std::string(name(pass)), " ", std::string(name(dtype)), " ", std::string(name(algorithm)),
                         ": ", describe(g));
                    const ConvProblem problem(g);
                    const auto planned = [&] { body(problem, pass, dtype, algorithm); };
                    const std::string refusal = message_of<std::invalid_argument>(planned);
                    CHECK((refusal.empty() || algorithm == Algorithm::winograd));
                }
}

// All memory and all plans that carrying it out may take.
void check_complete(const Plan& plan) {
    REQUIRE_FALSE(plan.empty());
    if (plan.tasks.count > 0) CHECK(plan.memory.of_thread > 0);
    CHECK((plan.tasks.chunks == 1 || plan.memory.shared > 0));
    CHECK((plan.again != nullptr) == (plan.order == SumOrder::transformed));
    if (plan.again == nullptr) return;
    CHECK(plan.again->order != SumOrder::transformed);
    CHECK(plan.again->pass == plan.pass);
    CHECK_FALSE(static_cast<bool>(plan.again->halo));
    check_complete(*plan.again);
}

}  // namespace

TEST_CASE("every strategy serves or says why not, and one of them is chosen") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        std::map<std::string, int> chosen, refused;
        for_each_convolution([&](const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm) {
            const Convolution convolution(problem, pass, dtype, algorithm);
            const std::vector<Candidate> candidates = convolution.candidates();
            const StrategyList table = strategies();
            const std::string taken = convolution.summary().strategy;
            if (taken == "pieces" || taken == "fold") {  // it leaves padding out, and is named before the others
                CHECK(static_cast<std::ptrdiff_t>(candidates.size()) == table.last - table.first + 1);
                CHECK(candidates.front().name == taken);
                CHECK(candidates.front().chosen);
                ++chosen[taken];
                return;
            }
            REQUIRE(static_cast<std::ptrdiff_t>(candidates.size()) == table.last - table.first);
            const Candidate* best = nullptr;
            for (size_t i = 0; i < candidates.size(); ++i) {
                const Candidate& candidate = candidates[i];
                CHECK(candidate.name == table.first[i]->name);
                CHECK(candidate.cost >= 0);
                CHECK((candidate.by_rule || std::isfinite(candidate.cost)));
                if (!candidate.refusal.empty()) {
                    CHECK_FALSE(candidate.by_rule);
                    CHECK_FALSE(candidate.chosen);
                    ++refused[candidate.name];
                }
                if (!candidate.chosen) continue;
                CHECK(best == nullptr);
                best = &candidate;
            }
            REQUIRE(best != nullptr);
            CHECK(best->name == convolution.summary().strategy);
            ++chosen[best->name];
            const bool direct = convolution.summary().algorithm == std::string(name(Algorithm::direct));
            for (size_t i = 0; i < candidates.size() && direct && !best->by_rule; ++i) {
                const Candidate& other = candidates[i];
                if (table.first[i]->algorithm != Algorithm::direct || !other.refusal.empty()) continue;
                CHECK_FALSE(other.by_rule);
                CHECK(best->cost <= other.cost);
            }
        });
        INFO(std::string(name(isa)));
        for (const Strategy* const strategy : strategies()) {
            INFO(std::string(strategy->name));
            CHECK(chosen[strategy->name] > 0);
        }
        for (const char* const special : {"sliding", "channels", "winograd", "fft"}) CHECK(refused[special] > 0);
    }
}

TEST_CASE("where there is nothing to sum, there are no candidates") {
    const Convolution nothing(ConvProblem(conv2d(0, 3, 5, 20, 20, 3, 1, 1)), Pass::forward, DType::float32);
    CHECK(nothing.candidates().empty());
    CHECK(nothing.summary().strategy == "none");
}

TEST_CASE("plans are complete: with their memory, and with the plans of what may be computed again") {
    for (const Isa isa : available_isas()) {
        const IsaScope scope(isa);
        int transformed = 0, with_halo = 0;
        for_each_convolution([&](const ConvProblem& problem, Pass pass, DType dtype, Algorithm algorithm) {
            const Plan plan = make_plan(problem, pass, dtype, algorithm, isa);
            check_complete(plan);
            transformed += plan.order == SumOrder::transformed;
            const bool reads_outside =
                pass == Pass::input_grad && problem.geometry().boundary != std::array<Boundary, 3>{};
            CHECK((plan.halo != nullptr) == (reads_outside && algorithm != Algorithm::reference));
            if (plan.halo == nullptr) return;
            ++with_halo;
            CHECK(plan.halo->gradient_bytes > 0);
            int64_t sample = 0;
            for (const Slab& slab : plan.halo->slabs) {
                check_complete(slab.plan);
                CHECK(slab.sample_lo == sample);
                CHECK((slab.sample_hi - slab.sample_lo) % slab.plan.batch() == 0);
                sample =
                    slab.sample_hi % plan.halo->problem.geometry().batch;  // after the last one, the next slab's first
            }
            CHECK(sample == 0);
        });
        INFO(std::string(name(isa)));
        CHECK(transformed > 50);
        CHECK(with_halo > 10);
    }
}

}  // namespace convpp::test
