#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace nibble {

/// The largest code of activations whose sums fit a byte: `quantize_a8` then makes |q| ≤ 126 and Σ|q| ≤ 254 in a quad.
inline constexpr int32_t kTableLevels = 126;

/// All sums that a strip of 32 quantized inputs of one token can add to a product with one bit plane. A quad (four
/// inputs, weight_format.h) has 16: that of index i, whose bits say which of the four are taken, is
///   entry[h][b][i] = 128 + Σ_(s in i) q_s − ⌊Σ_s q_s / 2⌋,   in [1, 255] since Σ|q| ≤ 254.
/// They are symmetric about the middle (entry[i] + entry[15 − i] is 256, or 257 where Σ q is odd), so that eight are
/// computed. Then Σ_k code_k · q_k over a group is Σ_p 2^p · Σ_quads entry[bits of plane p] + (2^b − 1) · offset.
struct alignas(64) A8Table {
  uint8_t entry[2][4][16];
  float d, s;      // of the group, as in A8Block (a8.h)
  int32_t offset;  // in the first strip of a group: Σ_quads of the group (⌊Σ q / 2⌋ − 128)
  uint8_t padding[52];
};
static_assert(sizeof(A8Table) == 192 && std::is_trivially_copyable_v<A8Table>);

}  // namespace nibble
