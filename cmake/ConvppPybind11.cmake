# Finds pybind11, and keeps a copy of its headers in the build folder.
#
# In:   pybind11, which pip's build has in an environment that is gone afterwards.
# Out:  the package pybind11, whose headers have the same path and the same age in each build: _core is not compiled anew.

find_package(pybind11 3 CONFIG REQUIRED)

set(convpp_pybind11_copy "${PROJECT_BINARY_DIR}/pybind11_include")
get_target_property(convpp_pybind11_original pybind11::pybind11_headers INTERFACE_INCLUDE_DIRECTORIES)
file(GLOB_RECURSE convpp_pybind11_headers RELATIVE "${convpp_pybind11_original}" "${convpp_pybind11_original}/pybind11/*.h")
if(NOT "pybind11/pybind11.h" IN_LIST convpp_pybind11_headers)
  message(FATAL_ERROR "pybind11's headers are not in ${convpp_pybind11_original}, where its CMake package says they are")
endif()
foreach(header IN LISTS convpp_pybind11_headers)
  configure_file("${convpp_pybind11_original}/${header}" "${convpp_pybind11_copy}/${header}" COPYONLY) # where it differs
endforeach()
set_target_properties(pybind11::pybind11_headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${convpp_pybind11_copy}")
