#pragma once
// Orthogonal matrices that spread every channel over all others (RCP's rotation; inspired by QuaRot and SpinQuant):
// R = (S ⊗ H) / √n, H a Hadamard matrix of a power of two, S one of the rest of n by Paley's constructions.
#include <cstddef>
#include <vector>

#include "../kernels/kernel_table.h"

namespace nibble {

/// What a file's weights are made for: the residual stream rotated; or rotated behind every norm instead. Either way
/// the input of down is rotated, and values come rotated within each head.
enum class RotationPlace { none, stream, inputs };

class Rotation {
 public:
  /// Of rows of n values; empty if there is none: n must be 2^k · m, 2^k ≥ 16, with m = 1 or the order of a Paley
  /// matrix (12, 20, 28, 36, 44, 60, 76, …) up to 256.
  static Rotation of(size_t n);

  bool empty() const noexcept { return n_ == 0; }
  RotationView view() const noexcept { return {n_, order_, signs_.data()}; }
  /// The view whose rotation undoes it.
  RotationView inverse() const noexcept { return {n_, order_, transposed_.data()}; }

 private:
  size_t n_ = 0;
  size_t order_ = 1;
  std::vector<float> signs_, transposed_;  // [order][order]
};

}  // namespace nibble
