// Children of a test program, which run a part of it; on systems that have fork() (CONVPP_TESTS_FORK), unless a toolchain
// file says 0: an emulator may not bear a child with threads of its own.
//
// In:  what a child does.   Out: its exit status, or what it says.  One that hangs is ended after a while.
#pragma once

#if !defined(CONVPP_TESTS_FORK) && (defined(__unix__) || defined(__APPLE__))
#define CONVPP_TESTS_FORK 1
#endif

#if CONVPP_TESTS_FORK
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#endif

#include <functional>

namespace convpp::test {

#if CONVPP_TESTS_FORK

// The exit status of a child that runs a program of its own; -1 if it hangs or dies.
inline int in_child(const std::function<bool()>& passes) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(120);
        _exit(passes() ? 0 : 1);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

// What `report` says in a child.
template <class Report>
std::string told_by_child(const Report& report) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) return "no pipe";
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        const std::string text = report();
        const bool written = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        _exit(written ? 0 : 1);
    }
    close(ends[1]);
    std::string text;
    std::array<char, 256> buffer{};
    for (ssize_t got = 0; child > 0 && (got = read(ends[0], buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<size_t>(got));
    close(ends[0]);
    int status = -1;
    if (child > 0) waitpid(child, &status, 0);
    return status == 0 ? text : "the child failed: " + text;
}

#else

inline int in_child(const std::function<bool()>&) { return 0; }  // where there are none, none goes wrong

#endif

}  // namespace convpp::test
