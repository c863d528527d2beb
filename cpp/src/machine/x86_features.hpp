// What this x86 CPU has that kernels need, and the operating system keeps when it switches threads.
//
// In:  CPUID, XCR0 (Intel SDM vol. 1, 13 and 14; vol. 2A, CPUID; AMD APM vol. 3, appendix E).   Out: X86Features.
// Next: cpu.cpp.
//
// (__builtin_cpu_supports asks the compiler's run-time library, which in zig's toolchain says no to everything.)
#pragma once

#include <cpuid.h>

namespace convpp {

struct X86Features {
    bool avx2 = false;  // with FMA, and the conversions of float16, which no CPU with AVX2 lacks
    bool avx512 = false;  // F, BW, DQ and VL
    bool avx512_bf16 = false;
    bool amd_family_19 = false;  // Zen 3 and 4
};

namespace x86 {

struct Registers {
    unsigned a = 0, b = 0, c = 0, d = 0;
};

// Zeros of a leaf that there is not.
inline Registers cpuid(unsigned leaf, unsigned part = 0) {
    Registers r;
    if (__get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d) == 0) return {};
    return r;
}

inline bool has(unsigned flags, unsigned wanted) { return (flags & wanted) == wanted; }

// Which registers the operating system keeps: bit 1 XMM, 2 YMM, 5 to 7 what AVX-512 added.
inline unsigned kept_registers() {
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

}  // namespace x86

inline X86Features x86_features() {
    X86Features found;
    const x86::Registers basic = x86::cpuid(1), more = x86::cpuid(7);
    constexpr unsigned amd = 0x68747541;  // "Auth", of AuthenticAMD
    const unsigned family = (basic.a >> 8 & 0xf) + (basic.a >> 20 & 0xff);
    found.amd_family_19 = x86::cpuid(0).b == amd && family == 0x19;
    if (!x86::has(basic.c, bit_OSXSAVE)) return found;
    const unsigned kept = x86::kept_registers();
    constexpr unsigned of_avx = 0x06, of_avx512 = 0xe6;
    found.avx2 =
        x86::has(kept, of_avx) && x86::has(basic.c, bit_AVX | bit_FMA | bit_F16C) && x86::has(more.b, bit_AVX2);
#if defined(__APPLE__)  // keeps the others from their first use on, and does not say so before
    const bool keeps_avx512 = x86::has(kept, of_avx);
    static_cast<void>(of_avx512);
#else
    const bool keeps_avx512 = x86::has(kept, of_avx512);
#endif
    found.avx512 =
        found.avx2 && keeps_avx512 && x86::has(more.b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
    found.avx512_bf16 = found.avx512 && x86::has(x86::cpuid(7, 1).a, bit_AVX512BF16);
    return found;
}

}  // namespace convpp
