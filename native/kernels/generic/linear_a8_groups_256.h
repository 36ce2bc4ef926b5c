#pragma once
// Linear layers over int8 activations in 256-bit vectors, groups of 64 and 128. Included behind linear_a8_256.h, whose
// register tile and products these are; the integer sums go on over the strips of a group, and the scale and the
// minimum come once behind it. Sums in int16 (4-bit codes without VNNI) hold one strip and are widened then.

/// C columns of one row tile.
template <WeightFormat F, int C>
inline __attribute__((always_inline)) void linear_a8_groups_columns(const LinearTask& task, const uint8_t* tile,
                                                                    size_t n, size_t column) {
  using Format = A8Format<F>;
  constexpr WeightFormatInfo kInfo = Format::kInfo;
  constexpr size_t kStrips = kInfo.strips();
  constexpr size_t kTileBytes = kInfo.tile_bytes();
  const A8Block* x = static_cast<const A8Block*>(task.x) + column * task.x_stride;
  __m256 acc[2][C];
  for (int i = 0; i < 2; ++i)
    for (int c = 0; c < C; ++c) acc[i][c] = _mm256_setzero_ps();

  for (size_t g = 0; g < task.groups; g += kStrips, tile += kTileBytes, x += kStrips) {
    __m256i total[2][C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) total[0][c] = total[1][c] = Dot<F>::start(x[c * task.x_stride], 0);
    __m256i levels[2];
    for (size_t i = 0; i < 2; ++i) levels[i] = Format::levels(tile, i);
    for (size_t strip = 0; strip < kStrips; ++strip) {
      const uint8_t* codes = tile + strip * kInfo.strip_bytes();
      for (size_t i = 0; i < kInfo.strip_bytes(); i += 64)
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + i), _MM_HINT_T0);
      __m256i dot[2][C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < 2; ++i) dot[i][c] = Dot<F>::kInt16 ? _mm256_setzero_si256() : total[i][c];
#pragma GCC unroll 4
      for (size_t j = 0; j < 4; ++j) {
        __m256i w[2][2];
        for (size_t i = 0; i < 2; ++i) Format::unpack(codes, i, j, levels[i], w[i]);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          const int8_t* q = x[c * task.x_stride + strip].q;
          const __m256i q0 = broadcast4(q + Format::input(j, 0));
          const __m256i q1 = broadcast4(q + Format::input(j, 1));
          for (int i = 0; i < 2; ++i) dot[i][c] = Dot<F>::add(dot[i][c], w[i], q0, q1);
        }
      }
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        for (int i = 0; i < 2; ++i) total[i][c] = Dot<F>::widen(total[i][c], dot[i][c]);
    }
    for (size_t i = 0; i < 2; ++i) {
      const __m256 scale = Format::header(tile, 0, i);
      __m256 minimum = _mm256_setzero_ps();
      if constexpr (Format::kMinimum) minimum = Format::minimum(tile, 0, i, scale);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const A8Block& block = x[c * task.x_stride];
        acc[i][c] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[i][c]), _mm256_mul_ps(scale, _mm256_set1_ps(block.d)), acc[i][c]);
        if constexpr (Format::kMinimum) acc[i][c] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(block.s), acc[i][c]);
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
