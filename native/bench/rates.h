#pragma once
// The bare loops that a roofline is measured with: nothing but the instruction whose rate is wanted, on registers.
#include <cstddef>
#include <cstdint>

#include "../kernels/isa.h"

namespace nibble {

struct RateLoops {
  /// Runs `steps` steps of the level's fastest int8 multiply-accumulate, `int8_macs` of them each.
  void (*int8)(size_t steps) noexcept;
  size_t int8_macs;
  /// The same for f32.
  void (*fp32)(size_t steps) noexcept;
  size_t fp32_macs;
  /// Reads [data, data + bytes) once, in `streams` (1, 2, 4, 8) sequential streams. 64-byte aligned; bytes a multiple
  /// of 8 · 256.
  void (*read)(const uint8_t* data, size_t bytes, size_t streams) noexcept;
};

/// The loops of a level that the CPU supports; those of `scalar` where this build has none for it.
const RateLoops& rate_loops(Isa isa) noexcept;

/// Defined in the file of the architecture; null if it isn't the build's.
const RateLoops* x86_rate_loops(Isa isa) noexcept;
const RateLoops* arm_rate_loops(Isa isa) noexcept;

}  // namespace nibble
