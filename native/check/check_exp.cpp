// exp against the mathematical function, since equality with the twin proves nothing of the twin; and many more values
// against the twin, since a wrong order of its operations changes few of them.
#include <cmath>

#include "checker.h"

namespace nibble::check {
namespace {

constexpr double kLargest = 3.4028234663852886e38;

/// Distance of `got` from exp(x), in units in the last place of f32 at the true value.
double error_ulp(float x, float got) {
  const long double want = std::exp(static_cast<long double>(x));
  if (want > static_cast<long double>(kLargest)) return std::isinf(got) && got > 0 ? 0.0 : INFINITY;
  int exponent = 0;
  std::frexp(want, &exponent);
  const int last_place = exponent - 24 < -149 ? -149 : exponent - 24;
  return static_cast<double>(std::fabs(got - want) / std::ldexp(1.0L, last_place));
}

float level_exp(const Checker& checker, float x) {
  float y = 0.0f;
  checker.level.exp_row(&x, 1, 0.0f, 1.0f, &y);
  return y;
}

void check_exp_twin(Checker& checker) {
  constexpr size_t kCount = 8192;
  Buffer<float> x(kCount), got(kCount), want(kCount);
  for (int round = 0; round < 128; ++round) {
    for (float& value : x.span()) value = round % 2 == 0 ? 110.0f * checker.random.unit() : checker.random.unit();
    checker.level.exp_row(x.data(), kCount, 0.0f, 1.0f, got.data());
    checker.twin.exp_row(x.data(), kCount, 0.0f, 1.0f, want.data());
    checker.expect_same(got.span(), want.span(), "exp round %d", round);
  }
}

}  // namespace

void check_exp(Checker& checker) {
  check_exp_twin(checker);
  constexpr size_t kCount = 1024;
  Buffer<float> x(kCount);
  Buffer<float> y(kCount);
  for (int round = 0; round < 64; ++round) {
    const float low = round % 4 == 0 ? -0.4f : round % 4 == 1 ? -110.0f : round % 4 == 2 ? -90.0f : -1e-5f;
    const float high = round % 4 == 0 ? 0.4f : round % 4 == 1 ? -80.0f : round % 4 == 2 ? 90.0f : 1e-5f;
    for (float& value : x.span()) value = low + (high - low) * (0.5f + 0.5f * checker.random.unit());
    checker.level.exp_row(x.data(), kCount, 0.0f, 1.0f, y.data());
    double worst = 0.0;
    float at = 0.0f;
    for (size_t i = 0; i < kCount; ++i) {
      const double error = error_ulp(x[i], y[i]);
      if (!(error > worst)) continue;
      worst = error;
      at = x[i];
    }
    checker.expect(worst <= 2.0, "exp: off by %g ulp at %a", worst, static_cast<double>(at));
  }
  const float infinity = static_cast<float>(INFINITY);
  checker.expect(level_exp(checker, -infinity) == 0.0f, "exp: of -infinity isn't 0");
  checker.expect(level_exp(checker, infinity) == infinity, "exp: of infinity isn't infinity");
  checker.expect(std::isnan(level_exp(checker, static_cast<float>(NAN))), "exp: of NaN isn't NaN");
  checker.expect(level_exp(checker, 0.0f) == 1.0f, "exp: of 0 isn't 1");
  checker.expect(level_exp(checker, -0.0f) == 1.0f, "exp: of -0 isn't 1");
  checker.expect(level_exp(checker, -103.0f) == 0x1p-149f, "exp: the smallest subnormal is lost");
}

}  // namespace nibble::check
