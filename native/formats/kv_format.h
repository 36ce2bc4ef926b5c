#pragma once
#include <cstddef>
#include <cstdint>

namespace nibble {

inline constexpr size_t kKvBlockTokens = 16;

/// How one side (keys or values) of the KV cache is stored. The part of a block that belongs to one layer and KV head:
///   f16  keys [head_dim][16 tokens], values [16 tokens][head_dim]
///   q8   scale f16 [16 tokens], minimum f16 [16 tokens], then codes of a byte: keys [head_dim/2][16 tokens][2], values
///        [8][head_dim][2]: pairs of dimensions, or of tokens
///   q4   the same header, then two codes a byte, low half first: keys [head_dim/4][16 tokens][2], byte i holding
///        dimensions 4g + i and 4g + 2 + i; values [8][⌈head_dim/32⌉ · 16][2], byte 16g + i of a token holding
///        dimensions 32g + i and 32g + 16 + i
/// x ≈ minimum + scale · code. Kernels multiply codes with integers of 16 bits, two of which share a lane. Arithmetic:
/// docs/arithmetic.md, "KV formats".
enum class KvFormat : uint8_t { f16, q8, q4 };
inline constexpr size_t kKvFormatCount = 3;

/// Scales and minima of 16 tokens.
inline constexpr size_t kKvHeaderBytes = 2 * kKvBlockTokens * sizeof(uint16_t);

constexpr size_t kv_codes_at(KvFormat format) noexcept {
  return format == KvFormat::f16 ? 0 : kKvHeaderBytes;
}
/// Bytes of one token's values (codes alone), every other byte of a pair of tokens below 16 bits.
constexpr size_t kv_value_row_bytes(KvFormat format, size_t head_dim) noexcept {
  switch (format) {
    case KvFormat::f16:
      return head_dim * sizeof(uint16_t);
    case KvFormat::q8:
      return head_dim;
    case KvFormat::q4:
      return (head_dim + 31) / 32 * 16;
  }
  return 0;
}
constexpr size_t kv_key_bytes(KvFormat format, size_t head_dim) noexcept {
  const size_t codes = head_dim * kKvBlockTokens;
  switch (format) {
    case KvFormat::f16:
      return codes * sizeof(uint16_t);
    case KvFormat::q8:
      return kKvHeaderBytes + codes;
    case KvFormat::q4:
      return kKvHeaderBytes + codes / 2;
  }
  return 0;
}
constexpr size_t kv_value_bytes(KvFormat format, size_t head_dim) noexcept {
  return kv_codes_at(format) + kKvBlockTokens * kv_value_row_bytes(format, head_dim);
}
/// Where the code of a key's dimension is, in q4 with that of d + 2 or d − 2; not of f16.
constexpr size_t kv_key_byte(KvFormat format, size_t d, size_t token) noexcept {
  const size_t pair = format == KvFormat::q8 ? d / 2 : d / 4;
  return kKvHeaderBytes + (pair * kKvBlockTokens + token) * 2 + d % 2;
}
/// Where byte `i` of a token's values is; not of f16.
constexpr size_t kv_value_byte(KvFormat format, size_t head_dim, size_t i, size_t token) noexcept {
  return kKvHeaderBytes + (token / 2 * kv_value_row_bytes(format, head_dim) + i) * 2 + token % 2;
}
/// Largest code.
constexpr float kv_levels(KvFormat format) noexcept {
  return format == KvFormat::q8 ? 255.0f : 15.0f;
}
/// What meets the codes, queries and softmax weights, has this many steps on either side of 0: 256 products of codes of
/// 255 stay below 2^31.
inline constexpr float kKvLevels16 = 32767.0f;
/// Keys and queries, or values and outputs, are rotated (Hadamard) before 4 bits only.
constexpr bool kv_rotates(KvFormat format) noexcept {
  return format == KvFormat::q4;
}

/// Blocks of neighbouring ids whose keys of one layer and KV head lie side by side, then their values: memory gives
/// long runs faster than scattered ones. As many as a split of attention has.
inline constexpr size_t kKvGroupBlocks = 16;

/// Where a pool has the keys and values of one layer and KV head.
struct KvView {
  const uint8_t* keys;    // of block 0
  const uint8_t* values;  // of block 0
  size_t key_bytes;       // of a block
  size_t value_bytes;
  size_t group_bytes;  // distance of two groups
};
inline size_t kv_offset(size_t part_bytes, size_t group_bytes, int32_t id) noexcept {
  const auto block = static_cast<size_t>(id);
  return block / kKvGroupBlocks * group_bytes + block % kKvGroupBlocks * part_bytes;
}

struct KvFormats {
  KvFormat keys = KvFormat::f16;
  KvFormat values = KvFormat::f16;
};

}  // namespace nibble
