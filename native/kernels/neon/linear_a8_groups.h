#pragma once
// Linear layers over int8 activations with the NEON dot product, groups of 64 and 128. Included by table.cpp inside
// this level's anonymous namespace, behind linear_a8.h. The integer sums go on over the strips of a group.

/// C columns of one row tile.
template <WeightFormat F, size_t C>
void linear_a8_groups_columns(const LinearTask& task, const uint8_t* tile, size_t n, size_t column) noexcept {
  using Format = A8Format<F>;
  constexpr WeightFormatInfo kInfo = Format::kInfo;
  constexpr size_t kStrips = kInfo.strips();
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  float32x4_t acc[4][C];
  for (size_t quad = 0; quad < 4; ++quad)
    for (size_t c = 0; c < C; ++c) acc[quad][c] = vdupq_n_f32(0.0f);

  for (size_t g = 0; g < task.groups; g += kStrips, tile += kInfo.tile_bytes()) {
    for (size_t quad = 0; quad < 4; ++quad) {
      int32x4_t dot[C];
      for (size_t c = 0; c < C; ++c) dot[c] = vdupq_n_s32(0);
      for (size_t strip = 0; strip < kStrips; ++strip) {
        int8x16_t w[8];
        Format::unpack(tile, strip, quad, w);
        for (size_t c = 0; c < C; ++c) {
          const A8Block& block = x[c * task.x_stride + g + strip];
          dot[c] =
              vaddq_s32(dot[c], vaddq_s32(dot_half(w, vld1q_s8(block.q)), dot_half(w + 4, vld1q_s8(block.q + 16))));
        }
      }
      const float32x4_t scale = Format::header(tile, 0, quad);
      float32x4_t minimum = vdupq_n_f32(0.0f);
      if constexpr (Format::kMinimum) minimum = Format::minimum(tile, 0, quad, scale);
      for (size_t c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride + g];
        float32x4_t& sum = acc[quad][c];
        sum = vfmaq_f32(sum, vcvtq_f32_s32(dot[c]), vmulq_f32(scale, vdupq_n_f32(block.d)));
        if constexpr (Format::kMinimum) sum = vfmaq_f32(sum, minimum, vdupq_n_f32(block.s));
      }
    }
  }
  store_columns<C>(task, n, column, acc);
}

template <WeightFormat F>
void linear_a8_groups(const LinearTask& task) noexcept {
  count_call();
  const size_t row_tile_bytes = task.groups / A8Format<F>::kInfo.strips() * A8Format<F>::kInfo.tile_bytes();
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * row_tile_bytes;
    size_t c = 0;
    for (; c + 4 <= task.columns; c += 4) linear_a8_groups_columns<F, 4>(task, tile, n, c);
    if (c + 2 <= task.columns) linear_a8_groups_columns<F, 2>(task, tile, n, c), c += 2;
    if (c < task.columns) linear_a8_groups_columns<F, 1>(task, tile, n, c);
  }
}
