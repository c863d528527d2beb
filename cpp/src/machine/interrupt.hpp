// Whether the call that this thread carries out is to be given up (Ctrl-C), asked between its tasks.
//
// In:  Execution::interrupted, for the time of a call.   Out: Interrupted, thrown out of parallel_for.
// Next: parallel.hpp.
#pragma once

#include <functional>

namespace convpp {

// While it lives, give_up_if_interrupted() on this thread asks `interrupted`, if that is not empty.
class AskBetweenTasks {
public:
    explicit AskBetweenTasks(const std::function<bool()>& interrupted);
    ~AskBetweenTasks();
    AskBetweenTasks(const AskBetweenTasks&) = delete;
    AskBetweenTasks& operator=(const AskBetweenTasks&) = delete;

private:
    const std::function<bool()>* outer_;
};

// Throws Interrupted if the answer is yes.  Asks at most once in 50 ms: a person does not feel more, and asking may
// have to wait for the interpreter.
void give_up_if_interrupted();

}  // namespace convpp
