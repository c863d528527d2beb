// How many cores a process may keep busy: quotas of both versions of cgroups, affinity.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#endif

#include "machine/cores.hpp"
#include "support.hpp"

namespace convpp::test {
namespace {

#ifdef __linux__

namespace fs = std::filesystem;

constexpr double unlimited = std::numeric_limits<double>::infinity();

// A folder with the files of a system that has cgroups.
class Groups {
public:
    Groups() : root_(fs::temp_directory_path() / ("convpp_cgroup_" + std::to_string(getpid()))) {}
    ~Groups() { fs::remove_all(root_); }
    Groups(const Groups&) = delete;
    Groups& operator=(const Groups&) = delete;

    void write(const std::string& name, const std::string& text) const {
        fs::create_directories((root_ / name).parent_path());
        std::ofstream(root_ / name) << text;
    }
    double quota() const { return cgroup_quota((root_ / "process").string(), (root_ / "mounted").string()); }

private:
    fs::path root_;
};

#endif

}  // namespace

TEST_CASE("a process has a core, and no more than there are") {
    CHECK(usable_cores() >= 1);
    CHECK(usable_cores() <= std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
}

#ifdef __linux__

TEST_CASE("quotas of cgroups, version 2: the least of a group and those around it") {
    const Groups groups;
    CHECK(groups.quota() == unlimited);  // no such file
    groups.write("process", "0::/a/b\n");
    CHECK(groups.quota() == unlimited);
    groups.write("mounted/a/b/cpu.max", "max 100000\n");
    CHECK(groups.quota() == unlimited);
    groups.write("mounted/a/cpu.max", "250000 100000\n");
    CHECK(groups.quota() == 2.5);
    groups.write("mounted/a/b/cpu.max", "50000 100000\n");
    CHECK(groups.quota() == 0.5);
    groups.write("process", "0::/\n");
    CHECK(groups.quota() == unlimited);
    groups.write("mounted/cpu.max", "300000 100000\n");  // in a container its own group is the root
    CHECK(groups.quota() == 3);
    for (const char* const nonsense : {"", "max", "lots of 100000", "100000 0", "100000 -5", "100000 x"}) {
        groups.write("mounted/cpu.max", nonsense);
        CAPTURE(nonsense);
        CHECK((groups.quota() == unlimited || groups.quota() == 0));
    }
}

TEST_CASE("quotas of cgroups, version 1") {
    const Groups groups;
    groups.write("process", "3:cpuset:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/\nnonsense\n");
    groups.write("mounted/cpu/x/cpu.cfs_quota_us", "-1\n");
    groups.write("mounted/cpu/x/cpu.cfs_period_us", "100000\n");
    CHECK(groups.quota() == unlimited);
    groups.write("mounted/cpu/x/cpu.cfs_quota_us", "150000\n");
    CHECK(groups.quota() == 1.5);
    groups.write("mounted/cpu/cpu.cfs_quota_us", "100000\n");
    groups.write("mounted/cpu/cpu.cfs_period_us", "100000\n");
    CHECK(groups.quota() == 1);
}

TEST_CASE("a thread bound to one core may use one") {
    std::thread bound([] {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
        CHECK(usable_cores() == 1);
    });
    bound.join();
}

#endif

}  // namespace convpp::test
