#include "rope_table.h"

#include <string>

#include "math64.h"

namespace nibble {

namespace {

constexpr double kTwoPi = 0x1.921fb54442d18p+2;
constexpr size_t kDimensionsMax = 1024;
constexpr size_t kPositionsMax = size_t{1} << 20;

bool sensible(double value) noexcept {
  return value > 0.0 && value <= 1e300;
}  // false for NaN

Status invalid(const std::string& what) {
  return Status::failure(ErrorCode::native_invalid_argument, "rotary embedding: " + what);
}

Status check_spec(const RopeSpec& spec) {
  if (spec.dimensions == 0 || spec.dimensions % 2 != 0 || spec.dimensions > kDimensionsMax)
    return invalid("dimensions");
  if (!(spec.base >= 1.01 && spec.base <= 1e30)) return invalid("base must be at least 1.01");
  if (spec.scaling == RopeScaling::none) return Status::success();
  if (!sensible(spec.factor)) return invalid("factor must be positive");
  if (spec.scaling == RopeScaling::linear) return Status::success();
  if (!sensible(spec.original_context)) return invalid("original context must be positive");
  if (spec.scaling == RopeScaling::llama3) {
    if (!sensible(spec.low_freq_factor) || !sensible(spec.high_freq_factor)) return invalid("frequency factors");
    if (!(spec.high_freq_factor > spec.low_freq_factor))
      return invalid("high_freq_factor must be above low_freq_factor");
    return Status::success();
  }
  if (!sensible(spec.beta_fast) || !sensible(spec.beta_slow))
    return invalid("beta_fast and beta_slow must be positive");
  if (!sensible(spec.attention_factor)) return invalid("attention factor must be positive");
  return Status::success();
}

/// Llama 3.1's rule: by how often a frequency turns within the context that the model was first trained on.
double llama3_frequency(const RopeSpec& spec, double frequency) noexcept {
  const double turns = spec.original_context * frequency / kTwoPi;
  if (turns > spec.high_freq_factor) return frequency;
  if (turns < spec.low_freq_factor) return frequency / spec.factor;
  const double smooth = (turns - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
  return (1.0 - smooth) * frequency / spec.factor + smooth * frequency;
}

/// YaRN's ramp over pair indices: pairs before `low` keep their frequency, pairs after `high` are interpolated.
struct YarnRamp {
  double low;
  double high;

  explicit YarnRamp(const RopeSpec& spec) noexcept {
    const double last = static_cast<double>(spec.dimensions - 1);
    const double start = floor64(turning_pair(spec, spec.beta_fast));
    const double end = -floor64(-turning_pair(spec, spec.beta_slow));
    low = start > 0.0 ? start : 0.0;
    high = end < last ? end : last;
  }

  /// The (fractional) pair that turns `turns` times within the original context.
  static double turning_pair(const RopeSpec& spec, double turns) noexcept {
    const double dimensions = static_cast<double>(spec.dimensions);
    return dimensions * log64(spec.original_context / (turns * kTwoPi)) / (2.0 * log64(spec.base));
  }

  /// 1: keep the frequency; 0: divide it by the factor.
  double keep(size_t pair) const noexcept {
    const double width = high - low > 0.001 ? high - low : 0.001;
    const double y = (static_cast<double>(pair) - low) / width;
    return 1.0 - (y < 0.0 ? 0.0 : y > 1.0 ? 1.0 : y);
  }
};

}  // namespace

Status RopeTable::frequencies(const RopeSpec& spec, std::span<const float> factors, std::vector<double>& result,
                              double& magnitude) {
  if (Status status = check_spec(spec); !status.ok()) return status;
  const size_t pairs = spec.dimensions / 2;
  if (!factors.empty() && factors.size() != pairs) {
    return Status::failure(ErrorCode::model_tensor_shape, "rope_freqs.weight has " + std::to_string(factors.size()) +
                                                              " values, expected " + std::to_string(pairs));
  }
  for (const float factor : factors) {
    if (!(factor > 0.0f && factor <= 3e38f)) {
      return Status::failure(ErrorCode::model_tensor_not_finite,
                             "rope_freqs.weight holds a value that is no positive number");
    }
  }
  const bool yarn = spec.scaling == RopeScaling::yarn;
  const double log_base = log64(spec.base);
  const YarnRamp ramp(yarn ? spec : RopeSpec{.dimensions = 2, .original_context = 1});
  result.resize(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    double frequency = exp64(-log_base * static_cast<double>(2 * i) / static_cast<double>(spec.dimensions));
    if (!factors.empty()) frequency /= static_cast<double>(factors[i]);
    if (spec.scaling == RopeScaling::linear) frequency /= spec.factor;
    if (spec.scaling == RopeScaling::llama3 && factors.empty()) frequency = llama3_frequency(spec, frequency);
    if (yarn) {
      const double keep = ramp.keep(i);
      frequency = frequency / spec.factor * (1.0 - keep) + frequency * keep;
    }
    result[i] = frequency;
  }
  magnitude = 1.0;
  if (yarn) magnitude = spec.attention_factor * (spec.factor > 1.0 ? 1.0 + 0.1 * log64(spec.factor) : 1.0);
  return Status::success();
}

Status RopeTable::build(const RopeSpec& spec, size_t positions, std::span<const float> factors, RopeTable& table) {
  std::vector<double> frequency;
  double magnitude = 1.0;
  if (Status status = frequencies(spec, factors, frequency, magnitude); !status.ok()) return status;
  if (positions == 0 || positions > kPositionsMax) return invalid("between 1 and 1048576 positions");
  for (const double f : frequency) {
    if (!(f * static_cast<double>(positions) <= kAngleMax)) return invalid("angles above 2^20 radians");
  }
  const size_t pairs = frequency.size();
  table.pairs_ = pairs;
  table.cos_.resize(positions * pairs);
  table.sin_.resize(positions * pairs);
  for (size_t position = 0; position < positions; ++position) {
    for (size_t i = 0; i < pairs; ++i) {
      const SinCos value = sincos64(static_cast<double>(position) * frequency[i]);
      table.cos_[position * pairs + i] = static_cast<float>(value.cos * magnitude);
      table.sin_[position * pairs + i] = static_cast<float>(value.sin * magnitude);
    }
  }
  return Status::success();
}

}  // namespace nibble
