#pragma once
// AVX-VNNI: see generic/linear_a8_256.h.
inline __m256i dpbusd(__m256i sum, __m256i w, __m256i x) {
  return _mm256_dpbusd_avx_epi32(sum, w, x);
}
#define NIBBLE_LEVEL_VNNI 1
#include "../generic/linear_a8_256.h"
#include "../generic/linear_a8_groups_256.h"
#undef NIBBLE_LEVEL_VNNI
