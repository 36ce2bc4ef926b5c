#pragma once
// Linear layers over f32 activations; definition: reference/linear.cpp. Included inside a level's anonymous namespace.
//
// Float weights are read by the tile kernel as they lie: a row tile is [K][16]. Quantized ones are dequantized to f32
// panels of 64 inputs that stay in the L1 cache and serve a block of columns, whose sums wait on the stack meanwhile.

constexpr size_t kBlockColumns = 48;  // columns that stay in the L2 cache while all rows pass

template <WeightFormat F>
void linear_float(const LinearTask& task) noexcept {
  using Half = std::conditional_t<F == WeightFormat::f16, F16, Bf16>;
  using Element = std::conditional_t<F == WeightFormat::f32, float, Half>;
  const size_t inputs = task.groups * kTileInputs;
  const auto* w = reinterpret_cast<const Element*>(task.tiles);
  for (size_t c0 = 0; c0 < task.columns; c0 += kBlockColumns) {
    const size_t end = c0 + kBlockColumns < task.columns ? c0 + kBlockColumns : task.columns;
    const size_t step = tile_columns(end - c0);
    for (size_t r = 0; r < task.row_tiles;) {
      const size_t vectors = vectors_of(step, task.row_tiles - r);
      const Element* rows[kVectorsMax];
      for (size_t v = 0; v < vectors; ++v) rows[v] = w + (r + v) * inputs * kTileRows;
      for (size_t c = c0; c < end; c += step) {
        run_tile<Element>(vectors, end - c < step ? end - c : step,
                          {.w = rows,
                           .w_step = kTileRows,
                           .segment_steps = inputs,
                           .steps = inputs,
                           .x = static_cast<const float*>(task.x) + c * task.x_stride,
                           .x_stride = task.x_stride,
                           .start = nullptr,
                           .bias = task.bias != nullptr ? task.bias + r * kTileRows : nullptr,
                           .accumulate = task.accumulate,
                           .out = task.y + c * task.y_stride + r * kTileRows,
                           .out_stride = task.y_stride,
                           .skip = (vectors - 1) * inputs * kTileRows});
      }
      r += vectors;
    }
  }
}

template <size_t ScaleBytes>
NIBBLE_INLINE F32x16 load_header(const uint8_t* tile, size_t index) noexcept {
  if constexpr (ScaleBytes == 2) return load_f16(reinterpret_cast<const uint16_t*>(tile + 32 * index));
  return load(reinterpret_cast<const float*>(tile + 64 * index));
}

/// Bit `Bit` of each lane as a mask: all ones, or 0.
template <int Bit>
NIBBLE_INLINE I32x16 spread_bit(I32x16 x) noexcept {
  return shift_right_signed<31>(shift_left<31 - Bit>(x));
}

/// A strip of 2-bit codes → levels times scale. The bits of a code choose among the four products without a table.
/// @param levels four bytes a row
NIBBLE_INLINE void put_levels(I32x16 levels, F32x16 scale, const uint8_t* codes, float* out) noexcept {
  const auto product = [&](I32x16 top) { return bits(fma(to_f32(shift_right_signed<24>(top)), scale, zero())); };
  const I32x16 low = product(shift_left<24>(levels));
  const I32x16 high = product(shift_left<8>(levels));
  const I32x16 low_change = bit_xor(low, product(shift_left<16>(levels)));
  const I32x16 high_change = bit_xor(high, product(levels));
  for (size_t half = 0; half < 2; ++half) {
    const I32x16 word = load_i32(codes + 64 * half);
    const auto put = [&]<int Field>() __attribute__((always_inline)) {  // byte Field / 4 of a lane, bits 2·(Field % 4)
      constexpr int kBit = 8 * (Field / 4) + 2 * (Field % 4);
      const I32x16 first = spread_bit<kBit>(word);
      const I32x16 second = spread_bit<kBit + 1>(word);
      const I32x16 a = bit_xor(low, bit_and(first, low_change));
      const I32x16 b = bit_xor(high, bit_and(first, high_change));
      const size_t input = 16 * half + 4 * (Field % 4) + Field / 4;
      store(out + input * kTileRows, from_bits(bit_xor(a, bit_and(second, bit_xor(a, b)))));
    };
    const auto put_four = [&]<int First>() __attribute__((always_inline)) {
      put.template operator()<First>();
      put.template operator()<First + 1>();
      put.template operator()<First + 2>();
      put.template operator()<First + 3>();
    };
    put_four.template operator()<0>();
    put_four.template operator()<4>();
    put_four.template operator()<8>();
    put_four.template operator()<12>();
  }
}

