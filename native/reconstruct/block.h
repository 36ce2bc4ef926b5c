#pragma once
// A block of a Llama-like transformer in f32 over one window of tokens, forward and backward, with its linear layers'
// inputs and its keys and values rounded as the engine rounds them. Rounding passes gradients through as if it weren't
// there (straight-through estimator, Bengio et al. 2013).
#include <array>
#include <cstddef>
#include <vector>

#include "../engine/architecture.h"
#include "../engine/rope_table.h"
#include "../engine/rotation.h"
#include "../formats/activation_kind.h"
#include "product.h"

namespace nibble {

/// Matrices of a block, those that read the same input as one: rows of q, k and v, and of gate and up.
enum BlockMatrix : size_t { kQkv, kOutput, kGateUp, kDown, kBlockMatrices };

struct BlockShape {
  size_t hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0;
  float rms_eps = 0;
  bool interleaved = false;  // pairs of RoPE
  size_t tokens = 0;         // of a window, a multiple of 32

  size_t query_width() const noexcept { return heads * head_dim; }
  size_t qkv_width() const noexcept { return (heads + 2 * kv_heads) * head_dim; }
  size_t rows(size_t matrix) const noexcept {
    return matrix == kQkv ? qkv_width() : matrix == kGateUp ? 2 * ffn : hidden;
  }
  size_t inputs(size_t matrix) const noexcept {
    return matrix == kOutput ? query_width() : matrix == kDown ? ffn : hidden;
  }
};

/// What a block rotates while it computes; empty: nothing.
struct BlockRotations {
  Rotation normed, gated;  // what both norms give; the input of `down`

  /// False if a width has no rotation.
  bool open(RotationPlace place, const BlockShape& shape) {
    if (place == RotationPlace::none) return true;
    if (place == RotationPlace::inputs) normed = Rotation::of(shape.hidden);
    gated = Rotation::of(shape.ffn);
    return !gated.empty() && (place == RotationPlace::stream || !normed.empty());
  }
};

/// How a block rounds what it computes with.
struct BlockRounding {
  std::array<ActivationKind, kBlockMatrices> activations{};  // f32, a8 or a4
  std::array<size_t, kBlockMatrices> groups{};               // of the activations' scales
  KvFormats kv;
};

/// The weights of a block, as its products read them; not owned.
struct BlockWeights {
  std::array<const float*, kBlockMatrices> tiles{};       // of W [rows][inputs]
  std::array<const float*, kBlockMatrices> transposed{};  // of Wᵀ; for gradients only
  const float* qkv_bias = nullptr;                        // [qkv_width] or null
  std::array<const float*, 2> gains{};                    // [hidden] of the norms before attention and feed-forward
};

/// Where gradients are added up; null matrices are left out.
struct BlockGradients {
  std::array<float*, kBlockMatrices> matrices{};  // [rows][inputs]
  std::array<float*, 2> gains{};                  // [hidden]
};

/// Buffers for one window, and what doesn't change from window to window.
class Block {
 public:
  /// @param rope as many positions as a window has tokens.
  Block(const BlockShape& shape, const RopeTable& rope, const BlockRotations& rotations, size_t threads);

  /// out [tokens][hidden] for x [tokens][hidden]; in place allowed unless `backward` follows.
  void forward(const Crew& crew, const BlockWeights& weights, const BlockRounding& rounding, const float* x,
               float* out) noexcept;
  /// After `forward` of the same: adds the gradients for those of its outputs, d_out [tokens][hidden].
  void backward(const Crew& crew, const BlockWeights& weights, const float* x, const float* d_out,
                const BlockGradients& gradients) noexcept;

  const BlockShape& shape() const noexcept { return shape_; }

 private:
  struct Scratch {  // of a thread
    Floats rows, tiles, scores, transposed, row;
    std::vector<A8Block> codes;
  };

  void round(const BlockRounding& rounding, BlockMatrix matrix, float* row, Scratch& scratch) const noexcept;
  void norm(const Crew& crew, const BlockRounding& rounding, BlockMatrix reader, const float* x, const float* gain,
            Floats& out) noexcept;
  void place_keys(const BlockRounding& rounding, size_t token) noexcept;
  struct HeadColumns {  // in a row of qkv_
    size_t query, key, value;
  };
  HeadColumns columns(size_t head) const noexcept {
    const size_t kv_head = head / (shape_.heads / shape_.kv_heads);
    return {head * shape_.head_dim, (shape_.heads + kv_head) * shape_.head_dim,
            (shape_.heads + shape_.kv_heads + kv_head) * shape_.head_dim};
  }
  void multiply_heads(const float* a, size_t a_stride, const float* b, size_t b_stride, float* y,
                      Scratch& scratch) const noexcept;
  void mix_tokens(const float* m, const float* x, size_t x_stride, float* y, size_t y_stride,
                  Scratch& scratch) const noexcept;
  void attend(size_t head, Scratch& scratch) noexcept;
  void attend_backward(size_t head, Scratch& scratch) noexcept;
  void collect_keys(size_t token) noexcept;
  void gate(const BlockRounding& rounding, size_t token, Scratch& scratch) noexcept;
  void gate_backward(size_t token, Scratch& scratch) noexcept;
  /// Σ over the tokens of d·inputᵀ, added to `gradient`.
  void weigh(const Crew& crew, BlockMatrix matrix, const float* d, const Floats& input, float* gradient) noexcept;
  /// d_x += what the norm's output gradient `d` says, if d_x; gains' gradients always.
  void norm_backward(const Crew& crew, const float* x, const float* gain, const Floats& d, float* d_x,
                     float* d_gain) noexcept;
  float inverse_rms(const float* x) const noexcept;

  const KernelTable& kernels_;
  BlockShape shape_;
  const RopeTable& rope_;
  const BlockRotations& rotations_;
  std::vector<float> negative_sin_;  // [tokens][pairs]
  size_t padded_dim_;                // of a head, to a multiple of 32
  std::vector<Scratch> scratch_;
  std::vector<float> inverse_rms_;    // [tokens] of the norm whose gradients are computed
  Floats normed_[2];                  // what qkv and gateUp read
  Floats qkv_, shares_;               // [tokens][qkv_width]; [heads][tokens][tokens]
  Floats attended_, middle_;          // what the output matrix reads; the stream behind it
  Floats gate_up_, sigmoid_, gated_;  // [tokens][2·ffn]; [tokens][ffn]; what `down` reads
  Floats d_wide_, d_input_, d_middle_, d_keys_, d_values_;
  Floats transposed_, input_tiles_;
};

}  // namespace nibble
