#pragma once
// Products with bit planes by looking sums up (../../formats/a8_table.h), with NEON's `tbl`; and the tables. Included
// by table.cpp inside this level's anonymous namespace.
//
// Idea: as generic/lookup_256.h. 16-bit sums of whole words, and of their high bytes apart (`usra` shifts and adds),
// give the bytes at even and odd places: rows, or the two planes of a row.

/// Sums of bytes at even and at odd places of 16 looked up bytes a time.
struct ByteSums {
  uint16x8_t words = vdupq_n_u16(0);
  uint16x8_t odd = vdupq_n_u16(0);
  NIBBLE_INLINE void add(uint8x16_t bytes) noexcept {
    const uint16x8_t pairs = vreinterpretq_u16_u8(bytes);
    words = vaddq_u16(words, pairs);
    odd = vsraq_n_u16(odd, pairs, 8);
  }
  NIBBLE_INLINE uint16x8_t even() const noexcept { return vsubq_u16(words, vshlq_n_u16(odd, 8)); }
};

NIBBLE_INLINE uint8x16_t look_up(const uint8_t* table, uint8x16_t index) noexcept {
  return vqtbl1q_u8(vld1q_u8(table), index);
}

/// Looks the 16 bytes of planes of quads (0, b) and (1, b) up.
NIBBLE_INLINE void add_quads(const A8Table& table, size_t b, const uint8_t* codes, ByteSums& sums) noexcept {
  const uint8x16_t both = vld1q_u8(codes);
  sums.add(look_up(table.entry[0][b], vandq_u8(both, vdupq_n_u8(15))));
  sums.add(look_up(table.entry[1][b], vshrq_n_u8(both, 4)));
}

/// Σ_p 2^p · Σ_quads entry of a group: rows 0…7 and 8…15.
template <WeightFormat F>
NIBBLE_INLINE void sum_group(const uint8_t* codes, const A8Table* x, uint16x8_t (&sum)[2]) noexcept {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  sum[0] = sum[1] = vdupq_n_u16(0);
  for (size_t p = 0; p + 2 <= kInfo.bits; p += 2) {
    ByteSums rows[2];
    for (size_t strip = 0; strip < kInfo.strips(); ++strip) {
      const uint8_t* at = codes + strip * kInfo.strip_bytes() + p * 64;
      for (size_t b = 0; b < 4; ++b) {
        add_quads(x[strip], b, at + 32 * b, rows[0]);
        add_quads(x[strip], b, at + 32 * b + 16, rows[1]);
      }
    }
    for (size_t i = 0; i < 2; ++i) {
      const uint16x8_t pair = vaddq_u16(rows[i].even(), vshlq_n_u16(rows[i].odd, 1));
      sum[i] = vaddq_u16(sum[i], p == 0 ? pair : vshlq_n_u16(pair, 2));
    }
  }
  if constexpr (kInfo.bits % 2 == 1) {
    ByteSums rows;
    for (size_t strip = 0; strip < kInfo.strips(); ++strip) {
      const uint8_t* at = codes + strip * kInfo.strip_bytes() + (kInfo.bits - 1) * 64;
      for (size_t b = 0; b < 4; ++b) add_quads(x[strip], b, at + 16 * b, rows);
    }
    const uint16x8_t even = rows.even();
    sum[0] = vaddq_u16(sum[0], vshlq_n_u16(vzip1q_u16(even, rows.odd), kInfo.bits - 1));
    sum[1] = vaddq_u16(sum[1], vshlq_n_u16(vzip2q_u16(even, rows.odd), kInfo.bits - 1));
  }
}

/// One column of one row tile.
template <WeightFormat F>
void lookup_column(const LinearTask& task, const uint8_t* tile, size_t n, size_t column) noexcept {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  const auto* x = static_cast<const A8Table*>(task.x) + column * task.x_stride;
  float32x4_t acc[4][1];
  for (size_t quad = 0; quad < 4; ++quad) acc[quad][0] = vdupq_n_f32(0.0f);
  for (size_t g = 0; g < task.groups; g += kInfo.strips(), tile += kInfo.tile_bytes(), x += kInfo.strips()) {
    uint16x8_t sum[2];
    sum_group<F>(tile + kInfo.header_bytes(), x, sum);
    const int32x4_t offset = vdupq_n_s32(((1 << kInfo.bits) - 1) * x->offset);
    for (size_t quad = 0; quad < 4; ++quad) {
      const uint16x8_t rows = sum[quad / 2];
      const uint32x4_t wide = vmovl_u16(quad % 2 == 0 ? vget_low_u16(rows) : vget_high_u16(rows));
      const float32x4_t dot = vcvtq_f32_s32(vaddq_s32(vreinterpretq_s32_u32(wide), offset));
      const float32x4_t scale = load_f16x4(reinterpret_cast<const uint16_t*>(tile) + 4 * quad);
      float32x4_t minimum;
      if constexpr (kInfo.affine) {
        minimum = load_f16x4(reinterpret_cast<const uint16_t*>(tile) + kTileRows + 4 * quad);
      } else {
        minimum = vmulq_f32(scale, vdupq_n_f32(-kInfo.middle()));
      }
      acc[quad][0] = vfmaq_f32(acc[quad][0], dot, vmulq_f32(scale, vdupq_n_f32(x->d)));
      acc[quad][0] = vfmaq_f32(acc[quad][0], minimum, vdupq_n_f32(x->s));
    }
  }
  store_columns<1>(task, n, column, acc);
}

template <WeightFormat F>
void lookup(const LinearTask& task) noexcept {
  count_call();
  const size_t bytes = row_tile_bytes(F, task.groups * kTileInputs);
  for (size_t n = 0; n < task.row_tiles; ++n) {
    for (size_t c = 0; c < task.columns; ++c) lookup_column<F>(task, task.tiles + n * bytes, n, c);
  }
}

/// Definition: reference/elementwise.cpp. An entry is 128 − ⌊Σ/2⌋ plus the inputs of its index, modulo 256.
NIBBLE_INLINE int32_t make_table(const int8_t* q, uint8_t* out) noexcept {
  const uint8_t index[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const uint8x16_t indices = vld1q_u8(index);
  const int32_t middle = (q[0] + q[4] + q[8] + q[12]) >> 1;
  uint8x16_t entries = vdupq_n_u8(static_cast<uint8_t>(128 - middle));
  for (size_t s = 0; s < 4; ++s) {
    const uint8x16_t taken = vtstq_u8(indices, vdupq_n_u8(static_cast<uint8_t>(1u << s)));
    entries = vaddq_u8(entries, vandq_u8(taken, vdupq_n_u8(static_cast<uint8_t>(q[4 * s]))));
  }
  vst1q_u8(out, entries);
  return middle - 128;
}

void make_tables(const A8Block* x, size_t n, size_t group, A8Table* out) noexcept {
  const size_t strips = group / kTileInputs;
  for (size_t i = 0; i < n / kTileInputs; ++i) {
    const size_t first = i / strips * strips;
    out[i].d = x[first].d;
    out[i].s = x[first].s;
    out[i].offset = 0;
    __builtin_memset(out[i].padding, 0, sizeof(out[i].padding));
    for (size_t quad = 0; quad < 8; ++quad) {
      out[first].offset += make_table(x[i].q + quad / 4 * 16 + quad % 4, out[i].entry[quad / 4][quad % 4]);
    }
  }
}
