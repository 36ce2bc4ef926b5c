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
  static constexpr size_t kGroups = kTileInputs / kInfo.group;  // scale groups in a tile
  static constexpr bool kSigned = kInfo.bits == 8 && !kInfo.affine;
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

inline __m512i broadcast4(const int8_t* q) {
  int32_t value;
  __builtin_memcpy(&value, q, 4);
  return _mm512_set1_epi32(value);
}

/// C columns of one row tile.
template <WeightFormat F, int C>
inline __attribute__((always_inline)) void linear_a8_columns(const LinearTask& task, const uint8_t* tile, size_t n,
                                                             size_t column) {
  using Format = A8Format<F>;
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m512 acc[C];
  for (int c = 0; c < C; ++c) acc[c] = _mm512_setzero_ps();

  for (size_t g = 0; g < task.groups; ++g, tile += Format::kInfo.tile_bytes()) {
    __m512i w[8];
    Format::unpack(tile, w);
    __m512 scale[Format::kGroups];
    __m512 minimum[Format::kGroups];
    for (size_t i = 0; i < Format::kGroups; ++i) {
      scale[i] = Format::header(tile, i);
      if constexpr (Format::kMinimum) minimum[i] = Format::minimum(tile, i, scale[i]);
    }
    for (int c = 0; c < C; ++c) {
      const A8Block& block = x[c * task.x_stride + g];
      __m512i dot[2];  // of the two halves, so that the chains are short
      for (int h = 0; h < 2; ++h) {
        dot[h] = Format::kSigned ? _mm512_set1_epi32(block.n16[h]) : _mm512_setzero_si512();
        for (int j = 4 * h; j < 4 * h + 4; ++j) dot[h] = _mm512_dpbusd_epi32(dot[h], w[j], broadcast4(block.q + 4 * j));
      }
      const __m512 d = _mm512_set1_ps(block.d);
      if constexpr (Format::kGroups == 1) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(dot[0], dot[1]));
        acc[c] = _mm512_fmadd_ps(sum, _mm512_mul_ps(scale[0], d), acc[c]);
        if constexpr (Format::kMinimum) acc[c] = _mm512_fmadd_ps(minimum[0], _mm512_set1_ps(block.s), acc[c]);
      } else {
        for (int h = 0; h < 2; ++h) {
          acc[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[h]), _mm512_mul_ps(scale[h], d), acc[c]);
          if constexpr (Format::kMinimum) acc[c] = _mm512_fmadd_ps(minimum[h], _mm512_set1_ps(block.s16[h]), acc[c]);
        }
      }
    }
  }

  for (int c = 0; c < C; ++c) {
    float* y = task.y + (column + c) * task.y_stride + kTileRows * n;
    __m512 v = acc[c];
    if (task.bias != nullptr) v = _mm512_add_ps(v, _mm512_loadu_ps(task.bias + kTileRows * n));
    if (task.accumulate) v = _mm512_add_ps(_mm512_loadu_ps(y), v);
    _mm512_storeu_ps(y, v);
  }
}

template <WeightFormat F>
void linear_a8(const LinearTask& task) noexcept {
  count_call();
  const size_t row_tile_bytes = task.groups * A8Format<F>::kInfo.tile_bytes();
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * row_tile_bytes;
    size_t c = 0;
    for (; c + 8 <= task.columns; c += 8) linear_a8_columns<F, 8>(task, tile, n, c);
    if (c + 4 <= task.columns) linear_a8_columns<F, 4>(task, tile, n, c), c += 4;
    if (c + 2 <= task.columns) linear_a8_columns<F, 2>(task, tile, n, c), c += 2;
    if (c < task.columns) linear_a8_columns<F, 1>(task, tile, n, c);
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
