#pragma once
// w = fma(q, d, m), the one definition of a stored weight's value. A code (≤ 8 bits) times an f16 scale (11 bits) is
// exact in f32, so there multiply-and-add rounds as fma does; scales in f32 have up to 24 bits and take the fma.
#include <cstddef>
#include <cstdint>

#include "f16.h"
#include "weight_format.h"

namespace nibble::decoding {

inline float scale_value(uint16_t bits) noexcept {
  return f16_to_f32(bits);
}
inline float scale_value(float value) noexcept {
  return value;
}

inline float weight(float code, uint16_t, float d, float m) noexcept {
  return code * d + m;
}
inline float weight(float code, float, float d, float m) noexcept {
  return __builtin_fmaf(code, d, m);
}

/// A code of a row with one scale, in the low bits of a byte: int8, or 0…15 with an offset of 8. (q − 8) · d is rounded
/// once as fma(q, d, −8·d) is.
template <size_t Bits>
float scaled_row_weight(int byte, float d) noexcept {
  return static_cast<float>(Bits == 8 ? static_cast<int8_t>(byte) : (byte & 15) - 8) * d;
}

/// Value of the minimum of one group: stored, or −middle·d, or +0.
template <WeightFormat format, class Scale>
float minimum_value(float d, Scale stored) noexcept {
  if constexpr (info(format).affine) return scale_value(stored);
  return info(format).middle() != 0 ? -info(format).middle() * d : 0.0f;
}

/// 8 bytes of 2-bit codes and their four levels → 32 levels (weight_format.h).
inline void expand_levels(const uint8_t* codes, uint32_t levels, uint8_t* out) noexcept {
  for (size_t i = 0; i < kTileInputs; ++i) {
    const unsigned code = codes[i / 16 * 4 + i % 4] >> (i % 16 / 4 * 2) & 3u;
    out[i] = static_cast<uint8_t>(levels >> (8 * code));
  }
}

/// Code i of an 8-bit strip, or a level, as a number.
template <WeightFormat format>
float code_value(uint8_t code) noexcept {
  return info(format).affine || info(format).planes ? static_cast<float>(code)
                                                    : static_cast<float>(static_cast<int8_t>(code));
}

}  // namespace nibble::decoding
