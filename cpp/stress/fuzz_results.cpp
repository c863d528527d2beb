// Executes random convolutions of whole numbers on every instruction set, and compares with the definition: tolerance
// 0.
//
// Each array ends directly in front of a page, or begins directly behind one, that nobody may touch; in a build with
// CONVPP_WORKSPACE_FENCES the arrays of each workspace are fenced, too.  Case i is (geometry, type, options): all three
// passes, each on every instruction set of the machine.
// In:  workers.hpp's arguments.   Out: its exit status, and how often each strategy was asked.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <new>

#include "machine/fences.hpp"
#include "trial.hpp"
#include "workers.hpp"

namespace convpp::stress {
namespace {

// A room of memory for each array, with a closed page in front of it and behind it.
class GuardedMemory : public Memory {
public:
    GuardedMemory() {
        for (Room& room : rooms_) {
            void* const all = mmap(nullptr, room_bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (all == MAP_FAILED) throw std::bad_alloc();
            room.begin = static_cast<std::byte*>(all) + page;
            if (mprotect(room.begin, room_bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
            std::memset(room.begin, mark, room_bytes);
            room.at = room.begin;
        }
    }
    // For the next case: at which end of its room an array lies.
    void turn(uint64_t ends) { ends_ = ends; }

    std::byte* place(Slot slot, int64_t bytes) override {
        Room& room = rooms_[slot];
        if (bytes > static_cast<int64_t>(room_bytes)) throw std::bad_alloc();
        std::memset(room.at, mark, static_cast<size_t>(room.bytes));  // the array that was there
        room.at = (ends_ >> slot & 1) != 0 ? room.begin : room.begin + room_bytes - bytes;
        room.bytes = bytes;
        return room.at;
    }
    bool untouched_around(Slot slot) const override {
        const Room& room = rooms_[slot];
        const std::byte *const end = room.at + room.bytes, *const last = room.begin + room_bytes;
        for (const std::byte* at = room.at - std::min<std::ptrdiff_t>(around, room.at - room.begin); at != room.at;
             ++at)
            if (*at != std::byte(mark)) return false;
        for (const std::byte* at = end; at != end + std::min<std::ptrdiff_t>(around, last - end); ++at)
            if (*at != std::byte(mark)) return false;
        return true;
    }

private:
    static constexpr size_t page = 4096, room_bytes = size_t(4) << 20;
    static constexpr std::ptrdiff_t around = 512;  // on the open side: more than any vector
    static constexpr int mark = 0xff;
    struct Room {
        std::byte *begin = nullptr, *at = nullptr;
        int64_t bytes = 0;
    };
    std::array<Room, slots> rooms_;
    uint64_t ends_ = 0;
};

class Fuzzer {
public:
    explicit Fuzzer(uint64_t seed) : seed_(seed), isas_(available_isas()) {}

    // What a case is.
    std::string described(int64_t number) const {
        Random random(seed_, static_cast<uint64_t>(number));
        return describe(draw_case(random));
    }

    std::string try_case(int64_t number) {
        Random random(seed_, static_cast<uint64_t>(number));
        const Case of = draw_case(random);
        const ConvProblem problem(of.geometry);
        const Expected expected(problem, random);
        memory_.turn(random.bits());
        allow_bf16_pairs(of.pairs);
        for (const Pass pass : all_passes) {
            std::string wrong;
            with_trial(of, problem, expected, pass, memory_, [&](auto& trial) {
                for (const Isa isa : isas_) {
                    select_isa(name(isa));
                    set_num_threads(static_cast<int>(random.integer(1, 8)));  // of the plan, not of the call
                    const int64_t broken = broken_fences_before_;
                    wrong = trial.run();
                    ++executed_;
                    ++strategies_[trial.strategy()];
                    broken_fences_before_ = all_broken();
                    if (wrong.empty() && broken != broken_fences_before_)
                        wrong = "something was written between the arrays of the workspace (" + trial.strategy() + ")";
                    if (!wrong.empty()) {
                        wrong = std::string(name(pass)) + " " + name(isa) + ": " + wrong + "; " + describe(of);
                        return;
                    }
                }
            });
            if (!wrong.empty()) return wrong;
        }
        ++cases_;
        return "";
    }

    void say() const {
        std::string text;
        for (const auto& [strategy, count] : strategies_) text += ", " + strategy + " " + std::to_string(count);
        std::printf("%lld geometries, %lld executions%s\n", static_cast<long long>(cases_),
                    static_cast<long long>(executed_), text.c_str());
    }

private:
    static int64_t all_broken() {
        if constexpr (fence_bytes > 0) return broken_fences();
        return 0;
    }

    uint64_t seed_;
    std::vector<Isa> isas_;
    GuardedMemory memory_;
    int64_t cases_ = 0, executed_ = 0, broken_fences_before_ = 0;
    std::map<std::string, int64_t> strategies_;
};

}  // namespace
}  // namespace convpp::stress

int main(int argc, char** argv) {
    using namespace convpp::stress;
    return run_workers(argc, argv, 100'000, [](const Arguments& arguments) {
        Fuzzer fuzzer(arguments.seed);
        constexpr double hanging_seconds = 60;
        if (arguments.count == 1) std::printf("%s\n", fuzzer.described(arguments.first).c_str());
        std::fflush(stdout);
        const int status = try_all(arguments, hanging_seconds, [&](int64_t i) { return fuzzer.try_case(i); });
        fuzzer.say();
        return status;
    });
}
