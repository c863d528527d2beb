# Toolchain file: another platform's compiler, from anywhere (https://ziglang.org: Clang, and each platform's C library,
# headers and C++ library in one archive; `pip install ziglang` has it, too).
#   cmake -B build-windows --toolchain cmake/zig.cmake -D CONVPP_ZIG_TARGET=x86_64-windows-gnu -D CONVPP_BUILD_TESTS=ON
#
# In:   CONVPP_ZIG_TARGET, one of:
#         x86_64-linux-musl, aarch64-linux-musl       Linux without glibc, all libraries linked in
#         x86_64-windows-gnu, aarch64-windows-gnu     Windows, without Visual Studio; tests run under Wine
#         x86_64-macos, aarch64-macos                 macOS
#         wasm32-wasi                                 WebAssembly: one thread, scalar kernels; tests run by a WASI runtime
#       CONVPP_ZIG, the program zig (looked for on the path, and in the Python package);
#       CMAKE_CROSSCOMPILING_EMULATOR, what runs the tests, where the usual program is not meant (CONTRIBUTING.md).
# Out:  what CMake has to know of the compiler and of the platform.
# Next: noxfile.py (session portable), docs/platforms.md.

list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CONVPP_ZIG_TARGET CONVPP_ZIG)

set(CONVPP_ZIG_TARGET "" CACHE STRING "The platform that zig compiles for")
if(NOT CONVPP_ZIG_TARGET MATCHES "^(x86_64|aarch64|wasm32)-(linux|windows|macos|wasi)(-[a-z]+)?$")
  message(FATAL_ERROR "CONVPP_ZIG_TARGET is '${CONVPP_ZIG_TARGET}'; expected a platform such as x86_64-windows-gnu, "
    "aarch64-macos, x86_64-linux-musl or wasm32-wasi.")
endif()
set(convpp_zig_cpu ${CMAKE_MATCH_1})
set(convpp_zig_system ${CMAKE_MATCH_2})

find_program(CONVPP_ZIG zig NO_CMAKE_FIND_ROOT_PATH)
if(NOT CONVPP_ZIG)
  execute_process(COMMAND python3 -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name('zig'))"
    OUTPUT_VARIABLE convpp_zig_of_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_program(CONVPP_ZIG NAMES ${convpp_zig_of_python} NO_CMAKE_FIND_ROOT_PATH NO_DEFAULT_PATH)
endif()
if(NOT CONVPP_ZIG)
  message(FATAL_ERROR "The program zig is neither on the path nor in Python's packages: install it (pip install ziglang "
    "has it), or name it by -D CONVPP_ZIG=...")
endif()

set(CMAKE_SYSTEM_PROCESSOR ${convpp_zig_cpu})
if(convpp_zig_system STREQUAL "linux")
  set(CMAKE_SYSTEM_NAME Linux)
  # zig's malloc is its own (SmpAllocator), and does not know of fork: a child waits for ever for a lock that another thread
  # of its parent held.
  set(CMAKE_CXX_FLAGS_INIT "-DCONVPP_TESTS_FORK=0")
elseif(convpp_zig_system STREQUAL "windows")
  set(CMAKE_SYSTEM_NAME Windows)
  set(convpp_zig_emulator wine)
elseif(convpp_zig_system STREQUAL "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
else()
  set(CMAKE_SYSTEM_NAME WASI)
  set(convpp_zig_emulator wasmtime)
endif()

set(CMAKE_CXX_COMPILER "${CONVPP_ZIG};c++;-target;${CONVPP_ZIG_TARGET}")
if(convpp_zig_system STREQUAL "wasi")  # exceptions are no part of the first version of WebAssembly
  list(APPEND CMAKE_CXX_COMPILER
    -mcpu=generic+exception_handling -fwasm-exceptions -mllvm -wasm-use-legacy-eh=false)
endif()
set(CMAKE_AR "${CONVPP_ZIG}" CACHE FILEPATH "" FORCE)
set(CMAKE_USER_MAKE_RULES_OVERRIDE_CXX "${CMAKE_CURRENT_LIST_DIR}/zig-archives.cmake")
find_program(CMAKE_NM NAMES llvm-nm llvm-nm-20 llvm-nm-19 llvm-nm-18 llvm-nm-14 nm)

if(convpp_zig_emulator AND NOT CMAKE_CROSSCOMPILING_EMULATOR)
  find_program(convpp_zig_emulator_path ${convpp_zig_emulator} NO_CMAKE_FIND_ROOT_PATH)
  if(convpp_zig_emulator_path)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${convpp_zig_emulator_path})
  endif()
endif()
