#pragma once
// AVX-512 intrinsics that SIMDe 0.7 lacks, or rounds differently, from AVX2 halves. For emulated test builds only.

namespace nibble::simde_gaps {

struct Halves {
  __m256 low;
  __m256 high;
};
struct HalvesI {
  __m256i low;
  __m256i high;
};

template <class To, class From>
static inline __attribute__((always_inline)) To recast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

static inline __m512 maskz_loadu_ps(__mmask16 mask, const float* p) noexcept {
  float lane[16] = {};
  for (int i = 0; i < 16; ++i)
    if ((mask >> i) & 1) lane[i] = p[i];
  return recast<__m512>(lane);
}
static inline void mask_storeu_ps(float* p, __mmask16 mask, __m512 a) noexcept {
  float lane[16];
  __builtin_memcpy(lane, &a, sizeof(lane));
  for (int i = 0; i < 16; ++i)
    if ((mask >> i) & 1) p[i] = lane[i];
}
static inline __m512 cvtph_ps(__m256i a) noexcept {
  return recast<__m512>(
      Halves{_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))});
}
static inline __m256i cvtps_ph(__m512 a) noexcept {
  const Halves h = recast<Halves>(a);
  return _mm256_set_m128i(_mm256_cvtps_ph(h.high, _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(h.low, _MM_FROUND_TO_NEAREST_INT));
}
static inline __m512i cvtps_epi32(__m512 a) noexcept {
  const Halves h = recast<Halves>(a);
  return recast<__m512i>(HalvesI{_mm256_cvtps_epi32(h.low), _mm256_cvtps_epi32(h.high)});
}
static inline __m512 cvtepi32_ps(__m512i a) noexcept {
  const HalvesI h = recast<HalvesI>(a);
  return recast<__m512>(Halves{_mm256_cvtepi32_ps(h.low), _mm256_cvtepi32_ps(h.high)});
}
static inline __m512i cvtepu16_epi32(__m256i a) noexcept {
  return recast<__m512i>(
      HalvesI{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1))});
}
static inline __m512i cvtepu8_epi32(__m128i a) noexcept {
  return recast<__m512i>(HalvesI{_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8))});
}
static inline __m512i srai_epi32(__m512i a, int count) noexcept {
  const HalvesI h = recast<HalvesI>(a);
  return recast<__m512i>(HalvesI{_mm256_srai_epi32(h.low, count), _mm256_srai_epi32(h.high, count)});
}
static inline __m128i cvtepi32_epi8(__m512i a) noexcept {
  int32_t lane[16];
  int8_t low[16];
  __builtin_memcpy(lane, &a, sizeof(lane));
  for (int i = 0; i < 16; ++i) low[i] = static_cast<int8_t>(lane[i]);
  return recast<__m128i>(low);
}
/// (SIMDe's is right, but takes the compiler minutes.)
static inline __m512i dpwssd_epi32(__m512i sums, __m512i a, __m512i b) noexcept {
  const HalvesI s = recast<HalvesI>(sums);
  const HalvesI x = recast<HalvesI>(a);
  const HalvesI y = recast<HalvesI>(b);
  return recast<__m512i>(HalvesI{_mm256_add_epi32(s.low, _mm256_madd_epi16(x.low, y.low)),
                                 _mm256_add_epi32(s.high, _mm256_madd_epi16(x.high, y.high))});
}
static inline __m512i cvtepu8_epi16(__m256i a) noexcept {
  return recast<__m512i>(
      HalvesI{_mm256_cvtepu8_epi16(_mm256_castsi256_si128(a)), _mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1))});
}
static inline __m256i cvtepi32_epi16(__m512i a) noexcept {
  int32_t lane[16];
  int16_t low[16];
  __builtin_memcpy(lane, &a, sizeof(lane));
  for (int i = 0; i < 16; ++i) low[i] = static_cast<int16_t>(lane[i]);
  return recast<__m256i>(low);
}
/// For the arguments of scale_by_power only: normal a, |b| ≤ 160 an integer. SIMDe's flushes subnormals.
static inline __m512 scalef_ps(__m512 a, __m512 b) noexcept {
  const auto scale = [](__m256 p, __m256 n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i first = _mm256_srai_epi32(whole, 1);
    const auto power = [](__m256i e) {
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
    };
    return _mm256_mul_ps(_mm256_mul_ps(p, power(first)), power(_mm256_sub_epi32(whole, first)));
  };
  const Halves x = recast<Halves>(a);
  const Halves n = recast<Halves>(b);
  return recast<__m512>(Halves{scale(x.low, n.low), scale(x.high, n.high)});
}

}  // namespace nibble::simde_gaps

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_ph
#undef _mm512_cvtps_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepu8_epi32
#undef _mm512_srai_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_dpwssd_epi32
#undef _mm512_cvtepu8_epi16
#undef _mm512_cvtepi32_epi16
#undef _mm512_scalef_ps
#define _mm512_maskz_loadu_ps(mask, p) ::nibble::simde_gaps::maskz_loadu_ps(mask, p)
#define _mm512_mask_storeu_ps(p, mask, a) ::nibble::simde_gaps::mask_storeu_ps(p, mask, a)
#define _mm512_cvtph_ps(a) ::nibble::simde_gaps::cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) ::nibble::simde_gaps::cvtps_ph(a)
#define _mm512_cvtps_epi32(a) ::nibble::simde_gaps::cvtps_epi32(a)
#define _mm512_cvtepi32_ps(a) ::nibble::simde_gaps::cvtepi32_ps(a)
#define _mm512_cvtepu16_epi32(a) ::nibble::simde_gaps::cvtepu16_epi32(a)
#define _mm512_cvtepu8_epi32(a) ::nibble::simde_gaps::cvtepu8_epi32(a)
#define _mm512_srai_epi32(a, count) ::nibble::simde_gaps::srai_epi32(a, count)
#define _mm512_cvtepi32_epi8(a) ::nibble::simde_gaps::cvtepi32_epi8(a)
#define _mm512_dpwssd_epi32(sums, a, b) ::nibble::simde_gaps::dpwssd_epi32(sums, a, b)
#define _mm512_cvtepu8_epi16(a) ::nibble::simde_gaps::cvtepu8_epi16(a)
#define _mm512_cvtepi32_epi16(a) ::nibble::simde_gaps::cvtepi32_epi16(a)
#define _mm512_scalef_ps(a, b) ::nibble::simde_gaps::scalef_ps(a, b)
