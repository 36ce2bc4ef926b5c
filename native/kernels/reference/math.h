#pragma once
// The scalar definitions that every level repeats bit for bit. Nothing of libm but fma and sqrt, which are exact.
#include <bit>
#include <cstddef>
#include <cstdint>

#include "../exp_constants.h"

namespace nibble::kernels::reference {

inline constexpr size_t kLanes = 16;
inline constexpr float kInfinity = __builtin_inff();

inline float fma(float a, float b, float c) noexcept {
  return __builtin_fmaf(a, b, c);
}

/// Maximum is compare-and-select: `b` on ties (so also for ±0) and when either is NaN.
inline float select_max(float a, float b) noexcept {
  return a > b ? a : b;
}

/// exp(x), at most 2 ulp from the true value over the whole range, subnormal results included.
///   x = x > 89 ? 89 : x;  x = −105 > x ? −105 : x               (NaN stays)
///   t = fma(x, log2 e, 1.5·2^23);  n = t − 1.5·2^23             n = RNE(x / ln 2)
///   r = fma(n, −ln2_low, fma(n, −ln2_high, x))
///   p = c6; p = fma(p, r, c5); … c4, c3, c2, 1, 1
///   result = (p · 2^(n >> 1)) · 2^(n − (n >> 1)): the first product is exact, so that one rounding is left.
inline float exp(float x) noexcept {
  if (x != x) return x;
  x = x > kExpHigh ? kExpHigh : x;
  x = kExpLow > x ? kExpLow : x;
  const float t = fma(x, kLog2E, kRoundMagic);
  const float n = t - kRoundMagic;
  const float r = fma(n, kNegLn2Low, fma(n, kNegLn2High, x));
  float p = kExpC6;
  p = fma(p, r, kExpC5);
  p = fma(p, r, kExpC4);
  p = fma(p, r, kExpC3);
  p = fma(p, r, kExpC2);
  p = fma(p, r, 1.0f);
  p = fma(p, r, 1.0f);
  const int32_t whole = static_cast<int32_t>(n);
  const int32_t first = whole >> 1;
  const auto power = [](int32_t e) { return std::bit_cast<float>(static_cast<uint32_t>(e + 127) << 23); };
  return p * power(first) * power(whole - first);
}

/// silu(g) = g / (1 + exp(−g)).
inline float silu(float g) noexcept {
  return g / (1.0f + exp(-g));
}

/// Nearest integer, ties to even, of |x| < 2^22.
inline int32_t round_even(float x) noexcept {
  return static_cast<int32_t>((x + kRoundMagic) - kRoundMagic);
}

/// Lanes combine l with l + 8, l + 4, l + 2, l + 1.
inline float fold_sum(const float (&lane)[kLanes]) noexcept {
  float v[kLanes];
  for (size_t l = 0; l < kLanes; ++l) v[l] = lane[l];
  for (size_t width = kLanes / 2; width > 0; width /= 2)
    for (size_t l = 0; l < width; ++l) v[l] = v[l] + v[l + width];
  return v[0];
}
inline float fold_max(const float (&lane)[kLanes]) noexcept {
  float v[kLanes];
  for (size_t l = 0; l < kLanes; ++l) v[l] = lane[l];
  for (size_t width = kLanes / 2; width > 0; width /= 2)
    for (size_t l = 0; l < width; ++l) v[l] = select_max(v[l], v[l + width]);
  return v[0];
}

/// |x| as an integer that orders finite values, then infinity, then NaN.
inline uint32_t magnitude_bits(float x) noexcept {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}
inline constexpr uint32_t kInfinityBits = 0x7f800000u;

}  // namespace nibble::kernels::reference
