#pragma once
// See generic/pairs_256.h.
#include "../generic/pairs_256.h"

NIBBLE_INLINE Sums add_pairs(Sums sums, Pairs a, Pairs b) noexcept {
  return __builtin_bit_cast(Sums, _mm256_dpwssd_avx_epi32(__builtin_bit_cast(__m256i, sums), a, b));
}
constexpr size_t decode_pair_vectors_for(size_t columns) noexcept {
  return decode_vectors_for(columns);
}
