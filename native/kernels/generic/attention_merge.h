#pragma once
// Joining the splits of a query's attention; definition: reference/attention.cpp. Included after attention.h, inside a
// level's anonymous namespace.

/// The exponentials of 16 columns at once: they, not the outputs, are what costs.
void attention_merge(const AttentionMerge& merge) noexcept {
  for (size_t c0 = 0; c0 < merge.columns; c0 += 16) {
    const size_t count = smaller(merge.columns - c0, 16);
    const F32x16 m = load_partial(merge.m + c0, count);
    const F32x16 m2 = load_partial(merge.m2 + c0, count);
    const F32x16 top = max(m, m2);
    const F32x16 a = exp(sub(m, top));
    const F32x16 b = exp(sub(m2, top));
    const F32x16 l = fma(load_partial(merge.l2 + c0, count), b, mul(load_partial(merge.l + c0, count), a));
    alignas(64) float tops[16], sums[16], old_factor[16], new_factor[16];
    store(tops, top);
    store(sums, l);
    store(old_factor, a);
    store(new_factor, b);
    for (size_t i = 0; i < count; ++i) {
      const size_t c = c0 + i;
      if (merge.l2[c] == 0.0f) continue;
      merge.m[c] = tops[i];
      merge.l[c] = sums[i];
      float* o = merge.o + c * merge.head_dim;
      const float* o2 = merge.o2 + c * merge.head_dim;
      for (size_t d = 0; d < merge.head_dim; d += 16)
        store(o + d, fma(load(o2 + d), set1(new_factor[i]), mul(load(o + d), set1(old_factor[i]))));
    }
  }
}

void attention_finish(const float* o, float l, size_t head_dim, float* y) noexcept {
  const F32x16 inverse = set1(1.0f / l);
  for (size_t d = 0; d < head_dim; d += 16) store(y + d, mul(load(o + d), inverse));
}
