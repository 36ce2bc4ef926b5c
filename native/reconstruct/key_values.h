#pragma once
#include <cmath>
#include <cstddef>

#include "../formats/f16.h"
#include "../formats/kv_format.h"

namespace nibble {

/// One token's key or value of a head as the cache gives it back (docs/arithmetic.md, "KV formats").
inline void round_cached(KvFormat format, float* x, size_t n) noexcept {
  if (format == KvFormat::f16) {
    for (size_t i = 0; i < n; ++i) x[i] = f16_to_f32(f32_to_f16(x[i]));
    return;
  }
  const float levels = kv_levels(format);
  float low = x[0];
  float high = x[0];
  for (size_t i = 1; i < n; ++i) low = x[i] < low ? x[i] : low, high = x[i] > high ? x[i] : high;
  const float minimum = f16_to_f32(f32_to_f16(low));
  const float range = (high - minimum) / levels;
  const float scale = f16_to_f32(f32_to_f16(range > 0 ? range : 0));
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (size_t i = 0; i < n; ++i) {
    const float code = (x[i] - minimum) * inverse;
    x[i] = minimum + scale * std::rint(code < 0 ? 0 : code > levels ? levels : code);
  }
}

}  // namespace nibble
