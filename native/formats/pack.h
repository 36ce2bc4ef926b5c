#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "../status.h"
#include "weight_format.h"

namespace nibble {

/// Tensor types that are read, by their ids in the GGUF specification.
enum class GgmlType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  // Nibble's own, in files that name nibble.format_version. Symmetric codes of 4 bits are 0…15 with w = d·(q − 8); the
  // low nibble of byte i is value i, the high one value i + (half a block).
  nb_w4g64 = 20001,    // f16 d, 32 bytes
  nb_w4g64a = 20002,   // f16 d, f16 m, 32 bytes; w = d·q + m
  nb_w4g128 = 20003,   // f16 d, 64 bytes
  nb_w4g128a = 20004,  // f16 d, f16 m, 64 bytes
  nb_w8g64 = 20005,    // f16 d, 64 int8
  nb_w8g128 = 20006,   // f16 d, 128 int8
  nb_w8row = 20010,    // a row: f32 d, then its int8
  nb_w4row = 20011,    // a row: f32 d, then blocks of 32 codes in 16 bytes
  // w = d · level[code]: f16 d; four int8 levels, ascending, in −32…31; then 16 codes in 4 bytes, code 16i + 4p + b in
  // bits 2p and 2p + 1 of byte 4i + b.
  nb_w2g64c = 20030,   // 16 bytes of codes
  nb_w2g128c = 20031,  // 32 bytes
  // Bit planes: f16 d (and m), then for each plane of the codes a bit per value, bit i % 8 of byte i / 8. Symmetric:
  // w = d·(q − (2^bits − 1)/2).
  nb_w1g64 = 20020,   // f16 d, 8 bytes
  nb_w1g128 = 20021,  // f16 d, 16 bytes
  nb_w2g64 = 20022,   // f16 d, 2 × 8 bytes
  nb_w2g64a = 20023,  // f16 d, f16 m, 2 × 8 bytes; w = d·q + m
  nb_w2g128 = 20024,  // f16 d, 2 × 16 bytes
  nb_w3g64 = 20025,   // f16 d, 3 × 8 bytes
  nb_w3g128 = 20026,  // f16 d, 3 × 16 bytes
  nb_w4g64p = 20027,  // f16 d, 4 × 8 bytes
  nb_t2g64 = 20028,   // f16 d, 2 × 8 bytes; w = d·(q − 1), no q is 3
};

struct GgmlTypeInfo {
  const char* name;     // "Q4_1"
  size_t block_values;  // values of one block: 1, 32, 64, 128 or 256
  size_t block_bytes;
  WeightFormat home;     // the lossless packed format
  size_t row_bytes = 0;  // before the first block of a row
};

/// Null if the type isn't read.
const GgmlTypeInfo* ggml_type_info(uint32_t type) noexcept;

/// Bytes of `rows` rows of `cols` values, or 0 if cols isn't a multiple of the type's block or the size overflows.
size_t ggml_bytes(const GgmlTypeInfo& type, size_t rows, size_t cols) noexcept;

/// Packs row tiles [first_tile, first_tile + tile_count) of a matrix of `rows` rows into `out` (tile_count ·
/// row_tile_bytes). `file_rows`: the rows of these tiles as they lie in the file. Rows beyond `rows` become
/// zeros. cols % 32 == 0 (and a multiple of the type's block).
/// Fails with model_tensor_not_finite if a scale, minimum or float weight is NaN or infinite, if levels aren't what
/// they have to be, or if a ternary code is 3.
/// Safe to call from several threads on different tiles.
Status pack_row_tiles(GgmlType type, const uint8_t* file_rows, size_t rows, size_t cols, size_t first_tile,
                      size_t tile_count, uint8_t* out);

/// Dequantizes file rows to f32 by the same unpacking as the packer: w = fma(q, d, m). out[rows · cols].
Status dequantize_rows(GgmlType type, const uint8_t* file_rows, size_t rows, size_t cols, float* out);

/// Row `row` of a packed matrix as f32, out[cols]: embedding look-up. Same values as dequantize_rows.
void unpack_row(const PackedView& matrix, size_t row, float* out) noexcept;

}  // namespace nibble
