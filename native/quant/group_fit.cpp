#include "group_fit.h"

#include <algorithm>
#include <cmath>

namespace nibble {
namespace {

/// Largest code's magnitude that the widest value is tried at, in steps: beyond the range clips it, below leaves codes
/// unused. Finer or wider grids gained less than 0.1 % of the error on the weights of a real model.
constexpr int kTries = 17;
constexpr int kFewBitsTries = 64;   // of less than 4 bits the best scale clips more: of normal weights up to share 2
constexpr float kFirstTry = 0.70f;  // of the code range
constexpr float kTryStep = 0.03f;

/// Adding and taking away 1.5·2²³ rounds to the nearest integer, ties to even, where |x| < 2²²: the compiler has no
/// vector instruction for it on old CPUs.
float round_even(float x) noexcept {
  constexpr float kMagic = 12582912.0f;
  return (x + kMagic) - kMagic;
}

struct Sums {
  double w = 0, wq = 0, q = 0, qq = 0, one = 0;
};

/// d and m by least squares for codes that were rounded by the inverse scale `inverse` from offset `low`.
GroupScale refit(const CodeFormat& format, const float* w, const float* importance, size_t n, float inverse,
                 float low) noexcept {
  const auto lowest = static_cast<float>(format.lowest);
  const auto highest = static_cast<float>(format.highest);
  Sums sums;
  for (size_t i = 0; i < n; ++i) {
    const float q = std::min(std::max(round_even((w[i] - low) * inverse), lowest), highest);
    const float h = importance == nullptr ? 1.0f : importance[i];
    sums.one += h;
    sums.w += h * w[i];
    sums.q += h * q;
    sums.wq += h * w[i] * q;
    sums.qq += h * q * q;
  }
  GroupScale scale{0, 0};
  if (!format.affine) {  // w ≈ d · (q + shift)
    const double k = format.shift;
    const double squares = sums.qq + k * (2 * sums.q + k * sums.one);
    if (squares > 0) scale.d = static_cast<float>((sums.wq + k * sums.w) / squares);
  } else {
    const double determinant = sums.one * sums.qq - sums.q * sums.q;
    if (determinant > 1e-9 * sums.one * sums.qq) {
      scale.d = static_cast<float>((sums.one * sums.wq - sums.w * sums.q) / determinant);
      scale.m = static_cast<float>((sums.w * sums.qq - sums.q * sums.wq) / determinant);
    } else {
      scale = {1.0f / inverse, low};
    }
  }
  return stored_scale(format, scale);
}

float squared_error(const CodeFormat& format, GroupScale scale, const float* w, const float* importance,
                    size_t n) noexcept {
  const auto lowest = static_cast<float>(format.lowest);
  const auto highest = static_cast<float>(format.highest);
  const float inverse = scale.d == 0 ? 0 : 1.0f / scale.d;
  if (!std::isfinite(inverse)) return INFINITY;
  float error = 0;
  for (size_t i = 0; i < n; ++i) {
    const float q = std::min(std::max(round_even((w[i] - scale.m) * inverse), lowest), highest);
    const float e = w[i] - (q * scale.d + scale.m);
    error += (importance == nullptr ? 1.0f : importance[i]) * e * e;
  }
  return error;
}

struct Range {
  float low = 0, high = 0;
};
Range range_of(const float* w, size_t n) noexcept {
  Range range{w[0], w[0]};
  for (size_t i = 1; i < n; ++i) {
    range.low = std::min(range.low, w[i]);
    range.high = std::max(range.high, w[i]);
  }
  return range;
}

}  // namespace

GroupScale round_to_nearest(const CodeFormat& format, const float* w, size_t n, int8_t* codes) noexcept {
  const Range range = range_of(w, n);
  GroupScale exact;
  if (format.affine) {
    exact = {(range.high - range.low) / static_cast<float>(format.highest), range.low};
  } else if (format.shift != 0) {
    exact.d = std::max(range.high, -range.low) / (static_cast<float>(format.highest) + format.shift);
    exact.m = format.shift * exact.d;
  } else if (format.highest + format.lowest == 0) {
    exact.d = std::max(range.high, -range.low) / static_cast<float>(format.highest);
  } else {
    exact.d = (range.high > -range.low ? range.high : range.low) / static_cast<float>(format.lowest);
  }
  const float inverse = exact.d == 0 ? 0 : 1.0f / exact.d;
  const bool is_odd = format.highest + format.lowest == 0;  // codes on both sides alike: halves go away from zero
  const float shift = 0.5f - static_cast<float>(format.lowest);
  for (size_t i = 0; codes != nullptr && i < n; ++i) {
    const float scaled = (w[i] - exact.m) * inverse;
    const float code = is_odd ? std::round(scaled) : std::trunc(scaled + shift) + static_cast<float>(format.lowest);
    codes[i] = static_cast<int8_t>(
        std::min(std::max(code, static_cast<float>(format.lowest)), static_cast<float>(format.highest)));
  }
  return stored_scale(format, exact);
}

GroupScale fit_least_squares(const CodeFormat& format, const float* w, const float* importance, size_t n,
                             int8_t* codes) noexcept {
  const Range range = range_of(w, n);
  GroupScale best = round_to_nearest(format, w, n, nullptr);
  float least = squared_error(format, best, w, importance, n);
  const auto consider = [&](float inverse, float low) {
    if (!std::isfinite(inverse) || inverse == 0) return;
    const GroupScale scale = refit(format, w, importance, n, inverse, low);
    const float error = squared_error(format, scale, w, importance, n);
    if (!(error < least)) return;
    least = error;
    best = scale;
  };
  const float widest = std::max(range.high, -range.low);
  const int tries = format.bits < 4 ? kFewBitsTries : kTries;
  for (int i = 0; i < tries; ++i) {
    const float share = kFirstTry + kTryStep * static_cast<float>(i);
    if (format.affine) {
      const auto codes_used = static_cast<float>(format.highest) * share;
      const float inverse = codes_used / (range.high - range.low);
      consider(inverse, range.low);
      // Codes that clip on both sides alike: the middle of the range keeps the middle code.
      consider(inverse, range.low - (static_cast<float>(format.highest) - codes_used) / (2 * inverse));
    } else {
      const float inverse = (static_cast<float>(-format.lowest) - format.shift) * share / widest;
      consider(inverse, format.shift / inverse);
      if (format.highest + format.lowest != 0 && format.shift == 0) consider(-inverse, 0);
    }
  }
  for (size_t i = 0; codes != nullptr && i < n; ++i) codes[i] = static_cast<int8_t>(nearest_code(format, best, w[i]));
  return best;
}

}  // namespace nibble
