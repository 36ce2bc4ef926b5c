#include "check_isa.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <span>
#include <string_view>

#include "../kernels/isa.h"
#include "../kernels/isa_x86.h"
#include "../kernels/kernel_table.h"

namespace nibble {
namespace {

using Failures = std::vector<std::string>;

void expect(Failures& failures, bool holds, const std::string& what) {
  if (!holds) failures.push_back("isa: " + what);
}

/// A bit that levels need, by the manual: its register, and whether AVX2, AVX-VNNI and AVX-512 go without it.
struct Bit {
  const char* name;
  uint32_t X86Registers::*word;
  int number;
  bool avx2, vnni, avx512;
};
constexpr Bit kBits[] = {
    {"FMA", &X86Registers::leaf1_ecx, 12, false, false, false},
    {"OSXSAVE", &X86Registers::leaf1_ecx, 27, false, false, false},
    {"AVX", &X86Registers::leaf1_ecx, 28, false, false, false},
    {"F16C", &X86Registers::leaf1_ecx, 29, false, false, false},
    {"AVX2", &X86Registers::leaf7_ebx, 5, false, false, false},
    {"AVX-VNNI", &X86Registers::leaf7_1_eax, 4, true, false, true},
    {"AVX512F", &X86Registers::leaf7_ebx, 16, true, true, false},
    {"AVX512DQ", &X86Registers::leaf7_ebx, 17, true, true, false},
    {"AVX512BW", &X86Registers::leaf7_ebx, 30, true, true, false},
    {"AVX512VL", &X86Registers::leaf7_ebx, 31, true, true, false},
    {"AVX512_VNNI", &X86Registers::leaf7_ecx, 11, true, true, false},
};
/// Of XCR0: SSE, AVX; opmask, the upper halves of 16 registers, 16 more registers.
constexpr int kYmmBits[] = {1, 2};
constexpr int kZmmBits[] = {5, 6, 7};

bool same(const X86Features& features, bool avx2, bool vnni, bool avx512) {
  return features.avx2 == avx2 && features.vnni == vnni && features.avx512 == avx512;
}

void check_registers(Failures& failures) {
  X86Registers least;
  for (const Bit& bit : kBits) least.*bit.word |= 1u << bit.number;
  for (const int number : kYmmBits) least.xcr0 |= 1u << number;
  for (const int number : kZmmBits) least.xcr0 |= 1u << number;
  expect(failures, same(x86_features(least), true, true, true), "the bits of the manual aren't enough");
  expect(failures, same(x86_features({}), false, false, false), "levels without a bit");
  for (const Bit& bit : kBits) {
    X86Registers cpu = least;
    cpu.*bit.word ^= 1u << bit.number;
    expect(failures, same(x86_features(cpu), bit.avx2, bit.vnni, bit.avx512), std::string("without ") + bit.name);
    if (bit.word == &X86Registers::leaf1_ecx) expect(failures, has_xcr0(cpu.leaf1_ecx) == (bit.number != 27), "XCR0");
  }
  for (const int number : kYmmBits) {
    X86Registers cpu = least;
    cpu.xcr0 ^= 1u << number;
    expect(failures, same(x86_features(cpu), false, false, false), "without XCR0 " + std::to_string(number));
  }
  for (const int number : kZmmBits) {
    X86Registers cpu = least;
    cpu.xcr0 ^= 1u << number;
    expect(failures, same(x86_features(cpu), true, true, false), "without XCR0 " + std::to_string(number));
  }
}

/// The compiler's own reading of this CPU; emulated levels are another matter.
void check_host(Failures& failures) {
#if defined(__x86_64__) && !defined(NIBBLE_SIMDE)
  const std::span<const Isa> supported = supported_isas();
  const auto expect_level = [&](Isa isa, bool has) {
    const bool found = std::find(supported.begin(), supported.end(), isa) != supported.end();
    expect(failures, found == (has && kernel_table(isa) != nullptr), std::string(isa_name(isa)) + " of this CPU");
  };
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
  expect_level(Isa::avx2, avx2);
  expect_level(Isa::avx512, avx2 && avx512);
#if !defined(__clang__) && __GNUC__ >= 12
  expect_level(Isa::avxvnni, avx2 && __builtin_cpu_supports("avxvnni"));
#endif
#endif
  (void)failures;
}

void check_names(Failures& failures) {
  constexpr std::string_view kNames[] = {"scalar", "avx2", "avxvnni", "avx512", "neon"};
  constexpr Isa kLevels[] = {Isa::scalar, Isa::avx2, Isa::avxvnni, Isa::avx512, Isa::neon};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    Isa isa = kLevels[(i + 1) % std::size(kLevels)];
    expect(failures, isa_name(kLevels[i]) == kNames[i], "the name " + std::string(kNames[i]));
    expect(failures, parse_isa(kNames[i], isa) && isa == kLevels[i], "reading " + std::string(kNames[i]));
  }
  Isa isa = Isa::neon;
  for (const char* wrong : {"", "avx", "avx22", "AVX2", "mmx"}) {
    expect(failures, !parse_isa(wrong, isa) && isa == Isa::neon, std::string("the name '") + wrong + "' is none");
  }
}

void check_cap(Failures& failures) {
  const char* before = std::getenv("NIBBLE_ISA");
  const std::string kept = before != nullptr ? before : "";
  const std::span<const Isa> supported = supported_isas();
  const auto chosen = [&](const char* cap) {
    setenv("NIBBLE_ISA", cap, 1);
    return selected_isa();
  };
  for (size_t i = 0; i < kIsaCount; ++i) {
    const Isa cap = static_cast<Isa>(i);
    Isa best = Isa::scalar;
    for (const Isa isa : supported) best = isa <= cap ? isa : best;
    const std::string name(isa_name(cap));
    expect(failures, chosen(name.c_str()) == best && isa_cap_valid(), "the cap " + name);
  }
  expect(failures, chosen("mmx") == supported.back() && !isa_cap_valid(), "a cap that names no level");
  expect(failures, chosen("") == supported.back() && isa_cap_valid(), "an empty cap");
  unsetenv("NIBBLE_ISA");
  expect(failures, selected_isa() == supported.back() && isa_cap_valid(), "no cap");
  if (before != nullptr) setenv("NIBBLE_ISA", kept.c_str(), 1);
}

void check_tables(Failures& failures) {
  const std::span<const Isa> supported = supported_isas();
  expect(failures, supported.front() == Isa::scalar, "scalar comes first");
  const auto twice = std::adjacent_find(supported.begin(), supported.end(), std::greater_equal<>());
  expect(failures, twice == supported.end(), "the slowest come first, each once");
  for (const Isa isa : supported) {
    const KernelTable* table = kernel_table(isa);
    expect(failures, table != nullptr && table->isa == isa, "the table of " + std::string(isa_name(isa)));
  }
  expect(failures, kernel_table(static_cast<Isa>(kIsaCount)) == nullptr, "a table of no level");
}

}  // namespace

std::vector<std::string> check_isa() {
  Failures failures;
  check_registers(failures);
  check_host(failures);
  check_names(failures);
  check_cap(failures);
  check_tables(failures);
  return failures;
}

}  // namespace nibble
