#include "elementwise.h"

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

void quantize_a8(const float* x, size_t n, A8Block* out) noexcept {
  for (size_t g = 0; g < n / kTileInputs; ++g) {
    const float* in = x + g * kTileInputs;
    A8Block block{};
    uint32_t amax_bits = 0;  // order of comparison doesn't matter: integers have no NaN and no −0
    for (size_t i = 0; i < kTileInputs; ++i)
      amax_bits = magnitude_bits(in[i]) > amax_bits ? magnitude_bits(in[i]) : amax_bits;
    const float amax = std::bit_cast<float>(amax_bits);
    if (amax_bits >= kInfinityBits) {  // one such group is enough to make every output of the row NaN
      block.d = block.s = block.s16[0] = block.s16[1] = __builtin_nanf("");
    } else if (amax >= 0x1p-100f) {
      block.d = amax / 127.0f;
      const float inverse = 127.0f / amax;
      int32_t sum[2] = {0, 0};
      for (size_t i = 0; i < kTileInputs; ++i) {
        const int32_t q = round_even(in[i] * inverse);
        block.q[i] = static_cast<int8_t>(q);
        sum[i / 16] += q;
      }
      block.s = block.d * static_cast<float>(sum[0] + sum[1]);
      for (size_t half = 0; half < 2; ++half) {
        block.s16[half] = block.d * static_cast<float>(sum[half]);
        block.n16[half] = -128 * sum[half];
      }
    }
    out[g] = block;
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
