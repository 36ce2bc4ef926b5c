#pragma once
// Packed weights. A matrix W[N, K] (N output rows, K inputs) is cut into tiles of 16 rows × T inputs, stored in the
// order [N/16][K/T]; N is padded to 16 with rows of zeros, K must be a multiple of T. T is 32, or the group if that is
// larger. Inputs come in strips of 32. A tile is
//   scales   [groups per tile][16 rows] f16 or f32   (groups of 32 and more: one, groups of 16: two)
//   minima   [groups per tile][16 rows] same type    (affine formats only)
//   levels   [16 rows][4] int8                       (codebook formats only)
//   codes    [T/32 strips], each
//            4 bits: [4 chunks j][16 rows][4 bytes b]: low nibble input 4j+b, high nibble input 16+4j+b (256 bytes)
//            8 bits: [8 chunks j][16 rows][4 bytes b]: int8 or uint8 of input 4j+b                       (512 bytes)
//            2 bits: [2 halves l][16 rows][4 bytes b]: bits 2p, 2p+1: input 16l+4p+b                     (128 bytes)
// so that one 64-byte load holds 4 consecutive inputs of 16 rows: a lane of a vector is an output row.
// Bit planes (w1g64 … w4g64p), for kernels that look sums up (a8_table.h): four bits of a plane are the index of a
// quad, the inputs 16h+b, 16h+4+b, 16h+8+b, 16h+12+b of half h of the strip (bits 0 to 3). A strip has, one behind the
// other,
//   two planes p, p+1, as long as two are left: [4 b][16 rows][2 planes]     (128 bytes)
//   the last plane of an odd number of bits:    [4 b][16 rows]                (64 bytes)
// where the low nibble of a byte is the index in half 0, the high one that in half 1.
// Float tiles: [32 inputs][16 rows].
//
// A weight is w = fma(q, d, m): 4-bit codes are 0…15 (symmetric: m = −8·d); 8-bit symmetric codes are int8 with m = +0;
// 8-bit affine codes are uint8 of at most 63 (Q5_1, Q5_K: 31; Q2_K: 3), so int8 and uint8 reads agree. Symmetric planes
// of b bits: m = −(2^b − 1)/2 · d, so w = d/2 · q' with odd codes q' = 2q − (2^b − 1).
// Codebook formats: w = d · level[code], levels ascending in −32…31, four to each row and group. Plus 32 they are
// unsigned numbers of at most 63, of which sums of four products with int8 fit into 16 bits; and those of four rows are
// 16 bytes: a table for one byte shuffle.
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nibble {

enum class WeightFormat : uint8_t {
  f32,
  f16,
  bf16,
  w4g32,     // f16 scale, symmetric             Q4_0
  w4g32a,    // f16 scale and minimum            Q4_1
  w4g32a32,  // f32 scale and minimum            Q4_K
  w8g32,     // f16 scale, symmetric             Q8_0, Q5_0
  w8g32a,    // f16 scale and minimum            Q5_1
  w8g32a32,  // f32 scale and minimum            Q5_K
  w8g16s32,  // f32 scale, symmetric, groups 16  Q6_K, Q3_K
  w8g16a32,  // f32 scale and minimum, groups 16 Q2_K
  w4g64,     // f16 scale, symmetric             NB_W4G64
  w4g64a,    // f16 scale and minimum            NB_W4G64A
  w4g128,    // f16 scale, symmetric             NB_W4G128
  w4g128a,   // f16 scale and minimum            NB_W4G128A
  w8g64,     // f16 scale, symmetric             NB_W8G64
  w8g128,    // f16 scale, symmetric             NB_W8G128
  w8row,     // f32 scale of a whole row         NB_W8ROW
  w4row,     // f32 scale of a whole row         NB_W4ROW
  w2g64c,    // f16 scale, four levels           NB_W2G64C
  w2g128c,   // f16 scale, four levels           NB_W2G128C
  w4g64a32,  // f32 scale and minimum; of no file: what planes become where they are multiplied
  w4g128a32,
  w1g64,   // planes, f16 scale                NB_W1G64
  w1g128,  // planes, f16 scale                NB_W1G128
  w2g64,   // planes, f16 scale                NB_W2G64
  w2g64a,  // planes, f16 scale and minimum    NB_W2G64A, NB_T2G64, TQ1_0, TQ2_0
  w2g128,  // planes, f16 scale                NB_W2G128
  w3g64,   // planes, f16 scale                NB_W3G64
  w3g128,  // planes, f16 scale                NB_W3G128
  w4g64p,  // planes, f16 scale                NB_W4G64P
};
inline constexpr size_t kWeightFormatCount = 31;

inline constexpr size_t kTileRows = 16;
inline constexpr size_t kTileInputs = 32;  // of a strip: of a tile whose groups aren't larger

inline constexpr size_t kCodebookLevels = 4;
inline constexpr int kLowestLevel = -32;
inline constexpr int kHighestLevel = 31;

struct WeightFormatInfo {
  std::string_view name;
  uint8_t bits;           // per code; 16 or 32 for float formats
  uint8_t group;          // inputs per scale; 0 for float formats
  uint8_t scale_bytes;    // 2, 4; 0 for float formats
  bool affine;            // minima are stored
  bool codebook = false;  // codes are indices into the group's own levels
  bool planes = false;    // codes lie as bit planes

  constexpr bool is_float() const noexcept { return group == 0; }
  /// One scale for a row: a row tile begins with 16 f32 scales, its tiles hold codes alone. For Tender
  /// (kernels/tender.h).
  constexpr bool is_row_scaled() const noexcept { return !is_float() && scale_bytes == 0; }
  /// Strips of 32 inputs in a tile: 1, or what a larger group takes.
  constexpr size_t strips() const noexcept { return group > kTileInputs ? group / kTileInputs : 1; }
  /// Scale groups that begin in a strip: 2 (groups of 16) or 1.
  constexpr size_t groups_per_strip() const noexcept { return group < kTileInputs ? kTileInputs / group : 1; }
  /// w = d · (q − middle) where no minima are stored.
  constexpr float middle() const noexcept {
    if (affine || codebook || bits > 4) return 0.0f;
    return planes ? 0.5f * static_cast<float>((1 << bits) - 1) : 8.0f;
  }
  /// Inputs that share a scale of the activations: groups of 16 lie in activation groups of 32.
  constexpr size_t activation_group() const noexcept { return group > kTileInputs ? group : kTileInputs; }
  constexpr size_t scales_per_tile() const noexcept { return is_float() ? 0 : kTileRows * groups_per_strip(); }
  constexpr size_t header_bytes() const noexcept {
    return scales_per_tile() * scale_bytes * (affine ? 2 : 1) + (codebook ? kTileRows * kCodebookLevels : 0);
  }
  constexpr size_t strip_bytes() const noexcept { return kTileRows * kTileInputs * bits / 8; }
  constexpr size_t tile_bytes() const noexcept { return header_bytes() + strips() * strip_bytes(); }
};

inline constexpr WeightFormatInfo kWeightFormats[kWeightFormatCount] = {
    {"f32", 32, 0, 0, false},
    {"f16", 16, 0, 0, false},
    {"bf16", 16, 0, 0, false},
    {"w4g32", 4, 32, 2, false},
    {"w4g32a", 4, 32, 2, true},
    {"w4g32a32", 4, 32, 4, true},
    {"w8g32", 8, 32, 2, false},
    {"w8g32a", 8, 32, 2, true},
    {"w8g32a32", 8, 32, 4, true},
    {"w8g16s32", 8, 16, 4, false},
    {"w8g16a32", 8, 16, 4, true},
    {"w4g64", 4, 64, 2, false},
    {"w4g64a", 4, 64, 2, true},
    {"w4g128", 4, 128, 2, false},
    {"w4g128a", 4, 128, 2, true},
    {"w8g64", 8, 64, 2, false},
    {"w8g128", 8, 128, 2, false},
    {"w8row", 8, 32, 0, false},
    {"w4row", 4, 32, 0, false},
    {"w2g64c", 2, 64, 2, false, true},
    {"w2g128c", 2, 128, 2, false, true},
    {"w4g64a32", 4, 64, 4, true},
    {"w4g128a32", 4, 128, 4, true},
    {"w1g64", 1, 64, 2, false, false, true},
    {"w1g128", 1, 128, 2, false, false, true},
    {"w2g64", 2, 64, 2, false, false, true},
    {"w2g64a", 2, 64, 2, true, false, true},
    {"w2g128", 2, 128, 2, false, false, true},
    {"w3g64", 3, 64, 2, false, false, true},
    {"w3g128", 3, 128, 2, false, false, true},
    {"w4g64p", 4, 64, 2, false, false, true},
};

constexpr const WeightFormatInfo& info(WeightFormat format) noexcept {
  return kWeightFormats[static_cast<size_t>(format)];
}
static_assert(info(WeightFormat::w4g32).tile_bytes() == 288);
static_assert(info(WeightFormat::w4g32a).tile_bytes() == 320);
static_assert(info(WeightFormat::w8g32).tile_bytes() == 544);
static_assert(info(WeightFormat::w4g64a).tile_bytes() == 576);
static_assert(info(WeightFormat::w8g128).tile_bytes() == 2080);
static_assert(info(WeightFormat::w2g64c).tile_bytes() == 352);
static_assert(info(WeightFormat::w2g64).tile_bytes() == 288);

constexpr size_t row_tiles(size_t rows) noexcept {
  return (rows + kTileRows - 1) / kTileRows;
}

/// Bytes of a row tile of `cols` inputs, whole tiles.
constexpr size_t row_tile_bytes(WeightFormat format, size_t cols) noexcept {
  const size_t scales = info(format).is_row_scaled() ? kTileRows * sizeof(float) : 0;
  return scales + cols / (kTileInputs * info(format).strips()) * info(format).tile_bytes();
}

/// A packed matrix, not owned.
struct PackedView {
  const uint8_t* tiles = nullptr;  // 32-byte aligned
  WeightFormat format = WeightFormat::f32;
  size_t rows = 0;  // N, without padding
  size_t cols = 0;  // K

  size_t row_tile_bytes() const noexcept { return nibble::row_tile_bytes(format, cols); }
  size_t bytes() const noexcept { return row_tiles(rows) * row_tile_bytes(); }
};

}  // namespace nibble
