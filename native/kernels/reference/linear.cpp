// Linear layers: one accumulator per output from +0, groups (or inputs) ascending; then bias; then the residual.
//   a8:  acc = fma(f32(Σ q_w·q_x), d_w · d, acc) per group, the integer sum exact; then, where codes have an offset,
//        acc = fma(m_w, s, acc). Symmetric 4-bit codes are 0…15 with m_w = −8·d_w; s is the sum of the same group.
//        The code of a codebook is its level. Groups of 16 take the two sums of a block, those of 64 and 128 what
//        stands in the group's first block.
//   table: the same integer sum, looked up plane by plane (../../formats/a8_table.h), so the same result.
//   f32: w = fma(f32(q), d_w, m_w), m_w = +0 where there is none;  acc = fma(w, x, acc).
#include "linear.h"

#include <cstring>

#include "../../formats/f16.h"
#include "../../formats/planes.h"
#include "math.h"
#include "table.h"

namespace nibble::kernels::reference {
namespace {

/// Reads one row of a strip of a packed tile; layout in ../../formats/weight_format.h.
template <WeightFormat F>
struct TileRow {
  static constexpr WeightFormatInfo kInfo = kWeightFormats[static_cast<size_t>(F)];
  static constexpr size_t kGroups = kInfo.groups_per_strip();
  static constexpr size_t kGroupInputs = kTileInputs / kGroups;

  const uint8_t* tile;
  size_t row;
  size_t strip;

  template <class T>
  T read(size_t byte) const noexcept {
    T value;
    std::memcpy(&value, tile + byte, sizeof(T));
    return value;
  }
  float header(size_t index) const noexcept {
    const size_t entry = index * kTileRows + row;
    if constexpr (kInfo.scale_bytes == 2) return f16_to_f32(read<uint16_t>(2 * entry));
    return read<float>(4 * entry);
  }
  float scale(size_t group) const noexcept { return header(group); }
  float minimum(size_t group) const noexcept {
    if constexpr (kInfo.affine) return header(kGroups + group);
    return kInfo.middle() != 0 ? -kInfo.middle() * scale(group) : 0.0f;
  }
  int32_t code(size_t input) const noexcept {
    const size_t codes = kInfo.header_bytes() + strip * kInfo.strip_bytes();
    if constexpr (kInfo.codebook) {
      const uint8_t four = tile[codes + input / 16 * 64 + row * 4 + input % 4];
      const size_t level = row * kCodebookLevels + (four >> (input % 16 / 4 * 2) & 3u);
      return static_cast<int8_t>(tile[kInfo.header_bytes() - kTileRows * kCodebookLevels + level]);
    } else if constexpr (kInfo.planes) {
      return planes::code(tile + codes, kInfo.bits, row, input);
    } else if constexpr (kInfo.bits == 4) {
      const size_t low = input % 16;
      const uint8_t both = tile[codes + low / 4 * 64 + row * 4 + low % 4];
      return input < 16 ? both & 15 : both >> 4;
    } else {
      const uint8_t byte = tile[codes + input / 4 * 64 + row * 4 + input % 4];
      return kInfo.affine ? byte : static_cast<int8_t>(byte);
    }
  }
  float weight(size_t input) const noexcept {
    const size_t entry = input * kTileRows + row;
    if constexpr (F == WeightFormat::f32) {
      return read<float>(4 * entry);
    } else if constexpr (F == WeightFormat::f16) {
      return f16_to_f32(read<uint16_t>(2 * entry));
    } else if constexpr (F == WeightFormat::bf16) {
      return bf16_to_f32(read<uint16_t>(2 * entry));
    } else {
      const size_t group = input / kGroupInputs;
      return fma(static_cast<float>(code(input)), scale(group), minimum(group));
    }
  }
};

template <WeightFormat F>
float dot_a8(const LinearTask& task, const uint8_t* tiles, size_t row, const A8Block* x) noexcept {
  using Row = TileRow<F>;
  constexpr WeightFormatInfo kInfo = Row::kInfo;
  constexpr size_t kStrips = kInfo.strips();
  float acc = 0.0f;
  for (size_t g = 0; g < task.groups / kStrips; ++g, x += kStrips) {
    for (size_t part = 0; part < Row::kGroups; ++part) {
      const Row w{tiles + g * kInfo.tile_bytes(), row, 0};
      int32_t dot = 0;
      for (size_t strip = 0; strip < kStrips; ++strip) {
        const Row codes{w.tile, row, strip};
        for (size_t i = part * Row::kGroupInputs; i < (part + 1) * Row::kGroupInputs; ++i) {
          dot += codes.code(i) * x[strip].q[i];
        }
      }
      acc = fma(static_cast<float>(dot), w.scale(part) * x->d, acc);
      if constexpr (kInfo.affine || kInfo.middle() != 0) {
        acc = fma(w.minimum(part), Row::kGroups == 1 ? x->s : x->s16[part], acc);
      }
    }
  }
  return acc;
}

/// As dot_a8, by looking up: Σ code·q = Σ_p 2^p · Σ_quads entry[bits of plane p] + (2^bits − 1) · offset.
template <WeightFormat F>
float dot_table(const LinearTask& task, const uint8_t* tiles, size_t row, const A8Table* x) noexcept {
  constexpr WeightFormatInfo kInfo = TileRow<F>::kInfo;
  constexpr size_t kStrips = kInfo.strips();
  float acc = 0.0f;
  for (size_t g = 0; g < task.groups / kStrips; ++g, x += kStrips) {
    const TileRow<F> w{tiles + g * kInfo.tile_bytes(), row, 0};
    int32_t dot = ((1 << kInfo.bits) - 1) * x->offset;
    for (size_t strip = 0; strip < kStrips; ++strip) {
      const uint8_t* codes = w.tile + kInfo.header_bytes() + strip * kInfo.strip_bytes();
      for (size_t plane = 0; plane < kInfo.bits; ++plane) {
        for (size_t b = 0; b < 4; ++b) {
          const uint8_t both = codes[planes::byte_of(kInfo.bits, plane, b, row)];
          dot += (x[strip].entry[0][b][both & 15] + x[strip].entry[1][b][both >> 4]) << plane;
        }
      }
    }
    acc = fma(static_cast<float>(dot), w.scale(0) * x->d, acc);
    acc = fma(w.minimum(0), x->s, acc);
  }
  return acc;
}

template <WeightFormat F>
float dot_f32(const LinearTask& task, const uint8_t* tiles, size_t row, const float* x) noexcept {
  float acc = 0.0f;
  for (size_t g = 0; g < task.groups; ++g) {
    constexpr WeightFormatInfo kInfo = TileRow<F>::kInfo;
    const TileRow<F> w{tiles + g / kInfo.strips() * kInfo.tile_bytes(), row, g % kInfo.strips()};
    for (size_t i = 0; i < kTileInputs; ++i) acc = fma(w.weight(i), x[g * kTileInputs + i], acc);
  }
  return acc;
}

template <WeightFormat F, class X, float (*Dot)(const LinearTask&, const uint8_t*, size_t, const X*) noexcept>
void linear(const LinearTask& task) noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
  const size_t row_tile_bytes = task.groups / TileRow<F>::kInfo.strips() * TileRow<F>::kInfo.tile_bytes();
  for (size_t c = 0; c < task.columns; ++c) {
    const X* x = static_cast<const X*>(task.x) + c * task.x_stride;
    for (size_t n = 0; n < task.row_tiles * kTileRows; ++n) {
      float value = Dot(task, task.tiles + n / kTileRows * row_tile_bytes, n % kTileRows, x);
      if (task.bias != nullptr) value = value + task.bias[n];
      float& y = task.y[c * task.y_stride + n];
      y = task.accumulate ? y + value : value;
    }
  }
}

template <WeightFormat F>
constexpr LinearKernel kA8 = linear<F, A8Block, dot_a8<F>>;
template <WeightFormat F>
constexpr LinearKernel kF32 = linear<F, float, dot_f32<F>>;
template <WeightFormat F>
constexpr LinearKernel kTable = linear<F, A8Table, dot_table<F>>;

}  // namespace

