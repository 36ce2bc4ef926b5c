#pragma once
// Pairs of 16-bit integers in AVX2 registers: eight lanes of two, half of sixteen, as Part is. Included by a level's
// pairs.h, which adds `add_pairs(sums, a, b)`: each lane's two products added to its sum.

using Pairs = __m256i;
/// Not __m256i: the compiler would convert sums of that type in memory.
using Sums = int32_t __attribute__((vector_size(32)));

NIBBLE_INLINE Sums sums_zero() noexcept {
  return Sums{};
}
/// Sums as f32.
NIBBLE_INLINE void sums_store(float* p, Sums x) noexcept {
  _mm256_storeu_ps(p, _mm256_cvtepi32_ps(__builtin_bit_cast(__m256i, x)));
}
NIBBLE_INLINE Pairs pairs_set1(int32_t both) noexcept {
  return _mm256_set1_epi32(both);
}
NIBBLE_INLINE Pairs pairs_load(const int16_t* p) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
NIBBLE_INLINE void pairs_store(int16_t* p, Pairs x) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x);
}
/// Bytes, and their low and high halves.
NIBBLE_INLINE Pairs pairs_u8(const uint8_t* p) noexcept {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
NIBBLE_INLINE Pairs pairs_low(const uint8_t* p) noexcept {
  return _mm256_and_si256(pairs_u8(p), _mm256_set1_epi16(15));
}
NIBBLE_INLINE Pairs pairs_high(const uint8_t* p) noexcept {
  return _mm256_srli_epi16(pairs_u8(p), 4);
}
