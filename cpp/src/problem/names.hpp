// The name of an enumerator, out of a list in their order.
#pragma once

#include <cstddef>

namespace convpp {

template <class Enum, std::size_t Count>
const char* name_in(const char* const (&names)[Count], Enum value) noexcept {
    const auto index = static_cast<std::size_t>(value);
    return index < Count ? names[index] : "?";
}

}  // namespace convpp
