// Causal attention of one head over a window, and its gradients. With P the shares, o = P·V, s = scale·q·Kᵀ:
// dV = Pᵀ·do, dP = do·Vᵀ, ds = P ∘ (dP − Σ dP∘P), dq = scale·ds·K, dK = scale·dsᵀ·q. Products are over whole windows:
// what lies above the diagonal is zero.
#include <cmath>

#include "block.h"

namespace nibble {
namespace {

/// out [tokens][width] of columns [0, dim) of x [tokens][stride], the rest zero.
void gather(const float* x, size_t stride, size_t tokens, size_t dim, size_t width, float* out) noexcept {
  for (size_t t = 0; t < tokens; ++t) {
    std::copy_n(x + t * stride, dim, out + t * width);
    std::fill_n(out + t * width + dim, width - dim, 0.0f);
  }
}

}  // namespace

/// y [tokens][tokens] = a·bᵀ for the head's columns of a and b.
void Block::multiply_heads(const float* a, size_t a_stride, const float* b, size_t b_stride, float* y,
                           Scratch& scratch) const noexcept {
  const size_t t = shape_.tokens;
  gather(b, b_stride, t, shape_.head_dim, padded_dim_, scratch.rows.data());
  for (size_t tile = 0; tile < t / kTileRows; ++tile) {
    pack_rows(scratch.rows.data(), padded_dim_, padded_dim_, tile, scratch.tiles.data());
  }
  gather(a, a_stride, t, shape_.head_dim, padded_dim_, scratch.rows.data());
  multiply(kernels_, {scratch.rows.data(), padded_dim_, t, scratch.tiles.data(), t, padded_dim_, y, t});
}

/// y = m·x for m [tokens][tokens] and the head's columns of x.
void Block::mix_tokens(const float* m, const float* x, size_t x_stride, float* y, size_t y_stride,
                       Scratch& scratch) const noexcept {
  const size_t t = shape_.tokens;
  for (size_t tile = 0; tile < shape_.head_dim / kTileRows; ++tile) {
    pack_columns(x, x_stride, t, tile, scratch.tiles.data());
  }
  multiply(kernels_, {m, t, t, scratch.tiles.data(), shape_.head_dim, t, y, y_stride});
}

void Block::attend(size_t head, Scratch& scratch) noexcept {
  const size_t t = shape_.tokens;
  const size_t width = shape_.qkv_width();
  const HeadColumns at = columns(head);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  float* shares = &shares_[head * t * t];
  multiply_heads(&qkv_[at.query], width, &qkv_[at.key], width, shares, scratch);
  for (size_t i = 0; i < t; ++i) {
    float* row = shares + i * t;
    kernels_.exp_row(row, i + 1, kernels_.row_stats(row, i + 1).max, scale, row);
    float sum = 0;
    for (size_t j = 0; j <= i; ++j) sum += row[j];
    const float inverse = 1.0f / sum;
    for (size_t j = 0; j <= i; ++j) row[j] *= inverse;
    std::fill(row + i + 1, row + t, 0.0f);
  }
  mix_tokens(shares, &qkv_[at.value], width, &attended_[head * shape_.head_dim], shape_.query_width(), scratch);
}

/// From d_input_ [tokens][query_width]: queries to d_wide_, keys and values of this head to buffers of their own.
void Block::attend_backward(size_t head, Scratch& scratch) noexcept {
  const size_t t = shape_.tokens;
  const size_t dim = shape_.head_dim;
  const size_t width = shape_.qkv_width();
  const HeadColumns at = columns(head);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const float* shares = &shares_[head * t * t];
  const float* d_out = &d_input_[head * dim];
  float* scores = scratch.scores.data();
  float* turned = scratch.transposed.data();
  transpose(shares, t, t, 0, t, turned);
  mix_tokens(turned, d_out, shape_.query_width(), &d_values_[head * t * dim], dim, scratch);
  multiply_heads(d_out, shape_.query_width(), &qkv_[at.value], width, scores, scratch);
  for (size_t i = 0; i < t; ++i) {
    const float* p = shares + i * t;
    float* d = scores + i * t;
    float mean = 0;
    for (size_t j = 0; j <= i; ++j) mean += p[j] * d[j];
    for (size_t j = 0; j <= i; ++j) d[j] = p[j] * (d[j] - mean) * scale;
    std::fill(d + i + 1, d + t, 0.0f);
  }
  mix_tokens(scores, &qkv_[at.key], width, &d_wide_[at.query], width, scratch);
  transpose(scores, t, t, 0, t, turned);
  mix_tokens(turned, &qkv_[at.query], width, &d_keys_[head * t * dim], dim, scratch);
}

}  // namespace nibble
