// Threads and instruction sets of this process: two atomics, set from the environment at first use.
#include "convpp/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "machine/cores.hpp"
#include "machine/runtime_state.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

// More threads than any machine has; the limit keeps a typing error from exhausting the system.
constexpr int most_threads = 1024;

std::string valid_isas() {
    std::string text;
    for (const Isa isa : available_isas()) text += (text.empty() ? "" : ", ") + std::string(name(isa));
    return text;
}

Isa isa_from_name(const std::string& text, const char* argument) {
    for (const Isa isa : available_isas())
        if (text == name(isa)) return isa;
    throw std::invalid_argument(std::string(argument) + " is '" + text + "', expected one of: " + valid_isas() +
                                " (the instruction sets that this build and this CPU have)");
}

int threads_from_environment() {
    const char* const text = std::getenv("CONVPP_NUM_THREADS");
    if (text != nullptr && *text != '\0') {
        char* end = nullptr;
        const long value = std::strtol(text, &end, 10);
        if (*end != '\0' || value < 1 || value > most_threads)
            throw std::invalid_argument("CONVPP_NUM_THREADS is '" + std::string(text) +
                                        "', expected an integer from 1 to " + std::to_string(most_threads));
        return static_cast<int>(value);
    }
    // OpenMP's own variable: a list with a number for each level of nesting.  What is wrong with it is not our errand.
    const char* const openmp = std::getenv("OMP_NUM_THREADS");
    const long value = openmp != nullptr ? std::strtol(openmp, nullptr, 10) : 0;
    return static_cast<int>(std::clamp<long>(value > 0 ? value : usable_cores(), 1, most_threads));
}

Isa isa_from_environment() {
    const char* const text = std::getenv("CONVPP_MAX_ISA");
    if (text == nullptr || *text == '\0') return available_isas().back();
    return isa_from_name(text, "CONVPP_MAX_ISA");
}

struct State {
    std::atomic<int> threads{threads_from_environment()};
    std::atomic<Isa> isa{isa_from_environment()};
};

State& state() {
    static State the_state;  // an exception leaves it unmade: the next call reads the environment again
    return the_state;
}

}  // namespace

Isa active_isa() { return state().isa.load(std::memory_order_relaxed); }

void select_isa(const std::string& text) { state().isa.store(isa_from_name(text, "isa")); }

int num_threads() { return state().threads.load(std::memory_order_relaxed); }

void set_num_threads(int n) {
    check_threads(n);
    state().threads.store(n);
}

void check_threads(int n) {
    if (n < 1 || n > most_threads)
        throw std::invalid_argument("threads is " + std::to_string(n) + ", expected an integer from 1 to " +
                                    std::to_string(most_threads));
}

int usable_threads(int requested) {
    if (requested != 0) check_threads(requested);
    return requested != 0 ? requested : num_threads();
}

bool borrows_threads() noexcept { return Team::borrows(); }

const char* version() noexcept { return CONVPP_VERSION; }

std::string compiler() {
#if defined(__clang__)
    return "Clang " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
    return "GCC " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
}

}  // namespace convpp