/// One strip of a tile of quantized weights → f32 [32 inputs][16 rows].
template <WeightFormat F>
NIBBLE_INLINE void dequantize_strip(const uint8_t* tile, size_t strip, float* out) noexcept {
  constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  constexpr size_t kGroups = kInfo.groups_per_strip();
  F32x16 scale[kGroups];
  F32x16 minimum[kGroups];
  for (size_t g = 0; g < kGroups; ++g) {
    scale[g] = load_header<kInfo.scale_bytes>(tile, g);
    if constexpr (kInfo.affine) {
      minimum[g] = load_header<kInfo.scale_bytes>(tile, kGroups + g);
    } else {
      minimum[g] = kInfo.middle() != 0 ? mul(scale[g], set1(-kInfo.middle())) : zero();
    }
  }
  const uint8_t* codes = tile + kInfo.header_bytes() + strip * kInfo.strip_bytes();
  alignas(64) uint8_t expanded[kInfo.planes ? kTileRows * kTileInputs / 2 : 1];
  if constexpr (kInfo.planes) {
    expand_strip<F>(codes, expanded);
    codes = expanded;
  }
  const auto put = [&](size_t input, I32x16 q) {
    const size_t g = input * kGroups / kTileInputs;
    store(out + input * kTileRows, fma(to_f32(q), scale[g], minimum[g]));
  };
  if constexpr (kInfo.codebook) {
    put_levels(load_i32(tile + kInfo.header_bytes() - kTileRows * kCodebookLevels), scale[0], codes, out);
  } else if constexpr (kInfo.bits == 4 || kInfo.planes) {
    const I32x16 mask = set1_i32(15);
    for (size_t j = 0; j < 4; ++j) {
      const I32x16 four = load_i32(codes + 64 * j);  // byte b of a lane: inputs 4j + b and 16 + 4j + b
      put(4 * j + 0, bit_and(four, mask));
      put(4 * j + 1, bit_and(shift_right<8>(four), mask));
      put(4 * j + 2, bit_and(shift_right<16>(four), mask));
      put(4 * j + 3, bit_and(shift_right<24>(four), mask));
      put(4 * j + 16, bit_and(shift_right<4>(four), mask));
      put(4 * j + 17, bit_and(shift_right<12>(four), mask));
      put(4 * j + 18, bit_and(shift_right<20>(four), mask));
      put(4 * j + 19, shift_right<28>(four));
    }
  } else {
    for (size_t j = 0; j < 8; ++j) {
      const I32x16 four = load_i32(codes + 64 * j);
      put(4 * j + 0, shift_right_signed<24>(shift_left<24>(four)));
      put(4 * j + 1, shift_right_signed<24>(shift_left<16>(four)));
      put(4 * j + 2, shift_right_signed<24>(shift_left<8>(four)));
      put(4 * j + 3, shift_right_signed<24>(four));
    }
  }
}

constexpr size_t kPanelGroups = 2;  // 64 inputs × 16 rows × 4 bytes × 4 vectors = 16 KiB

/// Row tiles [r, r + vectors) for at most kBlockColumns columns from column c.
template <WeightFormat F>
void linear_panel(const LinearTask& task, size_t r, size_t vectors, size_t c0, size_t count) noexcept {
  constexpr size_t kTileBytes = kWeightFormats[static_cast<size_t>(F)].tile_bytes();
  constexpr size_t kStrips = kWeightFormats[static_cast<size_t>(F)].strips();
  alignas(64) float panel[kVectorsMax][kPanelGroups * kTileInputs * kTileRows];
  alignas(64) float sums[kBlockColumns][kVectorsMax * kTileRows];
  const float* rows[kVectorsMax];
  for (size_t v = 0; v < kVectorsMax; ++v) rows[v] = panel[v];
  const size_t step = tile_columns(count);
  for (size_t g = 0; g < task.groups; g += kPanelGroups) {
    const size_t groups = task.groups - g < kPanelGroups ? task.groups - g : kPanelGroups;
    const bool last = g + groups == task.groups;
    for (size_t v = 0; v < vectors; ++v) {
      for (size_t i = g; i < g + groups; ++i) {
        const uint8_t* tile = task.tiles + ((r + v) * (task.groups / kStrips) + i / kStrips) * kTileBytes;
        dequantize_strip<F>(tile, i % kStrips, panel[v] + (i - g) * kTileInputs * kTileRows);
      }
    }
    for (size_t c = 0; c < count; c += step) {
      run_tile<float>(vectors, count - c < step ? count - c : step,
                      {.w = rows,
                       .w_step = kTileRows,
                       .segment_steps = groups * kTileInputs,
                       .steps = groups * kTileInputs,
                       .x = static_cast<const float*>(task.x) + (c0 + c) * task.x_stride + g * kTileInputs,
                       .x_stride = task.x_stride,
                       .start = g == 0 ? nullptr : sums[c],
                       .bias = nullptr,
                       .accumulate = false,
                       .out = sums[c],
                       .out_stride = kVectorsMax * kTileRows});
    }
    if (!last) continue;
    for (size_t c = 0; c < count; ++c) {
      float* y = task.y + (c0 + c) * task.y_stride + r * kTileRows;
      for (size_t n = 0; n < vectors * kTileRows; n += 16) {
        F32x16 value = load(sums[c] + n);
        if (task.bias != nullptr) value = add(value, load(task.bias + r * kTileRows + n));
        store(y + n, task.accumulate ? add(load(y + n), value) : value);
      }
    }
  }
}

template <WeightFormat F>
void linear_quantized(const LinearTask& task) noexcept {
  for (size_t c = 0; c < task.columns; c += kBlockColumns) {
    const size_t columns = task.columns - c < kBlockColumns ? task.columns - c : kBlockColumns;
    for (size_t r = 0; r < task.row_tiles;) {
      const size_t vectors = vectors_of(tile_columns(columns), task.row_tiles - r);
      linear_panel<F>(task, r, vectors, c, columns);
      r += vectors;
    }
  }
}

template <WeightFormat F>
void linear_f32(const LinearTask& task) noexcept {
  count_call();
  if constexpr (kWeightFormats[static_cast<size_t>(F)].is_float()) {
    linear_float<F>(task);
  } else {
    linear_quantized<F>(task);
  }
}
