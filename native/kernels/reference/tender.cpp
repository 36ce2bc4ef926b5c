// Tender's linear layer and the codes of its activations: the definition. Accumulators have 64 bits here, so that 32
// bits elsewhere are compared with what can't overflow.
#include "../tender.h"

#include <bit>
#include <cstring>

#include "math.h"

namespace nibble::kernels::reference {
namespace {

constinit std::atomic<uint64_t> tender_calls{0};

struct Steps {
  float inverse;  // 1 / step of the first group
  float step;     // of the last group; NaN: the row isn't finite
};

Steps steps_of(const float* x, const TenderInput& how) noexcept {
  uint32_t most = 0;
  for (size_t i = 0; i < how.inputs; ++i) {
    const float value = x[how.order[i]];
    const uint32_t bits = magnitude_bits(how.own == nullptr ? value : (value - how.bias[i]) * how.finer[i]);
    most = bits > most ? bits : most;
  }
  if (most >= kInfinityBits) return {0.0f, __builtin_nanf("")};
  if (how.own == nullptr) return {how.inverse, how.step};
  const float top = std::bit_cast<float>(most);
  if (top < 0x1p-100f) return {0.0f, 0.0f};
  return {how.limit / top, (top / how.limit) * how.last};
}

void quantize(const float* x, const TenderInput& how, A8Block* out) noexcept {
  const Steps steps = steps_of(x, how);
  std::memset(static_cast<void*>(out), 0, how.inputs / kTileInputs * sizeof(A8Block));
  out->d = steps.step;
  if (steps.step != steps.step) return;
  uint32_t sum = 0;
  for (size_t i = 0; i < how.inputs; ++i) {
    const float scaled = ((x[how.order[i]] - how.bias[i]) * how.finer[i]) * steps.inverse;
    const float low = scaled > -how.limit ? scaled : -how.limit;
    const int32_t q = round_even(low < how.limit ? low : how.limit);
    out[i / kTileInputs].q[i % kTileInputs] = static_cast<int8_t>(q);
    sum -= static_cast<uint32_t>(how.weight[i]) * static_cast<uint32_t>(q);
  }
  out->n16[0] = static_cast<int32_t>(sum);
}

/// Code of `input` of a row of a tile behind the 16 row scales; layout in ../../formats/weight_format.h.
template <int Bits>
int32_t code_of(const uint8_t* codes, size_t row, size_t input) noexcept {
  if constexpr (Bits == 8) return static_cast<int8_t>(codes[input / 4 * 64 + row * 4 + input % 4]);
  const size_t in_tile = input % kTileInputs;
  const uint8_t both = codes[input / kTileInputs * 256 + in_tile % 16 / 4 * 64 + row * 4 + in_tile % 4];
  return (in_tile < 16 ? both & 15 : both >> 4) - 8;
}

template <int Bits>
void linear(const TenderTask& task) noexcept {
  tender_calls.fetch_add(1, std::memory_order_relaxed);
  const LinearTask& l = task.linear;
  const size_t row_tile_bytes = kTileRows * sizeof(float) + l.groups * kTileInputs * kTileRows * Bits / 8;
  for (size_t c = 0; c < l.columns; ++c) {
    const A8Block* x = static_cast<const A8Block*>(l.x) + c * l.x_stride;
    for (size_t n = 0; n < l.row_tiles * kTileRows; ++n) {
      const uint8_t* tiles = l.tiles + n / kTileRows * row_tile_bytes;
      const uint8_t* codes = tiles + kTileRows * sizeof(float);
      int64_t sum = 0;
      size_t k = 0;
      for (size_t g = 0; g < task.count; ++g) {
        sum *= 2;
        for (; k < size_t{4} * task.ends[g]; ++k) {
          sum += code_of<Bits>(codes, n % kTileRows, k) * x[k / kTileInputs].q[k % kTileInputs];
        }
      }
      float scale;
      std::memcpy(&scale, tiles + n % kTileRows * sizeof(float), sizeof(float));
      float value = static_cast<float>(sum) * (scale * x->d);
      if (l.bias != nullptr) value = value + l.bias[n];
      float& y = l.y[c * l.y_stride + n];
      y = l.accumulate ? y + value : value;
    }
  }
}

template <int Bits>
void linear_f32(const LinearTask& l) noexcept {
  tender_calls.fetch_add(1, std::memory_order_relaxed);
  const size_t row_tile_bytes = kTileRows * sizeof(float) + l.groups * kTileInputs * kTileRows * Bits / 8;
  for (size_t c = 0; c < l.columns; ++c) {
    const float* x = static_cast<const float*>(l.x) + c * l.x_stride;
    for (size_t n = 0; n < l.row_tiles * kTileRows; ++n) {
      const uint8_t* tiles = l.tiles + n / kTileRows * row_tile_bytes;
      float scale;
      std::memcpy(&scale, tiles + n % kTileRows * sizeof(float), sizeof(float));
      float value = 0.0f;
      for (size_t k = 0; k < l.groups * kTileInputs; ++k) {
        const int32_t code = code_of<Bits>(tiles + kTileRows * sizeof(float), n % kTileRows, k);
        value = fma(static_cast<float>(code) * scale, x[k], value);
      }
      if (l.bias != nullptr) value = value + l.bias[n];
      float& y = l.y[c * l.y_stride + n];
      y = l.accumulate ? y + value : value;
    }
  }
}

constexpr TenderKernels instance = {{linear<8>, linear<4>}, {linear_f32<8>, linear_f32<4>}, quantize, &tender_calls};

}  // namespace

const TenderKernels& tender() noexcept {
  return instance;
}

}  // namespace nibble::kernels::reference
