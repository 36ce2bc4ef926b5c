#pragma once
// exp, log, sin and cos in double from + − × ÷ alone, so that tables and log-probabilities have the same bits on every
// machine (no libm; docs/arithmetic.md). Taylor series after range reduction: no fitted constants to trust. Not for
// kernels: about 10 ns each. native/check/check_rope.cpp compares them with libm in long double.
namespace nibble {

/// Relative error < 2^-51 for |x| ≤ 700 (below −700: 0; above 700: e^700).
double exp64(double x) noexcept;

/// Of a positive, normal x: error < 2^-51 of the result, or 2^-53 near 1.
double log64(double x) noexcept;

struct SinCos {
  double sin;
  double cos;
};
/// The largest |angle| that `sincos64` reduces exactly enough.
inline constexpr double kAngleMax = 1048576.0;
/// Absolute error < 2^-51 for |x| ≤ kAngleMax radians.
SinCos sincos64(double x) noexcept;

/// The largest integer not above x, for |x| < 2^52.
double floor64(double x) noexcept;

}  // namespace nibble
