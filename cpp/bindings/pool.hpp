// Pooling for Python: a checked geometry, and the four passes as its methods.
//
// In:  numbers, NumPy arrays (arrays.hpp).   Out: calls of the core with the GIL released.   Next: module.cpp, which
// registers them; cpp/include/convpp/pool.hpp.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "convpp/pool.hpp"
#include "gil.hpp"
#include "interrupts.hpp"
#include "whole_objects.hpp"

inline convpp::PoolProblem make_pool(int rank, int64_t batch, int64_t channels, const convpp::Extents& input,
                                     const convpp::Extents& kernel, const convpp::Extents& stride,
                                     const convpp::Extents& dilation, const convpp::Extents& pad_lo,
                                     const convpp::Extents& pad_hi, bool ceil_mode, bool channels_last) {
    const auto layout = channels_last ? convpp::Layout::channels_last : convpp::Layout::channels_first;
    return convpp::PoolProblem(
        {rank, batch, channels, input, kernel, stride, dilation, pad_lo, pad_hi, ceil_mode, layout});
}

inline convpp::View<int64_t> places(const pybind11::handle& indices) {
    if (indices.is_none()) return {};
    const auto is_array = pybind11::isinstance<pybind11::array_t<int64_t>>(indices);
    auto array = is_array ? pybind11::reinterpret_borrow<pybind11::array>(indices) : pybind11::array();
    if (!is_array || (array.flags() & pybind11::array::c_style) == 0)
        throw convpp::DTypeError("indices is not a C-contiguous array of int64 in this machine's byte order");
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(int64_t) != 0)
        throw std::invalid_argument("indices is not aligned to its element size");
    if (!array.writeable()) throw std::invalid_argument("indices is read-only");
    return {static_cast<int64_t*>(array.mutable_data()), static_cast<int64_t>(array.size())};
}

inline void register_pool(pybind11::module_& module) {
    namespace py = pybind11;
    using convpp::PoolProblem;
    auto pool = whole_class<PoolProblem>(module, "Pooling");
    pool.def_static("_make", &make_pool)
        .def("max_pool",
             [](const PoolProblem& self, const py::handle& x, const py::handle& y, const py::handle& indices,
                int threads) {
                 const convpp::Execution how{threads, false, {}, asks_for_signals()};
                 with_type(dtype_of(x), [&](auto type) {
                     using T = decltype(type);
                     const auto in = input<T>(x, "x");
                     const auto at = places(indices);
                     with_output<T>(y,
                                    [&](auto out) { without_gil([&] { convpp::max_pool(self, in, out, at, how); }); });
                 });
             })
        .def("max_pool_input_grad",
             [](const PoolProblem& self, const py::handle& dy, const py::handle& x, const py::handle& dx,
                bool accumulate, int threads) {
                 const convpp::Execution how{threads, accumulate, {}, asks_for_signals()};
                 with_type(dtype_of(dy), [&](auto type) {
                     using T = decltype(type);
                     const auto first = input<T>(dy, "dy"), second = input<T>(x, "x");
                     with_output<T>(dx, [&](auto out) {
                         without_gil([&] { convpp::max_pool_input_grad(self, first, second, out, how); });
                     });
                 });
             })
        .def("avg_pool",
             [](const PoolProblem& self, const py::handle& x, const py::handle& y, bool include_pad, int64_t divisor,
                int threads) {
                 const convpp::Execution how{threads, false, {}, asks_for_signals()};
                 with_type(dtype_of(x), [&](auto type) {
                     using T = decltype(type);
                     const auto in = input<T>(x, "x");
                     with_output<T>(y, [&](auto out) {
                         without_gil([&] { convpp::avg_pool(self, {include_pad, divisor}, in, out, how); });
                     });
                 });
             })
        .def("avg_pool_input_grad", [](const PoolProblem& self, const py::handle& dy, const py::handle& dx,
                                       bool include_pad, int64_t divisor, bool accumulate, int threads) {
            const convpp::Execution how{threads, accumulate, {}, asks_for_signals()};
            with_type(dtype_of(dy), [&](auto type) {
                using T = decltype(type);
                const auto in = input<T>(dy, "dy");
                with_output<T>(dx, [&](auto out) {
                    without_gil([&] { convpp::avg_pool_input_grad(self, {include_pad, divisor}, in, out, how); });
                });
            });
        });
    seal(pool);
}
