#pragma once
// Sixteen lanes in one AVX-512 register. Included by table.cpp inside this level's anonymous namespace; the same names
// with the same meaning exist on every level, and generic/*.h is written over them.

struct F32x16 {
  __m512 v;
};
struct I32x16 {
  __m512i v;
};

#define NIBBLE_INLINE inline __attribute__((always_inline))

/// 4 vectors × 6 columns are 24 of the 32 registers, for 4 loads of weights and 6 broadcasts.
constexpr size_t kColumnsMax = 6;
constexpr size_t vectors_for(size_t) noexcept {
  return 4;
}

NIBBLE_INLINE __mmask16 first_lanes(size_t count) noexcept {
  return static_cast<__mmask16>((1u << count) - 1u);
}

NIBBLE_INLINE F32x16 load(const float* p) noexcept {
  return {_mm512_loadu_ps(p)};
}
NIBBLE_INLINE void store(float* p, F32x16 a) noexcept {
  _mm512_storeu_ps(p, a.v);
}
/// Lanes ≥ count are +0 and aren't read; 1 ≤ count ≤ 16.
NIBBLE_INLINE F32x16 load_partial(const float* p, size_t count) noexcept {
  return {_mm512_maskz_loadu_ps(first_lanes(count), p)};
}
NIBBLE_INLINE void store_partial(float* p, F32x16 a, size_t count) noexcept {
  _mm512_mask_storeu_ps(p, first_lanes(count), a.v);
}
NIBBLE_INLINE F32x16 set1(float x) noexcept {
  return {_mm512_set1_ps(x)};
}
NIBBLE_INLINE F32x16 zero() noexcept {
  return {_mm512_setzero_ps()};
}

