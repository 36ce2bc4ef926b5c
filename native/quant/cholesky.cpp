// Blocked right-looking Cholesky factorization: the update of what is right of a block, nearly all of the work, is a
// product of f32 matrices by the level's own kernel.
#include <algorithm>
#include <cmath>
#include <vector>

#include "curvature.h"

namespace nibble {
namespace {

constexpr size_t kBlock = 64;
constexpr size_t kRowGrain = 16;  // = kTileRows: a thread makes whole tiles
constexpr size_t kColumnBlock = 64;
constexpr size_t kTileChunk = 8;

class Factorization {
 public:
  Factorization(float* matrix, size_t n, Team& team, const KernelTable& kernels)
      : a_(matrix), n_(n), team_(team), kernels_(kernels), tiles_(n * kBlock * sizeof(float)) {}

  bool run() {
    if (tiles_.data() == nullptr) return false;
    team_.run([this](size_t thread) noexcept { body(thread); });
    return positive_;
  }

 private:
  void body(size_t thread) noexcept {
    for (size_t first = 0; first < n_; first += kBlock) {
      const size_t width = std::min(kBlock, n_ - first);
      if (thread == 0) factor_diagonal(first, width);
      team_.barrier(thread);
      if (!positive_) return;
      const size_t below = first + width;
      for (size_t i; (i = team_.claim(thread, n_ - below, kRowGrain)) < n_ - below;) {
        solve_rows(first, width, below + i);
      }
      team_.barrier(thread);
      update(first, width, thread);
      team_.barrier(thread);
    }
  }

  void factor_diagonal(size_t first, size_t width) noexcept {
    for (size_t j = 0; j < width; ++j) {
      const float* rj = row(first + j) + first;
      for (size_t i = j; i < width; ++i) {
        float* ri = row(first + i) + first;
        double sum = ri[j];
        for (size_t k = 0; k < j; ++k) sum -= static_cast<double>(ri[k]) * rj[k];
        if (i > j) {
          ri[j] = static_cast<float>(sum / rj[j]);
        } else {
          positive_ = positive_ && sum > 1e-30 && std::isfinite(sum);
          ri[j] = static_cast<float>(std::sqrt(std::max(sum, 0.0)));
        }
      }
      if (!positive_) return;
    }
  }

  /// Rows [at, at + 16) of the columns of the block, and their negative as a tile of weights.
  void solve_rows(size_t first, size_t width, size_t at) noexcept {
    float* tile = reinterpret_cast<float*>(tiles_.data()) + (at - first - width) / kTileRows * width * kTileRows;
    for (size_t r = 0; r < kRowGrain; ++r) {
      float* x = row(at + r) + first;
      for (size_t j = 0; j < width; ++j) {
        const float* rj = row(first + j) + first;
        double sum = x[j];
        for (size_t k = 0; k < j; ++k) sum -= static_cast<double>(x[k]) * rj[k];
        x[j] = static_cast<float>(sum / rj[j]);
        tile[j * kTileRows + r] = -x[j];
      }
    }
  }

  /// Takes the products of the block's columns from the lower triangle of what is right of it.
  void update(size_t first, size_t width, size_t thread) noexcept {
    const size_t below = first + width;
    const size_t left = n_ - below;
    const auto chunks_of = [&](size_t block) {
      const size_t end = std::min((block + 1) * kColumnBlock, left);
      return (end + kTileChunk * kTileRows - 1) / (kTileChunk * kTileRows);
    };
    size_t items = 0;
    for (size_t block = 0; block * kColumnBlock < left; ++block) items += chunks_of(block);
    for (size_t i; (i = team_.claim(thread, items, 1)) < items;) {
      size_t block = 0;
      size_t chunk = i;
      while (chunk >= chunks_of(block)) chunk -= chunks_of(block++);
      const size_t column = block * kColumnBlock;
      const size_t end = std::min(column + kColumnBlock, left);
      const size_t tile = chunk * kTileChunk;
      kernels_.linear_f32[static_cast<size_t>(WeightFormat::f32)]({
          .tiles = tiles_.data() + tile * width * kTileRows * sizeof(float),
          .groups = width / kTileInputs,
          .row_tiles = std::min(kTileChunk, (end + kTileRows - 1) / kTileRows - tile),
          .x = row(below + column) + first,
          .x_stride = n_,
          .columns = end - column,
          .y = row(below + column) + below + tile * kTileRows,
          .y_stride = n_,
          .bias = nullptr,
          .accumulate = true,
      });
    }
  }

  float* row(size_t i) const noexcept { return a_ + i * n_; }

  float* a_;
  size_t n_;
  Team& team_;
  const KernelTable& kernels_;
  Pages tiles_;
  bool positive_ = true;
};

}  // namespace

bool cholesky(float* matrix, size_t n, Team& team, const KernelTable& kernels) {
  return Factorization(matrix, n, team, kernels).run();
}

}  // namespace nibble
