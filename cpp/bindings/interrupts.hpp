// Signals while the core computes, Ctrl-C above all: Python notes them, and runs their handlers when it is asked.
//
// In:  the thread of a call.   Out: what the core asks between its tasks.   Next: gil.hpp; Execution::interrupted in
// cpp/include/convpp/convolution.hpp.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <functional>

// Python runs handlers on its main thread alone; a thread that forks is its child's.
inline std::atomic<unsigned long> main_thread{0};

inline void watch_signals() {
    namespace py = pybind11;
    main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
    const auto os = py::module_::import("os");
    if (py::hasattr(os, "register_at_fork"))
        os.attr("register_at_fork")(py::arg("after_in_child") =
                                        py::cpp_function([] { main_thread = PyThread_get_thread_ident(); }));
}

// Runs the handlers of signals that came.  Yes: one of them raised, and Python holds the exception.
inline bool signal_raises() {
    const pybind11::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Empty on other threads, which do not wait for the GIL for nothing.
inline std::function<bool()> asks_for_signals() {
    if (PyThread_get_thread_ident() != main_thread.load(std::memory_order_relaxed)) return {};
    return signal_raises;
}
