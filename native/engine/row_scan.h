#pragma once
// Visiting the few elements of a long row that lie in a range. Sixteen are tested together; GCC's and Clang's vector
// extension gives SSE2 or NEON from the same source.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nibble {

/// Calls visit(i) for each i in [0, n), ascending, with low ≤ x[i] < high.
template <class Visit>
void scan_range(const float* x, size_t n, float low, float high, Visit&& visit) {
  using F32x4 [[gnu::vector_size(16)]] = float;
  using I32x4 [[gnu::vector_size(16)]] = int32_t;
  using I64x2 [[gnu::vector_size(16)]] = int64_t;
  const F32x4 lows = {low, low, low, low};
  const F32x4 highs = {high, high, high, high};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    F32x4 v[4];
    std::memcpy(v, x + i, sizeof v);
    I32x4 any = {};
    for (const F32x4& part : v) any |= (part >= lows) & (part < highs);
    const I64x2 halves = std::bit_cast<I64x2>(any);
    if ((halves[0] | halves[1]) == 0) continue;
    for (size_t j = i; j < i + 16; ++j) {
      if (x[j] >= low && x[j] < high) visit(j);
    }
  }
  for (; i < n; ++i) {
    if (x[i] >= low && x[i] < high) visit(i);
  }
}

/// The first i with x[i] == value (so −0 equals +0), or n.
inline size_t find_equal(const float* x, size_t n, float value) noexcept {
  using F32x4 [[gnu::vector_size(16)]] = float;
  using I32x4 [[gnu::vector_size(16)]] = int32_t;
  using I64x2 [[gnu::vector_size(16)]] = int64_t;
  const F32x4 values = {value, value, value, value};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    F32x4 v[4];
    std::memcpy(v, x + i, sizeof v);
    const I32x4 any = (v[0] == values) | (v[1] == values) | (v[2] == values) | (v[3] == values);
    const I64x2 halves = std::bit_cast<I64x2>(any);
    if ((halves[0] | halves[1]) != 0) break;
  }
  while (i < n && !(x[i] == value)) ++i;
  return i;
}

}  // namespace nibble
