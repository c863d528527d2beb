// Asks whether a call is to be given up.  interrupt.hpp says when.
#include "machine/interrupt.hpp"

#include <chrono>
#include <cstdint>
#include <ctime>

#include "convpp/error.hpp"
#include "machine/team.hpp"

namespace convpp {
namespace {

constexpr int64_t pause_between_questions = 50'000'000;  // nanoseconds

// Of a clock that is read before each task: to some milliseconds where that is cheaper.
int64_t now() {
#ifdef CLOCK_MONOTONIC_COARSE
    timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
#else
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
#endif
}

// (Neither has a destructor: the first use of one on a thread takes memory, and ends the process where there is none.)
thread_local const std::function<bool()>* ask = nullptr;
thread_local int64_t next_question = 0;

}  // namespace

AskBetweenTasks::AskBetweenTasks(const std::function<bool()>& interrupted) : outer_(ask) {
    ask = interrupted ? &interrupted : nullptr;
    next_question = 0;
}

AskBetweenTasks::~AskBetweenTasks() { ask = outer_; }

void give_up_if_interrupted() {
    if (ask == nullptr) return;
    if (next_question == 0) {  // a call of one task does not look at the clock
        next_question = now() + pause_between_questions;
        return;
    }
    if (now() < next_question) return;
    const uint64_t before = Team::forks();
    const bool yes = (*ask)();
    next_question = now() + pause_between_questions;
    // Whoever is asked may fork.  What others had begun is lost to the child.
    if (yes || Team::forks() != before) throw Interrupted("the call was interrupted; its result is undefined");
}

}  // namespace convpp
