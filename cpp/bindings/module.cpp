// The Python module `_core`: the only file that includes pybind11.
//
// In:  NumPy arrays, whose type, contiguity, alignment and writability are checked here though Python has checked them.
// Out: calls of the C++ core with the GIL released.   Next: cpp/include/convpp/convolution.hpp.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>
#include <tuple>

#include "convpp/convpp.hpp"

namespace py = pybind11;

namespace {

// Whether an array holds elements of a type, in this machine's byte order.
template <class T>
bool holds(const py::array& array) {
    return py::isinstance<py::array_t<T>>(array);
}

constexpr int float16_number = 23;  // NumPy's NPY_HALF

template <>
bool holds<convpp::float16>(const py::array& array) {
    return array.dtype().num() == float16_number && array.dtype().byteorder() != '>' &&
           array.dtype().byteorder() != '<';
}

// NumPy does not know it: a package registers it, under a number that holds while Python runs.
template <>
bool holds<convpp::bfloat16>(const py::array& array) {
    static std::atomic<int> known{-1};
    const py::dtype dtype = array.dtype();
    if (dtype.num() == known.load(std::memory_order_relaxed)) return true;
    if (dtype.itemsize() != sizeof(convpp::bfloat16) || dtype.attr("name").cast<std::string>() != "bfloat16")
        return false;
    known.store(dtype.num(), std::memory_order_relaxed);
    return true;
}

template <class T>
constexpr const char* name_of = "float32";
template <>
constexpr const char* name_of<double> = "float64";
template <>
constexpr const char* name_of<convpp::bfloat16> = "bfloat16";
template <>
constexpr const char* name_of<convpp::float16> = "float16";

template <class T>
py::array checked_array(const py::handle& object, const char* argument) {
    const bool is_array = py::isinstance<py::array>(object);
    auto array = is_array ? py::reinterpret_borrow<py::array>(object) : py::array();
    if (!is_array || !holds<T>(array) || (array.flags() & py::array::c_style) == 0)
        throw convpp::DTypeError(std::string(argument) + " is not a C-contiguous array of " + name_of<T> +
                                 " in this machine's byte order");
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0)
        throw std::invalid_argument(std::string(argument) + " is not aligned to its element size");
    return array;
}

template <class T>
convpp::View<const T> input(const py::handle& object, const char* argument) {
    if (object.is_none()) return {};
    const auto array = checked_array<T>(object, argument);
    return {static_cast<const T*>(array.data()), static_cast<int64_t>(array.size())};
}

template <class T>
convpp::View<T> output(const py::handle& object, const char* argument) {
    auto array = checked_array<T>(object, argument);
    if (!array.writeable()) throw std::invalid_argument(std::string(argument) + " is read-only");
    return {static_cast<T*>(array.mutable_data()), static_cast<int64_t>(array.size())};
}

// use(T()) with the element type of a plan, or of an array.
template <class Use>
auto with_type(convpp::DType dtype, const Use& use) {
    switch (dtype) {
        case convpp::DType::float64: return use(double());
        case convpp::DType::bfloat16: return use(convpp::bfloat16());
        case convpp::DType::float16: return use(convpp::float16());
        case convpp::DType::float32: break;
    }
    return use(float());
}

convpp::DType dtype_of(const py::handle& object) {
    if (!py::isinstance<py::array>(object)) return convpp::DType::float32;
    const auto array = py::reinterpret_borrow<py::array>(object);
    if (array.itemsize() == sizeof(double)) return convpp::DType::float64;
    if (array.itemsize() == sizeof(float)) return convpp::DType::float32;
    return holds<convpp::float16>(array) ? convpp::DType::float16 : convpp::DType::bfloat16;
}

// use(view) with what is written: operands' type, or float32 for halves, which are then not rounded.
template <class T, class Use>
void with_output(const py::handle& result, const Use& use) {
    if constexpr (sizeof(T) < sizeof(float)) {
        if (dtype_of(result) == convpp::DType::float32) return use(output<float>(result, "out"));
    }
    use(output<T>(result, "out"));
}

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
                 {Algorithm::automatic, Algorithm::direct, Algorithm::winograd, Algorithm::reference});
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
    const auto [text, lo, hi] = object.cast<std::tuple<std::string, double, double>>();
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
            const py::gil_scoped_release unlocked;
            convolution.execute<T, std::remove_pointer_t<decltype(out.data)>>(a, b, c, out, how, add);
        });
    };
    if (!py::isinstance<py::array>(second) && py::isinstance<convpp::PreparedWeights>(second))
        return with(second.cast<const convpp::PreparedWeights&>());
    with(input<T>(second, "the second operand"));
}

