// The Python module `_core`: with its headers, the only place that includes pybind11.
//
// In:  NumPy arrays (arrays.hpp) and numbers, which are checked here though Python has checked them: whatever is handed
// to
//      these functions, they compute or raise.
// Out: calls of the C++ core with the GIL released (gil.hpp).   Next: cpp/include/convpp/convolution.hpp.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>

#include "arrays.hpp"
#include "convpp/convpp.hpp"
#include "gil.hpp"
#include "interrupts.hpp"
#include "pool.hpp"
#include "jax_handler.hpp"
#include "whole_objects.hpp"

namespace py = pybind11;

namespace {

// The value of this name, or an error that lists the names.
template <class Error = std::invalid_argument, class Value, size_t count>
Value named(const char* argument, const std::string& text, const Value (&values)[count]) {
    for (const Value value : values)
        if (text == convpp::name(value)) return value;
    std::string names;
    for (size_t i = 0; i < count; ++i)
        names += std::string(i == 0 ? "" : i + 1 == count ? " or " : ", ") + convpp::name(values[i]);
    throw Error(std::string(argument) + " is '" + text + "', expected " + names);
}

convpp::Pass pass_from(const std::string& text) {
    using convpp::Pass;
    return named("op", text, {Pass::forward, Pass::input_grad, Pass::weight_grad});
}

convpp::Algorithm algorithm_from(const std::string& text) {
    using convpp::Algorithm;
    return named("algorithm", text,
                 {Algorithm::automatic, Algorithm::direct, Algorithm::winograd, Algorithm::fft, Algorithm::reference,
                  Algorithm::stream});
}

convpp::Boundary boundary_from(const std::string& text) {
    using convpp::Boundary;
    return named("padding_mode", text,
                 {Boundary::zeros, Boundary::reflect, Boundary::replicate, Boundary::circular, Boundary::symmetric});
}

convpp::DType dtype_from(const std::string& text) {
    using convpp::DType;
    return named<convpp::DTypeError>("dtype", text, {DType::float32, DType::float64, DType::bfloat16, DType::float16});
}

// None, or a name and two numbers.
convpp::Activation activation_from(const py::handle& object) {
    using Kind = convpp::Activation::Kind;
    if (object.is_none()) return {};
    py::detail::make_caster<std::tuple<std::string, double, double>> caster;
    if (!caster.load(object, true))
        throw std::invalid_argument("activation is not a name and two numbers, expected None or that");
    const auto [text, lo, hi] = py::detail::cast_op<std::tuple<std::string, double, double>>(caster);
    return {named("activation", text, {Kind::none, Kind::relu, Kind::leaky_relu, Kind::silu, Kind::gelu, Kind::clip}),
            lo, hi};
}

// The weights of a forward pass may be prepared ones.
template <class T>
void execute(const convpp::Convolution& convolution, const py::handle& first, const py::handle& second,
             const py::handle& bias, const py::handle& residual, const py::handle& result,
             const convpp::Execution& how) {
    const auto a = input<T>(first, "the first operand"), c = input<T>(bias, "bias"), add = input<T>(residual, "add");
    const auto with = [&](const auto& b) {
        with_output<T>(result, [&](auto out) {
            without_gil(
                [&] { convolution.execute<T, std::remove_pointer_t<decltype(out.data)>>(a, b, c, out, how, add); });
        });
    };
    if (!py::isinstance<py::array>(second) && py::isinstance<convpp::PreparedWeights>(second))
        return with(second.cast<const convpp::PreparedWeights&>());
    with(input<T>(second, "the second operand"));
}

// What Python's `Convolution(...)` makes.
convpp::Convolution plan(const std::string& pass, const std::string& dtype, const std::string& algorithm, int rank,
                         int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups,
                         const convpp::Extents& input_extents, const convpp::Extents& kernel,
                         const convpp::Extents& stride, const convpp::Extents& dilation, const convpp::Extents& pad_lo,
                         const convpp::Extents& pad_hi, bool flip, bool per_sample, bool channels_last,
                         const std::array<std::string, 3>& padding_mode) {
    const convpp::Geometry geometry{
        rank,
        batch,
        in_channels,
        out_channels,
        groups,
        input_extents,
        kernel,
        stride,
        dilation,
        pad_lo,
        pad_hi,
        flip,
        per_sample,
        channels_last ? convpp::Layout::channels_last : convpp::Layout::channels_first,
        {boundary_from(padding_mode[0]), boundary_from(padding_mode[1]), boundary_from(padding_mode[2])}};
    const auto of_pass = pass_from(pass);
    const auto of_dtype = dtype_from(dtype);
    const auto by = algorithm_from(algorithm);
    return without_gil([&] { return convpp::Convolution(convpp::ConvProblem(geometry), of_pass, of_dtype, by); });
}

py::dict candidates(const convpp::Convolution& self) {
    py::dict out;  // the cost, or why there is none
    for (const convpp::Candidate& c : without_gil([&] { return self.candidates(); })) {
        if (!c.refusal.empty()) out[c.name.c_str()] = c.refusal;
        else if (c.by_rule) out[c.name.c_str()] = "taken by rule, not by cost";
        else out[c.name.c_str()] = c.cost;
    }
    return out;
}

py::dict summary(const convpp::Convolution& self, int threads) {
    const convpp::Summary s = without_gil([&] { return self.summary(threads); });
    py::dict out;
    out["algorithm"] = s.algorithm;
    out["strategy"] = s.strategy;
    out["op"] = s.op;
    out["isa"] = s.isa;
    out["dtype"] = s.dtype;
    out["blocking"] = s.blocking;
    out["threads"] = s.threads;
    out["flops"] = py::reinterpret_steal<py::int_>(PyLong_FromDouble(s.flops));  // maybe more than 64 bits hold
    out["tasks"] = s.tasks;
    out["parallel"] = s.parallel;
    out["weight_share"] = s.weight_share;
    out["workspace_bytes"] = s.workspace_bytes;
    out["workspace_bytes_per_thread"] = s.workspace_bytes_per_thread;
    return out;
}

void register_convolution(py::module_& module) {
    using convpp::Convolution;
    auto prepared = whole_class<convpp::PreparedWeights>(module, "PreparedWeights");
    prepared.def_property_readonly("bytes", &convpp::PreparedWeights::bytes);
    auto convolution = whole_class<Convolution>(module, "Convolution");
    convolution.def_static("_make", &plan)
        .def("execute",
             [](const Convolution& self, const py::handle& first, const py::handle& second, const py::handle& bias,
                const py::handle& residual, const py::handle& result, const py::handle& activation, bool accumulate,
                int threads) {
                 const convpp::Execution how{threads, accumulate, activation_from(activation), asks_for_signals()};
                 with_type(self.dtype(), [&](auto type) {
                     execute<decltype(type)>(self, first, second, bias, residual, result, how);
                 });
             })
        .def("prepare",
             [](const Convolution& self, const py::handle& w, int threads) {
                 return with_type(self.dtype(), [&](auto type) {
                     const auto view = input<decltype(type)>(w, "w");
                     return without_gil([&] { return self.prepare(view, threads); });
                 });
             })
        .def(
            "task_flops",
            [](const Convolution& self, int threads) { return without_gil([&] { return self.task_flops(threads); }); },
            py::arg("threads") = 0)
        .def("candidates", &candidates)
        .def("summary", &summary)
        .def_property_readonly("plan_bytes", &Convolution::plan_bytes);
    seal(prepared);
    seal(convolution);
}

// y = activation(z), or dz = dy * activation'(value) where dy is given.
template <class T>
void apply_activation(const py::handle& dy, const py::handle& value, const convpp::Activation& activation,
                      const py::handle& result, int threads) {
    const auto first = input<T>(dy, "dy"), of = input<T>(value, "value");
    const auto out = output<T>(result, "out");
    const bool derivative = !dy.is_none();
    const convpp::Execution how{threads, false, {}, asks_for_signals()};
    without_gil([&] {
        if (derivative) convpp::activation_grad<T>(first, of, activation, out, how);
        else convpp::activate<T>(of, activation, out, how);
    });
}

void register_activation(py::module_& module) {
    module.def("apply_activation", [](const py::handle& dy, const py::handle& value, const py::handle& activation,
                                      const py::handle& result, int threads) {
        with_type(dtype_of(value), [&](auto type) {
            apply_activation<decltype(type)>(dy, value, activation_from(activation), result, threads);
        });
    });
    module.def("derivative_needs_only_result", [](const py::handle& activation) {
        return convpp::derivative_needs_only_result(activation_from(activation));
    });
}

// An array's number of elements, which must be the product of its extents.
template <class T>
void check_size(const convpp::View<T>& view, std::initializer_list<int64_t> extents, const char* argument) {
    int64_t elems = 1;
    for (const int64_t extent : extents) {
        if (extent < 0 || (extent > 0 && elems > std::numeric_limits<int64_t>::max() / extent))
            throw convpp::ShapeError(std::string(argument) + " has an extent of " + std::to_string(extent) +
                                     ", expected extents of 0 or more whose product 64 bits hold");
        elems *= extent;
    }
    if (view.size != elems)
        throw convpp::ShapeError(std::string(argument) + " has " + std::to_string(view.size) + " elements, expected " +
                                 std::to_string(elems));
}

template <class T>
void bias_grad(const py::handle& dy, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
               bool per_sample, const py::handle& db, const convpp::Execution& how) {
    const auto in = input<T>(dy, "dy");
    const auto layout = channels_last ? convpp::Layout::channels_last : convpp::Layout::channels_first;
    check_size(in, {batch, channels, pixels}, "dy");
    with_output<T>(db, [&](auto out) {
        check_size(out, {per_sample ? batch : 1, channels}, "out");
        without_gil([&] {
            if (!per_sample) return convpp::bias_grad(in, batch, channels, pixels, layout, out, how);
            if (!channels_last)  // planes are planes: the channels of all samples
                return convpp::bias_grad(in, 1, batch * channels, pixels, layout, out, how);
            auto own = in;
            auto to = out;
            own.size = channels * pixels;
            to.size = channels;
            for (int64_t n = 0; channels > 0 && n < batch; ++n, own.data += own.size, to.data += to.size)
                convpp::bias_grad(own, 1, channels, pixels, layout, to, how);
        });
    });
}

// Of a += b: more than any cache, and less than a machine has.
constexpr int64_t most_bandwidth_bytes = int64_t(1) << 32;

double measure_bandwidth(int64_t bytes, int threads) {
    if (bytes > most_bandwidth_bytes)
        throw std::invalid_argument("bytes is " + std::to_string(bytes) + ", expected at most " +
                                    std::to_string(most_bandwidth_bytes));
    return without_gil([&] { return convpp::measure_bandwidth(bytes, threads); });
}

void register_runtime(py::module_& module) {
    module.attr("version") = convpp::version();
    module.attr("compiler") = convpp::compiler();
    if (void* const handler = jax_handler()) module.attr("jax_handler") = py::capsule(handler);
    else module.attr("jax_handler") = py::none();
    module.def("num_threads", &convpp::num_threads);
    module.def("set_num_threads", &convpp::set_num_threads);
    // The address of an OpenMP library's GOMP_parallel; 0: none.
    module.def("borrow_threads",
               [](uintptr_t address) { convpp::borrow_threads(reinterpret_cast<convpp::EnterRegion>(address)); });
    module.def("borrows_threads", &convpp::borrows_threads);
    module.def("isa", [] { return convpp::name(convpp::active_isa()); });
    module.def("select_isa", &convpp::select_isa);
    module.def("allow_bf16_pairs", &convpp::allow_bf16_pairs);
    module.def("isas_available", [] {
        std::vector<std::string> names;
        for (const auto isa : convpp::available_isas()) names.emplace_back(convpp::name(isa));
        return names;
    });
    module.def("measure_peak", [](const std::string& dtype, int threads) {
        const auto of = dtype_from(dtype);
        return without_gil([&] { return convpp::measure_peak(of, threads); });
    });
    module.def("measure_bandwidth", &measure_bandwidth);
    module.def("bias_grad",
               [](const py::handle& dy, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
                  bool per_sample, const py::handle& db, bool accumulate, int threads) {
                   const convpp::Execution how{threads, accumulate, {}, asks_for_signals()};
                   with_type(dtype_of(dy), [&](auto type) {
                       bias_grad<decltype(type)>(dy, batch, channels, pixels, channels_last, per_sample, db, how);
                   });
               });
}

// The core's errors become the package's, which are defined (and documented) in Python.
void raise_python_error(const char* type, const char* message) {
    PyErr_SetString(py::module_::import("convpp.errors").attr(type).ptr(), message);
}

}  // namespace

// For programs that look for libraries and their threads by the symbols they have (python/convpp/_threadpoolctl.py).
extern "C" PYBIND11_EXPORT const char* convpp_version() { return convpp::version(); }

// No GIL is needed: what is shared is immutable (plans, prepared weights) or atomic (the numbers of threads and of
// bfloat16, the instruction set).  NumPy, whose arrays come in, runs in the main interpreter alone.
PYBIND11_MODULE(_core, module, py::mod_gil_not_used(), py::multiple_interpreters::not_supported()) {
    module.doc() = "The compiled core of convpp.";
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const convpp::ShapeError& error) {
            raise_python_error("ShapeError", error.what());
        } catch (const convpp::DTypeError& error) {
            raise_python_error("DTypeError", error.what());
        } catch (const convpp::Interrupted& error) {  // what a signal's handler raised; or it has forked
            if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_RuntimeError, error.what());
        }
    });
    watch_signals();
    register_convolution(module);
    register_activation(module);
    register_pool(module);
    register_runtime(module);
}
