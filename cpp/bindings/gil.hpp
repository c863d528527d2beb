// The core at work while other Python threads run: `without_gil`, by which every call of the core that computes is
// made.
//
// In:  work that touches no Python object.   Out: its result or its exception, with the GIL held again.
// Next: module.cpp.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <optional>
#include <thread>
#include <type_traits>

// When the interpreter ends while a daemon thread computes, PyEval_RestoreThread ends that thread (pthread_exit, before
// Python 3.14).  Its stack is then unwound without the GIL, through destructors that must not throw and others that
// release Python objects: the process would abort, or worse.  So the thread stops here for good, as it does from 3.14
// on, and ends with the process.
class StopsWhereItWouldBeUnwound {
public:
    StopsWhereItWouldBeUnwound() = default;
    StopsWhereItWouldBeUnwound(const StopsWhereItWouldBeUnwound&) = delete;
    StopsWhereItWouldBeUnwound& operator=(const StopsWhereItWouldBeUnwound&) = delete;
    ~StopsWhereItWouldBeUnwound() {
        while (!returned) std::this_thread::sleep_for(std::chrono::hours(1));
    }
    bool returned = false;
};

inline void take_gil(PyThreadState* thread) {
    StopsWhereItWouldBeUnwound guard;
    PyEval_RestoreThread(thread);
    guard.returned = true;
}

template <class Work>
auto without_gil(const Work& work) {
    using Result = decltype(work());
    using Kept = std::conditional_t<std::is_void_v<Result>, bool, Result>;
    std::optional<Kept> result;
    std::exception_ptr error;
    PyThreadState* const thread = PyEval_SaveThread();
    try {
        if constexpr (std::is_void_v<Result>) {
            work();
            result.emplace(true);
        } else {
            result.emplace(work());
        }
    } catch (...) {
        error = std::current_exception();
    }
    take_gil(thread);
    if (error) std::rethrow_exception(error);
    if constexpr (!std::is_void_v<Result>) return std::move(*result);
}