void register_convolution(py::module_& module) {
    using convpp::Convolution;
    py::class_<convpp::PreparedWeights>(module, "PreparedWeights")
        .def_property_readonly("bytes", &convpp::PreparedWeights::bytes);
    py::class_<Convolution>(module, "Convolution")
        .def(py::init([](const std::string& pass, const std::string& dtype, const std::string& algorithm, int rank,
                         int64_t batch, int64_t in_channels, int64_t out_channels, int64_t groups,
                         const convpp::Extents& input_extents, const convpp::Extents& kernel,
                         const convpp::Extents& stride, const convpp::Extents& dilation, const convpp::Extents& pad_lo,
                         const convpp::Extents& pad_hi, bool flip, bool per_sample, bool channels_last,
                         const std::array<std::string, 3>& padding_mode) {
            const convpp::ConvProblem problem(
                {rank,
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
                 {boundary_from(padding_mode[0]), boundary_from(padding_mode[1]), boundary_from(padding_mode[2])}});
            return Convolution(problem, pass_from(pass), dtype_from(dtype), algorithm_from(algorithm));
        }))
        .def("execute",
             [](const Convolution& self, const py::handle& first, const py::handle& second, const py::handle& bias,
                const py::handle& residual, const py::handle& result, const py::handle& activation, bool accumulate,
                int threads) {
                 const convpp::Execution how{threads, accumulate, activation_from(activation)};
                 with_type(self.dtype(), [&](auto type) {
                     execute<decltype(type)>(self, first, second, bias, residual, result, how);
                 });
             })
        .def("prepare",
             [](const Convolution& self, const py::handle& w, int threads) {
                 return with_type(self.dtype(), [&](auto type) {
                     const auto view = input<decltype(type)>(w, "w");
                     const py::gil_scoped_release unlocked;
                     return self.prepare(view, threads);
                 });
             })
        .def("task_flops", &Convolution::task_flops, py::arg("threads") = 0)
        .def("candidates",
             [](const Convolution& self) {
                 py::dict out;  // the cost, or why there is none
                 for (const convpp::Candidate& c : self.candidates()) {
                     if (!c.refusal.empty()) out[c.name.c_str()] = c.refusal;
                     else if (c.by_rule) out[c.name.c_str()] = "taken by rule, not by cost";
                     else out[c.name.c_str()] = c.cost;
                 }
                 return out;
             })
        .def("summary", [](const Convolution& self, int threads) {
            const convpp::Summary s = self.summary(threads);
            py::dict out;
            out["algorithm"] = s.algorithm;
            out["strategy"] = s.strategy;
            out["op"] = s.op;
            out["isa"] = s.isa;
            out["dtype"] = s.dtype;
            out["blocking"] = s.blocking;
            out["threads"] = s.threads;
            out["flops"] = static_cast<int64_t>(s.flops);
            out["tasks"] = s.tasks;
            out["parallel"] = s.parallel;
            out["weight_share"] = s.weight_share;
            out["workspace_bytes"] = s.workspace_bytes;
            out["workspace_bytes_per_thread"] = s.workspace_bytes_per_thread;
            return out;
        });
}

// y = activation(z), or dz = dy * activation'(value) where dy is given.
template <class T>
void apply_activation(const py::handle& dy, const py::handle& value, const convpp::Activation& activation,
                      const py::handle& result, int threads) {
    const auto first = input<T>(dy, "dy"), of = input<T>(value, "value");
    const auto out = output<T>(result, "out");
    const bool derivative = !dy.is_none();
    const py::gil_scoped_release unlocked;
    if (derivative) convpp::activation_grad<T>(first, of, activation, out, {threads, false, {}});
    else convpp::activate<T>(of, activation, out, {threads, false, {}});
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

template <class T>
void bias_grad(const py::handle& dy, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
               bool per_sample, const py::handle& db, const convpp::Execution& how) {
    const auto in = input<T>(dy, "dy");
    const auto layout = channels_last ? convpp::Layout::channels_last : convpp::Layout::channels_first;
    with_output<T>(db, [&](auto out) {
        const py::gil_scoped_release unlocked;
        if (!per_sample) return convpp::bias_grad(in, batch, channels, pixels, layout, out, how);
        if (!channels_last)  // planes are planes: the channels of all samples
            return convpp::bias_grad(in, 1, batch * channels, pixels, layout, out, how);
        auto own = in;
        auto to = out;
        own.size = channels * pixels;
        to.size = channels;
        for (int64_t n = 0; n < batch; ++n, own.data += own.size, to.data += to.size)
            convpp::bias_grad(own, 1, channels, pixels, layout, to, how);
    });
}

void register_runtime(py::module_& module) {
    module.attr("version") = convpp::version();
    module.attr("compiler") = convpp::compiler();
    module.attr("openmp") = convpp::has_openmp();
    module.def("num_threads", &convpp::num_threads);
    module.def("set_num_threads", &convpp::set_num_threads);
    module.def("isa", [] { return convpp::name(convpp::active_isa()); });
    module.def("select_isa", &convpp::select_isa);
    module.def("allow_bf16_pairs", &convpp::allow_bf16_pairs);
    module.def("isas_available", [] {
        std::vector<std::string> names;
        for (const auto isa : convpp::available_isas()) names.emplace_back(convpp::name(isa));
        return names;
    });
    module.def("measure_peak", [](const std::string& dtype, int threads) {
        const py::gil_scoped_release unlocked;
        return convpp::measure_peak(dtype_from(dtype), threads);
    });
    module.def("measure_bandwidth", &convpp::measure_bandwidth, py::call_guard<py::gil_scoped_release>());
    module.def("bias_grad",
               [](const py::handle& dy, int64_t batch, int64_t channels, int64_t pixels, bool channels_last,
                  bool per_sample, const py::handle& db, bool accumulate, int threads) {
                   const convpp::Execution how{threads, accumulate, {}};
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

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled core of convpp.";
    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const convpp::ShapeError& error) {
            raise_python_error("ShapeError", error.what());
        } catch (const convpp::DTypeError& error) {
            raise_python_error("DTypeError", error.what());
        }
    });
    register_convolution(module);
    register_activation(module);
    register_runtime(module);
}
