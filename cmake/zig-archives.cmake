# How zig makes archives: it is one program for all tools, whose name comes first, which CMake's own rules have no room
# for.  Read by CMake after its own rules for the platform (zig.cmake names this file).
set(CMAKE_CXX_ARCHIVE_CREATE "<CMAKE_AR> ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "<CMAKE_AR> ar q <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "<CMAKE_AR> ranlib <TARGET>")
