#pragma once
// See generic/pairs_256.h.
#include "../generic/pairs_256.h"

NIBBLE_INLINE Sums add_pairs(Sums sums, Pairs a, Pairs b) noexcept {
  return sums + __builtin_bit_cast(Sums, _mm256_madd_epi16(a, b));
}
/// Vectors of integer sums that a decode's attention keeps for so many columns. An addition takes one cycle, so a few
/// chains of them suffice; the product needs a register.
constexpr size_t decode_pair_vectors_for(size_t columns) noexcept {
  return columns == 1 ? 4 : columns == 2 ? 2 : 1;
}
