#pragma once
// Linear layers over int8 activations in 256-bit vectors: AVX2 without VNNI, and AVX-VNNI. Included by table.cpp inside
// the level's anonymous namespace, with NIBBLE_LEVEL_VNNI 0 or 1 (then after a `dpbusd`).
//
// Idea: a lane is an output row, 8 rows a vector (half a tile). The weights of a group are unpacked once and used for
// C columns, whose activations are broadcast four at a time. The 32 products of a row are summed exactly:
//   VNNI       vpdpbusd adds 4 products to each int32 lane;
//   otherwise  vpmaddubsw adds 2 products to each int16 lane. 4-bit codes: a whole group fits
//              (8 · 2 · 15 · 127 = 30,480), so one vpmaddwd a group. 8-bit codes: 2 · 127 · 127 fits, but no sum of
//              two such does, so each is widened at once; signs move from the weight to the activation.
// The order of f32 additions is the reference's.

template <WeightFormat F>
struct A8Format {
  static constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  static constexpr size_t kGroups = kTileInputs / kInfo.group;  // scale groups in a tile
  static constexpr bool kSigned = kInfo.bits == 8 && !kInfo.affine;
  static constexpr bool kMinimum = kInfo.affine || kInfo.bits == 4;
  /// 8 scales or minima of half `half` of the rows: entry `index` of the tile's header (scales first).
  static __m256 header(const uint8_t* tile, size_t index, size_t half) {
    if constexpr (kInfo.scale_bytes == 2) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + 32 * index + 16 * half)));
    } else {
      return _mm256_loadu_ps(reinterpret_cast<const float*>(tile + 64 * index + 32 * half));
    }
  }
  static __m256 minimum(const uint8_t* tile, size_t group, size_t half, __m256 scale) {
    if constexpr (kInfo.affine) return header(tile, kGroups + group, half);
    return _mm256_mul_ps(scale, _mm256_set1_ps(-8.0f));
  }

  /// Chunk j holds inputs 4j … 4j+3 of 8 rows, as stored.
  static void unpack(const uint8_t* tile, size_t half, __m256i (&w)[8]) {
    const uint8_t* codes = tile + kInfo.header_bytes() + 32 * half;
    if constexpr (kInfo.bits == 4) {
      const __m256i mask = _mm256_set1_epi8(15);
      for (int j = 0; j < 4; ++j) {
        const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 64 * j));
        w[j] = _mm256_and_si256(both, mask);
        w[4 + j] = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
      }
    } else {
      for (int j = 0; j < 8; ++j) w[j] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 64 * j));
    }
  }
};

inline __m256i broadcast4(const int8_t* q) {
  int32_t value;
  __builtin_memcpy(&value, q, 4);
  return _mm256_set1_epi32(value);
}

/// Exact sums of the products of 16 inputs (half `h` of the group) of 8 rows, int32.
template <WeightFormat F>
inline __attribute__((always_inline)) __m256i dot_half(const __m256i (&w)[8], const A8Block& x, int h) {
  using Format = A8Format<F>;
#if NIBBLE_LEVEL_VNNI
  // Unsigned weights: int8 codes get +128, which n16 takes away again.
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  __m256i sum = Format::kSigned ? _mm256_set1_epi32(x.n16[h]) : _mm256_setzero_si256();
  for (int j = 4 * h; j < 4 * h + 4; ++j) {
    const __m256i code = Format::kSigned ? _mm256_xor_si256(w[j], offset) : w[j];
    sum = dpbusd(sum, code, broadcast4(x.q + 4 * j));
  }
  return sum;
#else
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  for (int j = 4 * h; j < 4 * h + 4; ++j) {
    const __m256i q = broadcast4(x.q + 4 * j);
    const __m256i pairs = Format::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[j]), _mm256_sign_epi8(q, w[j]))
                                          : _mm256_maddubs_epi16(w[j], q);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
  return sum;
#endif
}

