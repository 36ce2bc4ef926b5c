// From GGUF blocks to tiles. The file holds a row's blocks one after the other; a tile holds the same strip of 32
// inputs of 16 rows. So packing decodes 16 strips side by side and transposes their codes in words of 4 bytes
// (weight_format.h): for Q4_0, Q4_1 and Q8_0 the words of the file are those of the tile, only their order changes.
#include "pack.h"

#include <cstring>
#include <string>

#include "decode.h"
#include "planes.h"
#include "unpack.h"

namespace nibble {

namespace {

/// Packs one row tile; `rows` (≤ 16) of it exist. Returns false if a scale isn't finite.
template <class Type>
bool pack_quantized(const uint8_t* first_row, size_t row_bytes, size_t rows, size_t cols, uint8_t* out) noexcept {
  using Scale = typename Type::Scale;
  constexpr WeightFormatInfo kInfo = info(Type::home);
  constexpr size_t kGroups = kInfo.groups_per_strip();
  constexpr size_t kWords = kTileInputs * kInfo.bits / 8 / 4;
  static_assert(sizeof(Scale) == kInfo.scale_bytes);

  bool finite = true;
  alignas(32) uint32_t words[kTileRows][kWords] = {};  // rows that don't exist stay zero
  alignas(32) Scale scales[kGroups][kTileRows] = {};
  alignas(32) Scale minima[kGroups][kTileRows] = {};
  alignas(32) uint32_t levels[kTileRows] = {};
  for (size_t strip = 0; strip < cols / kTileInputs; ++strip) {
    for (size_t r = 0; r < rows; ++r) {
      uint8_t codes[kWords * 4];
      Scale scale[kGroups];
      Scale minimum[kGroups] = {};
      finite &= Type::unpack(first_row + r * row_bytes, strip, codes, scale, minimum);
      std::memcpy(words[r], codes, sizeof codes);
      if constexpr (kInfo.codebook) levels[r] = Type::levels(first_row + r * row_bytes, strip);
      for (size_t g = 0; g < kGroups; ++g) {
        scales[g][r] = scale[g];
        if constexpr (kInfo.affine) minima[g][r] = minimum[g];
      }
    }
    if (strip % kInfo.strips() == 0) {  // what a larger group's further strips say is the same
      std::memcpy(out, scales, sizeof scales);
      out += sizeof scales;
      if constexpr (kInfo.affine) {
        std::memcpy(out, minima, sizeof minima);
        out += sizeof minima;
      }
      if constexpr (kInfo.codebook) {
        std::memcpy(out, levels, sizeof levels);
        out += sizeof levels;
      }
    }
    for (size_t j = 0; j < kWords; ++j) {
      for (size_t r = 0; r < kTileRows; ++r) std::memcpy(out + (j * kTileRows + r) * 4, &words[r][j], 4);
    }
    out += kWords * kTileRows * 4;
  }
  return finite;
}

/// Packs one row tile of bit planes.
template <class Type>
bool pack_planes(const uint8_t* first_row, size_t row_bytes, size_t rows, size_t cols, uint8_t* out) noexcept {
  constexpr WeightFormatInfo kInfo = info(Type::home);
  bool finite = true;
  for (size_t strip = 0; strip < cols / kTileInputs; ++strip) {
    alignas(32) uint16_t scales[kTileRows] = {};  // rows that don't exist stay zero
    alignas(32) uint16_t minima[kTileRows] = {};
    uint8_t* codes_out = out + (strip % kInfo.strips() == 0 ? kInfo.header_bytes() : 0);
    std::memset(codes_out, 0, kInfo.strip_bytes());
    for (size_t r = 0; r < rows; ++r) {
      uint8_t codes[kTileInputs];
      finite &= Type::unpack(first_row + r * row_bytes, strip, codes, &scales[r], &minima[r]);
      for (size_t i = 0; i < kTileInputs; ++i) planes::put(codes_out, kInfo.bits, r, i, codes[i]);
    }
    if (strip % kInfo.strips() == 0) {
      std::memcpy(out, scales, sizeof scales);
      if constexpr (kInfo.affine) std::memcpy(out + sizeof scales, minima, sizeof minima);
    }
    out = codes_out + kInfo.strip_bytes();
  }
  return finite;
}

/// Rows with one f32 scale: the scales of 16 rows, then tiles of their codes.
template <size_t Bits>
bool pack_scaled_rows(const uint8_t* first_row, size_t row_bytes, size_t rows, size_t cols, uint8_t* out) noexcept {
  constexpr size_t kWords = kTileInputs * Bits / 8 / 4;
  alignas(32) uint32_t scales[kTileRows] = {};
  bool finite = true;
  for (size_t r = 0; r < rows; ++r) {
    scales[r] = unpacking::load_u32(first_row + r * row_bytes);
    finite &= (scales[r] & 0x7f800000u) != 0x7f800000u;
  }
  std::memcpy(out, scales, sizeof scales);
  out += sizeof scales;
  for (size_t at = sizeof(float); at < sizeof(float) + cols * Bits / 8; at += kWords * 4) {
    for (size_t j = 0; j < kWords; ++j) {
      for (size_t r = 0; r < kTileRows; ++r, out += 4) {
        const uint32_t word = r < rows ? unpacking::load_u32(first_row + r * row_bytes + at + 4 * j) : 0;
        std::memcpy(out, &word, 4);
      }
    }
  }
  return finite;
}

template <size_t Bits>
bool dequantize_scaled_row(const uint8_t* row, size_t cols, float* out) noexcept {
  const uint32_t bits = unpacking::load_u32(row);
  const float d = std::bit_cast<float>(bits);
  const uint8_t* codes = row + sizeof(float);
  for (size_t k = 0; k < cols; ++k) {
    out[k] =
        decoding::scaled_row_weight<Bits>(Bits == 8 ? codes[k] : codes[k / 32 * 16 + k % 16] >> (k % 32 / 16 * 4), d);
  }
  return (bits & 0x7f800000u) != 0x7f800000u;
}

/// Float tiles are [32 inputs][16 rows]; kExponent are the bits that are all set in NaN and infinity.
template <class Bits, Bits kExponent>
bool pack_floats(const uint8_t* first_row, size_t row_bytes, size_t rows, size_t cols, uint8_t* out) noexcept {
  bool finite = true;
  alignas(32) Bits strip[kTileRows][kTileInputs] = {};
  for (size_t k = 0; k < cols; k += kTileInputs) {
    for (size_t r = 0; r < rows; ++r) {
      std::memcpy(strip[r], first_row + r * row_bytes + k * sizeof(Bits), sizeof strip[r]);
    }
    for (size_t i = 0; i < kTileInputs; ++i) {
      Bits column[kTileRows];
      for (size_t r = 0; r < kTileRows; ++r) {
        column[r] = strip[r][i];
        finite &= (column[r] & kExponent) != kExponent;
      }
      std::memcpy(out, column, sizeof column);
      out += sizeof column;
    }
  }
  return finite;
}

template <class Type>
bool dequantize_quantized(const uint8_t* row, size_t cols, float* out) noexcept {
  using Scale = typename Type::Scale;
  constexpr WeightFormatInfo kInfo = info(Type::home);
  constexpr size_t kGroups = kInfo.groups_per_strip();
  constexpr size_t kGroupInputs = kTileInputs / kGroups;
  bool finite = true;
  for (size_t strip = 0; strip < cols / kTileInputs; ++strip, out += kTileInputs) {
    uint8_t codes[kTileInputs];
    Scale scale[kGroups];
    Scale minimum[kGroups] = {};
    finite &= Type::unpack(row, strip, codes, scale, minimum);
    if constexpr (kInfo.bits == 4 && !kInfo.planes) {
      for (size_t i = 0; i < 16; ++i) {
        codes[16 + i] = codes[i] >> 4;
        codes[i] &= 15;
      }
    }
    if constexpr (kInfo.codebook) {
      uint8_t packed[kTileInputs / 4];
      std::memcpy(packed, codes, sizeof packed);
      decoding::expand_levels(packed, Type::levels(row, strip), codes);
    }
    for (size_t g = 0; g < kGroups; ++g) {
      const float d = decoding::scale_value(scale[g]);
      const float m = decoding::minimum_value<Type::home>(d, minimum[g]);
      for (size_t i = g * kGroupInputs; i < (g + 1) * kGroupInputs; ++i) {
        out[i] = decoding::weight(decoding::code_value<Type::home>(codes[i]), Scale{}, d, m);
      }
    }
  }
  return finite;
}

template <class Bits, Bits kExponent, class Convert>
bool dequantize_floats(const uint8_t* row, size_t cols, float* out, Convert convert) noexcept {
  bool finite = true;
  for (size_t k = 0; k < cols; ++k) {
    Bits bits;
    std::memcpy(&bits, row + k * sizeof bits, sizeof bits);
    finite &= (bits & kExponent) != kExponent;
    out[k] = convert(bits);
  }
  return finite;
}

using PackTile = bool (*)(const uint8_t*, size_t, size_t, size_t, uint8_t*) noexcept;
using DequantizeRow = bool (*)(const uint8_t*, size_t, float*) noexcept;

struct Functions {
  PackTile pack;
  DequantizeRow dequantize;
};

template <class Type>
constexpr Functions kQuantized = {pack_quantized<Type>, dequantize_quantized<Type>};

template <class Type>
constexpr Functions kPlanes = {pack_planes<Type>, dequantize_quantized<Type>};

template <size_t Bits>
constexpr Functions kScaledRows = {pack_scaled_rows<Bits>, dequantize_scaled_row<Bits>};

constexpr Functions kF32 = {pack_floats<uint32_t, 0x7f800000u>,
                            [](const uint8_t* row, size_t cols, float* out) noexcept {
                              return dequantize_floats<uint32_t, 0x7f800000u>(
                                  row, cols, out, [](uint32_t bits) noexcept { return std::bit_cast<float>(bits); });
                            }};
constexpr Functions kF16 = {pack_floats<uint16_t, 0x7c00u>, [](const uint8_t* row, size_t cols, float* out) noexcept {
                              return dequantize_floats<uint16_t, 0x7c00u>(row, cols, out, f16_to_f32);
                            }};
constexpr Functions kBf16 = {pack_floats<uint16_t, 0x7f80u>, [](const uint8_t* row, size_t cols, float* out) noexcept {
                               return dequantize_floats<uint16_t, 0x7f80u>(row, cols, out, bf16_to_f32);
                             }};

const Functions* plane_functions(GgmlType type) noexcept {
  switch (type) {
    case GgmlType::tq1_0:
      return &kPlanes<unpacking::TQ1_0>;
    case GgmlType::tq2_0:
      return &kPlanes<unpacking::TQ2_0>;
    case GgmlType::nb_w1g64:
      return &kPlanes<unpacking::NbW1G64>;
    case GgmlType::nb_w1g128:
      return &kPlanes<unpacking::NbW1G128>;
    case GgmlType::nb_w2g64:
      return &kPlanes<unpacking::NbW2G64>;
    case GgmlType::nb_w2g64a:
      return &kPlanes<unpacking::NbW2G64A>;
    case GgmlType::nb_w2g128:
      return &kPlanes<unpacking::NbW2G128>;
    case GgmlType::nb_w3g64:
      return &kPlanes<unpacking::NbW3G64>;
    case GgmlType::nb_w3g128:
      return &kPlanes<unpacking::NbW3G128>;
    case GgmlType::nb_w4g64p:
      return &kPlanes<unpacking::NbW4G64P>;
    case GgmlType::nb_t2g64:
      return &kPlanes<unpacking::NbT2G64>;
    default:
      return nullptr;
  }
}

const Functions* functions(GgmlType type) noexcept {
  switch (type) {
    case GgmlType::f32:
      return &kF32;
    case GgmlType::f16:
      return &kF16;
    case GgmlType::bf16:
      return &kBf16;
    case GgmlType::q4_0:
      return &kQuantized<unpacking::Q4_0>;
    case GgmlType::q4_1:
      return &kQuantized<unpacking::Q4_1>;
    case GgmlType::q5_0:
      return &kQuantized<unpacking::Q5_0>;
    case GgmlType::q5_1:
      return &kQuantized<unpacking::Q5_1>;
    case GgmlType::q8_0:
      return &kQuantized<unpacking::Q8_0>;
    case GgmlType::q2_k:
      return &kQuantized<unpacking::Q2_K>;
    case GgmlType::q3_k:
      return &kQuantized<unpacking::Q3_K>;
    case GgmlType::q4_k:
      return &kQuantized<unpacking::Q4_K>;
    case GgmlType::q5_k:
      return &kQuantized<unpacking::Q5_K>;
    case GgmlType::q6_k:
      return &kQuantized<unpacking::Q6_K>;
    case GgmlType::nb_w4g64:
      return &kQuantized<unpacking::NbW4G64>;
    case GgmlType::nb_w4g64a:
      return &kQuantized<unpacking::NbW4G64A>;
    case GgmlType::nb_w4g128:
      return &kQuantized<unpacking::NbW4G128>;
    case GgmlType::nb_w4g128a:
      return &kQuantized<unpacking::NbW4G128A>;
    case GgmlType::nb_w8g64:
      return &kQuantized<unpacking::NbW8G64>;
    case GgmlType::nb_w8g128:
      return &kQuantized<unpacking::NbW8G128>;
    case GgmlType::nb_w8row:
      return &kScaledRows<8>;
    case GgmlType::nb_w4row:
      return &kScaledRows<4>;
    case GgmlType::nb_w2g64c:
      return &kQuantized<unpacking::NbW2G64C>;
    case GgmlType::nb_w2g128c:
      return &kQuantized<unpacking::NbW2G128C>;
    default:
      return plane_functions(type);
  }
}

/// Checks what both entry points need; on success row_bytes is the distance of two rows in the file.
Status check_matrix(GgmlType type, size_t rows, size_t cols, size_t& row_bytes) {
  const GgmlTypeInfo* type_info = ggml_type_info(static_cast<uint32_t>(type));
  if (type_info == nullptr) {
    return Status::failure(ErrorCode::model_tensor_type_unsupported,
                           "tensor type " + std::to_string(static_cast<uint32_t>(type)) + " is not supported");
  }
  row_bytes = ggml_bytes(*type_info, 1, cols);
  if (row_bytes == 0 || ggml_bytes(*type_info, rows, cols) == 0) {
    return Status::failure(ErrorCode::model_tensor_shape, std::to_string(rows) + " rows of " + std::to_string(cols) +
                                                              " values are no " + type_info->name + " matrix");
  }
  return Status::success();
}

Status not_finite(GgmlType type, size_t first_row, size_t end_row) {
  const bool has_levels = info(ggml_type_info(static_cast<uint32_t>(type))->home).codebook;
  return Status::failure(ErrorCode::model_tensor_not_finite,
                         "a scale or weight in rows " + std::to_string(first_row) + " to " +
                             std::to_string(end_row - 1) + " is NaN or infinite, or a ternary code is 3" +
                             (has_levels ? ", or levels aren't ascending numbers from -32 to 31" : ""));
}

}  // namespace

Status pack_row_tiles(GgmlType type, const uint8_t* file_rows, size_t rows, size_t cols, size_t first_tile,
                      size_t tile_count, uint8_t* out) {
  size_t row_bytes = 0;
  if (Status status = check_matrix(type, rows, cols, row_bytes); !status.ok()) return status;
  if (cols % kTileInputs != 0) {
    return Status::failure(ErrorCode::model_tensor_shape,
                           "rows of " + std::to_string(cols) + " values are no multiple of 32");
  }
  if (first_tile > row_tiles(rows) || tile_count > row_tiles(rows) - first_tile) {
    return Status::failure(ErrorCode::native_invalid_argument, "row tiles beyond the end of the matrix");
  }
  const Functions& type_functions = *functions(type);
  const size_t tile_bytes =
      PackedView{nullptr, ggml_type_info(static_cast<uint32_t>(type))->home, rows, cols}.row_tile_bytes();
  for (size_t tile = first_tile; tile < first_tile + tile_count; ++tile, out += tile_bytes) {
    const size_t first = tile * kTileRows;
    const size_t live = rows - first < kTileRows ? rows - first : kTileRows;
    if (!type_functions.pack(file_rows + (first - first_tile * kTileRows) * row_bytes, row_bytes, live, cols, out)) {
      return not_finite(type, first, first + live);
    }
  }
  return Status::success();
}

Status dequantize_rows(GgmlType type, const uint8_t* file_rows, size_t rows, size_t cols, float* out) {
  size_t row_bytes = 0;
  if (Status status = check_matrix(type, rows, cols, row_bytes); !status.ok()) return status;
  const Functions& type_functions = *functions(type);
  for (size_t row = 0; row < rows; ++row) {
    if (!type_functions.dequantize(file_rows + row * row_bytes, cols, out + row * cols))
      return not_finite(type, row, row + 1);
  }
  return Status::success();
}

}  // namespace nibble
