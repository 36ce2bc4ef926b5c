#include "product.h"

#include <new>

namespace nibble {
namespace {

/// Of one item: activations that stay in the L2 cache, and enough items for many threads.
constexpr size_t kColumns = 48;
constexpr size_t kTiles = 12;

}  // namespace

Floats::Floats(size_t count) : pages_(count * sizeof(float)) {
  if (count > 0 && pages_.data() == nullptr) throw std::bad_alloc();
}

void pack_rows(const float* w, size_t stride, size_t inputs, size_t tile, float* tiles) noexcept {
  float* out = tiles + tile * inputs * kTileRows;
  for (size_t r = 0; r < kTileRows; ++r) {
    const float* row = w + (tile * kTileRows + r) * stride;
    for (size_t i = 0; i < inputs; ++i) out[i * kTileRows + r] = row[i];
  }
}

void pack_columns(const float* x, size_t stride, size_t inputs, size_t tile, float* tiles) noexcept {
  float* out = tiles + tile * inputs * kTileRows;
  for (size_t i = 0; i < inputs; ++i) std::copy_n(x + i * stride + tile * kTileRows, kTileRows, out + i * kTileRows);
}

void transpose(const float* x, size_t stride, size_t rows, size_t first, size_t count, float* out) noexcept {
  constexpr size_t kLines = 16;  // as many lines are written to at a time
  for (size_t c0 = first; c0 < first + count; c0 += kLines) {
    const size_t last = std::min(c0 + kLines, first + count);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = c0; c < last; ++c) out[c * rows + r] = x[r * stride + c];
    }
  }
}

void multiply(const KernelTable& kernels, const Product& p) noexcept {
  kernels.linear_f32[static_cast<size_t>(WeightFormat::f32)]({
      .tiles = reinterpret_cast<const uint8_t*>(p.tiles),
      .groups = p.inputs / kTileInputs,
      .row_tiles = p.rows / kTileRows,
      .x = p.x,
      .x_stride = p.x_stride,
      .columns = p.columns,
      .y = p.y,
      .y_stride = p.y_stride,
      .bias = p.bias,
      .accumulate = p.accumulate,
  });
}

void multiply(const KernelTable& kernels, const Crew& crew, const Product& p) noexcept {
  const size_t tiles = p.rows / kTileRows;
  const size_t parts = (tiles + kTiles - 1) / kTiles;
  crew.each((p.columns + kColumns - 1) / kColumns * parts, 1, [&](size_t item) {
    const size_t column = item / parts * kColumns;
    const size_t tile = item % parts * kTiles;
    Product part = p;
    part.x += column * p.x_stride;
    part.columns = std::min(kColumns, p.columns - column);
    part.tiles += tile * kTileRows * p.inputs;
    part.rows = std::min(kTiles, tiles - tile) * kTileRows;
    part.y += column * p.y_stride + tile * kTileRows;
    if (p.bias != nullptr) part.bias += tile * kTileRows;
    multiply(kernels, part);
  });
}

}  // namespace nibble
