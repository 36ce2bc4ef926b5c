#include "block.h"

#include <cmath>

#include "key_values.h"

namespace nibble {

Block::Block(const BlockShape& shape, const RopeTable& rope, const BlockRotations& rotations, size_t threads)
    : kernels_(*kernel_table(selected_isa())),
      shape_(shape),
      rope_(rope),
      rotations_(rotations),
      padded_dim_((shape.head_dim + 31) / 32 * 32),
      inverse_rms_(shape.tokens) {
  const size_t t = shape.tokens;
  const size_t widest = std::max({shape.qkv_width(), 2 * shape.ffn, shape.hidden});
  for (size_t p = 0; p < t; ++p) {
    for (size_t i = 0; i < rope.pairs(); ++i) negative_sin_.push_back(-rope.sin(p)[i]);
  }
  for (size_t i = 0; i < threads; ++i) {
    scratch_.push_back({Floats(t * padded_dim_), Floats(t * std::max(t, padded_dim_)), Floats(t * t), Floats(t * t),
                        Floats(widest), std::vector<A8Block>(widest / 32)});
  }
  for (Floats& normed : normed_) normed = Floats(t * shape.hidden);
  qkv_ = Floats(t * shape.qkv_width());
  shares_ = Floats(shape.heads * t * t);
  attended_ = Floats(t * shape.query_width());
  middle_ = Floats(t * shape.hidden);
  gate_up_ = Floats(t * 2 * shape.ffn);
  sigmoid_ = Floats(t * shape.ffn);
  gated_ = Floats(t * shape.ffn);
  d_wide_ = Floats(t * widest);
  d_input_ = Floats(t * std::max({shape.ffn, shape.hidden, shape.query_width()}));
  d_middle_ = Floats(t * shape.hidden);
  d_keys_ = Floats(shape.heads * t * shape.head_dim);
  d_values_ = Floats(shape.heads * t * shape.head_dim);
  transposed_ = Floats(t * widest);
  input_tiles_ = Floats(t * widest);
}

float Block::inverse_rms(const float* x) const noexcept {
  float sum = 0;
  for (size_t i = 0; i < shape_.hidden; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(shape_.hidden) + shape_.rms_eps);
}

/// x ← d · code, as the kernels that multiply codes read it.
void Block::round(const BlockRounding& rounding, BlockMatrix matrix, float* row, Scratch& scratch) const noexcept {
  const ActivationKind kind = rounding.activations[matrix];
  if (kind == ActivationKind::f32) return;
  const size_t n = shape_.inputs(matrix);
  kernels_.quantize_a8(row, n, rounding.groups[matrix], kind == ActivationKind::a4 ? 7 : 127, scratch.codes.data());
  for (size_t i = 0; i < n; ++i) {
    const A8Block& block = scratch.codes[i / 32];
    row[i] = block.d * static_cast<float>(block.q[i % 32]);
  }
}

void Block::norm(const Crew& crew, const BlockRounding& rounding, BlockMatrix reader, const float* x, const float* gain,
                 Floats& out) noexcept {
  crew.each(shape_.tokens, 8, [&](size_t t) {
    float* row = &out[t * shape_.hidden];
    kernels_.rmsnorm(x + t * shape_.hidden, gain, shape_.hidden, shape_.rms_eps, row);
    if (!rotations_.normed.empty()) kernels_.rotate(rotations_.normed.view(), row, scratch_[crew.thread].row.data());
    round(rounding, reader, row, scratch_[crew.thread]);
  });
}

/// Queries and keys of a token to its position; keys and values as the cache gives them back.
void Block::place_keys(const BlockRounding& rounding, size_t token) noexcept {
  float* q = &qkv_[token * shape_.qkv_width()];
  float* k = q + shape_.query_width();
  float* v = k + shape_.kv_heads * shape_.head_dim;
  kernels_.rope(q, shape_.heads + shape_.kv_heads, shape_.head_dim, 2 * rope_.pairs(), rope_.cos(token),
                rope_.sin(token), shape_.interleaved);
  const bool rotates = kv_rotates(rounding.kv.keys);
  if (rotates) kernels_.hadamard(k, shape_.kv_heads, shape_.head_dim);
  for (size_t h = 0; h < shape_.kv_heads; ++h) {
    round_cached(rounding.kv.keys, k + h * shape_.head_dim, shape_.head_dim);
    round_cached(rounding.kv.values, v + h * shape_.head_dim, shape_.head_dim);
  }
  // Back instead of rotating queries too: the scores are the same.
  if (rotates) kernels_.hadamard(k, shape_.kv_heads, shape_.head_dim);
}

/// silu(gate)·up, rotated and rounded: what `down` reads.
void Block::gate(const BlockRounding& rounding, size_t token, Scratch& scratch) noexcept {
  const size_t n = shape_.ffn;
  const float* g = &gate_up_[token * 2 * n];
  float* s = &sigmoid_[token * n];
  float* out = &gated_[token * n];
  kernels_.exp_row(g, n, 0, -1, s);
  for (size_t i = 0; i < n; ++i) {
    s[i] = 1.0f / (1.0f + s[i]);
    out[i] = g[i] * s[i] * g[n + i];
  }
  if (!rotations_.gated.empty()) kernels_.rotate(rotations_.gated.view(), out, scratch.row.data());
  round(rounding, kDown, out, scratch);
}

void Block::forward(const Crew& crew, const BlockWeights& weights, const BlockRounding& rounding, const float* x,
                    float* out) noexcept {
  const size_t hidden = shape_.hidden;
  const size_t tokens = shape_.tokens;
  const auto linear = [&](BlockMatrix m, const Floats& input, float* y, bool adds, const float* bias) {
    const size_t inputs = shape_.inputs(m);
    const size_t rows = shape_.rows(m);
    multiply(kernels_, crew, {input.data(), inputs, tokens, weights.tiles[m], rows, inputs, y, rows, adds, bias});
  };
  norm(crew, rounding, kQkv, x, weights.gains[0], normed_[0]);
  linear(kQkv, normed_[0], qkv_.data(), false, weights.qkv_bias);
  crew.each(tokens, 8, [&](size_t t) { place_keys(rounding, t); });
  crew.each(shape_.heads, 1, [&](size_t head) { attend(head, scratch_[crew.thread]); });
  crew.each(tokens, 8, [&](size_t t) {
    round(rounding, kOutput, &attended_[t * shape_.query_width()], scratch_[crew.thread]);
    std::copy_n(x + t * hidden, hidden, &middle_[t * hidden]);
  });
  linear(kOutput, attended_, middle_.data(), true, nullptr);
  norm(crew, rounding, kGateUp, middle_.data(), weights.gains[1], normed_[1]);
  linear(kGateUp, normed_[1], gate_up_.data(), false, nullptr);
  crew.each(tokens, 8, [&](size_t t) {
    gate(rounding, t, scratch_[crew.thread]);
    std::copy_n(&middle_[t * hidden], hidden, out + t * hidden);
  });
  linear(kDown, gated_, out, true, nullptr);
}

}  // namespace nibble
