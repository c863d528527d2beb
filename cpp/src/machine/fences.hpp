// Fences between the arrays of a workspace: memory that belongs to none of them, where the library is built to be
// tested (CONVPP_WORKSPACE_FENCES in CMakeLists.txt); elsewhere there are none, and nothing here is called.
//
// In:  each array that a Carver lays out (workspace.hpp), until the Carver's end.   Out: the number of fences that
// somebody wrote on; with AddressSanitizer, a report as soon as one is read or written.
// Next: fences.cpp; cpp/stress/, whose programs ask.
#pragma once

#include <cstdint>

namespace convpp {

#ifdef CONVPP_WORKSPACE_FENCES
inline constexpr int64_t fence_bytes = 64;  // at least: as many as a vector has
#else
inline constexpr int64_t fence_bytes = 0;
#endif

// A new array, and the fence behind it.  An array that lies on a fence which stands breaks that one.
void fence_array(void* array, int64_t bytes, int64_t fence);

// Looks at the fences of a layout that goes out of use, and takes them down.
void inspect_fences(void* block, int64_t bytes);

int64_t broken_fences();  // so far

}  // namespace convpp
