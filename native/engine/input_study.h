#pragma once
// Watches the inputs of linear layers, or computes with what a quantizer would make of them: how calibration sees where
// the outliers are, and how quantizers of activations are judged before they have kernels. On the f32 path only.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../status.h"

namespace nibble {

/// Statistics of activations are kept per chunk of this many positions (Tender, arXiv 2406.12930, section 4).
inline constexpr size_t kActivationChunk = 256;

/// Chunk 0 is position 0 alone, whose activations are unlike all others in most models; then 256 positions each (the
/// first has 255).
constexpr size_t activation_chunk(int32_t position) noexcept {
  return position <= 0 ? 0 : 1 + static_cast<size_t>(position) / kActivationChunk;
}

struct InputRule {
  enum class Kind : uint8_t {
    none,
    record,  // keep minimum and maximum of every channel and chunk
    fixed,   // steps known beforehand
    token,   // one step per token, from its own largest value
    ratios,  // channels' steps in known proportions, times the least factor per token that clips nothing
    window,  // Tender's groups from the values of the chunk themselves: looks ahead within a step
  };
  Kind kind = Kind::none;
  float limit = 127;  // largest code
  // fixed: [chunks][inputs], 0 = the channel is 0; the last chunk serves all later ones. ratios: [inputs], above 0.
  std::vector<float> steps;
  std::vector<float> bias;  // fixed, ratios: [inputs], taken away before rounding and added again
  size_t groups = 1;        // window
  bool centred = false;     // window: each channel's middle is taken away before rounding
};

class InputStudy {
 public:
  /// One entry per input of a linear layer, by Linear::id.
  InputStudy(std::vector<size_t> inputs, size_t positions_max);

  /// Not while a step runs. Fails with native_invalid_argument if sizes don't match.
  Status set(size_t id, InputRule&& rule);
  bool wants(size_t id) const noexcept { return id < rules_.size() && rules_[id].kind != InputRule::Kind::none; }
  /// Every row of one step; one thread. rows [positions.size()][inputs].
  void apply(size_t id, float* rows, std::span<const int32_t> positions) noexcept;

  /// What `record` saw since it was set: [chunks][2][inputs], minimum (+infinity: nothing seen) and maximum.
  std::span<const float> ranges(size_t id) const noexcept { return ranges_[id]; }
  size_t size() const noexcept { return rules_.size(); }

 private:
  void record(size_t id, const float* row, size_t chunk) noexcept;
  void ratios(const InputRule& rule, float* row, size_t inputs) noexcept;
  void window(const InputRule& rule, float* rows, size_t count, size_t inputs) noexcept;

  std::vector<size_t> inputs_;
  size_t chunks_;
  std::vector<InputRule> rules_;
  std::vector<std::vector<float>> ranges_;
  std::vector<float> steps_, bias_;  // of a window
};

}  // namespace nibble
