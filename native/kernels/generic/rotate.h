#pragma once
// Rotating a row of activations; definition: reference/elementwise.cpp. Included inside a level's anonymous namespace.

/// The butterflies of one part, by plain loops as in kv_store.h. Each of the log2(width) stages goes from one buffer to
/// the other; returns the one that holds the result.
NIBBLE_INLINE float* butterflies(float* x, float* scratch, size_t width) noexcept {
  for (size_t stage = 1; stage < width; stage *= 2) {
    for (size_t i = 0; i < width / 2; ++i) {
      scratch[i] = x[2 * i] + x[2 * i + 1];
      scratch[i + width / 2] = x[2 * i] - x[2 * i + 1];
    }
    float* next = scratch;
    scratch = x;
    x = next;
  }
  return x;
}

void rotate(const RotationView& rotation, float* x, float* scratch) noexcept {
  const size_t n = rotation.n;
  const size_t order = rotation.order;
  const size_t width = n / order;
  float* from = x;  // where all parts are: as many stages each
  for (size_t start = 0; start < n; start += width) from = butterflies(x + start, scratch + start, width) - start;
  const F32x16 factor = set1(1.0f / __builtin_sqrtf(static_cast<float>(n)));
  if (order == 1) {
    for (size_t i = 0; i < n; i += 16) store(x + i, mul(load(from + i), factor));
    return;
  }
  float* to = from == x ? scratch : x;
  for (size_t at = 0; at < width; at += 16) {
    for (size_t r = 0; r < order; ++r) {
      const float* signs = rotation.signs + r * order;
      F32x16 sum = zero();
      for (size_t i = 0; i < order; ++i) sum = fma(set1(signs[i]), load(from + i * width + at), sum);
      store(to + r * width + at, mul(sum, factor));
    }
  }
  if (to != x) __builtin_memcpy(x, to, n * sizeof(float));
}
