#pragma once
// The shape of a model, mirrored from ArchitectureSpec and RopeSpec of src/native/contract.ts. Every value comes from
// a model file: the addon checks ranges before one of these is filled.
#include <cstddef>
#include <cstdint>

namespace nibble {

enum class RopeScaling : uint8_t { none, linear, llama3, yarn };

struct RopeSpec {
  bool interleaved = true;  // pairs (2i, 2i+1); otherwise (i, i + dimensions/2)
  size_t dimensions = 0;    // rotated dimensions of a head, even
  double base = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;            // linear, llama3, yarn: how much longer the context became
  double low_freq_factor = 1;   // llama3
  double high_freq_factor = 4;  // llama3
  double original_context = 0;  // llama3, yarn: tokens
  double beta_fast = 32;        // yarn: rotations over the original context above which a frequency stays
  double beta_slow = 1;         // yarn: … below which it is divided by factor
  double attention_factor = 1;  // yarn: of cos and sin, beside YaRN's own 1 + 0.1·ln(factor)
};

struct ArchitectureSpec {
  size_t layers = 0;
  size_t hidden = 0;
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  size_t ffn = 0;
  size_t vocab = 0;
  size_t context_length = 0;
  float rms_eps = 1e-5f;
  bool qkv_bias = false;
  bool qk_norm = false;
  RopeSpec rope;
};

}  // namespace nibble
