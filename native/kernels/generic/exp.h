#pragma once
// exp of sixteen lanes; the definition is reference/math.h. Included inside a level's anonymous namespace.

NIBBLE_INLINE F32x16 exp(F32x16 x) noexcept {
  x = min(set1(kExpHigh), x);  // NaN stays: both selections give their second operand
  x = max(set1(kExpLow), x);
  const F32x16 magic = set1(kRoundMagic);
  const F32x16 n = sub(fma(x, set1(kLog2E), magic), magic);
  const F32x16 r = fma(n, set1(kNegLn2Low), fma(n, set1(kNegLn2High), x));
  F32x16 p = set1(kExpC6);
  p = fma(p, r, set1(kExpC5));
  p = fma(p, r, set1(kExpC4));
  p = fma(p, r, set1(kExpC3));
  p = fma(p, r, set1(kExpC2));
  p = fma(p, r, set1(1.0f));
  p = fma(p, r, set1(1.0f));
  return scale_by_power(p, n);
}

inline float exp_scalar(float x) noexcept {
  float lane[16];
  store(lane, exp(set1(x)));
  return lane[0];
}

NIBBLE_INLINE F32x16 negate(F32x16 x) noexcept {
  return from_bits(bit_xor(bits(x), set1_i32(static_cast<int32_t>(0x80000000u))));
}
