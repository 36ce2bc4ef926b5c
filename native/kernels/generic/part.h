#pragma once
// A part of sixteen lanes that is handled at a time where registers are short. Here: all of them. Included by the
// simd.h of levels whose registers suffice; AVX2 has its own.

using Part = F32x16;
constexpr size_t kParts = 1;

NIBBLE_INLINE Part part_zero() noexcept {
  return zero();
}
NIBBLE_INLINE Part part_set1(float x) noexcept {
  return set1(x);
}
NIBBLE_INLINE Part part_fma(Part x, Part y, Part z) noexcept {
  return fma(x, y, z);
}
NIBBLE_INLINE void part_store(float* p, Part x) noexcept {
  store(p, x);
}
/// Numbers of 16 bits, of 8, and the low or high halves of bytes, as f32.
NIBBLE_INLINE Part part_f16(const uint8_t* p) noexcept {
  return load_f16(reinterpret_cast<const uint16_t*>(p));
}
NIBBLE_INLINE Part part_u8(const uint8_t* p) noexcept {
  return to_f32(load_u8(p));
}
NIBBLE_INLINE Part part_low(const uint8_t* p) noexcept {
  return to_f32(bit_and(load_u8(p), set1_i32(15)));
}
NIBBLE_INLINE Part part_high(const uint8_t* p) noexcept {
  return to_f32(shift_right<4>(load_u8(p)));
}
