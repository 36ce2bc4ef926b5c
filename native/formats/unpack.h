#pragma once
// Quantized GGUF blocks, taken apart. Every type is cut into strips of 32 inputs (one tile is 16 rows of one strip);
// `unpack(row, strip, codes, scale, minimum)` decodes one strip of one row of the file:
//   codes    32 bytes (8-bit homes and bit planes), or 16 bytes with input i in the low and input 16+i in the high
//   nibble (4-bit homes) scale    one per group of the home format: f16 bits, or f32 minimum  likewise, if the home is
//   affine; its sign is that of w = fma(q, d, m) (2-bit homes: 8 bytes in the order of the tile, and `levels(row,
//   strip)`, four bytes)
// and returns false if a scale in the file is NaN or infinite (or levels are malformed). Products such as d·sc are
// exact: 11 + 8 bits.
// Layouts: the block structures of the GGUF specification.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "f16.h"
#include "weight_format.h"

namespace nibble::unpacking {

inline uint16_t load_u16(const uint8_t* p) noexcept {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline uint32_t load_u32(const uint8_t* p) noexcept {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline bool f16_finite(uint16_t h) noexcept {
  return (h & 0x7c00u) != 0x7c00u;
}

/// Q4_0: d, 16 bytes of nibbles that are already in the order of the tile.
struct Q4_0 {
  static constexpr WeightFormat home = WeightFormat::w4g32;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* block = row + strip * 18;
    *scale = load_u16(block);
    std::memcpy(codes, block + 2, 16);
    return f16_finite(*scale);
  }
};

/// Q4_1: d, m, nibbles as in Q4_0.
struct Q4_1 {
  static constexpr WeightFormat home = WeightFormat::w4g32a;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip * 20;
    *scale = load_u16(block);
    *minimum = load_u16(block + 2);
    std::memcpy(codes, block + 4, 16);
    return f16_finite(*scale) && f16_finite(*minimum);
  }
};

/// The fifth bits of 32 codes stand in one word: bit i belongs to input i. offset is subtracted from each code.
inline void unpack_five_bits(uint32_t high, const uint8_t* nibbles, unsigned offset, uint8_t* codes) noexcept {
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned low = nibbles[i];
    codes[i] = static_cast<uint8_t>(((low & 15u) | ((high >> i) & 1u) << 4) - offset);
    codes[i + 16] = static_cast<uint8_t>(((low >> 4) | ((high >> (i + 16)) & 1u) << 4) - offset);
  }
}

/// Q5_0: d, fifth bits, nibbles; codes −16…15.
struct Q5_0 {
  static constexpr WeightFormat home = WeightFormat::w8g32;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* block = row + strip * 22;
    *scale = load_u16(block);
    unpack_five_bits(load_u32(block + 2), block + 6, 16, codes);
    return f16_finite(*scale);
  }
};

/// Q5_1: d, m, fifth bits, nibbles; codes 0…31.
struct Q5_1 {
  static constexpr WeightFormat home = WeightFormat::w8g32a;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip * 24;
    *scale = load_u16(block);
    *minimum = load_u16(block + 2);
    unpack_five_bits(load_u32(block + 4), block + 8, 0, codes);
    return f16_finite(*scale) && f16_finite(*minimum);
  }
};

/// Q8_0: d, 32 int8.
struct Q8_0 {
  static constexpr WeightFormat home = WeightFormat::w8g32;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* block = row + strip * 34;
    *scale = load_u16(block);
    std::memcpy(codes, block + 2, 32);
    return f16_finite(*scale);
  }
};

/// Q2_K (84 bytes): 16 × (4-bit scale, 4-bit minimum) of groups of 16, 64 bytes of 2-bit codes, d, dmin. The codes of
/// strip s are bits 2·(s mod 4) of the 32 bytes of its half.
struct Q2_K {
  static constexpr WeightFormat home = WeightFormat::w8g16a32;
  using Scale = float;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 8 * 84;
    const size_t s = strip % 8;
    const uint16_t d = load_u16(block + 80);
    const uint16_t dmin = load_u16(block + 82);
    for (size_t g = 0; g < 2; ++g) {
      const unsigned packed = block[2 * s + g];
      scale[g] = f16_to_f32(d) * static_cast<float>(packed & 15u);
      minimum[g] = -(f16_to_f32(dmin) * static_cast<float>(packed >> 4));
    }
    const uint8_t* quants = block + 16 + s / 4 * 32;
    const unsigned shift = 2 * static_cast<unsigned>(s % 4);
    for (size_t i = 0; i < 32; ++i) codes[i] = (quants[i] >> shift) & 3;
    return f16_finite(d) && f16_finite(dmin);
  }
};

