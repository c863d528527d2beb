# Exceptions of C++ in WebAssembly, for the tests: zig's C++ library for WASI is compiled without, and has the sources.
#
# In:   CONVPP_ZIG, the program, beside whose files those of its libraries lie.
# Out:  the target convpp_exceptions, which a program links.
# (WASI's own SDK has a C++ library with exceptions: there, nothing of this is needed.)

get_filename_component(convpp_zig_lib "${CONVPP_ZIG}" REALPATH)
get_filename_component(convpp_zig_lib "${convpp_zig_lib}" DIRECTORY)
string(APPEND convpp_zig_lib /lib)

# The tag that all exceptions of C++ carry; and an operator new that throws, where a program has none of its own.
file(WRITE "${PROJECT_BINARY_DIR}/exception_start.cpp" [[
#include <cstdlib>
#include <new>
__asm__(".globl __cpp_exception\n.tagtype __cpp_exception i32\n__cpp_exception:\n");
__attribute__((weak)) void* operator new(std::size_t bytes) {
    if (void* const memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
]])
# In C, but for the header of thread_local: compiled as C++, since this build has no other language.
file(READ "${convpp_zig_lib}/libunwind/src/Unwind-wasm.c" convpp_unwind)
string(REPLACE "#include <threads.h>" "extern \"C\" {" convpp_unwind "${convpp_unwind}")
string(REPLACE "#endif // defined(__WASM_EXCEPTIONS__)" "}\n#endif" convpp_unwind "${convpp_unwind}")
file(WRITE "${PROJECT_BINARY_DIR}/exception_unwind.cpp" "${convpp_unwind}")

add_library(convpp_exceptions OBJECT
  "${PROJECT_BINARY_DIR}/exception_start.cpp"
  "${PROJECT_BINARY_DIR}/exception_unwind.cpp"
  "${convpp_zig_lib}/libcxxabi/src/cxa_exception.cpp"
  "${convpp_zig_lib}/libcxxabi/src/cxa_personality.cpp")
set_target_properties(convpp_exceptions PROPERTIES CXX_SCAN_FOR_MODULES OFF)
target_compile_options(convpp_exceptions PRIVATE -w)
target_compile_features(convpp_exceptions PRIVATE cxx_std_23)
target_compile_definitions(convpp_exceptions PRIVATE _LIBUNWIND_HIDE_SYMBOLS _LIBCXXABI_BUILDING_LIBRARY
  _LIBCPP_BUILDING_LIBRARY LIBCXX_BUILDING_LIBCXXABI _LIBCXXABI_HAS_NO_THREADS)
# These are in the library without exceptions, too, which is linked whole.
foreach(name IN ITEMS setExceptionClass getExceptionClass isOurExceptionClass cxa_decrement_exception_refcount
    cxa_increment_exception_refcount cxa_current_primary_exception cxa_rethrow_primary_exception
    cxa_uncaught_exception cxa_uncaught_exceptions)
  target_compile_definitions(convpp_exceptions PRIVATE __${name}=convpp_${name})
endforeach()
target_include_directories(convpp_exceptions PRIVATE
  "${convpp_zig_lib}/libcxx/src" "${convpp_zig_lib}/libcxxabi/src" "${convpp_zig_lib}/libcxxabi/include"
  "${convpp_zig_lib}/libunwind/include" "${convpp_zig_lib}/libunwind/src")

# doctest takes it for granted that WASI has no exceptions.
file(READ "${convpp_doctest_header}" convpp_doctest_text)
string(REPLACE "|| defined(__wasi__)" "" convpp_doctest_text "${convpp_doctest_text}")
file(WRITE "${convpp_doctest_header}" "${convpp_doctest_text}")
