# Checks that the kernels of one instruction set define no external symbol outside their namespace.
#
# An inline function that kernels.cpp takes from elsewhere (std::min, say) becomes a weak symbol, and the linker keeps one
# copy of it for the whole program: the copy compiled for AVX-512, perhaps, in a path that an older CPU takes. So whatever
# the objects define must lie in convpp::kernels::<isa>, whose name no other object shares.
#
# In: NM (the tool), ISA (the namespace's name), OBJECT (the file).

execute_process(COMMAND ${NM} --defined-only --extern-only ${OBJECT}
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)

# Mangled names: "6convpp" is the name with its length in front, behind the marks of nested names (N, K), of
# tables (TV, TI, TS), of things local to a function (Z) and of guards (GV).
string(LENGTH ${ISA} isa_length)
set(inside "^_Z(GV|T[VTIS])?Z*NK?6convpp7kernels${isa_length}${ISA}")

string(REPLACE "\n" ";" symbols "${symbols}")
set(n_inside 0)
set(outside "")
foreach(line IN LISTS symbols)
  if(NOT line MATCHES "^[0-9a-fA-F]* *([A-Za-z]) (.+)$")
    continue()
  endif()
  set(kind ${CMAKE_MATCH_1})
  string(REGEX REPLACE "^__Z" "_Z" name "${CMAKE_MATCH_2}") # Mach-O puts one more underscore in front
  if(name MATCHES "${inside}")
    math(EXPR n_inside "${n_inside} + 1")
  else()
    string(APPEND outside "\n  ${kind} ${name}")
  endif()
endforeach()

if(outside)
  message(FATAL_ERROR "${OBJECT} defines symbols outside convpp::kernels::${ISA}:${outside}")
endif()
if(n_inside EQUAL 0)
  message(FATAL_ERROR "${OBJECT} defines no symbol in convpp::kernels::${ISA}: is this the right file?")
endif()
message(STATUS "${n_inside} symbols, all of them in convpp::kernels::${ISA}")
