#pragma once
// Linear layers over int8 activations with AVX-512 VNNI. Included by table.cpp inside this level's anonymous namespace.
//
// Idea: a lane is an output row. One 64-byte load holds 4 consecutive inputs of 16 rows; `vpdpbusd` multiplies them by
// the same 4 activations, broadcast from memory. Weights are unpacked once per group and used for all C columns, whose
// f32 accumulators stay in registers. Codes stay unsigned: the offset of symmetric 4-bit codes is a minimum of −8·d,
// that of int8 codes (+128) enters the integer sum through A8Block::n16. The order of f32 additions is the reference's.

template <WeightFormat F>
struct A8Format {
  static constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  static constexpr size_t kGroups = kInfo.groups_per_strip();
  static constexpr bool kSigned = kInfo.bits == 8 && !kInfo.affine;
  static constexpr bool kCodebook = kInfo.codebook;
  static constexpr bool kMinimum = kInfo.affine || kInfo.bits == 4;

  /// 16 scales or minima: entry `index` of the tile's header (scales first).
  static __m512 header(const uint8_t* tile, size_t index) {
    if constexpr (kInfo.scale_bytes == 2) {
      return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile + 32 * index)));
    } else {
      return _mm512_loadu_ps(tile + 64 * index);
    }
  }
  static __m512 minimum(const uint8_t* tile, size_t group, __m512 scale) {
    if constexpr (kInfo.affine) return header(tile, kGroups + group);
    return _mm512_mul_ps(scale, _mm512_set1_ps(-8.0f));
  }

  /// What the sum of a group starts from: the 128 that was added to signed codes, or 32 to levels, taken away.
  static __m512i start(const A8Block& block, size_t group) {
    if constexpr (kCodebook) return _mm512_set1_epi32(block.n16[0] / (-128 / kLowestLevel));
    if constexpr (!kSigned) return _mm512_setzero_si512();
    return _mm512_set1_epi32(kGroups == 1 ? block.n16[0] + block.n16[1] : block.n16[group]);
  }

  /// The levels of 16 rows plus 32: four rows to each table of 16 bytes. For codebooks alone.
  static __m512i levels(const uint8_t* tile) {
    if constexpr (!kCodebook) return _mm512_setzero_si512();
    const __m512i stored = _mm512_loadu_si512(tile + kInfo.header_bytes() - kTileRows * kCodebookLevels);
    return _mm512_add_epi8(stored, _mm512_set1_epi8(-kLowestLevel));
  }

  /// Chunk j holds inputs 4j … 4j+3 of 16 rows, unsigned.
  static void unpack(const uint8_t* tile, __m512i (&w)[8]) {
    const uint8_t* codes = tile + kInfo.header_bytes();
    if constexpr (kInfo.bits == 4) {
      const __m512i mask = _mm512_set1_epi8(15);
      for (int j = 0; j < 4; ++j) {
        const __m512i both = _mm512_loadu_si512(codes + 64 * j);
        w[j] = _mm512_and_si512(both, mask);
        w[4 + j] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
      }
    } else {
      const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
      for (int j = 0; j < 8; ++j) {
        const __m512i code = _mm512_loadu_si512(codes + 64 * j);
        w[j] = kSigned ? _mm512_xor_si512(code, offset) : code;
      }
    }
  }
};

/// How far ahead of the multiplication weights are fetched into the L2 cache when they come from memory: the hardware
/// prefetcher stops at every 4 KiB (+6 % at 1 column on Zen 5; 1 to 16 KiB measure alike).
constexpr size_t kPrefetchAhead = 4096;

inline __m512i broadcast4(const int8_t* q) {
  int32_t value;
  __builtin_memcpy(&value, q, 4);
  return _mm512_set1_epi32(value);
}

/// Bias, residual, and the way into memory of R row tiles from `n` on.
template <int R, int C>
inline __attribute__((always_inline)) void store_tile(const LinearTask& task, size_t n, size_t column,
                                                      const __m512 (&acc)[R][C]) {
  for (int r = 0; r < R; ++r) {
    const size_t row = kTileRows * (n + r);
    for (int c = 0; c < C; ++c) {
      float* y = task.y + (column + c) * task.y_stride + row;
      __m512 v = acc[r][c];
      if (task.bias != nullptr) v = _mm512_add_ps(v, _mm512_loadu_ps(task.bias + row));
      if (task.accumulate) v = _mm512_add_ps(_mm512_loadu_ps(y), v);
      _mm512_storeu_ps(y, v);
    }
  }
}

