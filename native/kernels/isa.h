#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nibble {

/// Instruction-set levels, slowest first; NEON stands apart (it is the only level besides scalar on ARM).
enum class Isa : uint8_t { scalar, avx2, avxvnni, avx512, neon };
inline constexpr size_t kIsaCount = 5;

/// "scalar", "avx2", "avxvnni", "avx512", "neon".
std::string_view isa_name(Isa isa) noexcept;
/// False if the name is unknown.
bool parse_isa(std::string_view name, Isa& isa) noexcept;

/// Levels compiled into this build that this CPU (and operating system) can run, slowest first.
std::span<const Isa> supported_isas() noexcept;
/// The best supported level that NIBBLE_ISA (if set and valid) allows. The environment is read on each call.
Isa selected_isa() noexcept;
/// False if NIBBLE_ISA is set to something that names no level (it then has no effect; the caller reports it).
bool isa_cap_valid() noexcept;

}  // namespace nibble