NIBBLE_INLINE F32x16 add(F32x16 a, F32x16 b) noexcept {
  return {_mm512_add_ps(a.v, b.v)};
}
NIBBLE_INLINE F32x16 sub(F32x16 a, F32x16 b) noexcept {
  return {_mm512_sub_ps(a.v, b.v)};
}
NIBBLE_INLINE F32x16 mul(F32x16 a, F32x16 b) noexcept {
  return {_mm512_mul_ps(a.v, b.v)};
}
NIBBLE_INLINE F32x16 div(F32x16 a, F32x16 b) noexcept {
  return {_mm512_div_ps(a.v, b.v)};
}
NIBBLE_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) noexcept {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
/// a > b ? a : b and a < b ? a : b: what the x86 instructions do, NaN and ±0 included.
NIBBLE_INLINE F32x16 max(F32x16 a, F32x16 b) noexcept {
  return {_mm512_max_ps(a.v, b.v)};
}
NIBBLE_INLINE F32x16 min(F32x16 a, F32x16 b) noexcept {
  return {_mm512_min_ps(a.v, b.v)};
}
/// Lanes < count of a, the others of b.
NIBBLE_INLINE F32x16 keep_first(F32x16 a, F32x16 b, size_t count) noexcept {
  return {_mm512_mask_blend_ps(first_lanes(count), b.v, a.v)};
}

NIBBLE_INLINE I32x16 bits(F32x16 a) noexcept {
  return {_mm512_castps_si512(a.v)};
}
NIBBLE_INLINE F32x16 from_bits(I32x16 a) noexcept {
  return {_mm512_castsi512_ps(a.v)};
}
NIBBLE_INLINE I32x16 set1_i32(int32_t x) noexcept {
  return {_mm512_set1_epi32(x)};
}
NIBBLE_INLINE I32x16 load_i32(const void* p) noexcept {
  return {_mm512_loadu_si512(p)};
}
/// Bytes, zero-extended.
NIBBLE_INLINE I32x16 load_u8(const uint8_t* p) noexcept {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
NIBBLE_INLINE I32x16 add(I32x16 a, I32x16 b) noexcept {
  return {_mm512_add_epi32(a.v, b.v)};
}
NIBBLE_INLINE I32x16 sub(I32x16 a, I32x16 b) noexcept {
  return {_mm512_sub_epi32(a.v, b.v)};
}
NIBBLE_INLINE I32x16 mul(I32x16 a, I32x16 b) noexcept {  // modulo 2^32
  return {_mm512_mullo_epi32(a.v, b.v)};
}
NIBBLE_INLINE I32x16 bit_and(I32x16 a, I32x16 b) noexcept {
  return {_mm512_and_si512(a.v, b.v)};
}
NIBBLE_INLINE I32x16 bit_xor(I32x16 a, I32x16 b) noexcept {
  return {_mm512_xor_si512(a.v, b.v)};
}
NIBBLE_INLINE I32x16 max(I32x16 a, I32x16 b) noexcept {
  return {_mm512_max_epi32(a.v, b.v)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_left(I32x16 a) noexcept {
  return {_mm512_slli_epi32(a.v, Count)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right(I32x16 a) noexcept {  // logical
  return {_mm512_srli_epi32(a.v, Count)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right_signed(I32x16 a) noexcept {
  return {_mm512_srai_epi32(a.v, Count)};
}
NIBBLE_INLINE F32x16 to_f32(I32x16 a) noexcept {
  return {_mm512_cvtepi32_ps(a.v)};
}
/// Nearest, ties to even.
NIBBLE_INLINE I32x16 round_i32(F32x16 a) noexcept {
  return {_mm512_cvtps_epi32(a.v)};
}
/// Low bytes.
NIBBLE_INLINE void store_i8(int8_t* p, I32x16 a) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
/// Low halves.
NIBBLE_INLINE void store_i16(int16_t* p, I32x16 a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}

NIBBLE_INLINE F32x16 load_f16(const uint16_t* p) noexcept {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
NIBBLE_INLINE void store_f16(uint16_t* p, F32x16 a) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
NIBBLE_INLINE F32x16 load_bf16(const uint16_t* p) noexcept {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

/// p · 2^n for p in [0.5, 2] and integer n in [-160, 160], rounded once.
NIBBLE_INLINE F32x16 scale_by_power(F32x16 p, F32x16 n) noexcept {
  return {_mm512_scalef_ps(p.v, n.v)};
}

/// (a0 b0 a1 b1 …, … a15 b15) → (a0 … a15), (b0 … b15), and back.
NIBBLE_INLINE void deinterleave(F32x16 low, F32x16 high, F32x16& a, F32x16& b) noexcept {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  a.v = _mm512_permutex2var_ps(low.v, even, high.v);
  b.v = _mm512_permutex2var_ps(low.v, odd, high.v);
}
NIBBLE_INLINE void interleave(F32x16 a, F32x16 b, F32x16& low, F32x16& high) noexcept {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  low.v = _mm512_permutex2var_ps(a.v, first, b.v);
  high.v = _mm512_permutex2var_ps(a.v, second, b.v);
}

/// Lanes combine l with l + 8, l + 4, l + 2, l + 1.
NIBBLE_INLINE __m256 high_half(__m512 a) noexcept {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
NIBBLE_INLINE float fold_sum(F32x16 a) noexcept {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), high_half(a.v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
NIBBLE_INLINE float fold_max(F32x16 a) noexcept {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), high_half(a.v));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Of x ≥ 0: the largest sum of four lanes that stand four apart, (0 + 8) + (4 + 12) and so on.
NIBBLE_INLINE float largest_quad(F32x16 x) noexcept {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.v), high_half(x.v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Integers: any order gives the same.
NIBBLE_INLINE __m256i high_half(__m512i a) noexcept {
  return _mm512_extracti64x4_epi64(a, 1);
}
NIBBLE_INLINE int32_t fold_sum(I32x16 a) noexcept {
  const __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(a.v), high_half(a.v));
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
NIBBLE_INLINE int32_t fold_max(I32x16 a) noexcept {
  const __m256i eight = _mm256_max_epi32(_mm512_castsi512_si256(a.v), high_half(a.v));
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

#include "../generic/part.h"
constexpr size_t decode_vectors_for(size_t) noexcept {
  return 4;
}