/// Q3_K (110 bytes): third bits (bit s of byte i: strip s, input i), 2-bit codes as in Q2_K, 16 six-bit scales, d.
/// Codes −4…3, scales −32…31.
struct Q3_K {
  static constexpr WeightFormat home = WeightFormat::w8g16s32;
  using Scale = float;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* block = row + strip / 8 * 110;
    const size_t s = strip % 8;
    const uint16_t d = load_u16(block + 108);
    const uint8_t* scales = block + 96;
    for (size_t g = 0; g < 2; ++g) {
      const size_t index = 2 * s + g;
      const unsigned low = index < 8 ? scales[index] & 15u : scales[index - 8] >> 4;
      const unsigned high = (scales[8 + index % 4] >> (2 * (index / 4))) & 3u;
      scale[g] = f16_to_f32(d) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
    }
    const uint8_t* quants = block + 32 + s / 4 * 32;
    const unsigned shift = 2 * static_cast<unsigned>(s % 4);
    for (size_t i = 0; i < 32; ++i) {
      const unsigned third = (block[i] >> s) & 1u;
      codes[i] = static_cast<uint8_t>((((quants[i] >> shift) & 3u) | third << 2) - 4u);
    }
    return f16_finite(d);
  }
};

/// Q4_K and Q5_K: 8 six-bit scales and 8 six-bit minima in 12 bytes; those of groups 4…7 are put together from the
/// nibbles of the last four bytes and the top two bits of the first eight.
inline bool unpack_scale_and_minimum(const uint8_t* block, size_t group, float* scale, float* minimum) noexcept {
  const uint16_t d = load_u16(block);
  const uint16_t dmin = load_u16(block + 2);
  const uint8_t* packed = block + 4;
  unsigned sc = 0;
  unsigned m = 0;
  if (group < 4) {
    sc = packed[group] & 63u;
    m = packed[group + 4] & 63u;
  } else {
    sc = (packed[group + 4] & 15u) | static_cast<unsigned>(packed[group - 4] >> 6) << 4;
    m = static_cast<unsigned>(packed[group + 4] >> 4) | static_cast<unsigned>(packed[group] >> 6) << 4;
  }
  *scale = f16_to_f32(d) * static_cast<float>(sc);
  *minimum = -(f16_to_f32(dmin) * static_cast<float>(m));
  return f16_finite(d) && f16_finite(dmin);
}

/// Q4_K (144 bytes): d, dmin, scales, 128 bytes: strip 2j is the low, strip 2j+1 the high nibble of 32 bytes.
struct Q4_K {
  static constexpr WeightFormat home = WeightFormat::w4g32a32;
  using Scale = float;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 8 * 144;
    const size_t s = strip % 8;
    const uint8_t* quants = block + 16 + s / 2 * 32;
    if (s % 2 == 0) {
      for (size_t i = 0; i < 16; ++i) codes[i] = static_cast<uint8_t>((quants[i] & 15u) | (quants[i + 16] & 15u) << 4);
    } else {
      for (size_t i = 0; i < 16; ++i) codes[i] = static_cast<uint8_t>(quants[i] >> 4 | (quants[i + 16] & 0xf0u));
    }
    return unpack_scale_and_minimum(block, s, scale, minimum);
  }
};

/// Q5_K (176 bytes): d, dmin, scales, fifth bits (bit s of byte i: strip s, input i), nibbles as in Q4_K.
struct Q5_K {
  static constexpr WeightFormat home = WeightFormat::w8g32a32;
  using Scale = float;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 8 * 176;
    const size_t s = strip % 8;
    const uint8_t* fifth = block + 16;
    const uint8_t* quants = block + 48 + s / 2 * 32;
    const unsigned shift = s % 2 == 0 ? 0 : 4;
    for (size_t i = 0; i < 32; ++i) {
      codes[i] = static_cast<uint8_t>(((quants[i] >> shift) & 15u) | ((fifth[i] >> s) & 1u) << 4);
    }
    return unpack_scale_and_minimum(block, s, scale, minimum);
  }
};

