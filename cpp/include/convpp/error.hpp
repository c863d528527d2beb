// Errors of the core.  Every message names the argument, what it was and what was expected.
// A request that makes no sense otherwise (an unknown algorithm, say) is a std::invalid_argument.
#pragma once

#include <stdexcept>

namespace convpp {

// Extents that do not fit each other, or that are too large for 64-bit sizes.
class ShapeError : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

// An element type that the plan was not made for.
class DTypeError : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

// Execution::interrupted asked for it.  The result of the call is undefined.
class Interrupted : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace convpp
