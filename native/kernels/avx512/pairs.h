#pragma once
// Pairs of 16-bit integers, sixteen lanes of two.

using Pairs = __m512i;
/// Not __m512i: the compiler would convert sums of that type in memory.
using Sums = int32_t __attribute__((vector_size(64)));

/// Each lane's two products added to its sum.
NIBBLE_INLINE Sums add_pairs(Sums sums, Pairs a, Pairs b) noexcept {
  return __builtin_bit_cast(Sums, _mm512_dpwssd_epi32(__builtin_bit_cast(__m512i, sums), a, b));
}
NIBBLE_INLINE Sums sums_zero() noexcept {
  return Sums{};
}
/// Sums as f32.
NIBBLE_INLINE void sums_store(float* p, Sums x) noexcept {
  _mm512_storeu_ps(p, _mm512_cvtepi32_ps(__builtin_bit_cast(__m512i, x)));
}
NIBBLE_INLINE Pairs pairs_set1(int32_t both) noexcept {
  return _mm512_set1_epi32(both);
}
NIBBLE_INLINE Pairs pairs_load(const int16_t* p) noexcept {
  return _mm512_loadu_si512(p);
}
NIBBLE_INLINE void pairs_store(int16_t* p, Pairs x) noexcept {
  _mm512_storeu_si512(p, x);
}
/// Bytes, and their low and high halves.
NIBBLE_INLINE Pairs pairs_u8(const uint8_t* p) noexcept {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
NIBBLE_INLINE Pairs pairs_low(const uint8_t* p) noexcept {
  return _mm512_and_si512(pairs_u8(p), _mm512_set1_epi16(15));
}
NIBBLE_INLINE Pairs pairs_high(const uint8_t* p) noexcept {
  return _mm512_srli_epi16(pairs_u8(p), 4);
}
/// Vectors of integer sums that a decode's attention keeps for so many columns.
constexpr size_t decode_pair_vectors_for(size_t columns) noexcept {
  return decode_vectors_for(columns);
}
