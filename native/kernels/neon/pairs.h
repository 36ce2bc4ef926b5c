#pragma once
// Pairs of 16-bit integers, sixteen lanes of two.

struct Pairs {
  int16x8_t a, b, c, d;  // lanes 0 … 3, 4 … 7, 8 … 11, 12 … 15
};
using Sums = I32x16;

/// Each lane's two products added to its sum.
NIBBLE_INLINE int32x4_t add_pairs4(int32x4_t sums, int16x8_t a, int16x8_t b) noexcept {
  const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
  return vaddq_s32(sums, vpaddq_s32(low, vmull_high_s16(a, b)));
}
NIBBLE_INLINE Sums add_pairs(Sums sums, Pairs x, Pairs y) noexcept {
  return {add_pairs4(sums.a, x.a, y.a), add_pairs4(sums.b, x.b, y.b), add_pairs4(sums.c, x.c, y.c),
          add_pairs4(sums.d, x.d, y.d)};
}
NIBBLE_INLINE Sums sums_zero() noexcept {
  return set1_i32(0);
}
/// Sums as f32.
NIBBLE_INLINE void sums_store(float* p, Sums x) noexcept {
  store(p, to_f32(x));
}
NIBBLE_INLINE Pairs pairs_set1(int32_t both) noexcept {
  const int16x8_t v = vreinterpretq_s16_s32(vdupq_n_s32(both));
  return {v, v, v, v};
}
NIBBLE_INLINE Pairs pairs_load(const int16_t* p) noexcept {
  return {vld1q_s16(p), vld1q_s16(p + 8), vld1q_s16(p + 16), vld1q_s16(p + 24)};
}
NIBBLE_INLINE void pairs_store(int16_t* p, Pairs x) noexcept {
  vst1q_s16(p, x.a);
  vst1q_s16(p + 8, x.b);
  vst1q_s16(p + 16, x.c);
  vst1q_s16(p + 24, x.d);
}
NIBBLE_INLINE Pairs widen(uint8x16_t low, uint8x16_t high) noexcept {
  const auto widened = [](uint8x8_t v) { return vreinterpretq_s16_u16(vmovl_u8(v)); };
  return {widened(vget_low_u8(low)), widened(vget_high_u8(low)), widened(vget_low_u8(high)),
          widened(vget_high_u8(high))};
}
/// Bytes, and their low and high halves.
NIBBLE_INLINE Pairs pairs_u8(const uint8_t* p) noexcept {
  return widen(vld1q_u8(p), vld1q_u8(p + 16));
}
NIBBLE_INLINE Pairs pairs_low(const uint8_t* p) noexcept {
  const uint8x16_t half = vdupq_n_u8(15);
  return widen(vandq_u8(vld1q_u8(p), half), vandq_u8(vld1q_u8(p + 16), half));
}
NIBBLE_INLINE Pairs pairs_high(const uint8_t* p) noexcept {
  return widen(vshrq_n_u8(vld1q_u8(p), 4), vshrq_n_u8(vld1q_u8(p + 16), 4));
}
/// Vectors of integer sums that a decode's attention keeps for so many columns.
constexpr size_t decode_pair_vectors_for(size_t columns) noexcept {
  return decode_vectors_for(columns);
}
