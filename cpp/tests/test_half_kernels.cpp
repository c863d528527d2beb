// float32 becomes bfloat16 and float16 in the kernels of every instruction set of this machine, by its own instructions
// or not, to the bits that the scalar conversion has (test_half.cpp holds that one to the definition).  The other way:
// test_packing_kernels.cpp.
#include <cmath>
#include <limits>
#include <vector>

#include "kernel_cases.hpp"

namespace convpp::test {
namespace {

float float_of(uint32_t bits) { return half::float_of(bits); }

// Each half, its neighbours in float32, the middle to the next half and the middle's neighbours; both signs.  NaN of
// every half, with and without what a half has no room for.
template <class S>
std::vector<float> near_halves() {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> all;
    for (int bits = 0; bits < 1 << 15; ++bits) {
        const auto at = static_cast<float>(S{static_cast<uint16_t>(bits)});
        if (std::isnan(at)) {
            for (const uint32_t more : {0U, 1U}) all.push_back(float_of(half::bits_of(at) | more));
            continue;
        }
        const auto next = static_cast<float>(S{static_cast<uint16_t>(bits + 1)});
        const float middle = std::isfinite(next) ? at / 2 + next / 2 : at;  // (exact, but of the least bfloat16s)
        for (const float value : {at, middle})
            for (const float to : {0.0F, value, infinity}) all.push_back(std::nextafter(value, to));
    }
    for (const uint32_t bits : {0x7f800001U, 0x7f7fffffU, 0x477fefffU, 0x477ff000U, 0x47800000U, 1U, 0x007fffffU})
        all.push_back(float_of(bits));
    const size_t positive = all.size();
    for (size_t i = 0; i < positive; ++i) all.push_back(float_of(half::bits_of(all[i]) | 0x80000000U));
    return all;
}

}  // namespace

TEST_CASE_TEMPLATE("results round to halves alike on every instruction set", S, bfloat16, float16) {
    const std::vector<float> values = near_halves<S>();
    const auto count = static_cast<int64_t>(values.size());
    Array<S> expected(count);
    for (int64_t i = 0; i < count; ++i) expected[i] = S::from(values[static_cast<size_t>(i)]);
    for_each_isa<float>([&](const kernels::KernelTable<float>& table, Isa) {
        const auto round = table.apply_epilogue[static_cast<int>(storage_of<S>)][static_cast<int>(storage_of<S>)];
        for (const int64_t at_once : {count, int64_t(3)}) {  // whole vectors, and what is left of one
            Array<S> got(count, guards);
            for (int64_t i = 0; i < count; i += at_once)
                round(values.data() + i, 0, nullptr, got.data() + i, 0, 1, std::min(at_once, count - i), Activation{});
            int64_t wrong = 0;
            for (int64_t i = 0; i < count; ++i) wrong += got[i].bits != expected[i].bits;
            CHECK(wrong == 0);
            CHECK(got.guards_intact());
        }
    });
}

}  // namespace convpp::test
