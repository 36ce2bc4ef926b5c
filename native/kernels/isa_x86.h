#pragma once
#include <cstdint>

namespace nibble {

/// What an x86 CPU and its operating system say of themselves; 0 where a leaf isn't there.
struct X86Registers {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_ecx = 0;
  uint32_t leaf7_1_eax = 0;
  /// State that the operating system saves and restores.
  uint64_t xcr0 = 0;
};

struct X86Features {
  bool avx2 = false;    // AVX2, FMA, F16C
  bool vnni = false;    // the above and AVX-VNNI
  bool avx512 = false;  // the above but AVX-VNNI, and AVX-512 F, BW, VL, DQ, VNNI
};

/// OSXSAVE, bit 27 of leaf 1's ecx: without it XCR0 can't be read.
constexpr bool has_xcr0(uint32_t leaf1_ecx) noexcept {
  return (leaf1_ecx >> 27 & 1u) != 0;
}

/// Which levels these can run. Bits are those of Intel's manual (volume 2, CPUID; volume 1, 13.3).
constexpr X86Features x86_features(const X86Registers& cpu) noexcept {
  constexpr uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;         // leaf 1, ecx
  constexpr uint32_t kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;  // leaf 7, ebx
  constexpr uint32_t kVnni512 = 1u << 11;                                                             // leaf 7, ecx
  constexpr uint32_t kVnni256 = 1u << 4;                                                              // leaf 7.1, eax
  constexpr uint64_t kYmm = 0x6;                                                                      // XCR0
  constexpr uint64_t kZmm = 0xe6;
  constexpr uint32_t kLeaf1 = kFma | kOsxsave | kAvx | kF16c;
  constexpr uint32_t kLeaf7 = kF | kDq | kBw | kVl;

  X86Features features;
  features.avx2 = (cpu.leaf1_ecx & kLeaf1) == kLeaf1 && (cpu.xcr0 & kYmm) == kYmm && (cpu.leaf7_ebx & kAvx2) != 0;
  features.vnni = features.avx2 && (cpu.leaf7_1_eax & kVnni256) != 0;
  features.avx512 = features.avx2 && (cpu.leaf7_ebx & kLeaf7) == kLeaf7 && (cpu.leaf7_ecx & kVnni512) != 0 &&
                    (cpu.xcr0 & kZmm) == kZmm;
  return features;
}

}  // namespace nibble