/// Q6_K (210 bytes): 128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d. Of a half (128 inputs), strips
/// 0 and 1 are the low nibbles of 64 bytes, strips 2 and 3 the high ones. Codes −32…31.
struct Q6_K {
  static constexpr WeightFormat home = WeightFormat::w8g16s32;
  using Scale = float;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* block = row + strip / 8 * 210;
    const size_t half = strip % 8 / 4;
    const size_t s = strip % 4;
    const uint8_t* low = block + half * 64 + s % 2 * 32;
    const uint8_t* high = block + 128 + half * 32;
    const unsigned low_shift = s < 2 ? 0 : 4;
    const unsigned high_shift = 2 * static_cast<unsigned>(s);
    for (size_t i = 0; i < 32; ++i) {
      codes[i] = static_cast<uint8_t>((((low[i] >> low_shift) & 15u) | ((high[i] >> high_shift) & 3u) << 4) - 32u);
    }
    const uint16_t d = load_u16(block + 208);
    for (size_t g = 0; g < 2; ++g) {
      const int sc = static_cast<int8_t>(block[192 + half * 8 + s * 2 + g]);
      scale[g] = f16_to_f32(d) * static_cast<float>(sc);
    }
    return f16_finite(d);
  }
};

/// Nibble's own types: one f16 scale (and minimum) in front of the codes of a whole group.
template <WeightFormat Home>
struct Own {
  static constexpr WeightFormat home = Home;
  static constexpr WeightFormatInfo kInfo = info(home);
  static constexpr size_t kHeader = kInfo.affine ? 4 : 2;
  static constexpr size_t kBlockBytes = kHeader + kInfo.group * kInfo.bits / 8;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / kInfo.strips() * kBlockBytes;
    const size_t first = strip % kInfo.strips() * kTileInputs;  // of this strip's inputs in the group
    *scale = load_u16(block);
    if constexpr (kInfo.affine) *minimum = load_u16(block + 2);
    if constexpr (kInfo.bits == 8) {
      std::memcpy(codes, block + kHeader + first, kTileInputs);
    } else {
      constexpr size_t kHalf = kInfo.group / 2;
      const uint8_t* bytes = block + kHeader + first % kHalf;
      const unsigned shift = first < kHalf ? 0 : 4;
      for (size_t i = 0; i < 16; ++i) {
        codes[i] = static_cast<uint8_t>((bytes[i] >> shift & 15) | (bytes[i + 16] >> shift & 15) << 4);
      }
    }
    return f16_finite(*scale) && (!kInfo.affine || f16_finite(*minimum));
  }
};
/// Nibble's bit planes: f16 scale (and minimum), then plane by plane the bits of the group, bit i % 8 of byte i / 8.
template <WeightFormat Home>
struct OwnPlanes {
  static constexpr WeightFormat home = Home;
  static constexpr WeightFormatInfo kInfo = info(home);
  static constexpr size_t kHeader = kInfo.affine ? 4 : 2;
  static constexpr size_t kPlaneBytes = kInfo.group / 8;
  static constexpr size_t kBlockBytes = kHeader + kInfo.bits * kPlaneBytes;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / kInfo.strips() * kBlockBytes;
    *scale = load_u16(block);
    if constexpr (kInfo.affine) *minimum = load_u16(block + 2);
    for (size_t i = 0; i < kTileInputs; ++i) codes[i] = 0;
    for (size_t plane = 0; plane < kInfo.bits; ++plane) {
      const uint32_t bits = load_u32(block + kHeader + plane * kPlaneBytes + strip % kInfo.strips() * 4);
      for (size_t i = 0; i < kTileInputs; ++i) codes[i] |= static_cast<uint8_t>((bits >> i & 1u) << plane);
    }
    return f16_finite(*scale) && (!kInfo.affine || f16_finite(*minimum));
  }
};
using NbW1G64 = OwnPlanes<WeightFormat::w1g64>;
using NbW1G128 = OwnPlanes<WeightFormat::w1g128>;
using NbW2G64 = OwnPlanes<WeightFormat::w2g64>;
using NbW2G64A = OwnPlanes<WeightFormat::w2g64a>;
using NbW2G128 = OwnPlanes<WeightFormat::w2g128>;
using NbW3G64 = OwnPlanes<WeightFormat::w3g64>;
using NbW3G128 = OwnPlanes<WeightFormat::w3g128>;
using NbW4G64P = OwnPlanes<WeightFormat::w4g64p>;

/// A ternary weight is d · (t − 1) with t in 0…2: codes t, minimum −d.
inline bool ternary_scale(uint16_t d, uint16_t* scale, uint16_t* minimum) noexcept {
  *scale = d;
  *minimum = d ^ 0x8000u;
  return f16_finite(d);
}

