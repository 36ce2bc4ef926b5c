#pragma once
// Writing the KV cache; definition: reference/kv_store.cpp. Included inside a level's anonymous namespace.

/// Plain loops: the compiler turns both stages of a pair into shuffles, and their order can't change a bit.
void hadamard(float* x, size_t heads, size_t head_dim) noexcept {
  const size_t n = head_dim & (~head_dim + 1);  // largest power of two that divides it
  const F32x16 factor = set1(1.0f / __builtin_sqrtf(static_cast<float>(n)));
  for (size_t start = 0; start < heads * head_dim; start += n) {
    alignas(64) float buffer[2][kHeadDimMax];
    float* from = x + start;
    size_t to = 0;
    for (size_t stage = 1; stage < n; stage *= 2, to = 1 - to) {
      float* y = buffer[to];
      for (size_t i = 0; i < n / 2; ++i) {
        y[i] = from[2 * i] + from[2 * i + 1];
        y[i + n / 2] = from[2 * i] - from[2 * i + 1];
      }
      from = y;
    }
    for (size_t i = 0; i < n; i += 16) store(x + start + i, mul(load(from + i), factor));
  }
}

struct Grid {
  float minimum;  // as stored
  float inverse;  // of the scale as stored, or 0
};

template <KvFormat F>
NIBBLE_INLINE Grid write_grid(const float* x, size_t n, size_t token, uint8_t* part) noexcept {
  constexpr int32_t kLargestF16 = 0x477fe000;  // 65504
  F32x16 high = set1(-__builtin_inff());
  F32x16 low = high;  // of −x
  I32x16 largest = set1_i32(0);
  for (size_t d = 0; d < n; d += 16) {
    const F32x16 value = load(x + d);
    high = max(value, high);
    low = max(negate(value), low);
    largest = max(largest, magnitude_bits(value));
  }
  auto* scale = reinterpret_cast<uint16_t*>(part) + token;
  auto* minimum = scale + kKvBlockTokens;
  if (fold_max(largest) > kLargestF16) {
    *scale = *minimum = 0x7e00;  // NaN
    return {0.0f, 0.0f};
  }
  uint16_t half[16];
  float stored[16];
  store_f16(half, set1(-fold_max(low) + 0.0f));
  *minimum = half[0];
  store(stored, load_f16(half));
  const Grid grid{stored[0], 0.0f};
  const float range = (fold_max(high) - grid.minimum) / kv_levels(F);
  store_f16(half, set1(range > 0.0f ? range : 0.0f));
  *scale = half[0];
  store(stored, load_f16(half));
  return {grid.minimum, stored[0] > 0.0f ? 1.0f / stored[0] : 0.0f};
}

/// out[d] = code of x[d]; n % 16 == 0.
template <KvFormat F>
NIBBLE_INLINE void write_codes(const float* x, size_t n, const Grid& grid, uint8_t* out) noexcept {
  // What is stored as signed bytes is moved into their range, and back.
  constexpr int kOffset = F == KvFormat::q8 ? 128 : 0;
  for (size_t d = 0; d < n; d += 16) {
    const F32x16 position = mul(sub(load(x + d), set1(grid.minimum)), set1(grid.inverse));
    const I32x16 code = round_i32(min(max(position, zero()), set1(kv_levels(F))));
    store_i8(reinterpret_cast<int8_t*>(out) + d, sub(code, set1_i32(kOffset)));
  }
  if constexpr (kOffset != 0)
    for (size_t d = 0; d < n; ++d) out[d] = static_cast<uint8_t>(out[d] ^ kOffset);
}

template <KvFormat F>
NIBBLE_INLINE void store_quantized_key(const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  uint8_t code[kHeadDimMax];
  write_codes<F>(x, head_dim, write_grid<F>(x, head_dim, token, part), code);
  constexpr size_t kStep = F == KvFormat::q8 ? 2 : 4;  // dimensions in two bytes
  for (size_t d = 0; d < head_dim; d += kStep) {
    uint8_t* pair = part + kv_key_byte(F, d, token);
    for (size_t i = 0; i < 2; ++i)
      pair[i] = static_cast<uint8_t>(F == KvFormat::q8 ? code[d + i] : code[d + i] | code[d + 2 + i] << 4);
  }
}

template <KvFormat F>
NIBBLE_INLINE void store_quantized_value(const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  uint8_t code[kHeadDimMax + 16] = {};  // dimensions beyond the head's are 0
  write_codes<F>(x, head_dim, write_grid<F>(x, head_dim, token, part), code);
  uint8_t* bytes = part + kv_value_byte(F, head_dim, 0, token);
  const size_t row = kv_value_row_bytes(F, head_dim);
  if constexpr (F == KvFormat::q8) {
    for (size_t i = 0; i < row; ++i) bytes[2 * i] = code[i];
  } else {
    for (size_t g = 0; g < row; g += 16)
      for (size_t i = g; i < g + 16; ++i) bytes[2 * i] = static_cast<uint8_t>(code[g + i] | code[g + i + 16] << 4);
  }
}

void store_key(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  if (format == KvFormat::q8) return store_quantized_key<KvFormat::q8>(x, head_dim, token, part);
  if (format == KvFormat::q4) return store_quantized_key<KvFormat::q4>(x, head_dim, token, part);
  auto* keys = reinterpret_cast<uint16_t*>(part) + token;
  for (size_t d = 0; d < head_dim; d += 16) {
    uint16_t half[16];
    store_f16(half, load(x + d));
    for (size_t i = 0; i < 16; ++i) keys[(d + i) * kKvBlockTokens] = half[i];
  }
}

void store_value(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  if (format == KvFormat::q8) return store_quantized_value<KvFormat::q8>(x, head_dim, token, part);
  if (format == KvFormat::q4) return store_quantized_value<KvFormat::q4>(x, head_dim, token, part);
  auto* values = reinterpret_cast<uint16_t*>(part) + token * head_dim;
  for (size_t d = 0; d < head_dim; d += 16) store_f16(values + d, load(x + d));
}
