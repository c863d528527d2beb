// Weight gradients in pieces: each of some taps, from the pixels that read inside there.
//
// In:  a Plan with pieces.   Out: dw, piece by piece.   Next: plan/cut_maps.hpp, which says what pieces are.
//
// It is no choice among others, so no line of the table: whatever strategies the pieces' plans have chosen compute
// them.  Threads share the tasks of one after the other.
#include <algorithm>

#include "strategies/strategy.hpp"

namespace convpp {
namespace {

template <class T>
void run(const Plan& plan, const Operands<T>& operands, const RunContext& context) {
    for (const Plan& piece : plan.pieces) {
        Operands<T> own = operands;
        own.dy += piece.dy_from;
        entry<T>(*piece.how).run(piece, own, {threads_of(piece, context.threads), context.workspace, nullptr});
    }
}

void measure(const Plan& plan, WorkspaceBytes& bytes) {
    for (const Plan& piece : plan.pieces) {
        bytes.shared = std::max(bytes.shared, piece.memory.shared);
        bytes.of_thread = std::max(bytes.of_thread, piece.memory.of_thread);
    }
}

std::string describe(const Plan& plan) {
    const auto work = [](const Plan& piece) { return piece.maps[0].map.pixels() * piece.maps[0].map.taps(); };
    const auto largest = std::max_element(plan.pieces.begin(), plan.pieces.end(),
                                          [&](const Plan& a, const Plan& b) { return work(a) < work(b); });
    return std::to_string(plan.pieces.size()) + " pieces, of taps that are read alike; the largest by " +
           largest->how->name + ": " + describe_blocking(*largest);
}

const Strategy by_pieces = strategy_of_plans("pieces", "taps that are read alike", &describe,
                                             {&measure, nullptr, &run<float>}, {&measure, nullptr, &run<double>});

}  // namespace

const Strategy& pieces_strategy() { return by_pieces; }

}  // namespace convpp