/// Exact sums over the whole group of 32.
template <WeightFormat F>
inline __attribute__((always_inline)) __m256i dot_group(const __m256i (&w)[8], const A8Block& x) {
#if !NIBBLE_LEVEL_VNNI
  if constexpr (A8Format<F>::kInfo.bits == 4) {
    __m256i even = _mm256_maddubs_epi16(w[0], broadcast4(x.q));
    __m256i odd = _mm256_maddubs_epi16(w[1], broadcast4(x.q + 4));
    for (int j = 2; j < 8; j += 2) {
      even = _mm256_add_epi16(even, _mm256_maddubs_epi16(w[j], broadcast4(x.q + 4 * j)));
      odd = _mm256_add_epi16(odd, _mm256_maddubs_epi16(w[j + 1], broadcast4(x.q + 4 * j + 4)));
    }
    return _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
  }
#endif
  return _mm256_add_epi32(dot_half<F>(w, x, 0), dot_half<F>(w, x, 1));
}

/// C columns of H halves (8 rows each, from `first`) of one row tile.
template <WeightFormat F, int C, int H>
inline __attribute__((always_inline)) void linear_a8_columns(const LinearTask& task, const uint8_t* tile, size_t n,
                                                             size_t first, size_t column) {
  using Format = A8Format<F>;
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m256 acc[H][C];
  for (int i = 0; i < H; ++i)
    for (int c = 0; c < C; ++c) acc[i][c] = _mm256_setzero_ps();

  for (size_t g = 0; g < task.groups; ++g, tile += Format::kInfo.tile_bytes()) {
    for (int i = 0; i < H; ++i) {
      __m256i w[8];
      Format::unpack(tile, first + i, w);
      __m256 scale[Format::kGroups];
      __m256 minimum[Format::kGroups];
      for (size_t s = 0; s < Format::kGroups; ++s) {
        scale[s] = Format::header(tile, s, first + i);
        if constexpr (Format::kMinimum) minimum[s] = Format::minimum(tile, s, first + i, scale[s]);
      }
      for (int c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride + g];
        const __m256 d = _mm256_set1_ps(block.d);
        __m256& sum = acc[i][c];
        if constexpr (Format::kGroups == 1) {
          sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_group<F>(w, block)), _mm256_mul_ps(scale[0], d), sum);
          if constexpr (Format::kMinimum) sum = _mm256_fmadd_ps(minimum[0], _mm256_set1_ps(block.s), sum);
        } else {
          for (int h = 0; h < 2; ++h) {
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_half<F>(w, block, h)), _mm256_mul_ps(scale[h], d), sum);
            if constexpr (Format::kMinimum) sum = _mm256_fmadd_ps(minimum[h], _mm256_set1_ps(block.s16[h]), sum);
          }
        }
      }
    }
  }

  for (int i = 0; i < H; ++i) {
    const size_t row = kTileRows * n + 8 * (first + i);
    for (int c = 0; c < C; ++c) {
      float* y = task.y + (column + c) * task.y_stride + row;
      __m256 v = acc[i][c];
      if (task.bias != nullptr) v = _mm256_add_ps(v, _mm256_loadu_ps(task.bias + row));
      if (task.accumulate) v = _mm256_add_ps(_mm256_loadu_ps(y), v);
      _mm256_storeu_ps(y, v);
    }
  }
}

template <WeightFormat F>
void linear_a8(const LinearTask& task) noexcept {
  count_call();
  const size_t row_tile_bytes = task.groups * A8Format<F>::kInfo.tile_bytes();
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * row_tile_bytes;
    // Many columns: 8 rows at a time, so that weights and accumulators stay in 16 registers. Few: both halves in one
    // pass, because a decode step reads each tile once, in order, from memory.
    const size_t wide = task.columns / 4 * 4;
    for (size_t half = 0; half < 2; ++half)
      for (size_t c = 0; c < wide; c += 4) linear_a8_columns<F, 4, 1>(task, tile, n, half, c);
    size_t c = wide;
    if (c + 2 <= task.columns) linear_a8_columns<F, 2, 2>(task, tile, n, 0, c), c += 2;
    if (c < task.columns) linear_a8_columns<F, 1, 2>(task, tile, n, 0, c);
  }
}

constexpr LinearKernel kLinearA8[kWeightFormatCount] = {
    nullptr,
    nullptr,
    nullptr,
    linear_a8<WeightFormat::w4g32>,
    linear_a8<WeightFormat::w4g32a>,
    linear_a8<WeightFormat::w4g32a32>,
    linear_a8<WeightFormat::w8g32>,
    linear_a8<WeightFormat::w8g32a>,
    linear_a8<WeightFormat::w8g32a32>,
    linear_a8<WeightFormat::w8g16s32>,
    linear_a8<WeightFormat::w8g16a32>,
};
