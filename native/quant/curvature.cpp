#include "curvature.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace nibble {
namespace {

Status no_memory() {
  return Status::failure(ErrorCode::native_out_of_memory, "No memory for the Hessian's factor.");
}

/// Damping is raised tenfold this often before a matrix counts as hopeless; from 10⁻² that ends at 10⁴ times the mean.
constexpr int kAttempts = 7;

}  // namespace

Status Curvature::build(const float* hessian, size_t inputs, double damping, Team& team) {
  kernels_ = kernel_table(selected_isa());
  inputs_ = inputs;
  double trace = 0;
  bool finite = true;
  for (size_t i = 0; i < inputs * inputs; ++i) finite &= std::isfinite(hessian[i]);
  for (size_t i = 0; i < inputs; ++i) trace += hessian[i * inputs + i];
  if (!finite || !(trace >= 0)) {
    return Status::failure(ErrorCode::native_invalid_argument, "hessian must be finite, its diagonal not negative.");
  }
  // With nothing known of the inputs all are alike, which makes rounding to nearest of what is asked.
  const double mean = trace > 0 ? trace / static_cast<double>(inputs) : 1;
  const auto added = static_cast<float>(trace > 0 ? damping * mean : 1);
  strips_ = Pages(inputs * inputs * sizeof(float));
  if (strips_.data() == nullptr) return no_memory();
  auto* strips = reinterpret_cast<float*>(strips_.data());
  team.run([&](size_t thread) noexcept {
    for (size_t i; (i = team.claim(thread, inputs, kTileInputs)) < inputs;) {
      for (size_t r = i; r < i + kTileInputs; ++r) {
        for (size_t c = 0; c < inputs; ++c) strips[index(r, c)] = hessian[r * inputs + c] + (r == c ? added : 0);
      }
    }
  });
  diagonal_.resize(inputs);
  for (size_t i = 0; i < inputs; ++i) diagonal_[i] = at(i, i);
  return Status::success();
}

Status Curvature::factorize(bool by_size, size_t block, Team& team) {
  block_ = block;
  order_.resize(inputs_);
  std::iota(order_.begin(), order_.end(), 0u);
  if (by_size) {
    std::stable_sort(order_.begin(), order_.end(),
                     [this](uint32_t a, uint32_t b) { return diagonal_[a] > diagonal_[b]; });
  }
  const size_t n = inputs_;
  Pages lower(n * n * sizeof(float));
  panel_start_.assign(1, 0);
  for (size_t first = 0; first < n; first += block) panel_start_.push_back(panel_start_.back() + first * block);
  panels_ = Pages(std::max<size_t>(panel_start_.back(), 1) * sizeof(float));
  within_.assign(n * block, 0);
  if (lower.data() == nullptr || panels_.data() == nullptr) return no_memory();
  auto* a = reinterpret_cast<float*>(lower.data());
  // In f32 a sum of squares far above 1 or below would lose range, not precision; the factor is used as ratios only.
  double mean = 0;
  for (const float value : diagonal_) mean += value / static_cast<double>(n);
  const auto scale = static_cast<float>(1 / std::max(mean, 1e-30));
  double extra = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt, extra = extra == 0 ? 1e-2 : extra * 10) {
    team.run([&](size_t thread) noexcept {
      for (size_t i; (i = team.claim(thread, n, kTileRows)) < n;) {
        for (size_t r = i; r < i + kTileRows; ++r) {
          const uint32_t from = order_[n - 1 - r];
          for (size_t c = 0; c <= r; ++c) a[r * n + c] = at(from, order_[n - 1 - c]) * scale;
          a[r * n + r] += static_cast<float>(extra);
        }
      }
    });
    if (!cholesky(a, n, team, *kernels_)) continue;
    store_factor(a);
    return Status::success();
  }
  return Status::failure(ErrorCode::native_invalid_argument, "hessian is not positive semidefinite.");
}

/// R_ij = L[n−1−i][n−1−j]: the lower factor of the reversed matrix, reversed.
void Curvature::store_factor(const float* lower) noexcept {
  const size_t n = inputs_;
  auto* panels = reinterpret_cast<float*>(panels_.data());
  const auto ratio = [&](size_t i, size_t j) {
    return lower[(n - 1 - i) * n + (n - 1 - j)] / lower[(n - 1 - j) * n + (n - 1 - j)];
  };
  for (size_t first = 0, p = 0; first < n; first += block_, ++p) {
    float* panel = panels + panel_start_[p];
    for (size_t i = 0; i < first; ++i) {
      for (size_t j = 0; j < block_; ++j) {
        panel[(j / kTileRows * first + i) * kTileRows + j % kTileRows] = ratio(i, first + j);
      }
    }
    for (size_t i = 0; i < block_; ++i) {
      for (size_t j = i + 1; j < block_; ++j) {
        within_[(first + i) * block_ + j] = ratio(first + i, first + j);
      }
    }
  }
}

void Curvature::multiply(size_t strip, const float* x, size_t x_stride, size_t rows, float* y,
                         size_t y_stride) const noexcept {
  kernels_->linear_f32[static_cast<size_t>(WeightFormat::f32)]({
      .tiles = strips_.data() + strip * kTileInputs * inputs_ * sizeof(float),
      .groups = 1,
      .row_tiles = inputs_ / kTileRows,
      .x = x,
      .x_stride = x_stride,
      .columns = rows,
      .y = y,
      .y_stride = y_stride,
      .bias = nullptr,
      .accumulate = true,
  });
}

void Curvature::feedback(size_t first, const float* errors, size_t rows, float* out) const noexcept {
  if (first == 0) {
    std::fill_n(out, rows * block_, 0.0f);
    return;
  }
  kernels_->linear_f32[static_cast<size_t>(WeightFormat::f32)]({
      .tiles = panels_.data() + panel_start_[first / block_] * sizeof(float),
      .groups = first / kTileInputs,
      .row_tiles = block_ / kTileRows,
      .x = errors,
      .x_stride = inputs_,
      .columns = rows,
      .y = out,
      .y_stride = block_,
      .bias = nullptr,
      .accumulate = false,
  });
}

}  // namespace nibble
