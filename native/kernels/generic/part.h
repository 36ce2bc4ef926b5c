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
NIBBLE_INLINE Part part_load(const float* p) noexcept {
  return load(p);
}
/// Numbers of 16 bits as f32.
NIBBLE_INLINE Part part_f16(const uint8_t* p) noexcept {
  return load_f16(reinterpret_cast<const uint16_t*>(p));
}
