#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nibble {

/// 32 consecutive inputs of one token, quantized to int8: x ≈ d · q. One cache line, so that a kernel needs a single
/// base pointer per token. A row of K inputs is K/32 blocks.
///   amax = max|x|; d = amax/127; q = RNE(x · (127/amax)); amax < 2^-100 gives q = 0, d = 0.
///   A row with NaN or infinity: q = 0, d = NaN, so that every output becomes NaN.
struct alignas(64) A8Block {
  int8_t q[32];
  float d;
  float s;         // d · f32(Σ q[0…32))        offset term of groups of 32
  float s16[2];    // d · f32(Σ of each half)   offset term of groups of 16
  int32_t n16[2];  // −128 · Σ of each half: what w + 128 adds on VNNI, whose weights are unsigned
  uint8_t padding[8];
};
static_assert(sizeof(A8Block) == 64 && std::is_trivially_copyable_v<A8Block>);

}  // namespace nibble
