# Toolchain file: Debian's cross compiler for AArch64 (g++-aarch64-linux-gnu), tests run by qemu-user.
#   cmake -B build-aarch64 --toolchain cmake/aarch64-linux-gnu.cmake -D CONVPP_BUILD_TESTS=ON
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
# qemu-user 7.2 ends a child with an assertion of its own ("qemu_plugin_vcpu_init_hook") as soon as that makes a thread, if
# its parent had some.
set(CMAKE_CXX_FLAGS_INIT "-DCONVPP_TESTS_FORK=0")
