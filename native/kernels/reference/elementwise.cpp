#include "elementwise.h"

#include <cmath>

#include "../../formats/f16.h"
#include "math.h"

namespace nibble::kernels::reference {

void rmsnorm(const float* x, const float* gain, size_t n, float eps, float* y) noexcept {
  float lane[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lane[i % kLanes] = fma(x[i], x[i], lane[i % kLanes]);
  const float mean = fold_sum(lane) / static_cast<float>(n);
  const float inverse = 1.0f / __builtin_sqrtf(mean + eps);
  for (size_t i = 0; i < n; ++i) y[i] = gain[i] * (x[i] * inverse);
}

namespace {

/// What the scale of a group maps to `top`, from its largest magnitude: that, or what keeps the sums of quads in a
/// byte.
float reach_of(const float* x, size_t group, float amax, int32_t levels) noexcept {
  if (levels != kTableLevels) return amax;
  float reach = 2.0f * amax;
  for (size_t i = 0; i < group; i += 16) {
    for (size_t b = i; b < i + 4; ++b) {
      const float sum = (std::fabs(x[b]) + std::fabs(x[b + 8])) + (std::fabs(x[b + 4]) + std::fabs(x[b + 12]));
      reach = sum > reach ? sum : reach;
    }
  }
  return reach;
}

}  // namespace

void quantize_a8(const float* x, size_t n, size_t group, int32_t levels, A8Block* out) noexcept {
  const float top = static_cast<float>(levels == kTableLevels ? 2 * levels : levels);
  for (size_t first = 0; first < n; first += group) {
    A8Block* blocks = out + first / kTileInputs;
    for (size_t b = 0; b < group / kTileInputs; ++b) blocks[b] = A8Block{};
    uint32_t amax_bits = 0;  // order of comparison doesn't matter: integers have no NaN and no −0
    for (size_t i = 0; i < group; ++i) {
      amax_bits = magnitude_bits(x[first + i]) > amax_bits ? magnitude_bits(x[first + i]) : amax_bits;
    }
    const float amax = std::bit_cast<float>(amax_bits);
    const float reach = amax_bits >= kInfinityBits ? amax : reach_of(x + first, group, amax, levels);
    float d = 0.0f;
    int32_t sum = 0;
    int32_t halves[2] = {0, 0};                    // of a group of 32
    if (magnitude_bits(reach) >= kInfinityBits) {  // one such group is enough to make every output of the row NaN
      d = __builtin_nanf("");
    } else if (amax >= 0x1p-100f) {
      d = reach / top;
      const float inverse = top / reach;
      for (size_t i = 0; i < group; ++i) {
        const int32_t q = round_even(x[first + i] * inverse);
        blocks[i / kTileInputs].q[i % kTileInputs] = static_cast<int8_t>(q);
        sum += q;
        halves[i / 16 % 2] += q;
      }
    }
    for (size_t b = 0; b < group / kTileInputs; ++b) blocks[b].d = d;
    blocks->s = d * static_cast<float>(sum);
    blocks->n16[0] = -128 * sum;
    for (size_t half = 0; half < 2 && group == kTileInputs; ++half) {
      blocks->s16[half] = d * static_cast<float>(halves[half]);
      blocks->n16[half] = -128 * halves[half];
    }
  }
}

void make_tables(const A8Block* x, size_t n, size_t group, A8Table* out) noexcept {
  for (size_t strip = 0; strip < n / kTileInputs; ++strip) {
    A8Table& table = out[strip];
    const size_t first = strip / (group / kTileInputs) * (group / kTileInputs);
    table = A8Table{};
    table.d = x[first].d;
    table.s = x[first].s;
    for (size_t h = 0; h < 2; ++h) {
      for (size_t b = 0; b < 4; ++b) {
        const int8_t* q = x[strip].q + 16 * h + b;
        const int32_t sum = q[0] + q[4] + q[8] + q[12];
        const int32_t middle = sum >> 1;  // rounds down
        for (size_t i = 0; i < 16; ++i) {
          int32_t part = 0;
          for (size_t s = 0; s < 4; ++s) part += (i >> s & 1) != 0 ? q[4 * s] : 0;
          table.entry[h][b][i] = static_cast<uint8_t>(128 + part - middle);
        }
        out[first].offset += middle - 128;
      }
    }
  }
}

void silu_mul(const float* gate, const float* up, size_t n, float* y) noexcept {
  for (size_t i = 0; i < n; ++i) y[i] = silu(gate[i]) * up[i];
}

void rope(float* x, size_t heads, size_t head_dim, size_t rotary, const float* cos, const float* sin,
          bool interleaved) noexcept {
  for (size_t h = 0; h < heads; ++h) {
    float* head = x + h * head_dim;
    for (size_t i = 0; i < rotary / 2; ++i) {
      float& first = interleaved ? head[2 * i] : head[i];
      float& second = interleaved ? head[2 * i + 1] : head[i + rotary / 2];
      const float a = first;
      const float b = second;
      first = fma(a, cos[i], -(b * sin[i]));
      second = fma(a, sin[i], b * cos[i]);
    }
  }
}

void rotate(const RotationView& rotation, float* x, float* scratch) noexcept {
  const size_t width = rotation.n / rotation.order;
  for (size_t start = 0; start < rotation.n; start += width) {
    for (size_t distance = 1; distance < width; distance *= 2) {
      for (size_t i = start; i < start + width; ++i) {
        if ((i - start) / distance % 2 != 0) continue;
        const float a = x[i];
        const float b = x[i + distance];
        x[i] = a + b;
        x[i + distance] = a - b;
      }
    }
  }
  const float factor = 1.0f / __builtin_sqrtf(static_cast<float>(rotation.n));
  for (size_t i = 0; i < rotation.n; ++i) {
    float sum = rotation.order == 1 ? x[i] : 0.0f;
    for (size_t part = 0; rotation.order > 1 && part < rotation.order; ++part) {
      sum = fma(rotation.signs[i / width * rotation.order + part], x[part * width + i % width], sum);
    }
    scratch[i] = sum * factor;
  }
  for (size_t i = 0; i < rotation.n; ++i) x[i] = scratch[i];
}

RowStats row_stats(const float* x, size_t n) noexcept {
  float lane[kLanes];
  for (float& value : lane) value = -kInfinity;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    lane[i % kLanes] = select_max(x[i], lane[i % kLanes]);
    finite = finite && magnitude_bits(x[i]) < kInfinityBits;
  }
  return {fold_max(lane), finite};
}

float sum_exp(const float* x, size_t n, float max) noexcept {
  float lane[kLanes] = {};
  for (size_t i = 0; i < n; ++i) lane[i % kLanes] += exp(x[i] - max);
  return fold_sum(lane);
}

void exp_row(const float* x, size_t n, float max, float scale, float* y) noexcept {
  for (size_t i = 0; i < n; ++i) y[i] = exp((x[i] - max) * scale);
}

}  // namespace nibble::kernels::reference
