#pragma once
// Linear layers over int8 activations in 256-bit vectors: AVX2 without VNNI, and AVX-VNNI. Included by table.cpp inside
// the level's anonymous namespace, with NIBBLE_LEVEL_VNNI 0 or 1 (then after a `dpbusd`).
//
// Idea: a lane is an output row, a row tile two vectors of 8 rows (halves). Both halves and up to 4 columns are one
// register tile: each broadcast activation (4 inputs of a token) serves 2 vectors of weights, each unpacked vector of
// weights 4 columns. So eight vpmaddubsw need six loads; with one half and its weights kept in registers they need
// eight, and two loads a cycle (Zen 3 to 5) bound the rate (−27 %). The 32 products of a row are summed exactly:
//   VNNI       vpdpbusd adds 4 products to each int32 lane;
//   otherwise  vpmaddubsw adds 2 products to each int16 lane. 4-bit codes: a whole group fits
//              (8 · 2 · 15 · 127 = 30,480), so one vpmaddwd a group. 8-bit codes of affine formats are at most 63: two
//              chunks fit (2 · 2 · 63 · 127 = 32,004). Signed ones: 2 · 128 · 127 fits, but no sum of two such does, so
//              each is widened at once; signs move from the weight to the activation.
// The order of f32 additions is the reference's. 4-bit codes need 9 + 3 multiplications and fma on the two multiplier
// ports of Zen 5 for 256 products, so 72 % of the rate of vpmaddubsw alone is the limit there; reached are 65 %.
// Tried: 4-bit codes expanded to bytes once for 64 columns (±1 % there, −10 % at 8 columns; FP operations fall from 23
// to 20, so it may pay on Zen 3); one half × 6 or 8 columns (120 GMAC/s for 152).

template <WeightFormat F>
struct A8Format {
  static constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  static constexpr size_t kGroups = kInfo.groups_per_strip();
  static constexpr bool kSigned = kInfo.bits == 8 && !kInfo.affine;
  static constexpr bool kCodebook = kInfo.codebook;
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

  /// Where in the activations of a group the two chunks (4 inputs each) of step j start; 4 steps are a tile.
  static constexpr size_t input(size_t j, size_t chunk) {
    return kInfo.bits == 4 ? 4 * j + 16 * chunk : 8 * j + 4 * chunk;
  }
  /// The levels of half the rows plus 32: four rows to each table of 16 bytes. For codebooks alone.
  static __m256i levels(const uint8_t* tile, size_t half) {
    if constexpr (!kCodebook) return _mm256_setzero_si256();
    const uint8_t* stored = tile + kInfo.header_bytes() - kTileRows * kCodebookLevels + 32 * half;
    return _mm256_add_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(stored)),
                           _mm256_set1_epi8(-kLowestLevel));
  }
  /// The two chunks of step j, 8 rows each, as stored; of codebooks, the levels.
  static void unpack(const uint8_t* tile, size_t half, size_t j, __m256i levels, __m256i (&w)[2]) {
    const uint8_t* codes = tile + kInfo.header_bytes() + 32 * half;
    const auto load = [&](size_t i) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 64 * i)); };
    if constexpr (kCodebook) {
      // Index of a byte: its code, and 4 for each row of a table before its own. The shuffle doesn't look at bits 4 to
      // 6, so one mask does for two codes, the second of which stands there.
      const __m256i rows =
          _mm256_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c, 0x08080808, 0x04040404, 0);
      const __m256i four = load(j / 2);
      for (size_t i = 0; i < 2; ++i) {
        const __m256i two = _mm256_and_si256(i == 0 ? four : _mm256_srli_epi16(four, 2), _mm256_set1_epi8(0x33));
        const __m256i field = j % 2 == 0 ? two : _mm256_srli_epi16(two, 4);
        w[i] = _mm256_shuffle_epi8(levels, _mm256_or_si256(field, rows));
      }
    } else if constexpr (kInfo.bits == 4) {
      const __m256i mask = _mm256_set1_epi8(15);
      const __m256i both = load(j);
      w[0] = _mm256_and_si256(both, mask);
      w[1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
    } else {
      w[0] = load(2 * j);
      w[1] = load(2 * j + 1);
    }
  }
};

inline __m256i broadcast4(const int8_t* q) {
  int32_t value;
  __builtin_memcpy(&value, q, 4);
  return _mm256_set1_epi32(value);
}

/// Exact sums of the products of a group, as they grow: int16 for 4-bit codes without VNNI, else int32.
template <WeightFormat F>
struct Dot {
  using Format = A8Format<F>;
  static constexpr bool kInt16 = !NIBBLE_LEVEL_VNNI && Format::kInfo.bits == 4;

  static __m256i start(const A8Block& x, size_t group) {
    // Levels come with 32 added.
    if constexpr (Format::kCodebook) return _mm256_set1_epi32(x.n16[0] / (-128 / kLowestLevel));
#if NIBBLE_LEVEL_VNNI
    // Unsigned weights: int8 codes get +128, which n16 takes away again.
    if constexpr (Format::kSigned) return _mm256_set1_epi32(Format::kGroups == 1 ? x.n16[0] + x.n16[1] : x.n16[group]);
#endif
    (void)x, (void)group;
    return _mm256_setzero_si256();
  }