/// C columns of R row tiles, which share the broadcast activations. Tried: 1 × 8 (−5 %), 1 × 16 (−15 %: spills), 4 × 2
/// (−25 %: spills), one chain of 8 vpdpbusd instead of two of 4 (same).
template <WeightFormat F, int R, int C>
inline __attribute__((always_inline)) void linear_a8_tile(const LinearTask& task, const uint8_t* tile, size_t n,
                                                          size_t column, const uint8_t* next) {
  using Format = A8Format<F>;
  // One column reads weights once a step: they needn't push everything else out of the caches (+2 to +5 % at 1 column).
  constexpr int kLocality = R == 1 && C == 1 ? 0 : 2;
  const size_t row_tile_bytes = task.groups * Format::kInfo.tile_bytes();
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m512 acc[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();

  for (size_t g = 0; g < task.groups; ++g, tile += Format::kInfo.tile_bytes(), next += Format::kInfo.tile_bytes()) {
    __m512i w[R][8];
    __m512 scale[R][Format::kGroups];
    __m512 minimum[R][Format::kGroups];
    for (size_t at = 0; at < Format::kInfo.tile_bytes(); at += 64) __builtin_prefetch(next + at, 0, kLocality);
    for (int r = 0; r < R; ++r) {
      const uint8_t* t = tile + r * row_tile_bytes;
      Format::unpack(t, w[r]);
      for (size_t i = 0; i < Format::kGroups; ++i) {
        scale[r][i] = Format::header(t, i);
        if constexpr (Format::kMinimum) minimum[r][i] = Format::minimum(t, i, scale[r][i]);
      }
    }
    // Unasked, GCC keeps this loop, and the accumulators in memory (−20 %).
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const A8Block& block = x[c * task.x_stride + g];
      const __m512 d = _mm512_set1_ps(block.d);
      __m512i dot[R];
#pragma GCC unroll 2
      for (size_t s = 0; s < Format::kGroups; ++s) {
        constexpr size_t kChunks = 8 / Format::kGroups;
        for (int r = 0; r < R; ++r) dot[r] = Format::start(block, s);
#pragma GCC unroll 8
        for (size_t j = s * kChunks; j < (s + 1) * kChunks; ++j) {
          const __m512i q = broadcast4(block.q + 4 * j);
          for (int r = 0; r < R; ++r) dot[r] = _mm512_dpbusd_epi32(dot[r], w[r][j], q);
        }
        for (int r = 0; r < R; ++r) {
          acc[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), _mm512_mul_ps(scale[r][s], d), acc[r][c]);
          if constexpr (Format::kMinimum) {
            const float offset = Format::kGroups == 1 ? block.s : block.s16[s];
            acc[r][c] = _mm512_fmadd_ps(minimum[r][s], _mm512_set1_ps(offset), acc[r][c]);
          }
        }
      }
    }
  }

  store_tile<R, C>(task, n, column, acc);
}

/// All columns of R row tiles. Weights that come from memory are fetched ahead: for one row tile a few kilobytes, for
/// two the same groups of the next two, a row tile in each pass over columns, in turn.
template <WeightFormat F, int R>
inline void linear_a8_rows(const LinearTask& task, size_t n) {
  const size_t row_tile_bytes = task.groups * A8Format<F>::kInfo.tile_bytes();
  const uint8_t* tile = task.tiles + n * row_tile_bytes;
  const auto next = [&](size_t column) {
    return tile + (R == 1 ? kPrefetchAhead : (R + column / 4 % R) * row_tile_bytes);
  };
  size_t c = 0;
  for (; c + 4 <= task.columns; c += 4) linear_a8_tile<F, R, 4>(task, tile, n, c, next(c));
  if (c + 2 <= task.columns) linear_a8_tile<F, R, 2>(task, tile, n, c, next(c)), c += 2;
  if (c < task.columns) linear_a8_tile<F, R, 1>(task, tile, n, c, next(c));
}

/// With fewer, the weights come from memory, and one stream of them arrives faster than two (+25 % at 1 column).
constexpr size_t kManyColumns = 8;

/// Groups of 16; groups of 32 with few columns.
template <WeightFormat F>
void linear_a8_small(const LinearTask& task) noexcept {
  count_call();
  size_t n = 0;
  if constexpr (A8Format<F>::kGroups == 2) {
    const size_t paired = task.columns >= kManyColumns ? task.row_tiles / 2 * 2 : 0;
    for (; n < paired; n += 2) linear_a8_rows<F, 2>(task, n);
  }
  for (; n < task.row_tiles; ++n) linear_a8_rows<F, 1>(task, n);
}
