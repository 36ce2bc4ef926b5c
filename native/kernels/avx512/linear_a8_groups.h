#pragma once
// Linear layers over int8 activations with AVX-512 VNNI: groups of 64 and 128, and those of 32 with many columns.
// Included by table.cpp inside this level's anonymous namespace, behind linear_a8.h.
//
// Idea: as there, but the integer sums of all columns go on over the strips of a group, and only behind the last one
// come the scale and the minimum. Loads bound the rate, those of broadcast activations most of all: three row tiles
// share each of them. Two vectors of weights for each row tile are unpacked at a time, so that 12 integer and 12 float
// sums stay in registers beside them. On Zen 5, GMAC/s of one thread, w4g32a, K 576 and 64 columns: 335 as in
// linear_a8_tile, 357 with 2 × 4, 361 with 3 × 4, 360 with 4 × 3, 344 with 4 × 2. Tried: weights unpacked once into a
// panel for all columns (−10 %: more loads); codebooks at 1 column with two chains
// of products instead of one (same).

/// Two chunks of a strip, of 16 rows: chunk i holds the inputs from input(pair, i) on. Four pairs are a strip.
template <WeightFormat F>
struct ChunkPair {
  using Format = A8Format<F>;
  static constexpr size_t input(size_t pair, size_t i) {
    return Format::kInfo.bits == 4 ? 4 * pair + 16 * i : 8 * pair + 4 * i;
  }
  static void unpack(const uint8_t* codes, size_t pair, __m512i levels, __m512i (&w)[2]) {
    if constexpr (Format::kCodebook) {
      // Index of a byte: its code, and 4 for each row of a table before its own.
      const __m512i rows = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
      const __m512i mask = _mm512_set1_epi8(3);
      const __m512i four = _mm512_loadu_si512(codes + 64 * (pair / 2));
      for (size_t i = 0; i < 2; ++i) {
        const __m512i field = _mm512_srli_epi16(four, static_cast<unsigned>(4 * (pair % 2) + 2 * i));
        w[i] =
            _mm512_shuffle_epi8(levels, _mm512_ternarylogic_epi32(field, mask, rows, 0xea));  // (field & mask) | rows
      }
    } else if constexpr (Format::kInfo.bits == 4) {
      const __m512i mask = _mm512_set1_epi8(15);
      const __m512i both = _mm512_loadu_si512(codes + 64 * pair);
      w[0] = _mm512_and_si512(both, mask);
      w[1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
    } else {
      const __m512i offset = Format::kSigned ? _mm512_set1_epi8(static_cast<char>(0x80)) : _mm512_setzero_si512();
      for (size_t i = 0; i < 2; ++i) {
        w[i] = _mm512_xor_si512(_mm512_loadu_si512(codes + 128 * pair + 64 * i), offset);
      }
    }
  }
};

/// C columns of R row tiles.
template <WeightFormat F, int R, int C>
inline __attribute__((always_inline)) void linear_a8_groups_tile(const LinearTask& task, const uint8_t* tile, size_t n,
                                                                 size_t column, const uint8_t* next) {
  using Format = A8Format<F>;
  constexpr WeightFormatInfo kInfo = Format::kInfo;
  constexpr size_t kStrips = kInfo.strips();
  constexpr size_t kTileBytes = kInfo.tile_bytes();
  constexpr int kLocality = R == 1 && C == 1 ? 0 : 2;  // as in linear_a8_tile
  const size_t row_tile_bytes = task.groups / kStrips * kTileBytes;
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m512 acc[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();

  for (size_t g = 0; g < task.groups; g += kStrips, tile += kTileBytes, next += kTileBytes) {
    __m512i dot[R][C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
      for (int r = 0; r < R; ++r) dot[r][c] = Format::start(x[c * task.x_stride + g], 0);
    __m512i levels[R];
    for (int r = 0; r < R; ++r) levels[r] = Format::levels(tile + r * row_tile_bytes);
    for (size_t strip = 0; strip < kStrips; ++strip) {
      const uint8_t* codes = tile + kInfo.header_bytes() + strip * kInfo.strip_bytes();
      for (size_t at = 0; at < kTileBytes / kStrips; at += 64) {
        __builtin_prefetch(next + strip * (kTileBytes / kStrips) + at, 0, kLocality);
      }
#pragma GCC unroll 4
      for (size_t pair = 0; pair < 4; ++pair) {
        __m512i w[R][2];
        for (int r = 0; r < R; ++r) ChunkPair<F>::unpack(codes + r * row_tile_bytes, pair, levels[r], w[r]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          const int8_t* q = x[c * task.x_stride + g + strip].q;
          for (size_t i = 0; i < 2; ++i) {
            const __m512i four = broadcast4(q + ChunkPair<F>::input(pair, i));
            for (int r = 0; r < R; ++r) dot[r][c] = _mm512_dpbusd_epi32(dot[r][c], w[r][i], four);
          }
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      const __m512 scale = Format::header(tile + r * row_tile_bytes, 0);
      __m512 minimum = _mm512_setzero_ps();
      if constexpr (Format::kMinimum) minimum = Format::minimum(tile + r * row_tile_bytes, 0, scale);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride + g];
        acc[r][c] =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][c]), _mm512_mul_ps(scale, _mm512_set1_ps(block.d)), acc[r][c]);
        if constexpr (Format::kMinimum) acc[r][c] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(block.s), acc[r][c]);
      }
    }
  }
  store_tile<R, C>(task, n, column, acc);
}

/// All columns of R row tiles; weights that come from memory are fetched ahead as in linear_a8_rows.
template <WeightFormat F, int R>
inline void linear_a8_groups_rows(const LinearTask& task, size_t n) {
  const size_t row_tile_bytes = task.groups / A8Format<F>::kInfo.strips() * A8Format<F>::kInfo.tile_bytes();
  const uint8_t* tile = task.tiles + n * row_tile_bytes;
  const auto next = [&](size_t column) {
    return tile + (R == 1 ? kPrefetchAhead : (R + column / 4 % R) * row_tile_bytes);
  };
  size_t c = 0;
  for (; c + 4 <= task.columns; c += 4) linear_a8_groups_tile<F, R, 4>(task, tile, n, c, next(c));
  if (c + 2 <= task.columns) linear_a8_groups_tile<F, R, 2>(task, tile, n, c, next(c)), c += 2;
  if (c < task.columns) linear_a8_groups_tile<F, R, 1>(task, tile, n, c, next(c));
}

template <WeightFormat F>
void linear_a8_groups(const LinearTask& task) noexcept {
  count_call();
  size_t n = 0;
  if (task.columns >= kManyColumns) {
    for (; n + 3 <= task.row_tiles; n += 3) linear_a8_groups_rows<F, 3>(task, n);
    for (; n + 2 <= task.row_tiles; n += 2) linear_a8_groups_rows<F, 2>(task, n);
  }
  for (; n < task.row_tiles; ++n) linear_a8_groups_rows<F, 1>(task, n);
}

/// Groups of 16 and 32.
template <WeightFormat F>
void linear_a8(const LinearTask& task) noexcept {
  if constexpr (A8Format<F>::kGroups == 1) {
    if (task.columns >= kManyColumns) return linear_a8_groups<F>(task);
  }
  linear_a8_small<F>(task);
}
