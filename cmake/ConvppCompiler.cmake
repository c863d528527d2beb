# What the compiler is told.
#
# In:   the compiler and the CPU that it compiles for.
# Out:  CONVPP_ISAS, the instruction sets that the kernels are compiled for, lowest first;
#       CONVPP_BF16_PAIR_ISAS, those of them whose CPUs may also multiply pairs of bfloat16, with that instruction: kernels that
#       are compiled apart, and join the others' table on such a CPU;
#       convpp_settings(target), the language, warnings and definitions of every target of the project;
#       convpp_add_kernels(name isa source), kernels of one instruction set as part of the library.

include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)

# The oldest compilers that the kernels are written for: older ones have no such vector types, or none that are fast.
set(convpp_compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
set(convpp_compilers "GCC 12 or later, or Clang 14 or later (Apple's from Xcode 14 on)")
if(CMAKE_CXX_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
  message(FATAL_ERROR
    "convpp is written over the vector types of GCC and Clang, and compiled with their options; ${convpp_compiler} takes "
    "those of Visual Studio. Set CMAKE_CXX_COMPILER (or the environment variable CXX) to clang++, which LLVM installs "
    "beside clang-cl; docs/platforms.md says how to build on Windows.")
elseif(NOT CMAKE_CXX_COMPILER_ID MATCHES "^(GNU|Clang|AppleClang)$")
  message(FATAL_ERROR
    "convpp is written over the vector types of GCC and Clang; the compiler found is ${convpp_compiler}. Set "
    "CMAKE_CXX_COMPILER (or the environment variable CXX) to g++ or clang++: ${convpp_compilers}.")
elseif((CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
    OR (CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14))
  message(FATAL_ERROR
    "convpp needs ${convpp_compilers}; the compiler found is ${convpp_compiler}. Set CMAKE_CXX_COMPILER (or the "
    "environment variable CXX) to a later one.")
endif()

# The compiler is asked, not CMAKE_SYSTEM_PROCESSOR: that one names the host in some cross builds and -m32 builds.
check_cxx_source_compiles("#ifndef __x86_64__\n#error\n#endif\nint main() {}" CONVPP_TARGET_X86_64)
check_cxx_source_compiles("#ifndef __aarch64__\n#error\n#endif\nint main() {}" CONVPP_TARGET_AARCH64)

# (https://gcc.gnu.org/bugzilla/show_bug.cgi?id=54412, open since 2012.)
if(WIN32 AND CONVPP_TARGET_X86_64 AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  message(FATAL_ERROR
    "On 64-bit Windows GCC keeps AVX registers on a stack that is aligned to 16 bytes, by instructions that need 32 or 64: "
    "programs end at once (GCC's bug 54412). Set CMAKE_CXX_COMPILER (or the environment variable CXX) to clang++: MSYS2 "
    "has it (mingw-w64-clang-x86_64-toolchain), and so has LLVM; docs/platforms.md says how to build on Windows.")
endif()

# For each set: the width of its vectors and its flags. "scalar" is what every CPU of the architecture has.
set(CONVPP_ISAS scalar)
set(CONVPP_BF16_PAIR_ISAS "")
set(convpp_scalar_vector_bytes 16)
set(convpp_scalar_flags "")

set(convpp_avx2_vector_bytes 32)
set(convpp_avx2_flags -mavx2 -mfma -mf16c)

set(convpp_avx512_vector_bytes 64)
set(convpp_avx512_flags
  -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512)

set(convpp_avx512_bf16_vector_bytes ${convpp_avx512_vector_bytes})
set(convpp_avx512_bf16_flags ${convpp_avx512_flags} -mavx512bf16)

set(convpp_neon_vector_bytes 16)
set(convpp_neon_flags "")

if(CONVPP_TARGET_X86_64)
  foreach(isa IN ITEMS avx2 avx512)
    list(JOIN convpp_${isa}_flags " " convpp_flags)
    string(TOUPPER ${isa} isa_upper)
    check_cxx_compiler_flag("${convpp_flags}" CONVPP_COMPILER_HAS_${isa_upper})
    if(CONVPP_COMPILER_HAS_${isa_upper})
      list(APPEND CONVPP_ISAS ${isa})
    endif()
  endforeach()
  list(JOIN convpp_avx512_bf16_flags " " convpp_flags)
  check_cxx_compiler_flag("${convpp_flags}" CONVPP_COMPILER_HAS_AVX512_BF16)
  if(CONVPP_COMPILER_HAS_AVX512_BF16)
    set(CONVPP_BF16_PAIR_ISAS avx512_bf16)
  endif()
elseif(CONVPP_TARGET_AARCH64)
  list(APPEND CONVPP_ISAS neon)
endif()
list(JOIN CONVPP_ISAS ", " convpp_isas_text)
message(STATUS "convpp: kernels for ${convpp_isas_text}")

function(convpp_settings target)
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD 17
    CXX_STANDARD_REQUIRED ON
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
  )
  # GCC and Clang differ on whether -Wconversion means signs too. It does not here: sizes are int64_t, std::vector's are not.
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wcast-qual -Wold-style-cast
    -Wnon-virtual-dtor -Woverloaded-virtual
    $<$<BOOL:${CONVPP_WERROR}>:-Werror>
  )
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cpp/src)
  target_compile_definitions(${target} PRIVATE CONVPP_VERSION="${CONVPP_VERSION}")
  if(WIN32)  # whose header makes macros of min and max otherwise
    target_compile_definitions(${target} PRIVATE NOMINMAX WIN32_LEAN_AND_MEAN)
  endif()
  if(NOT CONVPP_THREADS)
    target_compile_definitions(${target} PRIVATE CONVPP_NO_THREADS)
  endif()
  foreach(isa IN LISTS CONVPP_ISAS CONVPP_BF16_PAIR_ISAS)
    string(TOUPPER ${isa} isa_upper)
    target_compile_definitions(${target} PRIVATE CONVPP_HAVE_${isa_upper}=1)
  endforeach()
endfunction()

# What sanitizers add to the tiles' unrolled loops takes a compiler half an hour at -O3.
set(CONVPP_KERNEL_FLAGS "" CACHE STRING "Flags of the kernels alone, behind all others")

function(convpp_add_kernels name isa source)
  set(target convpp_${name}_${isa})
  add_library(${target} OBJECT ${source})
  convpp_settings(${target})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cpp/include)
  target_compile_definitions(${target} PRIVATE
    CONVPP_ISA=${isa}
    CONVPP_VECTOR_BYTES=${convpp_${isa}_vector_bytes}
  )
  # -O3 in every build type: without it the tiles' loops are not unrolled and a debug build is a hundred times slower.
  # -fno-trapping-math and -fno-math-errno change no result; -ffast-math would (NaN, Inf, order of sums).
  # -Wno-psabi: GCC's note that wide vectors are passed in another way than before; no such call leaves an object.
  target_compile_options(${target} PRIVATE
    -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Wno-psabi ${convpp_${isa}_flags} ${CONVPP_KERNEL_FLAGS})
  target_sources(convpp PRIVATE $<TARGET_OBJECTS:${target}>)
endfunction()
