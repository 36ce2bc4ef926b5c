#pragma once
// Bit planes where they are multiplied rather than looked up: many columns, or f32 activations. Included inside a
// level's anonymous namespace, before linear_f32.h.
//
// Idea: three row tiles become tiles of 4-bit codes once, with scale and minimum in f32, and serve all columns. So
// prefill runs at the rate of 4-bit weights, less one expansion for (at most) 64 columns.

NIBBLE_INLINE void store_words(uint8_t* p, I32x16 x) noexcept {
  store(reinterpret_cast<float*>(p), from_bits(x));
}

/// The codes of a strip: planes → [4 chunks j][16 rows][4 b], low nibble input 4j+b, high nibble input 16+4j+b.
template <WeightFormat F>
NIBBLE_INLINE void expand_strip(const uint8_t* codes, uint8_t* out) noexcept {
  constexpr size_t kBits = kWeightFormats[static_cast<size_t>(F)].bits;
  I32x16 plane[4];  // byte b of a lane: the bits of quads (0, b), (1, b) of a row
  for (size_t p = 0; p + 2 <= kBits; p += 2) {
    const auto pair = [&](size_t b) __attribute__((always_inline)) {  // byte 2: plane p, byte 3: plane p + 1
      return bits(load_bf16(reinterpret_cast<const uint16_t*>(codes + p * 64 + b * 32)));
    };
    const I32x16 low = set1_i32(0xff0000);
    const I32x16 high = set1_i32(static_cast<int32_t>(0xff000000u));
    const I32x16 b0 = pair(0), b1 = pair(1), b2 = pair(2), b3 = pair(3);
    plane[p] = add(add(shift_right<16>(bit_and(b0, low)), shift_right<8>(bit_and(b1, low))),
                   add(bit_and(b2, low), shift_left<8>(bit_and(b3, low))));
    plane[p + 1] = add(add(shift_right<24>(b0), shift_right<16>(bit_and(b1, high))),
                       add(shift_right<8>(bit_and(b2, high)), bit_and(b3, high)));
  }
  if constexpr (kBits % 2 == 1) {
    const uint8_t* last = codes + (kBits - 1) * 64;
    plane[kBits - 1] = add(add(load_u8(last), shift_left<8>(load_u8(last + 16))),
                           add(shift_left<16>(load_u8(last + 32)), shift_left<24>(load_u8(last + 48))));
  }
  const I32x16 ones = set1_i32(0x11111111);
  const auto chunk = [&]<int J>(std::integral_constant<int, J>) __attribute__((always_inline)) {
    I32x16 word = bit_and(shift_right<J>(plane[0]), ones);
    if constexpr (kBits > 1) word = add(word, shift_left<1>(bit_and(shift_right<J>(plane[1]), ones)));
    if constexpr (kBits > 2) word = add(word, shift_left<2>(bit_and(shift_right<J>(plane[2]), ones)));
    if constexpr (kBits > 3) word = add(word, shift_left<3>(bit_and(shift_right<J>(plane[3]), ones)));
    store_words(out + 64 * J, word);
  };
  chunk(std::integral_constant<int, 0>{});
  chunk(std::integral_constant<int, 1>{});
  chunk(std::integral_constant<int, 2>{});
  chunk(std::integral_constant<int, 3>{});
}

template <WeightFormat F>
constexpr WeightFormat kExpanded =
    kWeightFormats[static_cast<size_t>(F)].group == 64 ? WeightFormat::w4g64a32 : WeightFormat::w4g128a32;

/// `tiles` tiles of planes → tiles of kExpanded<F>.
template <WeightFormat F>
void expand_tiles(const uint8_t* tile, size_t tiles, uint8_t* out) noexcept {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  constexpr WeightFormatInfo kOut = kWeightFormats[static_cast<size_t>(kExpanded<F>)];
  for (size_t t = 0; t < tiles; ++t, tile += kInfo.tile_bytes(), out += kOut.tile_bytes()) {
    const F32x16 scale = load_f16(reinterpret_cast<const uint16_t*>(tile));
    F32x16 minimum;
    if constexpr (kInfo.affine) {
      minimum = load_f16(reinterpret_cast<const uint16_t*>(tile) + kTileRows);
    } else {
      minimum = mul(scale, set1(-kInfo.middle()));
    }
    store(reinterpret_cast<float*>(out), scale);
    store(reinterpret_cast<float*>(out) + kTileRows, minimum);
    for (size_t strip = 0; strip < kInfo.strips(); ++strip) {
      expand_strip<F>(tile + kInfo.header_bytes() + strip * kInfo.strip_bytes(),
                      out + kOut.header_bytes() + strip * kOut.strip_bytes());
    }
  }
}