LinearKernel linear_a8(WeightFormat format) noexcept {
  using enum WeightFormat;
  static constexpr LinearKernel kernels[kWeightFormatCount] = {
      nullptr,       nullptr,        nullptr,       kA8<w4g32>,    kA8<w4g32a>, kA8<w4g32a32>, kA8<w8g32>,
      kA8<w8g32a>,   kA8<w8g32a32>,  kA8<w8g16s32>, kA8<w8g16a32>, kA8<w4g64>,  kA8<w4g64a>,   kA8<w4g128>,
      kA8<w4g128a>,  kA8<w8g64>,     kA8<w8g128>,   nullptr,       nullptr,     kA8<w2g64c>,   kA8<w2g128c>,
      kA8<w4g64a32>, kA8<w4g128a32>, kA8<w1g64>,    kA8<w1g128>,   kA8<w2g64>,  kA8<w2g64a>,   kA8<w2g128>,
      kA8<w3g64>,    kA8<w3g128>,    kA8<w4g64p>,
  };
  return kernels[static_cast<size_t>(format)];
}

LinearKernel linear_table(WeightFormat format) noexcept {
  using enum WeightFormat;
  switch (format) {
    case w1g64:
      return kTable<w1g64>;
    case w1g128:
      return kTable<w1g128>;
    case w2g64:
      return kTable<w2g64>;
    case w2g64a:
      return kTable<w2g64a>;
    case w2g128:
      return kTable<w2g128>;
    case w3g64:
      return kTable<w3g64>;
    case w3g128:
      return kTable<w3g128>;
    case w4g64p:
      return kTable<w4g64p>;
    default:
      return nullptr;
  }
}

LinearKernel linear_f32(WeightFormat format) noexcept {
  using enum WeightFormat;
  static constexpr LinearKernel kernels[kWeightFormatCount] = {
      kF32<f32>,      kF32<f16>,       kF32<bf16>,     kF32<w4g32>,    kF32<w4g32a>, kF32<w4g32a32>, kF32<w8g32>,
      kF32<w8g32a>,   kF32<w8g32a32>,  kF32<w8g16s32>, kF32<w8g16a32>, kF32<w4g64>,  kF32<w4g64a>,   kF32<w4g128>,
      kF32<w4g128a>,  kF32<w8g64>,     kF32<w8g128>,   nullptr,        nullptr,      kF32<w2g64c>,   kF32<w2g128c>,
      kF32<w4g64a32>, kF32<w4g128a32>, kF32<w1g64>,    kF32<w1g128>,   kF32<w2g64>,  kF32<w2g64a>,   kF32<w2g128>,
      kF32<w3g64>,    kF32<w3g128>,    kF32<w4g64p>,
  };
  return kernels[static_cast<size_t>(format)];
}

}  // namespace nibble::kernels::reference
