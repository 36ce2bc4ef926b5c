#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nibble {

/// 32 consecutive inputs of one token, quantized: x ≈ d · q. One cache line, so that a kernel needs a single base
/// pointer per token. A row of K inputs is K/32 blocks; groups of 32, 64 or 128 inputs share a scale.
///   amax = max|x| of the group; d = amax/L; q = RNE(x · (L/amax)); amax < 2^-100 gives q = 0, d = 0. L is 127 for a8
///   and 7 for a4. A group with NaN or infinity: q = 0, d = NaN, so that every output becomes NaN.
/// Groups of 64 and 128: all blocks carry the group's d; s and n16[0] in the first block are those of the whole group.
/// Nothing else but q is set.
struct alignas(64) A8Block {
  int8_t q[32];
  float d;
  float s;         // d · f32(Σ q of the group)   offset term
  float s16[2];    // d · f32(Σ of each half)     offset term of groups of 16
  int32_t n16[2];  // −128 · Σ of each half: what w + 128 adds on VNNI, whose weights are unsigned
  uint8_t padding[8];
};
static_assert(sizeof(A8Block) == 64 && std::is_trivially_copyable_v<A8Block>);

}  // namespace nibble
