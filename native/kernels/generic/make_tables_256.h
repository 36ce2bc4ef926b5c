#pragma once
// Tables of quantized activations, in 256-bit vectors; definition: reference/elementwise.cpp. Included inside the
// anonymous namespace of x86 levels.
//
// Idea: an entry is 128 − ⌊Σ/2⌋ plus the inputs of its index, all modulo 256. `vpshufb` lays an input of a quad on the
// eight indices that have its bit and zero on the others, for two quads at a time; so a quad takes four shuffles.

/// Byte i of half `lane` for bit s and the quads b, b + 1: where input 4s + b + lane stands, or none.
struct TablePatterns {
  alignas(32) uint8_t input[4][2][32];  // [s][b / 2]
  constexpr TablePatterns() : input{} {
    for (size_t s = 0; s < 4; ++s) {
      for (size_t b = 0; b < 4; ++b) {
        for (size_t i = 0; i < 16; ++i) {
          input[s][b / 2][b % 2 * 16 + i] = static_cast<uint8_t>((i >> s & 1) != 0 ? 4 * s + b : 0x80);
        }
      }
    }
  }
};
constexpr TablePatterns kTablePatterns;

/// Half a strip: 16 inputs → 4 tables; returns the sum of the four ⌊Σ/2⌋ − 128.
NIBBLE_INLINE int32_t make_half_table(const int8_t* q, uint8_t* out) noexcept {
  const __m128i inputs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(q));
  const __m256i wide = _mm256_cvtepi8_epi16(inputs);
  const __m128i pairs = _mm_add_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  const __m128i sums = _mm_add_epi16(pairs, _mm_unpackhi_epi64(pairs, pairs));  // of quads 0 … 3
  const __m128i base = _mm_sub_epi16(_mm_set1_epi16(128), _mm_srai_epi16(sums, 1));
  const __m256i bases = _mm256_broadcastsi128_si256(base);
  const __m256i twice = _mm256_broadcastsi128_si256(inputs);
  for (size_t pair = 0; pair < 2; ++pair) {  // byte 2b of a base is quad b's
    const __m256i order =
        _mm256_set_m128i(_mm_set1_epi8(static_cast<char>(4 * pair + 2)), _mm_set1_epi8(static_cast<char>(4 * pair)));
    __m256i entries = _mm256_shuffle_epi8(bases, order);
    for (size_t s = 0; s < 4; ++s) {
      const __m256i pattern = _mm256_load_si256(reinterpret_cast<const __m256i*>(kTablePatterns.input[s][pair]));
      entries = _mm256_add_epi8(entries, _mm256_shuffle_epi8(twice, pattern));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32 * pair), entries);
  }
  const __m128i four = _mm_madd_epi16(base, _mm_set_epi16(0, 0, 0, 0, -1, -1, -1, -1));
  return _mm_cvtsi128_si32(four) + _mm_extract_epi32(four, 1);
}

void make_tables(const A8Block* x, size_t n, size_t group, A8Table* out) noexcept {
  const size_t strips = group / kTileInputs;
  for (size_t first = 0; first < n / kTileInputs; first += strips) {
    int32_t offset = 0;
    for (size_t i = first; i < first + strips; ++i) {
      for (size_t h = 0; h < 2; ++h) offset += make_half_table(x[i].q + 16 * h, out[i].entry[h][0]);
      out[i].d = x[first].d;
      out[i].s = x[first].s;
      out[i].offset = 0;
      __builtin_memset(out[i].padding, 0, sizeof(out[i].padding));
    }
    out[first].offset = offset;
  }
}
