#include "code_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../formats/f16.h"

namespace nibble {
namespace {

constexpr CodeFormat kCodeFormats[] = {
    // name, group, lowest, highest, affine, header, bits
    {"w4g32", 32, -8, 7, false, 2, 4},
    {"w4g32a", 32, 0, 15, true, 4, 4},
    {"w5g32", 32, -16, 15, false, 2, 5},
    {"w5g32a", 32, 0, 31, true, 4, 5},
    {"w8g32", 32, -127, 127, false, 2, 8},
    {"w4g64", 64, -8, 7, false, 2, 4},
    {"w4g64a", 64, 0, 15, true, 4, 4},
    {"w4g128", 128, -8, 7, false, 2, 4},
    {"w4g128a", 128, 0, 15, true, 4, 4},
    {"w8g64", 64, -127, 127, false, 2, 8},
    {"w8g128", 128, -127, 127, false, 2, 8},
    {"w8row", 0, -127, 127, false, 4, 8},
    {"w4row", 0, -7, 7, false, 4, 4},
    {"w2g64c", 64, 0, 3, false, 6, 2, true},
    {"w2g128c", 128, 0, 3, false, 6, 2, true},
    // Symmetric bit planes have as many codes on both sides of zero, and none there.
    {"w1g64", 64, -1, 0, false, 2, 1, false, 0.5f, true},
    {"w1g128", 128, -1, 0, false, 2, 1, false, 0.5f, true},
    {"w2g64", 64, -2, 1, false, 2, 2, false, 0.5f, true},
    {"w2g64a", 64, 0, 3, true, 4, 2, false, 0, true},
    {"w2g128", 128, -2, 1, false, 2, 2, false, 0.5f, true},
    {"w3g64", 64, -4, 3, false, 2, 3, false, 0.5f, true},
    {"w3g128", 128, -4, 3, false, 2, 3, false, 0.5f, true},
    {"w4g64p", 64, -8, 7, false, 2, 4, false, 0.5f, true},
    {"t2g64", 64, -1, 1, false, 2, 2, false, 0, true},
};

void put_u16(uint8_t* out, uint16_t value) noexcept {
  std::memcpy(out, &value, sizeof value);
}

/// Codes as the file counts them: from 0 where they are shorter than a byte.
unsigned stored_code(const CodeFormat& format, int code) noexcept {
  if (format.affine || format.bits == 8) return static_cast<unsigned>(code) & 255u;
  return static_cast<unsigned>(code + (format.planes ? -format.lowest : 1 << (format.bits - 1)));
}

/// Bit i % 8 of byte i / 8 of a plane is that of code i.
void encode_planes(const CodeFormat& format, const int8_t* codes, size_t count, uint8_t* out) noexcept {
  std::memset(out, 0, count * static_cast<size_t>(format.bits) / 8);
  for (int plane = 0; plane < format.bits; ++plane, out += count / 8) {
    for (size_t i = 0; i < count; ++i) {
      out[i / 8] |= static_cast<uint8_t>((stored_code(format, codes[i]) >> plane & 1u) << i % 8);
    }
  }
}

/// `count` codes; byte i of the nibbles holds codes i and count/2 + i. Fifth bits stand before them, bit i of code i.
void encode_codes(const CodeFormat& format, const int8_t* codes, size_t count, uint8_t* out) noexcept {
  if (format.planes) return encode_planes(format, codes, count, out);
  if (format.bits == 8) {
    std::memcpy(out, codes, count);
    return;
  }
  if (format.bits == 2) {  // code 16i + 4p + b in bits 2p of byte 4i + b
    std::memset(out, 0, count / 4);
    for (size_t i = 0; i < count; ++i) {
      uint8_t& byte = out[i / 16 * 4 + i % 4];
      byte = static_cast<uint8_t>(byte | codes[i] << (i % 16 / 4 * 2));
    }
    return;
  }
  if (format.bits == 5) {
    uint32_t high = 0;
    for (size_t i = 0; i < count; ++i) high |= (stored_code(format, codes[i]) >> 4 & 1u) << i;
    std::memcpy(out, &high, sizeof high);
    out += sizeof high;
  }
  const size_t half = count / 2;
  for (size_t i = 0; i < half; ++i) {
    const unsigned low = stored_code(format, codes[i]) & 15u;
    const unsigned high = stored_code(format, codes[half + i]) & 15u;
    out[i] = static_cast<uint8_t>(low | high << 4);
  }
}

}  // namespace

const CodeFormat* find_code_format(std::string_view name) noexcept {
  const auto* found = std::find_if(std::begin(kCodeFormats), std::end(kCodeFormats),
                                   [&](const CodeFormat& format) { return format.name == name; });
  return found == std::end(kCodeFormats) ? nullptr : found;
}

float stored_scale(const CodeFormat& format, float value) noexcept {
  return format.scale_is_f32() ? value : f16_to_f32(f32_to_f16(value));
}

GroupScale stored_levels(const Levels& values) noexcept {
  const float widest = std::max(std::fabs(values.front()), std::fabs(values.back()));
  GroupScale scale;
  scale.codebook = true;
  scale.d = f16_to_f32(f32_to_f16(widest / static_cast<float>(kHighestLevel)));
  for (size_t i = 0; i < values.size(); ++i) {
    const float level = scale.d > 0 ? std::rint(values[i] / scale.d) : 0;
    scale.values[i] = scale.d * std::clamp(level, static_cast<float>(kLowestLevel), static_cast<float>(kHighestLevel));
  }
  return scale;
}

GroupScale stored_scale(const CodeFormat& format, GroupScale exact) noexcept {
  const float d = stored_scale(format, exact.d);
  return {d, format.affine ? stored_scale(format, exact.m) : format.shift * d};
}

void encode_row(const CodeFormat& format, const int8_t* codes, const GroupScale* scales, size_t inputs,
                uint8_t* out) noexcept {
  if (format.scale_is_f32()) {
    std::memcpy(out, &scales[0].d, sizeof(float));
    out += sizeof(float);
    const size_t bytes = 32 * static_cast<size_t>(format.bits) / 8;
    for (size_t i = 0; i < inputs; i += 32, out += bytes) encode_codes(format, codes + i, 32, out);
    return;
  }
  const size_t bytes = format.group * static_cast<size_t>(format.bits) / 8;
  for (size_t g = 0; g < inputs / format.group; ++g) {
    put_u16(out, f32_to_f16(scales[g].d));
    if (format.affine) put_u16(out + 2, f32_to_f16(scales[g].m));
    for (size_t i = 0; format.codebook && i < kCodebookLevels; ++i) {
      const float level = scales[g].d > 0 ? scales[g].values[i] / scales[g].d : 0;
      out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::rint(level)));
    }
    encode_codes(format, codes + g * format.group, format.group, out + format.header_bytes);
    out += format.header_bytes + bytes;
  }
}

}  // namespace nibble
