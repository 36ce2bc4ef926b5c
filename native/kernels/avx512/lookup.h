#pragma once
// Products with bit planes by looking sums up, with AVX-512 VBMI and VNNI. Included by table.cpp inside this level's
// anonymous namespace, behind ../generic/lookup_256.h, which serves CPUs without VBMI.
//
// Idea: as there, but `vpermb` has all four tables of half a strip in one register and looks a byte up in any of them.
// So the bytes are brought into the order of rows first (one more `vpermb` for 128 indices), and the four bytes of a
// row in a 32-bit lane are added, times the value of their plane, by one `vpdpbusd`: with the unpacking 4 instructions
// for 256 one-bit products. Multiplying two bits takes 2.75 for 64.

#define NIBBLE_VBMI __attribute__((target("avx512vbmi"), always_inline)) inline

/// Where byte j of row r comes from: of a pair of planes (quads b and b + 1, both planes), and of one plane (quads
/// 0…3).
struct RowOrders {
  alignas(64) uint8_t pair[64];
  alignas(64) uint8_t single[64];
  constexpr RowOrders() : pair{}, single{} {
    for (size_t r = 0; r < 16; ++r) {
      for (size_t j = 0; j < 4; ++j) {
        pair[4 * r + j] = static_cast<uint8_t>((j / 2 * 16 + r) * 2 + j % 2);
        single[4 * r + j] = static_cast<uint8_t>(j * 16 + r);
      }
    }
  }
};
constexpr RowOrders kRowOrders;

/// What a lane's bytes are looked up in (16 · quad), and what they count.
constexpr int32_t bytes4(int a, int b, int c, int d) {
  return a | b << 8 | c << 16 | d << 24;
}

/// Adds 64 bytes of planes, in the order of rows, to the sums of C columns.
template <int C>
NIBBLE_VBMI void look_up(__m512i bytes, __m512i quads, __m512i weights, const __m512i (&low)[C],
                         const __m512i (&high)[C], __m512i (&sum)[2][C]) {
  const __m512i mask = _mm512_set1_epi8(15);
  const __m512i first = _mm512_ternarylogic_epi32(bytes, mask, quads, 0xea);  // (bytes & mask) | quads
  const __m512i second = _mm512_ternarylogic_epi32(_mm512_srli_epi16(bytes, 4), mask, quads, 0xea);
  for (int c = 0; c < C; ++c) {
    sum[0][c] = _mm512_dpbusd_epi32(sum[0][c], _mm512_permutexvar_epi8(first, low[c]), weights);
    sum[1][c] = _mm512_dpbusd_epi32(sum[1][c], _mm512_permutexvar_epi8(second, high[c]), weights);
  }
}

/// C columns of one row tile.
template <WeightFormat F, int C>
NIBBLE_VBMI void lookup_columns_512(const LinearTask& task, const uint8_t* tile, size_t n, size_t column) {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  constexpr int kBits = kInfo.bits;
  const __m512i pair_order = _mm512_load_si512(kRowOrders.pair);
  const __m512i single_order = _mm512_load_si512(kRowOrders.single);
  const auto* x = static_cast<const A8Table*>(task.x) + column * task.x_stride;
  __m512 acc[1][C];
  for (int c = 0; c < C; ++c) acc[0][c] = _mm512_setzero_ps();

  for (size_t g = 0; g < task.groups; g += kInfo.strips(), tile += kInfo.tile_bytes(), x += kInfo.strips()) {
    __m512i sum[2][C];
    for (int c = 0; c < C; ++c) {
      sum[0][c] = _mm512_set1_epi32(((1 << kBits) - 1) * x[static_cast<size_t>(c) * task.x_stride].offset);
      sum[1][c] = _mm512_setzero_si512();
    }
    for (size_t strip = 0; strip < kInfo.strips(); ++strip) {
      const uint8_t* codes = tile + kInfo.header_bytes() + strip * kInfo.strip_bytes();
      for (size_t at = 0; at < kInfo.tile_bytes() / kInfo.strips(); at += 64)
        __builtin_prefetch(codes + kLookupAhead + at, 0, C == 1 ? 0 : 2);
      __m512i low[C], high[C];
      for (int c = 0; c < C; ++c) {
        const A8Table& table = x[static_cast<size_t>(c) * task.x_stride + strip];
        low[c] = _mm512_loadu_si512(table.entry[0][0]);
        high[c] = _mm512_loadu_si512(table.entry[1][0]);
      }
      for (int p = 0; p + 2 <= kBits; p += 2) {
        const __m512i weights = _mm512_set1_epi32(bytes4(1 << p, 2 << p, 1 << p, 2 << p));
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          const __m512i bytes = _mm512_loadu_si512(codes + p * 64 + i * 64);
          const __m512i quads = _mm512_set1_epi32(bytes4(32 * i, 32 * i, 32 * i + 16, 32 * i + 16));
          look_up<C>(_mm512_permutexvar_epi8(pair_order, bytes), quads, weights, low, high, sum);
        }
      }
      if constexpr (kBits % 2 == 1) {
        const __m512i bytes = _mm512_loadu_si512(codes + (kBits - 1) * 64);
        look_up<C>(_mm512_permutexvar_epi8(single_order, bytes), _mm512_set1_epi32(bytes4(0, 16, 32, 48)),
                   _mm512_set1_epi8(1 << (kBits - 1)), low, high, sum);
      }
    }
    const auto* scales = reinterpret_cast<const __m256i*>(tile);
    const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(scales));
    __m512 minimum;
    if constexpr (kInfo.affine) {
      minimum = _mm512_cvtph_ps(_mm256_loadu_si256(scales + 1));
    } else {
      minimum = _mm512_mul_ps(scale, _mm512_set1_ps(-kInfo.middle()));
    }
    for (int c = 0; c < C; ++c) {
      const A8Table& table = x[static_cast<size_t>(c) * task.x_stride];
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(sum[0][c], sum[1][c]));
      acc[0][c] = _mm512_fmadd_ps(dot, _mm512_mul_ps(scale, _mm512_set1_ps(table.d)), acc[0][c]);
      acc[0][c] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(table.s), acc[0][c]);
    }
  }
  store_tile<1, C>(task, n, column, acc);
}

template <WeightFormat F>
__attribute__((target("avx512vbmi"))) void lookup_512(const LinearTask& task) noexcept {
  count_call();
  const size_t bytes = row_tile_bytes(F, task.groups * kTileInputs);
  for (size_t n = 0; n < task.row_tiles; ++n) {
    const uint8_t* tile = task.tiles + n * bytes;
    size_t c = 0;
    for (; c + 4 <= task.columns; c += 4) lookup_columns_512<F, 4>(task, tile, n, c);
    if (c + 2 <= task.columns) lookup_columns_512<F, 2>(task, tile, n, c), c += 2;
    if (c < task.columns) lookup_columns_512<F, 1>(task, tile, n, c);
  }
}

#undef NIBBLE_VBMI

/// Whether this CPU has `vpermb`; emulated builds have whatever SIMDe has.
inline bool has_vbmi() noexcept {
#if defined(NIBBLE_SIMDE)
  return true;
#else
  return __builtin_cpu_supports("avx512vbmi") != 0;
#endif
}

template <WeightFormat F>
void lookup(const LinearTask& task) noexcept {
  has_vbmi() ? lookup_512<F>(task) : lookup_256<F>(task);
}
