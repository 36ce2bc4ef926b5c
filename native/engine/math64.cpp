#include "math64.h"

#include <bit>
#include <cstdint>

namespace nibble {

namespace {

// Adding and subtracting 1.5·2^52 rounds to the nearest integer (even on ties).
constexpr double kRound = 6755399441055744.0;
double round_nearest(double x) noexcept {
  return (x + kRound) - kRound;
}

// ln 2 and π/2 cut into parts whose leading ones have so few bits that n · part is exact (|n| ≤ 2^20).
constexpr double kLn2High = 0x1.62e42feep-1;  // 32 bits
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kHalfPi1 = 0x1.921fb544p+0;   // 33 bits
constexpr double kHalfPi2 = 0x1.0b4611a6p-34;  // 33 bits
constexpr double kHalfPi3 = 0x1.3198a2e037073p-69;
constexpr double kInverseLn2 = 0x1.71547652b82fep+0;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

// Reciprocals of the factors between consecutive terms of sine and cosine, first term first.
struct Series {
  double sine[8];
  double cosine[8];
};
constexpr Series kSeries = [] {
  Series series{};
  for (int k = 0; k < 8; ++k) {
    const double even = 2.0 * k + 2.0;
    series.sine[k] = 1.0 / (even * (even + 1.0));
    series.cosine[k] = 1.0 / (even * (even - 1.0));
  }
  return series;
}();

}  // namespace

double floor64(double x) noexcept {
  const double truncated = static_cast<double>(static_cast<int64_t>(x));
  return truncated > x ? truncated - 1.0 : truncated;
}

double exp64(double x) noexcept {
  if (x < -700.0) return 0.0;
  if (x > 700.0) x = 700.0;
  const double n = round_nearest(x * kInverseLn2);
  const double r = (x - n * kLn2High) - n * kLn2Low;  // |r| ≤ 0.35
  double sum = 1.0;
  for (int k = 15; k >= 1; --k) sum = 1.0 + r * sum / static_cast<double>(k);
  return sum * std::bit_cast<double>(static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52);
}

double log64(double x) noexcept {
  // x = 2^e · m, m in [√½, √2); ln m = 2·artanh((m − 1)/(m + 1)), the argument within ±0.172.
  uint64_t bits = std::bit_cast<uint64_t>(x);
  int64_t e = static_cast<int64_t>(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
  double m = std::bit_cast<double>(bits);
  if (m > 0x1.6a09e667f3bcdp+0) {
    m *= 0.5;
    ++e;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double square = s * s;
  double sum = 0.0;
  for (int k = 23; k >= 3; k -= 2) sum = square * (1.0 / static_cast<double>(k) + sum);
  const double n = static_cast<double>(e);
  return n * kLn2High + (n * kLn2Low + (2.0 * s + 2.0 * s * sum));
}

SinCos sincos64(double x) noexcept {
  const double n = round_nearest(x * kTwoOverPi);
  const double r = ((x - n * kHalfPi1) - n * kHalfPi2) - n * kHalfPi3;  // |r| ≤ π/4
  const double square = r * r;
  // sin r = r·(1 − r²/(2·3)·(1 − r²/(4·5)·(…))); cos r = 1 − r²/(1·2)·(1 − r²/(3·4)·(…)).
  double sine = 1.0;
  double cosine = 1.0;
  for (int k = 7; k >= 0; --k) {
    sine = 1.0 - square * sine * kSeries.sine[k];
    cosine = 1.0 - square * cosine * kSeries.cosine[k];
  }
  sine *= r;
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {sine, cosine};
    case 1:
      return {cosine, -sine};
    case 2:
      return {-sine, -cosine};
    default:
      return {-cosine, sine};
  }
}

}  // namespace nibble
