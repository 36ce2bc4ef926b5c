#include "check_rope.h"

#include <cmath>
#include <limits>
#include <random>

#include "../engine/math64.h"
#include "../engine/rope_table.h"
#include "rope_reference.h"

namespace nibble {

namespace {

using Random = std::mt19937_64;
using Failures = std::vector<std::string>;

double uniform(Random& random, double low, double high) {
  return low + (high - low) * (static_cast<double>(random() >> 11) * 0x1p-53);
}

void expect_close(Failures& failures, const char* what, double x, double actual, long double expected,
                  long double tolerance) {
  // Written so that a NaN fails.
  if (!(std::fabs(static_cast<long double>(actual) - expected) <= tolerance)) {
    failures.push_back(std::string(what) + " at " + std::to_string(x) + " is " + std::to_string(actual) + ", off by " +
                       std::to_string(static_cast<double>((actual - expected) * 0x1p53L)) + " · 2^-53");
  }
}

void check_sincos(Failures& failures, double x) {
  const SinCos value = sincos64(x);
  const long double wide = x;
  expect_close(failures, "sin", x, value.sin, std::sin(wide), 0x1p-51L);
  expect_close(failures, "cos", x, value.cos, std::cos(wide), 0x1p-51L);
}

void check_math(Failures& failures, Random& random) {
  for (int i = 0; i < 20000; ++i) {
    const double x = uniform(random, -700.0, 700.0);
    const long double exact = std::exp(static_cast<long double>(x));
    expect_close(failures, "exp", x, exp64(x), exact, exact * 0x1p-51L);
    const double small = uniform(random, -1.0, 1.0);
    expect_close(failures, "exp", small, exp64(small), std::exp(static_cast<long double>(small)), 0x1p-50L);
    for (const double y : {exp64(x), 1.0 + small * 0x1p-10, uniform(random, 1.0, 1e6)}) {
      const long double log = std::log(static_cast<long double>(y));
      expect_close(failures, "log", y, log64(y), log, std::fabs(log) * 0x1p-51L + 0x1p-53L);
    }
    check_sincos(failures, uniform(random, -10.0, 10.0));
    check_sincos(failures, uniform(random, -kAngleMax, kAngleMax));
    // Next to the zeros of sine and cosine, where range reduction cancels most.
    const double n = static_cast<double>(random() % 667544);
    check_sincos(failures, n * 1.5707963267948966);
    check_sincos(failures, n * 1.5707963267948966 * (1.0 + 0x1p-52));
  }
  for (const double x : {0.0, 1e-300, 1.0, -1.0, 1048576.0, -1048576.0}) check_sincos(failures, x);
  if (exp64(0.0) != 1.0 || log64(1.0) != 0.0 || exp64(-800.0) != 0.0) failures.push_back("exact values of exp and log");
  if (floor64(-0.5) != -1.0 || floor64(2.0) != 2.0 || floor64(2.75) != 2.0 || floor64(-3.0) != -3.0) {
    failures.push_back("floor");
  }
}

void check_case(Failures& failures, const rope_reference::Case& test) {
  std::vector<double> frequency;
  double magnitude = 0.0;
  const Status status = RopeTable::frequencies(test.spec, test.factors, frequency, magnitude);
  if (!status.ok() || frequency.size() != test.frequencies.size()) {
    failures.push_back(std::string(test.name) + ": refused, " + status.message);
    return;
  }
  expect_close(failures, test.name, -1.0, magnitude, test.magnitude, 1e-15L);
  for (size_t i = 0; i < frequency.size(); ++i) {
    const double expected = test.frequencies[i];
    expect_close(failures, test.name, static_cast<double>(i), frequency[i], expected, expected * 4e-15L);
  }
  constexpr size_t kPositions = 9000;
  RopeTable table;
  if (!RopeTable::build(test.spec, kPositions, test.factors, table).ok()) {
    failures.push_back(std::string(test.name) + ": no table");
    return;
  }
  for (size_t position = 0; position < kPositions; position += position < 70 ? 1 : 977) {
    for (size_t i = 0; i < frequency.size(); ++i) {
      // Half an ulp of f32 (of values up to 1, or up to 2), and what 4e-15 of a frequency becomes at this position.
      const long double angle = static_cast<long double>(test.frequencies[i]) * position;
      const long double tolerance = (test.magnitude > 1 ? 0x1.01p-24L : 0x1.01p-25L) + test.magnitude * angle * 4e-15L;
      const double at = static_cast<double>(position);
      expect_close(failures, test.name, at, table.cos(position)[i], test.magnitude * std::cos(angle), tolerance);
      expect_close(failures, test.name, at, table.sin(position)[i], test.magnitude * std::sin(angle), tolerance);
    }
  }
}

void check_refusals(Failures& failures) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const RopeSpec good{.dimensions = 64};
  const RopeSpec yarn{.dimensions = 64, .scaling = RopeScaling::yarn, .factor = 4, .original_context = 4096};
  std::vector<RopeSpec> specs(9, good);
  specs[0].dimensions = 0;
  specs[1].dimensions = 63;
  specs[2].base = nan;
  specs[3].base = 1.0;
  specs[4].scaling = RopeScaling::linear;
  specs[4].factor = 0.0;
  specs[5].scaling = RopeScaling::llama3;  // original_context missing
  specs[6] = yarn;
  specs[6].beta_slow = -1.0;
  specs[7] = yarn;
  specs[7].attention_factor = nan;
  specs[8].dimensions = size_t{1} << 40;
  RopeTable table;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (RopeTable::build(specs[i], 16, {}, table).code != ErrorCode::native_invalid_argument) {
      failures.push_back("bad rope settings " + std::to_string(i) + " were accepted");
    }
  }
  std::vector<float> factors(32, 1.0f);
  for (const size_t positions : {size_t{0}, (size_t{1} << 20) + 1}) {
    if (RopeTable::build(good, positions, {}, table).ok()) failures.push_back("a bad number of positions was accepted");
  }
  if (!RopeTable::build(good, 16, factors, table).ok()) failures.push_back("factors were refused");
  factors[3] = 1e-6f;  // frequencies beyond what can be reduced
  if (RopeTable::build(good, 1 << 16, factors, table).ok()) failures.push_back("huge angles were accepted");
  factors[3] = 0.0f;
  if (RopeTable::build(good, 16, factors, table).code != ErrorCode::model_tensor_not_finite) {
    failures.push_back("a factor of zero was accepted");
  }
  factors.pop_back();
  if (RopeTable::build(good, 16, factors, table).code != ErrorCode::model_tensor_shape) {
    failures.push_back("too few factors were accepted");
  }
}

}  // namespace

std::vector<std::string> check_rope(uint64_t seed) {
  Failures failures;
  Random random(seed);
  check_math(failures, random);
  for (const rope_reference::Case& test : rope_reference::cases()) check_case(failures, test);
  check_refusals(failures);
  return failures;
}

}  // namespace nibble
