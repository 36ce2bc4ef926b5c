#pragma once
// Sixteen lanes in four NEON registers. Included by table.cpp inside this level's anonymous namespace; the same names
// with the same meaning exist on every level, and generic/*.h is written over them.

struct F32x16 {
  float32x4_t a, b, c, d;  // lanes 0 … 3, 4 … 7, 8 … 11, 12 … 15
};
struct I32x16 {
  int32x4_t a, b, c, d;
};

#define NIBBLE_INLINE inline __attribute__((always_inline))

/// 1 vector × 6 columns are 24 of the 32 registers; one or two columns take more vectors, so that enough sums are in
/// flight.
constexpr size_t kColumnsMax = 6;
constexpr size_t vectors_for(size_t columns) noexcept {
  return columns == 1 ? 4 : columns <= 3 ? 2 : 1;
}

NIBBLE_INLINE F32x16 load(const float* p) noexcept {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
NIBBLE_INLINE void store(float* p, F32x16 x) noexcept {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
/// Lanes ≥ count are +0 and aren't read; 1 ≤ count ≤ 16.
NIBBLE_INLINE F32x16 load_partial(const float* p, size_t count) noexcept {
  if (count == 16) return load(p);
  float lane[16] = {};
  for (size_t i = 0; i < count; ++i) lane[i] = p[i];
  return load(lane);
}
NIBBLE_INLINE void store_partial(float* p, F32x16 x, size_t count) noexcept {
  if (count == 16) return store(p, x);
  float lane[16];
  store(lane, x);
  for (size_t i = 0; i < count; ++i) p[i] = lane[i];
}
NIBBLE_INLINE F32x16 set1(float x) noexcept {
  const float32x4_t v = vdupq_n_f32(x);
  return {v, v, v, v};
}
NIBBLE_INLINE F32x16 zero() noexcept {
  return set1(0.0f);
}

NIBBLE_INLINE F32x16 add(F32x16 x, F32x16 y) noexcept {
  return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
NIBBLE_INLINE F32x16 sub(F32x16 x, F32x16 y) noexcept {
  return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
NIBBLE_INLINE F32x16 mul(F32x16 x, F32x16 y) noexcept {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
NIBBLE_INLINE F32x16 div(F32x16 x, F32x16 y) noexcept {
  return {x.a / y.a, x.b / y.b, x.c / y.c, x.d / y.d};
}
NIBBLE_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) noexcept {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
}
/// x > y ? x : y and x < y ? x : y. (NEON's own maximum differs on NaN and ±0.)
NIBBLE_INLINE float32x4_t max4(float32x4_t x, float32x4_t y) noexcept {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
NIBBLE_INLINE float32x4_t min4(float32x4_t x, float32x4_t y) noexcept {
  return vbslq_f32(vcltq_f32(x, y), x, y);
}
NIBBLE_INLINE F32x16 max(F32x16 x, F32x16 y) noexcept {
  return {max4(x.a, y.a), max4(x.b, y.b), max4(x.c, y.c), max4(x.d, y.d)};
}
NIBBLE_INLINE F32x16 min(F32x16 x, F32x16 y) noexcept {
  return {min4(x.a, y.a), min4(x.b, y.b), min4(x.c, y.c), min4(x.d, y.d)};
}
/// Lanes < count of x, the others of y.
NIBBLE_INLINE F32x16 keep_first(F32x16 x, F32x16 y, size_t count) noexcept {
  const int32_t first[4] = {0, 1, 2, 3};
  const int32x4_t index = vld1q_s32(first);
  const int32_t n = static_cast<int32_t>(count);
  return {vbslq_f32(vcgtq_s32(vdupq_n_s32(n), index), x.a, y.a),
          vbslq_f32(vcgtq_s32(vdupq_n_s32(n - 4), index), x.b, y.b),
          vbslq_f32(vcgtq_s32(vdupq_n_s32(n - 8), index), x.c, y.c),
          vbslq_f32(vcgtq_s32(vdupq_n_s32(n - 12), index), x.d, y.d)};
}

NIBBLE_INLINE I32x16 bits(F32x16 x) noexcept {
  return {vreinterpretq_s32_f32(x.a), vreinterpretq_s32_f32(x.b), vreinterpretq_s32_f32(x.c),
          vreinterpretq_s32_f32(x.d)};
}
NIBBLE_INLINE F32x16 from_bits(I32x16 x) noexcept {
  return {vreinterpretq_f32_s32(x.a), vreinterpretq_f32_s32(x.b), vreinterpretq_f32_s32(x.c),
          vreinterpretq_f32_s32(x.d)};
}
NIBBLE_INLINE I32x16 set1_i32(int32_t x) noexcept {
  const int32x4_t v = vdupq_n_s32(x);
  return {v, v, v, v};
}
NIBBLE_INLINE I32x16 load_i32(const uint8_t* p) noexcept {
  return {vreinterpretq_s32_u8(vld1q_u8(p)), vreinterpretq_s32_u8(vld1q_u8(p + 16)),
          vreinterpretq_s32_u8(vld1q_u8(p + 32)), vreinterpretq_s32_u8(vld1q_u8(p + 48))};
}
/// Bytes, zero-extended.
NIBBLE_INLINE I32x16 load_u8(const uint8_t* p) noexcept {
  const uint8x16_t bytes = vld1q_u8(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
  const uint16x8_t high = vmovl_u8(vget_high_u8(bytes));
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
          vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))), vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))};
}
NIBBLE_INLINE I32x16 add(I32x16 x, I32x16 y) noexcept {
  return {vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b), vaddq_s32(x.c, y.c), vaddq_s32(x.d, y.d)};
}
NIBBLE_INLINE I32x16 sub(I32x16 x, I32x16 y) noexcept {
  return {vsubq_s32(x.a, y.a), vsubq_s32(x.b, y.b), vsubq_s32(x.c, y.c), vsubq_s32(x.d, y.d)};
}
NIBBLE_INLINE I32x16 mul(I32x16 x, I32x16 y) noexcept {  // modulo 2^32
  return {vmulq_s32(x.a, y.a), vmulq_s32(x.b, y.b), vmulq_s32(x.c, y.c), vmulq_s32(x.d, y.d)};
}
NIBBLE_INLINE I32x16 bit_and(I32x16 x, I32x16 y) noexcept {
  return {vandq_s32(x.a, y.a), vandq_s32(x.b, y.b), vandq_s32(x.c, y.c), vandq_s32(x.d, y.d)};
}
NIBBLE_INLINE I32x16 bit_xor(I32x16 x, I32x16 y) noexcept {
  return {veorq_s32(x.a, y.a), veorq_s32(x.b, y.b), veorq_s32(x.c, y.c), veorq_s32(x.d, y.d)};
}
NIBBLE_INLINE I32x16 max(I32x16 x, I32x16 y) noexcept {
  return {vmaxq_s32(x.a, y.a), vmaxq_s32(x.b, y.b), vmaxq_s32(x.c, y.c), vmaxq_s32(x.d, y.d)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_left(I32x16 x) noexcept {
  return {vshlq_n_s32(x.a, Count), vshlq_n_s32(x.b, Count), vshlq_n_s32(x.c, Count), vshlq_n_s32(x.d, Count)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right(I32x16 x) noexcept {  // logical
  const auto shift = [](int32x4_t v) { return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(v), Count)); };
  return {shift(x.a), shift(x.b), shift(x.c), shift(x.d)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right_signed(I32x16 x) noexcept {
  return {vshrq_n_s32(x.a, Count), vshrq_n_s32(x.b, Count), vshrq_n_s32(x.c, Count), vshrq_n_s32(x.d, Count)};
}
NIBBLE_INLINE F32x16 to_f32(I32x16 x) noexcept {
  return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b), vcvtq_f32_s32(x.c), vcvtq_f32_s32(x.d)};
}
/// Nearest, ties to even.
NIBBLE_INLINE int32x4_t round4(float32x4_t x) noexcept {
#if defined(NIBBLE_SIMDE)  // SIMDe 0.7 lacks the direct conversion
  return vcvtq_s32_f32(vrndnq_f32(x));
#else
  return vcvtnq_s32_f32(x);
#endif
}
NIBBLE_INLINE I32x16 round_i32(F32x16 x) noexcept {
  return {round4(x.a), round4(x.b), round4(x.c), round4(x.d)};
}
/// Low bytes.
NIBBLE_INLINE void store_i8(int8_t* p, I32x16 x) noexcept {
  vst1_s8(p, vmovn_s16(vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b))));
  vst1_s8(p + 8, vmovn_s16(vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d))));
}
/// Low halves.
NIBBLE_INLINE void store_i16(int16_t* p, I32x16 x) noexcept {
  vst1q_s16(p, vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)));
  vst1q_s16(p + 8, vcombine_s16(vmovn_s32(x.c), vmovn_s32(x.d)));
}

