# Finds doctest, the C++ tests' framework (one header).
#
# Out: the target convpp_doctest, with <doctest/doctest.h> on its include path.
# Looks where headers are installed (Debian's doctest-dev, or a prefix in CMAKE_PREFIX_PATH), then downloads it.
# Without it there are no tests, and a suite that silently is not there passes: so a missing header is an error.

# (A build for another system finds the headers of this one, too: these have no libraries.)
set(convpp_doctest_here "")
if(CMAKE_HOST_UNIX)
  set(convpp_doctest_here /usr/local/include /usr/include)
endif()
find_path(DOCTEST_INCLUDE_DIR doctest/doctest.h PATHS ${convpp_doctest_here} NO_CMAKE_FIND_ROOT_PATH)

set(convpp_doctest_dir "${PROJECT_BINARY_DIR}/doctest_include")
set(convpp_doctest_header "${convpp_doctest_dir}/doctest/doctest.h")
if(DOCTEST_INCLUDE_DIR)
  # A copy: /usr/include itself on the include path of a cross compiler would give it the headers of the wrong machine.
  configure_file("${DOCTEST_INCLUDE_DIR}/doctest/doctest.h" "${convpp_doctest_header}" COPYONLY)
elseif(NOT EXISTS "${convpp_doctest_header}")
  message(STATUS "convpp: doctest is not installed, downloading its header")
  set(convpp_doctest_download "${PROJECT_BINARY_DIR}/doctest.h.part")
  file(DOWNLOAD
    https://raw.githubusercontent.com/doctest/doctest/v2.4.12/doctest/doctest.h "${convpp_doctest_download}"
    INACTIVITY_TIMEOUT 20 STATUS convpp_doctest_status)
  list(GET convpp_doctest_status 0 convpp_doctest_code)
  list(GET convpp_doctest_status 1 convpp_doctest_text)
  if(convpp_doctest_code EQUAL 0)
    file(SHA256 "${convpp_doctest_download}" convpp_doctest_sha256)
    if(NOT convpp_doctest_sha256 STREQUAL 94029a7d32da24a56249658147dbd2b33ff0b9ed665295cbbaf19aafff5b0ced)
      set(convpp_doctest_code 1)
      set(convpp_doctest_text "the file is not doctest 2.4.12's: its SHA-256 is ${convpp_doctest_sha256}")
    endif()
  endif()
  if(NOT convpp_doctest_code EQUAL 0)
    file(REMOVE "${convpp_doctest_download}")
    message(FATAL_ERROR
      "The C++ tests need doctest, which is neither installed nor to be downloaded (${convpp_doctest_text}). "
      "Install it (Debian and Ubuntu: apt-get install doctest-dev; Fedora: dnf install doctest-devel; macOS: "
      "brew install doctest), name the folder that holds doctest/doctest.h by -D DOCTEST_INCLUDE_DIR=..., "
      "or configure with -D CONVPP_BUILD_TESTS=OFF.")
  endif()
  file(MAKE_DIRECTORY "${convpp_doctest_dir}/doctest")
  file(RENAME "${convpp_doctest_download}" "${convpp_doctest_header}")
endif()

add_library(convpp_doctest INTERFACE)
target_include_directories(convpp_doctest SYSTEM INTERFACE "${convpp_doctest_dir}")
# Clang 22 and later: doctest's macros use __COUNTER__, which every compiler has, and no standard of C++.
check_cxx_compiler_flag(-Wc2y-extensions CONVPP_COMPILER_WARNS_OF_COUNTER)
if(CONVPP_COMPILER_WARNS_OF_COUNTER)
  target_compile_options(convpp_doctest INTERFACE -Wno-c2y-extensions)
endif()
