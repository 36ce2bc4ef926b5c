#pragma once
// A matrix whose weights choose among four levels of their group, while both are learned: every weight has a float
// behind it, its code is that of the nearest level, and the gradient of the level's value is taken for the float's
// (straight-through) and, summed up over a group, for the level's. After Block-AP (EfficientQAT, Chen et al. 2024,
// arXiv 2407.11062), with free levels in place of scale and zero point.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../quant/code_format.h"
#include "../status.h"
#include "adam.h"
#include "product.h"

namespace nibble {

/// A matrix of a block: as it was, and as its file blocks say.
struct MatrixSource {
  const float* weights = nullptr;  // [rows][inputs]
  const uint8_t* blocks = nullptr;
  uint32_t type = 0;  // of the blocks (GgmlType)
  size_t rows = 0, inputs = 0;
};

class LearnedMatrix {
 public:
  /// Reads the blocks: of a codebook format codes and levels, which are where learning starts; others stay as they
  /// are. Fails like dequantize_rows; throws std::bad_alloc.
  /// @param with_transpose whether `transposed` is wanted
  Status open(const MatrixSource& source, bool with_transpose);

  bool learns() const noexcept { return format_ != nullptr; }
  /// Tiles of the weights as the file would hold them.
  void refresh(const Crew& crew) noexcept;
  const float* tiles() const noexcept { return tiles_.data(); }
  const float* transposed() const noexcept { return transposed_.data(); }
  /// [rows][inputs] of the weights' gradients; null if it doesn't learn.
  float* gradient() const noexcept { return learns() ? gradient_.data() : nullptr; }

  /// One step by the gradient, which is zero afterwards. Rates are in steps of the group's levels.
  void update(const Crew& crew, const Adam& weights, const Adam& levels) noexcept;
  /// Blocks as the file holds them.
  std::vector<uint8_t> encode() const;

 private:
  void read_levels(const uint8_t* blocks) noexcept;
  void value_group(size_t row, size_t group, float* out) const noexcept;
  void update_group(size_t row, size_t group, const Adam& weights, const Adam& levels) noexcept;

  const CodeFormat* format_ = nullptr;  // null: it doesn't learn
  size_t rows_ = 0, inputs_ = 0, groups_ = 0;
  Floats values_;  // [rows][inputs]; if it learns: the floats behind
  Floats gradient_, means_, squares_;
  std::vector<Levels> levels_, level_means_, level_squares_;  // [rows][groups]
  std::vector<float> steps_;                                  // [rows][groups] mean distance of levels at the start
  Floats tiles_, transposed_;
};

}  // namespace nibble
