#pragma once
// Statistics of what the linear layers of a model read, collected while prompts run on the float path: what weight
// quantizers, channel scaling and activation groups are chosen by.
#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "../engine/graph.h"
#include "../engine/model.h"
#include "../engine/pages.h"

namespace nibble {

/// Of one input of width K: that of q, k and v, of the attention output, of gate and up, of down, or of the head.
struct InputStatistics {
  /// Bin b counts tokens whose largest magnitude is in [2^(b−32), 2^(b−31)); what is beyond goes to the last on its
  /// side, 0 to the first.
  static constexpr size_t kMagnitudeBins = 64;

  size_t inputs = 0;
  uint64_t tokens = 0;
  std::vector<float> minima;    // [chunks][K]; +infinity where no token was seen
  std::vector<float> maxima;    // [chunks][K]; −infinity
  std::vector<double> squares;  // [K] Σ x²
  std::array<uint64_t, kMagnitudeBins> magnitudes{};
  Pages hessian;  // f32 [K][K], Σ x·xᵀ, its lower triangle alone; empty if it isn't wanted (any more)
};

struct CalibrationOptions {
  /// Minima and maxima are kept apart for position 0, whose inputs are unlike all others in most models, and for the
  /// others of [i · chunk_tokens, (i + 1) · chunk_tokens), which are chunk 1 + i; what is behind the last counts for
  /// it.
  size_t chunk_tokens = 256;
  size_t chunks = 1;
  /// [layers + 1] whether Σ x·xᵀ is wanted for the inputs of a layer; the last is the head.
  std::vector<bool> hessians;
};

/// The sums don't depend on the number of threads or the instruction set: a channel's tokens are added in order, and
/// Σ x·xᵀ is a product of f32 matrices (docs/arithmetic.md) per 64 tokens of a step, added to the f32 sum before.
class Calibration final : public InputObserver {
 public:
  static constexpr size_t kInputsPerLayer = 4;  // qkv, output, gate_up, down

  /// Allocates everything. @param columns_max of one step
  Calibration(const Model& model, const CalibrationOptions& options, size_t columns_max);
  bool ok() const noexcept { return ok_; }

  /// The statistics of an input (layer == layers, input 0: the head), its Hessian's upper triangle filled in. Not
  /// while a step runs.
  const InputStatistics& complete(size_t layer, size_t input) noexcept;
  /// Frees the Hessian of an input; it is collected no further.
  void drop_hessian(size_t layer, size_t input) noexcept;

  void collect(const Linear& linear, const float* rows, size_t columns, const int32_t* positions, Team& team,
               size_t thread) noexcept override;

 private:
  void collect_channels(InputStatistics& statistics, const float* rows, size_t columns, const int32_t* positions,
                        size_t first) noexcept;
  size_t chunk_of(const int32_t* positions, size_t token) const noexcept;
  void lay_out(const float* rows, size_t inputs, size_t columns, size_t first) noexcept;
  void add_products(InputStatistics& statistics, size_t columns, bool is_first, Team& team, size_t thread) noexcept;

  const KernelTable& kernels_;
  CalibrationOptions options_;
  std::vector<InputStatistics> inputs_;              // [layers · 4 + 1]
  std::unordered_map<const Linear*, size_t> index_;  // into inputs_
  std::vector<float> magnitudes_;                    // [columns_max] of the input at hand
  Pages tiles_;                                      // [slices of 64 tokens][K / 16][64][16]
  Pages channels_;                                   // [slices][K][64]
  bool ok_ = true;
};

}  // namespace nibble
