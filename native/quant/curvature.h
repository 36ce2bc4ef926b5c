#pragma once
// What rounding knows of a matrix' inputs: H = Σ x·xᵀ, damped, so that the error of outputs is eᵀ·H·e for a row's error
// e. Kept in the two forms that quantizers need: H itself, and its factor for feedback.
//
// H (rows and columns in the order in which inputs are quantized) = R·Rᵀ with R upper triangular gives
//   eᵀHe = Σ_j R_jj² · (e_j + Σ_{i<j} e_i · R_ij / R_jj)²,
// so the best code of input j, given those before it, is the nearest to w_j + Σ_{i<j} e_i · R_ij / R_jj. This is GPTQ
// (Frantar et al., 2022) as LDLQ (Chee et al., 2023, theorem 6) writes it: the same codes, and no inverse is needed.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../engine/pages.h"
#include "../kernels/kernel_table.h"
#include "../status.h"
#include "../threads/team.h"

namespace nibble {

class Curvature {
 public:
  /// @param hessian [inputs][inputs], symmetric, inputs % 32 == 0 @param damping share of the mean diagonal that is
  /// added to the diagonal; ten times as much until the factor exists. Fails with native_out_of_memory, or
  /// native_invalid_argument if an element isn't finite.
  Status build(const float* hessian, size_t inputs, double damping, Team& team);

  /// The factor. @param by_size inputs are quantized by falling diagonal ("act-order"), else as they come
  /// @param block inputs that are quantized between two products with the factor, a multiple of 32 that divides inputs
  Status factorize(bool by_size, size_t block, Team& team);

  size_t inputs() const noexcept { return inputs_; }
  /// Of the damped H, [inputs].
  const std::vector<float>& diagonal() const noexcept { return diagonal_; }
  /// order()[p]: the input that is quantized as the p-th.
  const std::vector<uint32_t>& order() const noexcept { return order_; }

  /// y[row] += sum over inputs [32·strip, 32·strip + 32) of x[row][input − 32·strip] · H[input], for `rows` rows.
  void multiply(size_t strip, const float* x, size_t x_stride, size_t rows, float* y, size_t y_stride) const noexcept;
  /// H[i][j].
  float at(size_t i, size_t j) const noexcept { return strips()[index(i, j)]; }

  /// feedback[row][j] = Σ_{i < first} errors[row][i] · R_ij' / R_j'j' with j' = first + j, j < block; places in order.
  void feedback(size_t first, const float* errors, size_t rows, float* out) const noexcept;
  /// R_ij / R_jj of places i and j within the block that begins at `first`, [block][block], i < j.
  const float* within(size_t first) const noexcept { return within_.data() + first * block_; }

 private:
  const float* strips() const noexcept { return reinterpret_cast<const float*>(strips_.data()); }
  /// Strips of 32 inputs, each in the tiles that the f32 kernel reads as weights: [inputs/16][32][16].
  size_t index(size_t i, size_t j) const noexcept {
    return i / kTileInputs * kTileInputs * inputs_ + j / kTileRows * kTileInputs * kTileRows +
           i % kTileInputs * kTileRows + j % kTileRows;
  }
  void store_factor(const float* lower) noexcept;

  const KernelTable* kernels_ = nullptr;
  size_t inputs_ = 0;
  size_t block_ = 0;
  Pages strips_;
  std::vector<float> diagonal_;
  std::vector<uint32_t> order_;
  Pages panels_;                     // per block: [block/16][first][16] R_ij / R_jj
  std::vector<float> within_;        // [inputs][block]
  std::vector<size_t> panel_start_;  // in floats
};

/// In place, lower triangle of a [n][n] symmetric matrix → its Cholesky factor (f32, sums of diagonal blocks in f64;
/// the upper triangle is left as it is). n % 32 == 0. False if it isn't positive definite to that precision.
bool cholesky(float* matrix, size_t n, Team& team, const KernelTable& kernels);

}  // namespace nibble
