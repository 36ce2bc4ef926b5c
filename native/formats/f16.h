#pragma once
#include <bit>
#include <cstdint>

namespace nibble {

/// IEEE 754 binary16 bits → f32, exact; subnormals kept, NaN stays NaN.
constexpr float f16_to_f32(uint16_t h) noexcept {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fu;
  uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  if (mantissa == 0) return std::bit_cast<float>(sign);
  uint32_t shift = 0;
  while ((mantissa & 0x400u) == 0) mantissa <<= 1, ++shift;
  return std::bit_cast<float>(sign | ((113 - shift) << 23) | ((mantissa & 0x3ffu) << 13));
}

/// f32 → binary16 bits, round to nearest even; overflow to infinity, subnormals kept, NaN stays (quiet) NaN.
constexpr uint16_t f32_to_f16(float value) noexcept {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x33000000u) return sign;  // below half of the smallest subnormal
  uint32_t mantissa;
  uint32_t half;
  uint32_t drop;  // bits shifted out
  if (magnitude < 0x38800000u) {
    const uint32_t shift = 126 - (magnitude >> 23);  // 14 … 24
    mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    half = mantissa >> shift;
    drop = mantissa & ((1u << shift) - 1);
    const uint32_t tie = 1u << (shift - 1);
    if (drop > tie || (drop == tie && (half & 1u))) ++half;
    return static_cast<uint16_t>(sign | half);
  }
  half = (magnitude - 0x38000000u) >> 13;
  drop = magnitude & 0x1fffu;
  if (drop > 0x1000u || (drop == 0x1000u && (half & 1u))) ++half;  // may carry into the exponent, up to infinity
  return static_cast<uint16_t>(sign | half);
}

/// bfloat16 bits → f32, exact.
constexpr float bf16_to_f32(uint16_t h) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(h) << 16);
}

}  // namespace nibble
