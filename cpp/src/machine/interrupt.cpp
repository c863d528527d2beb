// Asks whether a call is to be given up.  interrupt.hpp says when.
#include "machine/interrupt.hpp"

#include <chrono>

#include "convpp/error.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto pause_between_questions = std::chrono::milliseconds(50);

// (Neither has a destructor: the first use of one on a thread takes memory, and ends the process where there is none.)
thread_local const std::function<bool()>* ask = nullptr;
thread_local Clock::rep next_question = 0;

Clock::rep now() { return Clock::now().time_since_epoch().count(); }
Clock::rep later() { return now() + std::chrono::duration_cast<Clock::duration>(pause_between_questions).count(); }

}  // namespace

AskBetweenTasks::AskBetweenTasks(const std::function<bool()>& interrupted) : outer_(ask) {
    ask = interrupted ? &interrupted : nullptr;
    next_question = 0;
}

AskBetweenTasks::~AskBetweenTasks() { ask = outer_; }

void give_up_if_interrupted() {
    if (ask == nullptr) return;
    if (next_question == 0) {  // a call of one task does not look at the clock
        next_question = later();
        return;
    }
    if (now() < next_question) return;
    const uint64_t before = Team::forks();
    const bool yes = (*ask)();
    next_question = later();
    // Whoever is asked may fork.  What others had begun is lost to the child.
    if (yes || Team::forks() != before) throw Interrupted("the call was interrupted; its result is undefined");
}

}  // namespace convpp
