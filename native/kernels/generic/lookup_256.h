#pragma once
// Products with bit planes by looking sums up (../../formats/a8_table.h), in 256-bit vectors. Included inside the
// anonymous namespace of x86 levels.
//
// Idea: `vpshufb` answers 32 questions at once: what 4 inputs of a row add to one bit plane. A 16-byte half has one
// table, so its bytes are rows (or both planes of 8 rows) of one quad. Entries are unsigned bytes:
//   two planes p, p+1: `vpmaddubsw` by 2^p, 2^(p+1) adds them into 16 bits of their row;
//   the last of an odd number: 16-bit sums of whole words, and of their high bytes apart, give even and odd rows.
// No sum exceeds 16 bits: at most 16 quads · 15 · 255, or 32 · 7 · 255. So an index costs 1.5 instructions to unpack, 1
// to look up and 2 (alone: 3) to add, for 128 one-bit products; multiplying two bits takes 3.75 for 32 of them.

/// Planes are asked for this long before their use.
constexpr size_t kLookupAhead = 4096;

inline __attribute__((always_inline)) __m256i broadcast16(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __attribute__((always_inline)) __m256i load32(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

/// C columns of one row tile.
template <WeightFormat F, int C>
inline __attribute__((always_inline)) void lookup_columns_256(const LinearTask& task, const uint8_t* tile, size_t n,
                                                              size_t column) {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  constexpr int kBits = kInfo.bits;
  constexpr bool kSingle = kBits % 2 == 1;
  const __m256i low_bits = _mm256_set1_epi8(15);
  const auto* x = static_cast<const A8Table*>(task.x) + column * task.x_stride;
  __m256 acc[2][C];
  for (int c = 0; c < C; ++c) acc[0][c] = acc[1][c] = _mm256_setzero_ps();

  for (size_t g = 0; g < task.groups; g += kInfo.strips(), tile += kInfo.tile_bytes(), x += kInfo.strips()) {
    __m256i sum[C], words[C], highs[C];
    for (int c = 0; c < C; ++c) sum[c] = words[c] = highs[c] = _mm256_setzero_si256();
    for (size_t strip = 0; strip < kInfo.strips(); ++strip) {
      const uint8_t* codes = tile + kInfo.header_bytes() + strip * kInfo.strip_bytes();
      for (size_t i = 0; i < kInfo.strip_bytes(); i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(codes + kLookupAhead + i), _MM_HINT_T0);
      for (int p = 0; p + 2 <= kBits; p += 2) {
        const __m256i weights = _mm256_set1_epi16(static_cast<int16_t>((2 << p) << 8 | 1 << p));
#pragma GCC unroll 4
        for (size_t b = 0; b < 4; ++b) {
          const __m256i both = load32(codes + static_cast<size_t>(p) * 64 + b * 32);
          const __m256i low = _mm256_and_si256(both, low_bits);
          const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_bits);
          for (int c = 0; c < C; ++c) {
            const A8Table& table = x[static_cast<size_t>(c) * task.x_stride + strip];
            const __m256i first = _mm256_shuffle_epi8(broadcast16(table.entry[0][b]), low);
            const __m256i second = _mm256_shuffle_epi8(broadcast16(table.entry[1][b]), high);
            sum[c] = _mm256_add_epi16(sum[c], _mm256_maddubs_epi16(first, weights));
            sum[c] = _mm256_add_epi16(sum[c], _mm256_maddubs_epi16(second, weights));
          }
        }
      }
      for (size_t b = 0; kSingle && b < 4; b += 2) {  // halves of a vector: quads b and b + 1
        const __m256i both = load32(codes + (kBits - 1) * 64 + b * 16);
        const __m256i low = _mm256_and_si256(both, low_bits);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_bits);
        for (int c = 0; c < C; ++c) {
          const A8Table& table = x[static_cast<size_t>(c) * task.x_stride + strip];
          const __m256i first = _mm256_shuffle_epi8(load32(table.entry[0][b]), low);
          const __m256i second = _mm256_shuffle_epi8(load32(table.entry[1][b]), high);
          words[c] = _mm256_add_epi16(_mm256_add_epi16(words[c], first), second);
          highs[c] = _mm256_add_epi16(highs[c], _mm256_srli_epi16(first, 8));
          highs[c] = _mm256_add_epi16(highs[c], _mm256_srli_epi16(second, 8));
        }
      }
    }
    const auto* scales = reinterpret_cast<const __m128i*>(tile);
    for (int c = 0; c < C; ++c) {
      const A8Table& table = x[static_cast<size_t>(c) * task.x_stride];
      if constexpr (kSingle) {
        const __m256i evens = _mm256_sub_epi16(words[c], _mm256_slli_epi16(highs[c], 8));
        const __m128i even = _mm_add_epi16(_mm256_castsi256_si128(evens), _mm256_extracti128_si256(evens, 1));
        const __m128i odd = _mm_add_epi16(_mm256_castsi256_si128(highs[c]), _mm256_extracti128_si256(highs[c], 1));
        const __m256i rows = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
        sum[c] = _mm256_add_epi16(sum[c], _mm256_slli_epi16(rows, kBits - 1));
      }
      const __m256i offset = _mm256_set1_epi32(((1 << kBits) - 1) * table.offset);
      for (int i = 0; i < 2; ++i) {
        const __m128i half = i == 0 ? _mm256_castsi256_si128(sum[c]) : _mm256_extracti128_si256(sum[c], 1);
        const __m256 dot = _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_cvtepu16_epi32(half), offset));
        const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128(scales + i));
        __m256 minimum;
        if constexpr (kInfo.affine) {
          minimum = _mm256_cvtph_ps(_mm_loadu_si128(scales + 2 + i));
        } else {
          minimum = _mm256_mul_ps(scale, _mm256_set1_ps(-kInfo.middle()));
        }
        acc[i][c] = _mm256_fmadd_ps(dot, _mm256_mul_ps(scale, _mm256_set1_ps(table.d)), acc[i][c]);
        acc[i][c] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(table.s), acc[i][c]);
      }
    }
  }
  for (int c = 0; c < C; ++c) {
    for (int i = 0; i < 2; ++i) {
      const size_t row = kTileRows * n + 8 * static_cast<size_t>(i);
      float* y = task.y + (column + static_cast<size_t>(c)) * task.y_stride + row;
      __m256 v = acc[i][c];
      if (task.bias != nullptr) v = _mm256_add_ps(v, _mm256_loadu_ps(task.bias + row));
      if (task.accumulate) v = _mm256_add_ps(_mm256_loadu_ps(y), v);
      _mm256_storeu_ps(y, v);
    }
  }
}

template <WeightFormat F>
void lookup_256(const LinearTask& task) noexcept {
  count_call();
  const size_t bytes = row_tile_bytes(F, task.groups * kTileInputs);
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * bytes;
    size_t c = 0;
    for (; c + 2 <= task.columns; c += 2) lookup_columns_256<F, 2>(task, tile, n, c);
    if (c < task.columns) lookup_columns_256<F, 1>(task, tile, n, c);
  }
}
