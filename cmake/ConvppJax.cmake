# The function that XLA calls, as a part of the Python module: what python/convpp/jax/ computes with.
#
# In:   CONVPP_JAX (ON, OFF or AUTO); Python, whose jaxlib brings the headers of XLA's foreign function interface.
# Out:  cpp/bindings/jax_handler.cpp in _core, or, without the headers, no_jax_handler.cpp.
#
# The headers need no library, and work with each later jaxlib (XLA checks the version).  They are looked for where this
# Python imports jaxlib from (a build without isolation, or an isolated one with CONVPP_JAX=1: see pyproject.toml), and
# then among its installed packages, which an isolated build of pip's does not import.

# What an earlier build has found may have been in an environment that is gone.
if(CONVPP_XLA_INCLUDE AND NOT EXISTS "${CONVPP_XLA_INCLUDE}/xla/ffi/api/ffi.h")
  unset(CONVPP_XLA_INCLUDE CACHE)
endif()
if(CONVPP_JAX)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c "import jaxlib, pathlib; print(pathlib.Path(jaxlib.__path__[0], 'include').as_posix())"
    OUTPUT_VARIABLE convpp_jaxlib_imported OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c "import sysconfig; print(sysconfig.get_path('platlib'))"
    OUTPUT_VARIABLE convpp_platlib OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_path(CONVPP_XLA_INCLUDE xla/ffi/api/ffi.h NO_DEFAULT_PATH
    PATHS ${convpp_jaxlib_imported} "${convpp_platlib}/jaxlib/include"
    DOC "Where xla/ffi/api/ffi.h is")
endif()

if(CONVPP_JAX AND CONVPP_XLA_INCLUDE)
  message(STATUS "convpp: a handler for JAX, with the headers in ${CONVPP_XLA_INCLUDE}")
  target_sources(_core PRIVATE cpp/bindings/jax_handler.cpp)
  target_include_directories(_core SYSTEM PRIVATE ${CONVPP_XLA_INCLUDE})
  # In XLA's headers the members of a struct are named as their types are, which GCC takes for an error otherwise.
  set_source_files_properties(cpp/bindings/jax_handler.cpp PROPERTIES
    COMPILE_OPTIONS $<$<CXX_COMPILER_ID:GNU>:-fpermissive>)
elseif(CONVPP_JAX AND NOT CONVPP_JAX STREQUAL "AUTO")
  message(FATAL_ERROR "CONVPP_JAX is ${CONVPP_JAX}, but jaxlib's headers are not there: install jaxlib 0.10 or later, "
    "or set CONVPP_XLA_INCLUDE to the folder that has xla/ffi/api/ffi.h")
else()
  message(STATUS "convpp: without a handler for JAX")
  target_sources(_core PRIVATE cpp/bindings/no_jax_handler.cpp)
endif()
