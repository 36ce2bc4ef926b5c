#pragma once
// Where the bits of a code stand in a strip of bit planes; the layout is that of weight_format.h.
#include <cstddef>
#include <cstdint>

#include "weight_format.h"

namespace nibble::planes {

/// The byte that holds plane `plane` (of `bits`) of quad (·, b) of row `row`.
constexpr size_t byte_of(size_t bits, size_t plane, size_t b, size_t row) noexcept {
  const size_t pair = plane / 2 * 8 * kTileRows;
  if (plane + 1 == bits && bits % 2 == 1) return pair + b * kTileRows + row;
  return pair + (b * kTileRows + row) * 2 + plane % 2;
}
/// The bit within it of input `input` of the strip.
constexpr size_t bit_of(size_t input) noexcept {
  return input / 16 * 4 + input % 16 / 4;
}
/// b of its quad.
constexpr size_t quad_of(size_t input) noexcept {
  return input % 4;
}

/// Code of input `input` of row `row`; `strip`: the codes of a strip.
inline int32_t code(const uint8_t* strip, size_t bits, size_t row, size_t input) noexcept {
  int32_t value = 0;
  for (size_t plane = 0; plane < bits; ++plane) {
    value |= (strip[byte_of(bits, plane, quad_of(input), row)] >> bit_of(input) & 1) << plane;
  }
  return value;
}

/// Writes it into a strip that is zero.
inline void put(uint8_t* strip, size_t bits, size_t row, size_t input, unsigned value) noexcept {
  for (size_t plane = 0; plane < bits; ++plane) {
    strip[byte_of(bits, plane, quad_of(input), row)] |= static_cast<uint8_t>((value >> plane & 1u) << bit_of(input));
  }
}

}  // namespace nibble::planes
