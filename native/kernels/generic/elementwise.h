#pragma once
// Kernels over rows; definitions: reference/elementwise.cpp. Included inside a level's anonymous namespace.

constexpr int32_t kInfinityBits = 0x7f800000;

NIBBLE_INLINE I32x16 magnitude_bits(F32x16 x) noexcept {
  return bit_and(bits(x), set1_i32(0x7fffffff));
}

void rmsnorm(const float* x, const float* gain, size_t n, float eps, float* y) noexcept {
  F32x16 sum = zero();
  for (size_t i = 0; i < n; i += 16) sum = fma(load(x + i), load(x + i), sum);
  const float mean = fold_sum(sum) / static_cast<float>(n);
  const F32x16 inverse = set1(1.0f / __builtin_sqrtf(mean + eps));
  for (size_t i = 0; i < n; i += 16) store(y + i, mul(load(gain + i), mul(load(x + i), inverse)));
}

/// One group: `Blocks` blocks of 32 that share a scale.
template <size_t Blocks>
NIBBLE_INLINE void quantize_group(const float* x, int32_t levels, A8Block* out) noexcept {
  I32x16 largest = set1_i32(0);
  for (size_t i = 0; i < Blocks * kTileInputs; i += 16) largest = max(largest, magnitude_bits(load(x + i)));
  const int32_t amax_bits = fold_max(largest);
  float amax;
  __builtin_memcpy(&amax, &amax_bits, sizeof(amax));
  __builtin_memset(out, 0, Blocks * sizeof(A8Block));
  float reach = amax;
  float top = static_cast<float>(levels);
  if (levels == kTableLevels && amax_bits < kInfinityBits) {
    reach = 2.0f * amax;
    top = 2.0f * top;
    for (size_t i = 0; i < Blocks * kTileInputs; i += 16) {
      const float sum = largest_quad(from_bits(magnitude_bits(load(x + i))));
      reach = sum > reach ? sum : reach;
    }
  }
  if (amax_bits >= kInfinityBits || reach > __FLT_MAX__) {
    for (size_t b = 0; b < Blocks; ++b) out[b].d = __builtin_nanf("");
    out->s = __builtin_nanf("");
    if constexpr (Blocks == 1) out->s16[0] = out->s16[1] = __builtin_nanf("");
  } else if (amax >= 0x1p-100f) {
    const F32x16 inverse = set1(top / reach);
    const float d = reach / top;
    I32x16 sums[2] = {set1_i32(0), set1_i32(0)};  // of first and second halves of blocks
    for (size_t b = 0; b < Blocks; ++b) {
      for (size_t half = 0; half < 2; ++half) {
        const I32x16 q = round_i32(mul(load(x + b * kTileInputs + 16 * half), inverse));
        store_i8(out[b].q + 16 * half, q);
        sums[half] = add(sums[half], q);
      }
      out[b].d = d;
    }
    if constexpr (Blocks == 1) {
      const int32_t halves[2] = {fold_sum(sums[0]), fold_sum(sums[1])};
      out->s = d * static_cast<float>(halves[0] + halves[1]);
      for (size_t half = 0; half < 2; ++half) {
        out->s16[half] = d * static_cast<float>(halves[half]);
        out->n16[half] = -128 * halves[half];
      }
    } else {
      const int32_t sum = fold_sum(add(sums[0], sums[1]));
      out->s = d * static_cast<float>(sum);
      out->n16[0] = -128 * sum;
    }
  }
}

void quantize_a8(const float* x, size_t n, size_t group, int32_t levels, A8Block* out) noexcept {
  for (size_t i = 0; i < n; i += group) {
    A8Block* blocks = out + i / kTileInputs;
    if (group == 32) quantize_group<1>(x + i, levels, blocks);
    if (group == 64) quantize_group<2>(x + i, levels, blocks);
    if (group == 128) quantize_group<4>(x + i, levels, blocks);
  }
}

void silu_mul(const float* gate, const float* up, size_t n, float* y) noexcept {
  for (size_t i = 0; i < n; i += 16) {
    const F32x16 g = load(gate + i);
    const F32x16 silu = div(g, add(set1(1.0f), exp(negate(g))));
    store(y + i, mul(silu, load(up + i)));
  }
}

/// Rotates up to 16 pairs.
NIBBLE_INLINE void rotate(F32x16& a, F32x16& b, F32x16 cos, F32x16 sin) noexcept {
  const F32x16 x = a;
  a = fma(x, cos, negate(mul(b, sin)));
  b = fma(x, sin, mul(b, cos));
}

void rope(float* x, size_t heads, size_t head_dim, size_t rotary, const float* cos, const float* sin,
          bool interleaved) noexcept {
  const size_t half = rotary / 2;
  for (size_t h = 0; h < heads; ++h) {
    float* head = x + h * head_dim;
    for (size_t i = 0; i < half; i += 16) {
      const size_t count = half - i < 16 ? half - i : 16;
      const F32x16 c = load_partial(cos + i, count);
      const F32x16 s = load_partial(sin + i, count);
      F32x16 a;
      F32x16 b;
      if (interleaved) {
        float* low = head + 2 * i;
        const size_t low_count = count < 8 ? 2 * count : 16;
        const size_t high_count = 2 * count - low_count;
        F32x16 first = load_partial(low, low_count);
        F32x16 second = high_count > 0 ? load_partial(low + 16, high_count) : zero();
        deinterleave(first, second, a, b);
        rotate(a, b, c, s);
        interleave(a, b, first, second);
        store_partial(low, first, low_count);
        if (high_count > 0) store_partial(low + 16, second, high_count);
      } else {
        a = load_partial(head + i, count);
        b = load_partial(head + half + i, count);
        rotate(a, b, c, s);
        store_partial(head + i, a, count);
        store_partial(head + half + i, b, count);
      }
    }
  }
}

RowStats row_stats(const float* x, size_t n) noexcept {
  const F32x16 lowest = set1(-__builtin_inff());
  F32x16 top = lowest;
  I32x16 largest = set1_i32(0);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 value = load(x + i);
    top = max(value, top);
    largest = max(largest, magnitude_bits(value));
  }
  if (i < n) {
    const F32x16 value = load_partial(x + i, n - i);  // missing lanes are +0: finite
    top = max(keep_first(value, lowest, n - i), top);
    largest = max(largest, magnitude_bits(value));
  }
  return {fold_max(top), fold_max(largest) < kInfinityBits};
}

float sum_exp(const float* x, size_t n, float max_value) noexcept {
  const F32x16 top = set1(max_value);
  F32x16 sum = zero();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) sum = add(sum, exp(sub(load(x + i), top)));
  // A missing lane adds +0 to a sum that is never −0: no change.
  if (i < n) sum = add(sum, keep_first(exp(sub(load_partial(x + i, n - i), top)), zero(), n - i));
  return fold_sum(sum);
}

void exp_row(const float* x, size_t n, float max_value, float scale, float* y) noexcept {
  const F32x16 top = set1(max_value);
  const F32x16 factor = set1(scale);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, exp(mul(sub(load(x + i), top), factor)));
  if (i < n) store_partial(y + i, exp(mul(sub(load_partial(x + i, n - i), top), factor)), n - i);
}