NIBBLE_INLINE float32x4_t load_f16x4(const uint16_t* p) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
NIBBLE_INLINE F32x16 load_f16(const uint16_t* p) noexcept {
  return {load_f16x4(p), load_f16x4(p + 4), load_f16x4(p + 8), load_f16x4(p + 12)};
}
NIBBLE_INLINE void store_f16(uint16_t* p, F32x16 x) noexcept {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x.a)));
  vst1_u16(p + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.b)));
  vst1_u16(p + 8, vreinterpret_u16_f16(vcvt_f16_f32(x.c)));
  vst1_u16(p + 12, vreinterpret_u16_f16(vcvt_f16_f32(x.d)));
}
NIBBLE_INLINE F32x16 load_bf16(const uint16_t* p) noexcept {
  const auto widen = [](const uint16_t* q) { return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(vld1_u16(q)), 16)); };
  return {widen(p), widen(p + 4), widen(p + 8), widen(p + 12)};
}

/// p · 2^n for p in [0.5, 2] and integer n in [-160, 160]: the first product is exact, so it is rounded once.
NIBBLE_INLINE F32x16 scale_by_power(F32x16 p, F32x16 n) noexcept {
  const I32x16 whole = round_i32(n);
  const I32x16 first = shift_right_signed<1>(whole);
  const I32x16 bias = set1_i32(127);
  const F32x16 low = from_bits(shift_left<23>(add(first, bias)));
  const F32x16 high = from_bits(shift_left<23>(add(sub(whole, first), bias)));
  return mul(mul(p, low), high);
}

