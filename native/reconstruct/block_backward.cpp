// Gradients of a block. Of h = silu(g)·u = g·σ·u: ∂h/∂g = u·σ·(1 + g·(1 − σ)), ∂h/∂u = g·σ. Of y = γ·x·r, r being
// one over the root mean square, e = d·γ and n = x·r: ∂x = r·(e − n·mean(e·n)). A rotation goes back by its transpose.
#include <cmath>

#include "block.h"

namespace nibble {

void Block::weigh(const Crew& crew, BlockMatrix matrix, const float* d, const Floats& input, float* gradient) noexcept {
  if (gradient == nullptr) return;
  const size_t rows = shape_.rows(matrix);
  const size_t inputs = shape_.inputs(matrix);
  const size_t tokens = shape_.tokens;
  crew.each((rows + inputs) / kTileRows, 1, [&](size_t i) {
    const size_t first = i * kTileRows;
    if (first < rows) return transpose(d, rows, tokens, first, kTileRows, transposed_.data());
    pack_columns(input.data(), inputs, tokens, (first - rows) / kTileRows, input_tiles_.data());
  });
  multiply(kernels_, crew,
           {transposed_.data(), tokens, rows, input_tiles_.data(), inputs, tokens, gradient, inputs, true});
}

void Block::norm_backward(const Crew& crew, const float* x, const float* gain, const Floats& d, float* d_x,
                          float* d_gain) noexcept {
  const size_t n = shape_.hidden;
  // By channels, so that every sum over tokens has one order.
  constexpr size_t kChannels = 64;
  crew.each((n + kChannels - 1) / kChannels, 1, [&](size_t part) {
    const size_t first = part * kChannels;
    const size_t last = std::min(n, first + kChannels);
    for (size_t t = 0; t < shape_.tokens; ++t) {
      const float r = inverse_rms_[t];
      for (size_t i = first; i < last; ++i) d_gain[i] += d[t * n + i] * x[t * n + i] * r;
    }
  });
  if (d_x == nullptr) return;
  crew.each(shape_.tokens, 8, [&](size_t t) {
    const float* row = x + t * n;
    const float* dy = &d[t * n];
    const float r = inverse_rms_[t];
    float along = 0;
    for (size_t i = 0; i < n; ++i) along += dy[i] * gain[i] * row[i];
    const float factor = along * r * r / static_cast<float>(n);
    for (size_t i = 0; i < n; ++i) d_x[t * n + i] += r * (dy[i] * gain[i] - row[i] * factor);
  });
}

/// d_input_ [tokens][ffn] → d_wide_ [tokens][2·ffn].
void Block::gate_backward(size_t token, Scratch& scratch) noexcept {
  const size_t n = shape_.ffn;
  float* d = &d_input_[token * n];
  if (!rotations_.gated.empty()) kernels_.rotate(rotations_.gated.inverse(), d, scratch.row.data());
  const float* g = &gate_up_[token * 2 * n];
  const float* s = &sigmoid_[token * n];
  float* out = &d_wide_[token * 2 * n];
  for (size_t i = 0; i < n; ++i) {
    out[i] = d[i] * g[n + i] * s[i] * (1.0f + g[i] * (1.0f - s[i]));
    out[n + i] = d[i] * g[i] * s[i];
  }
}

/// Gradients of a token's keys and values from the heads that share them, and back through RoPE: to d_wide_.
void Block::collect_keys(size_t token) noexcept {
  const size_t dim = shape_.head_dim;
  const size_t group = shape_.heads / shape_.kv_heads;
  float* q = &d_wide_[token * shape_.qkv_width()];
  float* k = q + shape_.query_width();
  float* v = k + shape_.kv_heads * dim;
  for (size_t head = 0; head < shape_.heads; ++head) {
    const size_t from = (head * shape_.tokens + token) * dim;
    const size_t to = head / group * dim;
    const bool adds = head % group != 0;
    for (size_t i = 0; i < dim; ++i) {
      k[to + i] = (adds ? k[to + i] : 0) + d_keys_[from + i];
      v[to + i] = (adds ? v[to + i] : 0) + d_values_[from + i];
    }
  }
  kernels_.rope(q, shape_.heads + shape_.kv_heads, dim, 2 * rope_.pairs(), rope_.cos(token),
                negative_sin_.data() + token * rope_.pairs(), shape_.interleaved);
}

void Block::backward(const Crew& crew, const BlockWeights& weights, const float* x, const float* d_out,
                     const BlockGradients& gradients) noexcept {
  const size_t hidden = shape_.hidden;
  const size_t tokens = shape_.tokens;
  const auto go_back = [&](BlockMatrix m, const float* d) {
    const size_t inputs = shape_.inputs(m);
    const size_t rows = shape_.rows(m);
    multiply(kernels_, crew, {d, rows, tokens, weights.transposed[m], inputs, rows, d_input_.data(), inputs});
  };
  const auto to_norm = [&](const float* of) {
    crew.each(tokens, 8, [&](size_t t) {
      inverse_rms_[t] = inverse_rms(of + t * hidden);
      if (rotations_.normed.empty()) return;
      kernels_.rotate(rotations_.normed.inverse(), &d_input_[t * hidden], scratch_[crew.thread].row.data());
    });
  };
  weigh(crew, kDown, d_out, gated_, gradients.matrices[kDown]);
  go_back(kDown, d_out);
  crew.each(tokens, 8, [&](size_t t) {
    gate_backward(t, scratch_[crew.thread]);
    std::copy_n(d_out + t * hidden, hidden, &d_middle_[t * hidden]);
  });
  weigh(crew, kGateUp, d_wide_.data(), normed_[1], gradients.matrices[kGateUp]);
  go_back(kGateUp, d_wide_.data());
  to_norm(middle_.data());
  norm_backward(crew, middle_.data(), weights.gains[1], d_input_, d_middle_.data(), gradients.gains[1]);
  weigh(crew, kOutput, d_middle_.data(), attended_, gradients.matrices[kOutput]);
  go_back(kOutput, d_middle_.data());
  crew.each(shape_.heads, 1, [&](size_t head) { attend_backward(head, scratch_[crew.thread]); });
  crew.each(tokens, 8, [&](size_t t) { collect_keys(t); });
  weigh(crew, kQkv, d_wide_.data(), normed_[0], gradients.matrices[kQkv]);
  go_back(kQkv, d_wide_.data());
  to_norm(x);
  norm_backward(crew, x, weights.gains[0], d_input_, nullptr, gradients.gains[0]);
}

}  // namespace nibble
