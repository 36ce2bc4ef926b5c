#pragma once
// Bit planes over int8 activations: expanded, then multiplied (planes.h). Included behind the level's linear_a8_groups.

template <WeightFormat F>
void linear_a8_planes(const LinearTask& task) noexcept {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  const size_t tiles = task.groups / kInfo.strips();
  for (size_t n = 0; n < task.row_tiles; n += kExpandedTiles) {
    const size_t count = task.row_tiles - n < kExpandedTiles ? task.row_tiles - n : kExpandedTiles;
    expand_tiles<F>(task.tiles + n * tiles * kInfo.tile_bytes(), count * tiles, task.scratch);
    LinearTask part = task;
    part.tiles = task.scratch;
    part.row_tiles = count;
    part.y = task.y + n * kTileRows;
    if (task.bias != nullptr) part.bias = task.bias + n * kTileRows;
    linear_a8_groups<kExpanded<F>>(part);
  }
}
