#pragma once
// Sixteen lanes in two AVX2 registers. Included by table.cpp inside this level's anonymous namespace; the same names
// with the same meaning exist on every level, and generic/*.h is written over them.

struct F32x16 {
  __m256 a;  // lanes 0 … 7
  __m256 b;  // lanes 8 … 15
};
struct I32x16 {
  __m256i a;
  __m256i b;
};

#define NIBBLE_INLINE inline __attribute__((always_inline))

/// 1 vector × 6 columns are 12 of the 16 registers. One or two columns take more vectors, so that eight sums are in
/// flight; 2 vectors × 3 columns would too, but then the compiler spills and halves the rate.
constexpr size_t kColumnsMax = 6;
constexpr size_t vectors_for(size_t columns) noexcept {
  return columns == 1 ? 4 : columns == 2 ? 2 : 1;
}

/// All ones in lanes < count.
NIBBLE_INLINE I32x16 first_lanes(size_t count) noexcept {
  const __m256i limit = _mm256_set1_epi32(static_cast<int>(count));
  return {_mm256_cmpgt_epi32(limit, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
          _mm256_cmpgt_epi32(limit, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
}

NIBBLE_INLINE F32x16 load(const float* p) noexcept {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
NIBBLE_INLINE void store(float* p, F32x16 x) noexcept {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
/// Lanes ≥ count are +0 and aren't read; 1 ≤ count ≤ 16.
NIBBLE_INLINE F32x16 load_partial(const float* p, size_t count) noexcept {
  const I32x16 mask = first_lanes(count);
  return {_mm256_maskload_ps(p, mask.a), count > 8 ? _mm256_maskload_ps(p + 8, mask.b) : _mm256_setzero_ps()};
}
NIBBLE_INLINE void store_partial(float* p, F32x16 x, size_t count) noexcept {
  const I32x16 mask = first_lanes(count);
  _mm256_maskstore_ps(p, mask.a, x.a);
  if (count > 8) _mm256_maskstore_ps(p + 8, mask.b, x.b);
}
NIBBLE_INLINE F32x16 set1(float x) noexcept {
  const __m256 v = _mm256_set1_ps(x);
  return {v, v};
}
NIBBLE_INLINE F32x16 zero() noexcept {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}

NIBBLE_INLINE F32x16 add(F32x16 x, F32x16 y) noexcept {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
NIBBLE_INLINE F32x16 sub(F32x16 x, F32x16 y) noexcept {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
NIBBLE_INLINE F32x16 mul(F32x16 x, F32x16 y) noexcept {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
NIBBLE_INLINE F32x16 div(F32x16 x, F32x16 y) noexcept {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
NIBBLE_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) noexcept {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
/// x > y ? x : y and x < y ? x : y: what the x86 instructions do, NaN and ±0 included.
NIBBLE_INLINE F32x16 max(F32x16 x, F32x16 y) noexcept {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
NIBBLE_INLINE F32x16 min(F32x16 x, F32x16 y) noexcept {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
/// Lanes < count of x, the others of y.
NIBBLE_INLINE F32x16 keep_first(F32x16 x, F32x16 y, size_t count) noexcept {
  const I32x16 mask = first_lanes(count);
  return {_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(mask.a)),
          _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(mask.b))};
}

NIBBLE_INLINE I32x16 bits(F32x16 x) noexcept {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
NIBBLE_INLINE F32x16 from_bits(I32x16 x) noexcept {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
NIBBLE_INLINE I32x16 set1_i32(int32_t x) noexcept {
  const __m256i v = _mm256_set1_epi32(x);
  return {v, v};
}
NIBBLE_INLINE I32x16 load_i32(const void* p) noexcept {
  const auto* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
/// Bytes, zero-extended.
NIBBLE_INLINE I32x16 load_u8(const uint8_t* p) noexcept {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))};
}
NIBBLE_INLINE I32x16 add(I32x16 x, I32x16 y) noexcept {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
NIBBLE_INLINE I32x16 sub(I32x16 x, I32x16 y) noexcept {
  return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
NIBBLE_INLINE I32x16 mul(I32x16 x, I32x16 y) noexcept {  // modulo 2^32
  return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
NIBBLE_INLINE I32x16 bit_and(I32x16 x, I32x16 y) noexcept {
  return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
NIBBLE_INLINE I32x16 bit_xor(I32x16 x, I32x16 y) noexcept {
  return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)};
}
NIBBLE_INLINE I32x16 max(I32x16 x, I32x16 y) noexcept {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_left(I32x16 x) noexcept {
  return {_mm256_slli_epi32(x.a, Count), _mm256_slli_epi32(x.b, Count)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right(I32x16 x) noexcept {  // logical
  return {_mm256_srli_epi32(x.a, Count), _mm256_srli_epi32(x.b, Count)};
}
template <int Count>
NIBBLE_INLINE I32x16 shift_right_signed(I32x16 x) noexcept {
  return {_mm256_srai_epi32(x.a, Count), _mm256_srai_epi32(x.b, Count)};
}
NIBBLE_INLINE F32x16 to_f32(I32x16 x) noexcept {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
/// Nearest, ties to even.
NIBBLE_INLINE I32x16 round_i32(F32x16 x) noexcept {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
/// Values in [-128, 127].
NIBBLE_INLINE void store_i8(int8_t* p, I32x16 x) noexcept {
  // packs interleaves 128-bit halves: 0-3 8-11 4-7 12-15, put in order by the 64-bit permutation 0 2 1 3.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  const __m128i low = _mm256_castsi256_si128(words);
  const __m128i high = _mm256_extracti128_si256(words, 1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(low, high));
}

/// Values in [-32768, 32767].
NIBBLE_INLINE void store_i16(int16_t* p, I32x16 x) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8));
}

NIBBLE_INLINE F32x16 load_f16(const uint16_t* p) noexcept {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
NIBBLE_INLINE void store_f16(uint16_t* p, F32x16 x) noexcept {
  auto* q = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(q, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(q + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
NIBBLE_INLINE F32x16 load_bf16(const uint16_t* p) noexcept {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1)), 16))};
}

/// p · 2^n for p in [0.5, 2] and integer n in [-160, 160]: the first product is exact, so it is rounded once.
NIBBLE_INLINE F32x16 scale_by_power(F32x16 p, F32x16 n) noexcept {
  const I32x16 whole = round_i32(n);
  const I32x16 first = shift_right_signed<1>(whole);
  const I32x16 bias = set1_i32(127);
  const F32x16 low = from_bits(shift_left<23>(add(first, bias)));
  const F32x16 high = from_bits(shift_left<23>(add(sub(whole, first), bias)));
  return mul(mul(p, low), high);
}

/// (a0 b0 a1 b1 …, … a15 b15) → (a0 … a15), (b0 … b15), and back.
NIBBLE_INLINE void deinterleave(F32x16 low, F32x16 high, F32x16& even, F32x16& odd) noexcept {
  // shuffle takes lanes 0 2 (or 1 3) of both operands per 128-bit half: pairs come out in the order 0 2 1 3.
  const auto order = [](__m256 v) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8)); };
  even = {order(_mm256_shuffle_ps(low.a, low.b, 0x88)), order(_mm256_shuffle_ps(high.a, high.b, 0x88))};
  odd = {order(_mm256_shuffle_ps(low.a, low.b, 0xdd)), order(_mm256_shuffle_ps(high.a, high.b, 0xdd))};
}
NIBBLE_INLINE void interleave(F32x16 even, F32x16 odd, F32x16& low, F32x16& high) noexcept {
  const __m256 al = _mm256_unpacklo_ps(even.a, odd.a);  // pairs 0 1 | 4 5
  const __m256 ah = _mm256_unpackhi_ps(even.a, odd.a);  // pairs 2 3 | 6 7
  const __m256 bl = _mm256_unpacklo_ps(even.b, odd.b);
  const __m256 bh = _mm256_unpackhi_ps(even.b, odd.b);
  low = {_mm256_permute2f128_ps(al, ah, 0x20), _mm256_permute2f128_ps(al, ah, 0x31)};
  high = {_mm256_permute2f128_ps(bl, bh, 0x20), _mm256_permute2f128_ps(bl, bh, 0x31)};
}

/// Lanes combine l with l + 8, l + 4, l + 2, l + 1.
NIBBLE_INLINE float fold_sum(F32x16 x) noexcept {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
NIBBLE_INLINE float fold_max(F32x16 x) noexcept {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Of x ≥ 0: the largest sum of four lanes that stand four apart, (0 + 8) + (4 + 12) and so on.
NIBBLE_INLINE float largest_quad(F32x16 x) noexcept {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Integers: any order gives the same.
NIBBLE_INLINE int32_t fold_sum(I32x16 x) noexcept {
  const __m256i eight = _mm256_add_epi32(x.a, x.b);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
NIBBLE_INLINE int32_t fold_max(I32x16 x) noexcept {
  const __m256i eight = _mm256_max_epi32(x.a, x.b);
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

/// Half of sixteen lanes, one register: twelve sums, three factors and one part are all 16 registers. See
/// generic/part.h.
using Part = __m256;
constexpr size_t kParts = 2;
/// Vectors of sums that a decode's attention keeps for so many columns.
constexpr size_t decode_vectors_for(size_t columns) noexcept {
  return columns == 1 ? 4 : columns <= 3 ? 2 : 1;
}

NIBBLE_INLINE Part part_zero() noexcept {
  return _mm256_setzero_ps();
}
NIBBLE_INLINE Part part_set1(float x) noexcept {
  return _mm256_set1_ps(x);
}
NIBBLE_INLINE Part part_fma(Part x, Part y, Part z) noexcept {
  return _mm256_fmadd_ps(x, y, z);
}
NIBBLE_INLINE void part_store(float* p, Part x) noexcept {
  _mm256_storeu_ps(p, x);
}
NIBBLE_INLINE Part part_load(const float* p) noexcept {
  return _mm256_loadu_ps(p);
}
NIBBLE_INLINE Part part_f16(const uint8_t* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
