# What `cmake --install` writes.
#
# In:   the targets convpp and, where it is built, _core.
# Out:  headers, the static library and the CMake package, all relative to one prefix, which may be moved.
#       pip's prefix is the package itself: convpp/include, convpp/lib, convpp/lib/cmake/convpp, and _core and layers.csv
#       beside __init__.py.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

if(DEFINED SKBUILD)
  set(convpp_library_dir lib) # the same name in every wheel: GNUInstallDirs would say lib64 on some systems
else()
  set(convpp_library_dir ${CMAKE_INSTALL_LIBDIR})
endif()
set(convpp_cmake_dir ${convpp_library_dir}/cmake/convpp)

install(TARGETS convpp EXPORT convppTargets ARCHIVE DESTINATION ${convpp_library_dir} COMPONENT cpp)
install(DIRECTORY cpp/include/convpp DESTINATION include COMPONENT cpp FILES_MATCHING PATTERN "*.hpp")
install(EXPORT convppTargets NAMESPACE convpp:: DESTINATION ${convpp_cmake_dir} COMPONENT cpp)

configure_package_config_file(cmake/convppConfig.cmake.in "${PROJECT_BINARY_DIR}/convppConfig.cmake"
  INSTALL_DESTINATION ${convpp_cmake_dir})
write_basic_package_version_file("${PROJECT_BINARY_DIR}/convppConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/convppConfig.cmake" "${PROJECT_BINARY_DIR}/convppConfigVersion.cmake"
  DESTINATION ${convpp_cmake_dir} COMPONENT cpp)

if(CONVPP_BUILD_PYTHON)
  install(TARGETS _core LIBRARY DESTINATION . COMPONENT python)
  install(FILES benchmarks/layers.csv DESTINATION . COMPONENT python) # read by python/convpp/_cli/suite.py
endif()