  /// Adds the products of two chunks.
  static __m256i add(__m256i sum, const __m256i (&w)[2], __m256i q0, __m256i q1) {
#if NIBBLE_LEVEL_VNNI
    const __m256i offset = Format::kSigned ? _mm256_set1_epi8(static_cast<char>(0x80)) : _mm256_setzero_si256();
    sum = dpbusd(sum, _mm256_xor_si256(w[0], offset), q0);
    return dpbusd(sum, _mm256_xor_si256(w[1], offset), q1);
#else
    const __m256i ones = _mm256_set1_epi16(1);
    if constexpr (kInt16) {
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w[0], q0));
      pin(sum);
      sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w[1], q1));
    } else if constexpr (Format::kSigned) {
      const __m256i pairs0 = _mm256_maddubs_epi16(_mm256_abs_epi8(w[0]), _mm256_sign_epi8(q0, w[0]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs0, ones));
      pin(sum);
      const __m256i pairs1 = _mm256_maddubs_epi16(_mm256_abs_epi8(w[1]), _mm256_sign_epi8(q1, w[1]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs1, ones));
    } else {
      const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w[0], q0), _mm256_maddubs_epi16(w[1], q1));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    pin(sum);
    return sum;
#endif
  }

  /// Adds a strip's sums to those of the group, in int32.
  static __m256i widen(__m256i total, __m256i sum) {
    return kInt16 ? _mm256_add_epi32(total, _mm256_madd_epi16(sum, _mm256_set1_epi16(1))) : sum;
  }

  static __m256 finish(__m256i sum) {
    return _mm256_cvtepi32_ps(kInt16 ? _mm256_madd_epi16(sum, _mm256_set1_epi16(1)) : sum);
  }

 private:
  /// Keeps the compiler from adding in another order: it would hold every product in memory until the end (−30 %).
  static void pin(__m256i& sum) {
    asm("" : "+x"(sum));
  }
};

/// A tile is asked for this long before its use. The hardware's own prefetcher follows one stream too closely.
constexpr size_t kPrefetchBytes = 8192;

/// Bias, residual, and the way into memory of row tile `n`.
template <int C>
inline __attribute__((always_inline)) void store_columns(const LinearTask& task, size_t n, size_t column,
                                                         const __m256 (&acc)[2][C]) {
  for (int i = 0; i < 2; ++i) {
    const size_t row = kTileRows * n + 8 * i;
    for (int c = 0; c < C; ++c) {
      float* y = task.y + (column + c) * task.y_stride + row;
      __m256 v = acc[i][c];
      if (task.bias != nullptr) v = _mm256_add_ps(v, _mm256_loadu_ps(task.bias + row));
      if (task.accumulate) v = _mm256_add_ps(_mm256_loadu_ps(y), v);
      _mm256_storeu_ps(y, v);
    }
  }
}

/// C columns of one row tile.
template <WeightFormat F, int C>
inline __attribute__((always_inline)) void linear_a8_columns(const LinearTask& task, const uint8_t* tile, size_t n,
                                                             size_t column) {
  using Format = A8Format<F>;
  constexpr size_t kTileBytes = Format::kInfo.tile_bytes();
  constexpr size_t kSteps = 4 / Format::kGroups;  // of a scale group
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m256 acc[2][C];
  for (int i = 0; i < 2; ++i)
    for (int c = 0; c < C; ++c) acc[i][c] = _mm256_setzero_ps();

  for (size_t g = 0; g < task.groups; ++g, tile += kTileBytes, ++x) {
    for (size_t i = 0; i < kTileBytes; i += 64)
      _mm_prefetch(reinterpret_cast<const char*>(tile + kPrefetchBytes + i), _MM_HINT_T0);
#pragma GCC unroll 2
    for (size_t s = 0; s < Format::kGroups; ++s) {
      __m256i dot[2][C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) dot[0][c] = dot[1][c] = Dot<F>::start(x[c * task.x_stride], s);
#pragma GCC unroll 4
      for (size_t j = s * kSteps; j < (s + 1) * kSteps; ++j) {
        __m256i w[2][2];
        for (size_t i = 0; i < 2; ++i) Format::unpack(tile, i, j, _mm256_setzero_si256(), w[i]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          const int8_t* q = x[c * task.x_stride].q;
          const __m256i q0 = broadcast4(q + Format::input(j, 0));
          const __m256i q1 = broadcast4(q + Format::input(j, 1));
          for (int i = 0; i < 2; ++i) dot[i][c] = Dot<F>::add(dot[i][c], w[i], q0, q1);
        }
      }
      __m256 scale[2];
      __m256 minimum[2];
      for (size_t i = 0; i < 2; ++i) {
        scale[i] = Format::header(tile, s, i);
        if constexpr (Format::kMinimum) minimum[i] = Format::minimum(tile, s, i, scale[i]);
      }
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride];
        const __m256 d = _mm256_set1_ps(block.d);
        const __m256 offset = _mm256_set1_ps(Format::kGroups == 1 ? block.s : block.s16[s]);
        for (int i = 0; i < 2; ++i) {
          acc[i][c] = _mm256_fmadd_ps(Dot<F>::finish(dot[i][c]), _mm256_mul_ps(scale[i], d), acc[i][c]);
          if constexpr (Format::kMinimum) acc[i][c] = _mm256_fmadd_ps(minimum[i], offset, acc[i][c]);
        }
      }
    }
  }

  store_columns<C>(task, n, column, acc);
}

template <WeightFormat F>
void linear_a8(const LinearTask& task) noexcept {
  count_call();
  const size_t row_tile_bytes = task.groups * A8Format<F>::kInfo.tile_bytes();
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * row_tile_bytes;
    size_t c = 0;
    for (; c + 4 <= task.columns; c += 4) linear_a8_columns<F, 4>(task, tile, n, c);
    switch (task.columns - c) {
      case 3:
        linear_a8_columns<F, 3>(task, tile, n, c);
        break;
      case 2:
        linear_a8_columns<F, 2>(task, tile, n, c);
        break;
      case 1:
        linear_a8_columns<F, 1>(task, tile, n, c);
        break;
      default:
        break;
    }
  }
}
