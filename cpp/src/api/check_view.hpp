// In:  an array of the public API, and how many elements it should have.   Out: an exception where it has not.
#pragma once

#include <stdexcept>
#include <string>

#include "convpp/convolution.hpp"
#include "convpp/error.hpp"

namespace convpp {

template <class T>
void check_view(const View<T>& view, int64_t expected, const char* argument) {
    if (view.size != expected)
        throw ShapeError(std::string(argument) + " has " + std::to_string(view.size) + " elements, expected " +
                         std::to_string(expected));
    if (expected > 0 && view.data == nullptr)
        throw std::invalid_argument(std::string(argument) + " is null, expected " + std::to_string(expected) +
                                    " elements");
}

}  // namespace convpp
