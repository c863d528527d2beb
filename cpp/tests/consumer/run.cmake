# Installs convpp under a prefix of its own, moves that prefix, and builds and runs the consumer against it.
#
# In: CONVPP_BINARY_DIR (a build tree of convpp), CONFIG, EXPECTED_VERSION, WORK_DIR (made anew), and the tools of that
# build: GENERATOR, MAKE_PROGRAM, CXX_COMPILER, CXX_FLAGS, TOOLCHAIN_FILE (may be empty), TOOLCHAIN_SETTINGS (its own).

file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})

execute_process(
  COMMAND ${CMAKE_COMMAND} --install ${CONVPP_BINARY_DIR} --config ${CONFIG} --component cpp
    --prefix ${WORK_DIR}/installed
  COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${WORK_DIR}/installed ${WORK_DIR}/moved) # a package with absolute paths in it would now fail

separate_arguments(toolchain_settings UNIX_COMMAND "${TOOLCHAIN_SETTINGS}")
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build -G ${GENERATOR}
    -D CMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}
    -D CMAKE_CXX_COMPILER=${CXX_COMPILER}
    -D CMAKE_CXX_FLAGS=${CXX_FLAGS}
    -D CMAKE_TOOLCHAIN_FILE=${TOOLCHAIN_FILE}
    ${toolchain_settings}
    -D CMAKE_BUILD_TYPE=${CONFIG}
    -D CMAKE_PREFIX_PATH=${WORK_DIR}/moved
    -D EXPECTED_VERSION=${EXPECTED_VERSION}
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK_DIR}/build --config ${CONFIG} COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${WORK_DIR}/build --build-config ${CONFIG} --output-on-failure
    --no-tests=error
  COMMAND_ERROR_IS_FATAL ANY)
