#pragma once
// exp of sixteen lanes; the definition is reference/math.h. Included inside a level's anonymous namespace.

/// e^r of a reduced argument.
NIBBLE_INLINE F32x16 exp_reduced(F32x16 r) noexcept {
  F32x16 p = set1(kExpC6);
  p = fma(p, r, set1(kExpC5));
  p = fma(p, r, set1(kExpC4));
  p = fma(p, r, set1(kExpC3));
  p = fma(p, r, set1(kExpC2));
  p = fma(p, r, set1(1.0f));
  return fma(p, r, set1(1.0f));
}

NIBBLE_INLINE F32x16 exp(F32x16 x) noexcept {
  x = min(set1(kExpHigh), x);  // NaN stays: both selections give their second operand
  x = max(set1(kExpLow), x);
  const F32x16 magic = set1(kRoundMagic);
  const F32x16 n = sub(fma(x, set1(kLog2E), magic), magic);
  const F32x16 r = fma(n, set1(kNegLn2Low), fma(n, set1(kNegLn2High), x));
  return scale_by_power(exp_reduced(r), n);
}

/// exp of x ≤ 0 or NaN, the same bits with six operations less. The product with 2^(n + 65) is exact, that with 2^−65
/// rounds once, as in scale_by_power; and n + 65 + 127 stands in the lowest bits of the rounded sum already.
NIBBLE_INLINE F32x16 exp_of_negative(F32x16 x) noexcept {
  x = max(set1(kExpLow), x);
  const F32x16 magic = set1(kRoundMagic + 192.0f);
  const F32x16 rounded = fma(x, set1(kLog2E), magic);
  const F32x16 n = sub(rounded, magic);
  const F32x16 r = fma(n, set1(kNegLn2Low), fma(n, set1(kNegLn2High), x));
  const F32x16 power = from_bits(shift_left<23>(bits(rounded)));
  return mul(mul(exp_reduced(r), power), set1(0x1p-65f));
}

inline float exp_scalar(float x) noexcept {
  float lane[16];
  store(lane, exp(set1(x)));
  return lane[0];
}

NIBBLE_INLINE F32x16 negate(F32x16 x) noexcept {
  return from_bits(bit_xor(bits(x), set1_i32(static_cast<int32_t>(0x80000000u))));
}
