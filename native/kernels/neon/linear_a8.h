#pragma once
// Linear layers over int8 activations with the NEON dot product. Included by table.cpp inside this level's anonymous
// namespace.
//
// Idea: a lane is an output row. Sixteen bytes hold 4 consecutive inputs of 4 rows; `sdot` by lane multiplies them by
// 4 activations out of 16 that lie in one register. It is signed × signed, so every kind of code is used as stored
// (unsigned ones are at most 63). Weights of 4 rows are unpacked once per group and used for all C columns. The order
// of f32 additions is the reference's.

template <WeightFormat F>
struct A8Format {
  static constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  static constexpr size_t kGroups = kInfo.groups_per_strip();
  static constexpr bool kMinimum = kInfo.affine || kInfo.bits == 4;

  /// Scales or minima of rows 4·quad … 4·quad+3: entry `index` of the tile's header (scales first).
  static NIBBLE_INLINE float32x4_t header(const uint8_t* tile, size_t index, size_t quad) noexcept {
    if constexpr (kInfo.scale_bytes == 2) {
      return load_f16x4(reinterpret_cast<const uint16_t*>(tile + 32 * index + 8 * quad));
    } else {
      return vld1q_f32(reinterpret_cast<const float*>(tile + 64 * index + 16 * quad));
    }
  }
  static NIBBLE_INLINE float32x4_t minimum(const uint8_t* tile, size_t group, size_t quad, float32x4_t scale) noexcept {
    if constexpr (kInfo.affine) return header(tile, kGroups + group, quad);
    return vmulq_f32(scale, vdupq_n_f32(-8.0f));
  }

  /// Chunk j holds inputs 4j … 4j+3 of 4 rows.
  static NIBBLE_INLINE void unpack(const uint8_t* tile, size_t strip, size_t quad, int8x16_t (&w)[8]) noexcept {
    const uint8_t* codes = tile + kInfo.header_bytes() + strip * kInfo.strip_bytes() + 16 * quad;
    if constexpr (kInfo.codebook) {
      // The levels of 4 rows are one table; the index of a byte is its code, and 4 for each row before its own.
      const uint8_t* stored = tile + kInfo.header_bytes() - kTileRows * kCodebookLevels + 16 * quad;
      const int8x16_t levels = vld1q_s8(reinterpret_cast<const int8_t*>(stored));
      const uint32_t row_bytes[4] = {0, 0x04040404, 0x08080808, 0x0c0c0c0c};
      const uint8x16_t rows = vreinterpretq_u8_u32(vld1q_u32(row_bytes));
      for (size_t j = 0; j < 8; ++j) {
        const uint8x16_t field =
            vshlq_u8(vld1q_u8(codes + 64 * (j / 4)), vdupq_n_s8(static_cast<int8_t>(-2 * static_cast<int>(j % 4))));
        w[j] = vqtbl1q_s8(levels, vorrq_u8(vandq_u8(field, vdupq_n_u8(3)), rows));
      }
    } else if constexpr (kInfo.bits == 4) {
      for (size_t j = 0; j < 4; ++j) {
        const uint8x16_t both = vld1q_u8(codes + 64 * j);
        w[j] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        w[4 + j] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
      }
    } else {
      for (size_t j = 0; j < 8; ++j) w[j] = vreinterpretq_s8_u8(vld1q_u8(codes + 64 * j));
    }
  }
};

/// Exact sums of the products of 16 inputs of 4 rows.
NIBBLE_INLINE int32x4_t dot_half(const int8x16_t* w, int8x16_t q) noexcept {
  int32x4_t sum = vdupq_n_s32(0);
  sum = vdotq_laneq_s32(sum, w[0], q, 0);
  sum = vdotq_laneq_s32(sum, w[1], q, 1);
  sum = vdotq_laneq_s32(sum, w[2], q, 2);
  return vdotq_laneq_s32(sum, w[3], q, 3);
}

/// Bias, residual, and the way into memory of row tile `n`.
template <size_t C>
NIBBLE_INLINE void store_columns(const LinearTask& task, size_t n, size_t column,
                                 const float32x4_t (&acc)[4][C]) noexcept {
  for (size_t c = 0; c < C; ++c) {
    for (size_t quad = 0; quad < 4; ++quad) {
      const size_t row = kTileRows * n + 4 * quad;
      float* y = task.y + (column + c) * task.y_stride + row;
      float32x4_t v = acc[quad][c];
      if (task.bias != nullptr) v = vaddq_f32(v, vld1q_f32(task.bias + row));
      if (task.accumulate) v = vaddq_f32(vld1q_f32(y), v);
      vst1q_f32(y, v);
    }
  }
}

/// C columns of one row tile.
template <WeightFormat F, size_t C>
void linear_a8_columns(const LinearTask& task, const uint8_t* tile, size_t n, size_t column) noexcept {
  using Format = A8Format<F>;
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  float32x4_t acc[4][C];
  for (size_t quad = 0; quad < 4; ++quad)
    for (size_t c = 0; c < C; ++c) acc[quad][c] = vdupq_n_f32(0.0f);

  for (size_t g = 0; g < task.groups; ++g, tile += Format::kInfo.tile_bytes()) {
    for (size_t quad = 0; quad < 4; ++quad) {
      int8x16_t w[8];
      Format::unpack(tile, 0, quad, w);
      float32x4_t scale[Format::kGroups];
      float32x4_t minimum[Format::kGroups];
      for (size_t s = 0; s < Format::kGroups; ++s) {
        scale[s] = Format::header(tile, s, quad);
        if constexpr (Format::kMinimum) minimum[s] = Format::minimum(tile, s, quad, scale[s]);
      }
      for (size_t c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride + g];
        const int32x4_t dot[2] = {dot_half(w, vld1q_s8(block.q)), dot_half(w + 4, vld1q_s8(block.q + 16))};
        const float32x4_t d = vdupq_n_f32(block.d);
        float32x4_t& sum = acc[quad][c];
        if constexpr (Format::kGroups == 1) {
          sum = vfmaq_f32(sum, vcvtq_f32_s32(vaddq_s32(dot[0], dot[1])), vmulq_f32(scale[0], d));
          if constexpr (Format::kMinimum) sum = vfmaq_f32(sum, minimum[0], vdupq_n_f32(block.s));
        } else {
          for (size_t h = 0; h < 2; ++h) {
            sum = vfmaq_f32(sum, vcvtq_f32_s32(dot[h]), vmulq_f32(scale[h], d));
            if constexpr (Format::kMinimum) sum = vfmaq_f32(sum, minimum[h], vdupq_n_f32(block.s16[h]));
          }
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
    if (c + 2 <= task.columns) linear_a8_columns<F, 2>(task, tile, n, c), c += 2;
    if (c < task.columns) linear_a8_columns<F, 1>(task, tile, n, c);
  }
}
