#include <cstring>

#include "decode.h"
#include "pack.h"
#include "planes.h"

namespace nibble {

namespace {

/// One row of quantized tiles; `row` is that within the row tile.
template <WeightFormat format, class Scale>
void unpack_quantized(const uint8_t* tile, size_t row, size_t cols, float* out) noexcept {
  constexpr WeightFormatInfo kInfo = info(format);
  constexpr size_t kGroups = kInfo.groups_per_strip();
  constexpr size_t kGroupInputs = kTileInputs / kGroups;
  [[maybe_unused]] constexpr size_t kWords = kTileInputs * kInfo.bits / 8 / 4;
  static_assert(sizeof(Scale) == kInfo.scale_bytes);
  for (size_t strip = 0; strip < cols / kTileInputs; ++strip, out += kTileInputs) {
    if (strip > 0 && strip % kInfo.strips() == 0) tile += kInfo.tile_bytes();
    uint8_t codes[kTileInputs];
    const uint8_t* strip_codes = tile + kInfo.header_bytes() + strip % kInfo.strips() * kInfo.strip_bytes();
    if constexpr (kInfo.planes) {
      for (size_t i = 0; i < kTileInputs; ++i) {
        codes[i] = static_cast<uint8_t>(planes::code(strip_codes, kInfo.bits, row, i));
      }
    } else {
      for (size_t j = 0; j < kWords; ++j) std::memcpy(codes + j * 4, strip_codes + (j * kTileRows + row) * 4, 4);
    }
    if constexpr (kInfo.bits == 4 && !kInfo.planes) {
      for (size_t i = 0; i < 16; ++i) {
        codes[16 + i] = codes[i] >> 4;
        codes[i] &= 15;
      }
    }
    if constexpr (kInfo.codebook) {
      uint8_t packed[kTileInputs / 4];
      std::memcpy(packed, codes, sizeof packed);
      uint32_t levels;
      std::memcpy(&levels, tile + kTileRows * sizeof(Scale) + row * sizeof levels, sizeof levels);
      decoding::expand_levels(packed, levels, codes);
    }
    for (size_t g = 0; g < kGroups; ++g) {
      Scale scale;
      Scale minimum{};
      std::memcpy(&scale, tile + (g * kTileRows + row) * sizeof scale, sizeof scale);
      if constexpr (kInfo.affine) {
        std::memcpy(&minimum, tile + ((kGroups + g) * kTileRows + row) * sizeof scale, sizeof scale);
      }
      const float d = decoding::scale_value(scale);
      const float m = decoding::minimum_value<format>(d, minimum);
      for (size_t i = g * kGroupInputs; i < (g + 1) * kGroupInputs; ++i) {
        out[i] = decoding::weight(decoding::code_value<format>(codes[i]), Scale{}, d, m);
      }
    }
  }
}

template <size_t Bits>
void unpack_scaled_row(const uint8_t* tile, size_t row, size_t cols, float* out) noexcept {
  float d;
  std::memcpy(&d, tile + row * sizeof d, sizeof d);
  const uint8_t* codes = tile + kTileRows * sizeof d + row * 4;
  for (size_t k = 0; k < cols; ++k) {
    const size_t i = k % kTileInputs;
    const size_t word = Bits == 8 ? k / 4 : k / kTileInputs * 4 + i % 16 / 4;
    out[k] = decoding::scaled_row_weight<Bits>(codes[word * 64 + k % 4] >> (Bits == 8 ? 0 : i / 16 * 4), d);
  }
}

template <class Bits, class Convert>
void unpack_floats(const uint8_t* tile, size_t row, size_t cols, float* out, Convert convert) noexcept {
  for (size_t k = 0; k < cols; ++k) {
    Bits bits;
    std::memcpy(&bits, tile + (k * kTileRows + row) * sizeof bits, sizeof bits);
    out[k] = convert(bits);
  }
}

void unpack_planes(WeightFormat format, const uint8_t* tile, size_t r, size_t cols, float* out) noexcept {
  using enum WeightFormat;
  switch (format) {
    case w1g64:
      return unpack_quantized<w1g64, uint16_t>(tile, r, cols, out);
    case w1g128:
      return unpack_quantized<w1g128, uint16_t>(tile, r, cols, out);
    case w2g64:
      return unpack_quantized<w2g64, uint16_t>(tile, r, cols, out);
    case w2g64a:
      return unpack_quantized<w2g64a, uint16_t>(tile, r, cols, out);
    case w2g128:
      return unpack_quantized<w2g128, uint16_t>(tile, r, cols, out);
    case w3g64:
      return unpack_quantized<w3g64, uint16_t>(tile, r, cols, out);
    case w3g128:
      return unpack_quantized<w3g128, uint16_t>(tile, r, cols, out);
    case w4g64p:
      return unpack_quantized<w4g64p, uint16_t>(tile, r, cols, out);
    default:
      return;
  }
}

}  // namespace

void unpack_row(const PackedView& matrix, size_t row, float* out) noexcept {
  using enum WeightFormat;
  const uint8_t* tile = matrix.tiles + row / kTileRows * matrix.row_tile_bytes();
  const size_t r = row % kTileRows;
  const size_t cols = matrix.cols;
  switch (matrix.format) {
    case f32:
      return unpack_floats<uint32_t>(tile, r, cols, out, [](uint32_t b) { return std::bit_cast<float>(b); });
    case f16:
      return unpack_floats<uint16_t>(tile, r, cols, out, f16_to_f32);
    case bf16:
      return unpack_floats<uint16_t>(tile, r, cols, out, bf16_to_f32);
    case w4g32:
      return unpack_quantized<w4g32, uint16_t>(tile, r, cols, out);
    case w4g32a:
      return unpack_quantized<w4g32a, uint16_t>(tile, r, cols, out);
    case w4g32a32:
      return unpack_quantized<w4g32a32, float>(tile, r, cols, out);
    case w8g32:
      return unpack_quantized<w8g32, uint16_t>(tile, r, cols, out);
    case w8g32a:
      return unpack_quantized<w8g32a, uint16_t>(tile, r, cols, out);
    case w8g32a32:
      return unpack_quantized<w8g32a32, float>(tile, r, cols, out);
    case w8g16s32:
      return unpack_quantized<w8g16s32, float>(tile, r, cols, out);
    case w8g16a32:
      return unpack_quantized<w8g16a32, float>(tile, r, cols, out);
    case w4g64:
      return unpack_quantized<w4g64, uint16_t>(tile, r, cols, out);
    case w4g64a:
      return unpack_quantized<w4g64a, uint16_t>(tile, r, cols, out);
    case w4g128:
      return unpack_quantized<w4g128, uint16_t>(tile, r, cols, out);
    case w4g128a:
      return unpack_quantized<w4g128a, uint16_t>(tile, r, cols, out);
    case w8g64:
      return unpack_quantized<w8g64, uint16_t>(tile, r, cols, out);
    case w8g128:
      return unpack_quantized<w8g128, uint16_t>(tile, r, cols, out);
    case w4g64a32:
      return unpack_quantized<w4g64a32, float>(tile, r, cols, out);
    case w4g128a32:
      return unpack_quantized<w4g128a32, float>(tile, r, cols, out);
    case w8row:
      return unpack_scaled_row<8>(tile, r, cols, out);
    case w4row:
      return unpack_scaled_row<4>(tile, r, cols, out);
    case w2g64c:
      return unpack_quantized<w2g64c, uint16_t>(tile, r, cols, out);
    case w2g128c:
      return unpack_quantized<w2g128c, uint16_t>(tile, r, cols, out);
    default:
      return unpack_planes(matrix.format, tile, r, cols, out);
  }
}

}  // namespace nibble