/// (a0 b0 a1 b1 …, … a15 b15) → (a0 … a15), (b0 … b15), and back.
NIBBLE_INLINE void deinterleave(F32x16 low, F32x16 high, F32x16& even, F32x16& odd) noexcept {
  even = {vuzp1q_f32(low.a, low.b), vuzp1q_f32(low.c, low.d), vuzp1q_f32(high.a, high.b), vuzp1q_f32(high.c, high.d)};
  odd = {vuzp2q_f32(low.a, low.b), vuzp2q_f32(low.c, low.d), vuzp2q_f32(high.a, high.b), vuzp2q_f32(high.c, high.d)};
}
NIBBLE_INLINE void interleave(F32x16 even, F32x16 odd, F32x16& low, F32x16& high) noexcept {
  low = {vzip1q_f32(even.a, odd.a), vzip2q_f32(even.a, odd.a), vzip1q_f32(even.b, odd.b), vzip2q_f32(even.b, odd.b)};
  high = {vzip1q_f32(even.c, odd.c), vzip2q_f32(even.c, odd.c), vzip1q_f32(even.d, odd.d), vzip2q_f32(even.d, odd.d)};
}

/// Lanes combine l with l + 8, l + 4, l + 2, l + 1.
NIBBLE_INLINE float fold_sum(F32x16 x) noexcept {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
NIBBLE_INLINE float fold_max(F32x16 x) noexcept {
  const float32x4_t four = max4(max4(x.a, x.c), max4(x.b, x.d));
  float lane[4];
  vst1q_f32(lane, four);
  const float even = lane[0] > lane[2] ? lane[0] : lane[2];
  const float odd = lane[1] > lane[3] ? lane[1] : lane[3];
  return even > odd ? even : odd;
}
/// Of x ≥ 0: the largest sum of four lanes that stand four apart, (0 + 8) + (4 + 12) and so on.
NIBBLE_INLINE float largest_quad(F32x16 x) noexcept {
  return vmaxvq_f32(vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)));
}
/// Integers: any order gives the same.
NIBBLE_INLINE int32_t fold_sum(I32x16 x) noexcept {
  return vaddvq_s32(vaddq_s32(vaddq_s32(x.a, x.b), vaddq_s32(x.c, x.d)));
}
NIBBLE_INLINE int32_t fold_max(I32x16 x) noexcept {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(x.a, x.b), vmaxq_s32(x.c, x.d)));
}

#include "../generic/part.h"
constexpr size_t decode_vectors_for(size_t columns) noexcept {
  return vectors_for(columns);
}
