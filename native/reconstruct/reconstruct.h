#pragma once
// Block-wise reconstruction: a block's quantized matrices and its norms' gains are learned by gradient descent, so that
// the block turns what the quantized blocks before it gave into what the float block gives. After BRECQ (Li et al.
// 2021) and Block-AP (EfficientQAT, Chen et al. 2024).
#include <cstdint>
#include <vector>

#include "block.h"
#include "learned_matrix.h"

namespace nibble {

struct ReconstructRequest {
  BlockShape shape;
  RopeSpec rope;
  std::vector<float> rope_factors;
  RotationPlace rotation = RotationPlace::none;
  BlockRounding rounding;
  std::array<MatrixSource, kBlockMatrices> matrices;  // arrays of the caller's, until the end
  std::array<std::vector<float>, 2> gains;            // of the float block
  std::array<std::vector<float>, 2> learned_gains;    // of the quantized block; where learning starts
  std::vector<float> qkv_bias;                        // or empty
  /// [windows][tokens][hidden] hidden states before the block, behind it afterwards: of the float model, and of the
  /// quantized one. The caller's, until the end.
  float* float_states = nullptr;
  float* states = nullptr;
  size_t windows = 0;
  size_t steps = 0;         // 0: nothing is learned
  size_t step_windows = 1;  // whose gradients make a step
  double weight_rate = 0, level_rate = 0, gain_rate = 0;
  size_t threads = 1;
};

struct ReconstructResult {
  std::array<std::vector<uint8_t>, kBlockMatrices> blocks;  // empty: as before
  std::array<std::vector<float>, 2> gains;
  /// Mean over tokens of ‖y − ŷ‖² / ‖y‖², over windows that weren't learned from, before learning and after it. 0
  /// where nothing is learned.
  double error_before = 0, error_after = 0;
};

/// One window of sixteen, and at least one, isn't learned from; where the error in these doesn't fall, everything stays
/// as it was. Results depend neither on threads nor on the instruction set. Fails with native_invalid_argument,
/// native_out_of_memory, and like dequantize_rows.
Status reconstruct_block(const ReconstructRequest& request, ReconstructResult& result);

struct BlockGradientsResult {
  std::vector<float> out;                                   // [tokens][hidden]
  std::array<std::vector<float>, kBlockMatrices> matrices;  // [rows][inputs]
  std::array<std::vector<float>, 2> gains;
};

/// Of the quantized block with the first window of `states` as input: its outputs, and the gradients of
/// Σ d_out · outputs. For tests. @param d_out [tokens][hidden]
Status block_gradients(const ReconstructRequest& request, const std::vector<float>& d_out,
                       BlockGradientsResult& result);

}  // namespace nibble