/// NB_T2G64: f16 d, then two planes of 64 codes. A code of 3 isn't ternary.
struct NbT2G64 {
  static constexpr WeightFormat home = WeightFormat::w2g64a;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 2 * 18;
    const uint32_t low = load_u32(block + 2 + strip % 2 * 4);
    const uint32_t high = load_u32(block + 10 + strip % 2 * 4);
    for (size_t i = 0; i < kTileInputs; ++i) codes[i] = static_cast<uint8_t>((low >> i & 1u) | (high >> i & 1u) << 1);
    return ternary_scale(load_u16(block), scale, minimum) && (low & high) == 0;
  }
};

/// TQ2_0 (66 bytes): 2-bit codes, d. Of a half (128 values, 32 bytes), strip j is bits 2j of all bytes.
struct TQ2_0 {
  static constexpr WeightFormat home = WeightFormat::w2g64a;
  using Scale = uint16_t;
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 8 * 66;
    const uint8_t* quants = block + strip % 8 / 4 * 32;
    bool ternary = true;
    for (size_t i = 0; i < kTileInputs; ++i) {
      codes[i] = static_cast<uint8_t>(quants[i] >> (2 * (strip % 4)) & 3);
      ternary &= codes[i] < 3;
    }
    return ternary_scale(load_u16(block + 64), scale, minimum) && ternary;
  }
};

/// TQ1_0 (54 bytes): 48 bytes of five trits, 4 of four, d. Trit n of a byte is ⌊3 · (byte · 3^n mod 256) / 256⌋. Values
/// 0…159 are trits 0 to 4 of bytes 0…31, 32 values each; 160…239 those of bytes 32…47, 16 each; 240…255 trits 0 to 3
/// of the last four bytes, 4 each.
struct TQ1_0 {
  static constexpr WeightFormat home = WeightFormat::w2g64a;
  using Scale = uint16_t;
  static uint8_t trit(unsigned byte, size_t n) noexcept {
    constexpr unsigned kPowers[5] = {1, 3, 9, 27, 81};
    return static_cast<uint8_t>((byte * kPowers[n] & 255u) * 3 >> 8);
  }
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale* minimum) noexcept {
    const uint8_t* block = row + strip / 8 * 54;
    for (size_t i = 0; i < kTileInputs; ++i) {
      const size_t value = strip % 8 * kTileInputs + i;
      if (value < 160) {
        codes[i] = trit(block[value % 32], value / 32);
      } else if (value < 240) {
        codes[i] = trit(block[32 + value % 16], (value - 160) / 16);
      } else {
        codes[i] = trit(block[48 + value % 4], (value - 240) / 4);
      }
    }
    return ternary_scale(load_u16(block + 52), scale, minimum);
  }
};
using NbW4G64 = Own<WeightFormat::w4g64>;
using NbW4G64A = Own<WeightFormat::w4g64a>;
using NbW4G128 = Own<WeightFormat::w4g128>;
using NbW4G128A = Own<WeightFormat::w4g128a>;
using NbW8G64 = Own<WeightFormat::w8g64>;
using NbW8G128 = Own<WeightFormat::w8g128>;

/// f16 d, four levels, codes of 2 bits that are already in the order of the tile.
template <WeightFormat Home>
struct Codebook {
  static constexpr WeightFormat home = Home;
  static constexpr WeightFormatInfo kInfo = info(home);
  static constexpr size_t kHeader = 2 + kCodebookLevels;
  static constexpr size_t kStripBytes = kTileInputs / 4;
  using Scale = uint16_t;
  static const uint8_t* block(const uint8_t* row, size_t strip) noexcept {
    return row + strip / kInfo.strips() * (kHeader + kInfo.strips() * kStripBytes);
  }
  static uint32_t levels(const uint8_t* row, size_t strip) noexcept { return load_u32(block(row, strip) + 2); }
  static bool unpack(const uint8_t* row, size_t strip, uint8_t* codes, Scale* scale, Scale*) noexcept {
    const uint8_t* from = block(row, strip);
    *scale = load_u16(from);
    std::memcpy(codes, from + kHeader + strip % kInfo.strips() * kStripBytes, kStripBytes);
    int8_t level[kCodebookLevels];
    std::memcpy(level, from + 2, sizeof level);
    const bool ascends = level[0] <= level[1] && level[1] <= level[2] && level[2] <= level[3];
    return f16_finite(*scale) && ascends && level[0] >= kLowestLevel && level[3] <= kHighestLevel;
  }
};
using NbW2G64C = Codebook<WeightFormat::w2g64c>;
using NbW2G128C = Codebook<WeightFormat::w2g128c>;

}  // namespace nibble::unpacking
