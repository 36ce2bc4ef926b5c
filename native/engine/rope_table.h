#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "../status.h"
#include "architecture.h"

namespace nibble {

/// cos and sin of every rotary angle, once per model: [position][dimensions/2] in f32, rounded from double.
///   angle(p, i) = p · frequency(i),  frequency(i) = base^(−2i/dimensions), then
///   factors: frequency /= factor_i (tensor `rope_freqs.weight`; in a llama3 model it takes the place of the formula)
///   linear:  frequency /= factor
///   llama3:  unchanged above high_freq_factor periods in the original context, /= factor below low_freq_factor, and
///            linear between the two
///   yarn:    blend of frequency and frequency/factor by a ramp over i, and cos, sin × attention_factor ·
///            (1 + 0.1·ln factor); Peng et al. 2023, with the integer ends of the ramp and the meaning of the
///            attention factor as in llama.cpp
class RopeTable {
 public:
  /// @param positions of the table, 1 … 2^20. @param factors empty, or dimensions/2 numbers > 0.
  /// Fails with model_tensor_shape (number of factors), model_tensor_not_finite (a factor) and
  /// native_invalid_argument (anything else out of range, such as angles above 2^20 radians). About 15 ns a pair.
  static Status build(const RopeSpec& spec, size_t positions, std::span<const float> factors, RopeTable& table);

  /// The frequencies in radians per position and the factor of cos and sin; for tests.
  static Status frequencies(const RopeSpec& spec, std::span<const float> factors, std::vector<double>& frequencies,
                            double& magnitude);

  /// [dimensions/2] of one position, to be passed to the rope kernel.
  const float* cos(size_t position) const noexcept { return cos_.data() + position * pairs_; }
  const float* sin(size_t position) const noexcept { return sin_.data() + position * pairs_; }

  size_t pairs() const noexcept { return pairs_; }
  size_t positions() const noexcept { return pairs_ == 0 ? 0 : cos_.size() / pairs_; }
  size_t bytes() const noexcept { return 2 * cos_.size() * sizeof(float); }

 private:
  size_t pairs_ = 0;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

}  // namespace nibble
