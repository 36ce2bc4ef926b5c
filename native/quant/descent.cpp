#include "descent.h"

#include <algorithm>
#include <cmath>

#include "group_fit.h"

namespace nibble {
namespace {

/// Rounds of codes and scale; more changed nothing on the weights of a real model.
constexpr int kRounds = 3;

}  // namespace

GroupDescent::GroupDescent(const CodeFormat& format, const Curvature& curvature, size_t group, bool free_levels)
    : format_(format),
      curvature_(curvature),
      group_(group),
      free_levels_(free_levels),
      h_(group * group),
      gradient_(group),
      delta_(group),
      product_(group) {}

void GroupDescent::select(size_t first_input) noexcept {
  for (size_t i = 0; i < group_; ++i) {
    for (size_t j = 0; j < group_; ++j) h_[i * group_ + j] = curvature_.at(first_input + i, first_input + j);
  }
}

bool GroupDescent::run(const float* gradient, int8_t* codes, GroupScale& scale, float* change) noexcept {
  std::copy_n(gradient, group_, gradient_.begin());
  for (size_t i = 0; i < group_; ++i) change[i] = -scale.value(codes[i]);
  bool changed = false;
  for (int round = 0; round < kRounds; ++round) {
    const bool moved = move_codes(codes, scale);
    const bool scaled = format_.codebook         ? free_levels_ && move_levels(codes, scale)
                        : format_.scale_is_f32() ? false
                                                 : move_scale(codes, scale);
    changed |= moved || scaled;
    if (!scaled) break;
  }
  for (size_t i = 0; i < group_; ++i) change[i] += scale.value(codes[i]);
  return changed;
}

/// A value v_k grows by δ: eᵀHe changes by δ²·H_kk − 2·δ·(He)_k, least at δ = (He)_k / H_kk.
bool GroupDescent::move_codes(int8_t* codes, const GroupScale& scale) noexcept {
  if (scale.d == 0) return false;
  bool changed = false;
  for (size_t k = 0; k < group_; ++k) {
    const float* row = h_.data() + k * group_;
    if (!(row[k] > 0)) continue;
    const float value = scale.value(codes[k]);
    const int code = nearest_code(format_, scale, value + gradient_[k] / row[k]);
    if (code == codes[k]) continue;
    const float delta = scale.value(code) - value;
    if (!(delta * row[k] * delta - 2 * delta * gradient_[k] < 0)) continue;
    codes[k] = static_cast<int8_t>(code);
    for (size_t i = 0; i < group_; ++i) gradient_[i] -= delta * row[i];
    changed = true;
  }
  return changed;
}

GroupScale GroupDescent::step_of(const int8_t* codes) const noexcept {
  const float shift = format_.affine ? 0 : format_.shift;
  double cg = 0, chc = 0, g = 0, ch = 0, h = 0;  // with c the codes, h the sums of H over ones
  for (size_t i = 0; i < group_; ++i) {
    const float* row = h_.data() + i * group_;
    float hc = 0;
    float ones = 0;
    for (size_t j = 0; j < group_; ++j) hc += row[j] * (static_cast<float>(codes[j]) + shift);
    for (size_t j = 0; j < group_; ++j) ones += row[j];
    const double code = static_cast<double>(codes[i]) + static_cast<double>(shift);
    cg += static_cast<double>(gradient_[i]) * code;
    chc += static_cast<double>(hc) * code;
    g += gradient_[i];
    ch += hc;
    h += ones;
  }
  if (!format_.affine) return {chc > 0 ? static_cast<float>(cg / chc) : 0, 0};
  const double determinant = chc * h - ch * ch;
  if (!(determinant > 1e-9 * chc * h)) return {0, h > 0 ? static_cast<float>(g / h) : 0};
  return {static_cast<float>((cg * h - g * ch) / determinant), static_cast<float>((g * chc - cg * ch) / determinant)};
}

/// With the indicators c of codes (c_ia = 1 where input i has code a), levels grow by Δ: (cᵀHc)·Δ = cᵀ·(He).
bool GroupDescent::move_levels(const int8_t* codes, GroupScale& scale) noexcept {
  constexpr size_t kCount = kCodebookLevels;
  double a[kCount][kCount + 1] = {};
  for (size_t i = 0; i < group_; ++i) {
    const float* row = h_.data() + i * group_;
    float sums[kCount] = {};
    for (size_t j = 0; j < group_; ++j) sums[codes[j]] += row[j];
    for (size_t k = 0; k < kCount; ++k) a[codes[i]][k] += sums[k];
    a[codes[i]][kCount] += gradient_[i];
  }
  for (size_t k = 0; k < kCount; ++k) {                 // elimination without pivots: the matrix is positive definite
    if (!(a[k][k] > 0)) a[k][k] = 1, a[k][kCount] = 0;  // no input has the code
    for (size_t r = k + 1; r < kCount; ++r) {
      const double factor = a[r][k] / a[k][k];
      for (size_t c = k; c <= kCount; ++c) a[r][c] -= factor * a[k][c];
    }
  }
  Levels values = scale.values;
  double change[kCount];
  for (size_t k = kCount; k-- > 0;) {
    change[k] = a[k][kCount];
    for (size_t c = k + 1; c < kCount; ++c) change[k] -= a[k][c] * change[c];
    change[k] /= a[k][k];
    values[k] += static_cast<float>(change[k]);
  }
  if (!std::is_sorted(values.begin(), values.end()) || !std::isfinite(values[0]) || !std::isfinite(values[3]))
    return false;
  const GroupScale next = stored_levels(values);
  if (!std::isfinite(next.d) || next.values == scale.values) return false;
  return accept(codes, next, scale);
}

bool GroupDescent::move_scale(const int8_t* codes, GroupScale& scale) noexcept {
  const GroupScale step = step_of(codes);
  const GroupScale next = stored_scale(format_, {scale.d + step.d, scale.m + step.m});
  if ((next.d == scale.d && next.m == scale.m) || !std::isfinite(next.d) || !std::isfinite(next.m)) return false;
  return accept(codes, next, scale);
}

/// Takes the new scale if the error falls.
bool GroupDescent::accept(const int8_t* codes, const GroupScale& next, GroupScale& scale) noexcept {
  for (size_t i = 0; i < group_; ++i) delta_[i] = next.value(codes[i]) - scale.value(codes[i]);
  double gain = 0;
  for (size_t i = 0; i < group_; ++i) {
    const float* row = h_.data() + i * group_;
    float sum = 0;
    for (size_t j = 0; j < group_; ++j) sum += row[j] * delta_[j];
    product_[i] = sum;
    gain += static_cast<double>(delta_[i]) * (2 * gradient_[i] - sum);
  }
  if (!(gain > 0)) return false;
  for (size_t i = 0; i < group_; ++i) gradient_[i] -= product_[i];
  scale = next;
  return true;
}

}  // namespace nibble
