#include "isa.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>

#include "isa_x86.h"
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace nibble {
namespace {

constexpr std::string_view kNames[kIsaCount] = {"scalar", "avx2", "avxvnni", "avx512", "neon"};

#if defined(__x86_64__)
/// State that the operating system saves and restores: bits of XCR0.
uint64_t read_xcr0() noexcept {
  uint32_t low;
  uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

X86Registers read_x86_registers() noexcept {
  X86Registers cpu;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return cpu;
  cpu.leaf1_ecx = c;
  if (has_xcr0(c)) cpu.xcr0 = read_xcr0();
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return cpu;
  cpu.leaf7_ebx = b;
  cpu.leaf7_ecx = c;
  const uint32_t subleaves = a;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) cpu.leaf7_1_eax = a;
  return cpu;
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
  [[maybe_unused]] const X86Features cpu = x86_features(read_x86_registers());
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
