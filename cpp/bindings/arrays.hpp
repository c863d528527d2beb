// NumPy arrays as views of the core.
//
// In:  any Python object.   Out: a View of its elements, or an error: type, byte order, contiguity, alignment and
// writability are checked here though Python has checked them.   Next: module.cpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "convpp/convpp.hpp"

// Whether an array holds elements of a type, in this machine's byte order.
template <class T>
bool holds(const pybind11::array& array) {
    return pybind11::isinstance<pybind11::array_t<T>>(array);
}

inline constexpr int float16_number = 23;  // NumPy's NPY_HALF

template <>
inline bool holds<convpp::float16>(const pybind11::array& array) {
    const pybind11::dtype dtype = array.dtype();
    const char order = dtype.byteorder();  // "=" is this machine's, which other libraries spell out
    constexpr char foreign = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '>' : '<';
    return dtype.num() == float16_number && order != foreign;
}

// NumPy does not know it: a package registers it, under a number that holds while Python runs.
template <>
inline bool holds<convpp::bfloat16>(const pybind11::array& array) {
    static std::atomic<int> known{-1};
    const pybind11::dtype dtype = array.dtype();
    if (dtype.num() == known.load(std::memory_order_relaxed)) return true;
    if (dtype.itemsize() != sizeof(convpp::bfloat16) || dtype.attr("name").cast<std::string>() != "bfloat16")
        return false;
    known.store(dtype.num(), std::memory_order_relaxed);
    return true;
}

template <class T>
constexpr const char* name_of = "float32";
template <>
inline constexpr const char* name_of<double> = "float64";
template <>
inline constexpr const char* name_of<convpp::bfloat16> = "bfloat16";
template <>
inline constexpr const char* name_of<convpp::float16> = "float16";

template <class T>
pybind11::array checked_array(const pybind11::handle& object, const char* argument) {
    using pybind11::array;
    const bool is_array = pybind11::isinstance<array>(object);
    auto checked = is_array ? pybind11::reinterpret_borrow<array>(object) : array();
    if (!is_array || !holds<T>(checked) || (checked.flags() & array::c_style) == 0)
        throw convpp::DTypeError(std::string(argument) + " is not a C-contiguous array of " + name_of<T> +
                                 " in this machine's byte order");
    if (reinterpret_cast<std::uintptr_t>(checked.data()) % alignof(T) != 0)
        throw std::invalid_argument(std::string(argument) + " is not aligned to its element size");
    return checked;
}

template <class T>
convpp::View<const T> input(const pybind11::handle& object, const char* argument) {
    if (object.is_none()) return {};
    const auto array = checked_array<T>(object, argument);
    return {static_cast<const T*>(array.data()), static_cast<int64_t>(array.size())};
}

template <class T>
convpp::View<T> output(const pybind11::handle& object, const char* argument) {
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

inline convpp::DType dtype_of(const pybind11::handle& object) {
    if (!pybind11::isinstance<pybind11::array>(object)) return convpp::DType::float32;
    const auto array = pybind11::reinterpret_borrow<pybind11::array>(object);
    if (array.itemsize() == sizeof(double)) return convpp::DType::float64;
    if (array.itemsize() == sizeof(float)) return convpp::DType::float32;
    return holds<convpp::float16>(array) ? convpp::DType::float16 : convpp::DType::bfloat16;
}

// use(view) with what is written: operands' type, or float32 for halves, which are then not rounded.
template <class T, class Use>
void with_output(const pybind11::handle& result, const Use& use) {
    if constexpr (sizeof(T) < sizeof(float)) {
        if (dtype_of(result) == convpp::DType::float32) return use(output<float>(result, "out"));
    }
    use(output<T>(result, "out"));
}
