#pragma once
#include <cmath>

namespace nibble {

/// Adam (Kingma and Ba 2015): a step is `rate` times the mean of the gradients so far over their root mean square,
/// both with exponential forgetting. One object serves a whole step.
struct Adam {
  static constexpr float kMean = 0.9f;
  static constexpr float kSquare = 0.95f;  // of some hundred steps in all
  float rate;
  float mean_correction, square_correction;

  /// @param step from 0 on, of `steps`: the rate falls linearly to nothing.
  Adam(float rate_at_first, size_t step, size_t steps) noexcept
      : rate(rate_at_first * static_cast<float>(steps - step) / static_cast<float>(steps)) {
    float mean = 1;
    float square = 1;
    for (size_t i = 0; i <= step; ++i) mean *= kMean, square *= kSquare;
    mean_correction = 1 / (1 - mean);
    square_correction = 1 / (1 - square);
  }
  float change(float gradient, float& mean, float& square) const noexcept {
    mean += (1 - kMean) * (gradient - mean);
    square += (1 - kSquare) * (gradient * gradient - square);
    return -rate * mean * mean_correction / (std::sqrt(square * square_correction) + 1e-18f);
  }
};

}  // namespace nibble
