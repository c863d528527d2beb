// The main function that every C++ test program links: doctest's own, and a look at the fences between the arrays of
// all workspaces, in builds that have them (machine/fences.hpp).
#if defined(__wasi__)  // whose C++ library may have no files: doctest would write to one where it is told to
#include <ostream>
template <>
class std::basic_fstream<char> : public std::ostream {
public:
    basic_fstream() : std::ostream(nullptr) {}
    void open(const char*, openmode) {}
    void close() {}
    bool is_open() const { return false; }
};
#endif

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "machine/fences.hpp"

int main(int argc, char** argv) {
    const int status = doctest::Context(argc, argv).run();
    if constexpr (convpp::fence_bytes > 0) {
        if (const auto broken = static_cast<long long>(convpp::broken_fences()); broken != 0) {
            std::printf("%lld times something was written between the arrays of a workspace\n", broken);
            return 1;
        }
    }
    return status;
}
