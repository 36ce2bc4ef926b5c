// Four levels for a group of weights. Evenly spaced ones clip both ends of the range by their own factors, as the range
// h = γ·max − β·min of RCP has it (there learned by gradient descent, here searched). Free ones minimise the weighted
// squares by Lloyd's iteration: RCP's Learnable Direct Partitioning has the same freedom, three cuts of the range.
#include <algorithm>
#include <cmath>

#include "group_fit.h"

namespace nibble {
namespace {

constexpr int kClips = 10;  // factors of each end: 1, 0.93, … 0.37
constexpr float kClipStep = 0.07f;
constexpr int kLloydRounds = 12;  // further ones changed the error by less than 10⁻³

Levels even(float low, float high) noexcept {
  const float step = (high - low) / 3;
  return {low, low + step, high - step, high};
}

size_t nearest(const Levels& v, float w) noexcept {
  return (2 * w > v[0] + v[1] ? 1u : 0u) + (2 * w > v[1] + v[2] ? 1u : 0u) + (2 * w > v[2] + v[3] ? 1u : 0u);
}

float weight_of(const float* importance, size_t i) noexcept {
  return importance == nullptr ? 1.0f : importance[i];
}

float squared_error(const Levels& levels, const float* w, const float* importance, size_t n) noexcept {
  float error = 0;
  for (size_t i = 0; i < n; ++i) {
    const float e = w[i] - levels[nearest(levels, w[i])];
    error += weight_of(importance, i) * e * e;
  }
  return error;
}

/// Each level to the mean of what is nearest to it, until nothing moves.
Levels lloyd(Levels levels, const float* w, const float* importance, size_t n) noexcept {
  for (int round = 0; round < kLloydRounds; ++round) {
    float sum[kCodebookLevels] = {}, total[kCodebookLevels] = {};
    for (size_t i = 0; i < n; ++i) {
      const size_t code = nearest(levels, w[i]);
      sum[code] += weight_of(importance, i) * w[i];
      total[code] += weight_of(importance, i);
    }
    const Levels before = levels;
    for (size_t i = 0; i < levels.size(); ++i) {
      if (total[i] > 0) levels[i] = sum[i] / total[i];
    }
    std::sort(levels.begin(), levels.end());
    if (levels == before) break;
  }
  return levels;
}

}  // namespace

GroupScale fit_levels(const float* w, const float* importance, size_t n, bool fits, bool learns) noexcept {
  const auto [low, high] = std::minmax_element(w, w + n);
  Levels best = even(*low, *high);
  if (!fits) return stored_levels(best);
  float least = squared_error(best, w, importance, n);
  const auto consider = [&](const Levels& levels) {
    const float error = squared_error(levels, w, importance, n);
    if (!(error < least)) return;
    least = error;
    best = levels;
  };
  for (int a = 0; a < kClips; ++a) {
    for (int b = 0; b < kClips; ++b) {
      consider(even(*low * (1 - kClipStep * static_cast<float>(a)), *high * (1 - kClipStep * static_cast<float>(b))));
    }
  }
  if (learns) {
    consider(lloyd(best, w, importance, n));
    consider(lloyd(even(*low, *high), w, importance, n));
  }
  return stored_levels(best);
}

}  // namespace nibble
