#include "isa.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace nibble {
namespace {

constexpr std::string_view kNames[kIsaCount] = {"scalar", "avx2", "avxvnni", "avx512", "neon"};

#if defined(__x86_64__)
struct X86Features {
  bool avx2 = false;    // AVX2, FMA, F16C
  bool vnni = false;    // the above and AVX-VNNI
  bool avx512 = false;  // the above but AVX-VNNI, and AVX-512 F, BW, VL, DQ, VNNI
};

/// State that the operating system saves and restores: bits of XCR0.
uint64_t read_xcr0() noexcept {
  uint32_t low;
  uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

X86Features read_x86_features() noexcept {
  constexpr uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;         // leaf 1, ecx
  constexpr uint32_t kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;  // leaf 7, ebx
  constexpr uint32_t kVnni512 = 1u << 11;                                                             // leaf 7, ecx
  constexpr uint32_t kVnni256 = 1u << 4;                                                              // leaf 7.1, eax
  constexpr uint64_t kYmm = 0x6;                                                                      // XCR0
  constexpr uint64_t kZmm = 0xe6;

  X86Features features;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  constexpr uint32_t kLeaf1 = kFma | kOsxsave | kAvx | kF16c;
  if ((c & kLeaf1) != kLeaf1) return features;
  const uint64_t xcr0 = read_xcr0();
  if ((xcr0 & kYmm) != kYmm) return features;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  const uint32_t subleaves = a;
  features.avx2 = (b & kAvx2) != 0;
  constexpr uint32_t kLeaf7 = kF | kDq | kBw | kVl;
  features.avx512 = features.avx2 && (b & kLeaf7) == kLeaf7 && (c & kVnni512) != 0 && (xcr0 & kZmm) == kZmm;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0)
    features.vnni = features.avx2 && (a & kVnni256) != 0;
  return features;
}
#endif

struct Supported {
  Isa levels[kIsaCount];
  size_t count = 0;

  void add(Isa isa) noexcept { levels[count++] = isa; }
};

Supported detect() noexcept {
  Supported found;
  found.add(Isa::scalar);
#if defined(__x86_64__)
  [[maybe_unused]] const X86Features cpu = read_x86_features();
#if defined(NIBBLE_SIMDE)  // emulated levels need AVX2 only
  if (cpu.avx2) {
#if defined(NIBBLE_HAS_AVX512)
    found.add(Isa::avx512);
#endif
#if defined(NIBBLE_HAS_NEON)
    found.add(Isa::neon);
#endif
  }
#else
#if defined(NIBBLE_HAS_AVX2)
  if (cpu.avx2) found.add(Isa::avx2);
#endif
#if defined(NIBBLE_HAS_AVXVNNI)
  if (cpu.vnni) found.add(Isa::avxvnni);
#endif
#if defined(NIBBLE_HAS_AVX512)
  if (cpu.avx512) found.add(Isa::avx512);
#endif
#endif
#elif defined(__aarch64__) && defined(NIBBLE_HAS_NEON)
#if defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) found.add(Isa::neon);
#elif defined(__APPLE__)  // every 64-bit Mac has the dot product
  found.add(Isa::neon);
#endif
#endif
  return found;
}

/// True if NIBBLE_ISA is set; `valid` says whether it names a level.
bool read_cap(Isa& cap, bool& valid) noexcept {
  const char* name = std::getenv("NIBBLE_ISA");
  if (name == nullptr || *name == '\0') return false;
  valid = parse_isa(name, cap);
  return true;
}

}  // namespace

std::string_view isa_name(Isa isa) noexcept {
  return kNames[static_cast<size_t>(isa)];
}

bool parse_isa(std::string_view name, Isa& isa) noexcept {
  for (size_t i = 0; i < kIsaCount; ++i) {
    if (kNames[i] != name) continue;
    isa = static_cast<Isa>(i);
    return true;
  }
  return false;
}

std::span<const Isa> supported_isas() noexcept {
  static const Supported supported = detect();
  return {supported.levels, supported.count};
}

bool isa_cap_valid() noexcept {
  Isa cap = Isa::scalar;
  bool valid = false;
  return !read_cap(cap, valid) || valid;
}

Isa selected_isa() noexcept {
  const std::span<const Isa> supported = supported_isas();
  Isa cap = Isa::scalar;
  bool valid = false;
  if (!read_cap(cap, valid) || !valid) return supported.back();
  Isa best = Isa::scalar;
  for (const Isa isa : supported)
    if (isa <= cap) best = isa;
  return best;
}

}  // namespace nibble
