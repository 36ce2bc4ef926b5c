// Writing the KV cache: rotation, and one token's key or value in each format.
#include "../../formats/f16.h"
#include "attention.h"
#include "math.h"

namespace nibble::kernels::reference {

/// Stage by stage: neighbours a, b become a + b in the lower half and a − b in the upper half. As many stages as the
/// size has bits move every bit once round, so the order is the natural one at the end.
void hadamard(float* x, size_t heads, size_t head_dim) noexcept {
  const size_t n = head_dim & (~head_dim + 1);  // largest power of two that divides it
  const float factor = 1.0f / __builtin_sqrtf(static_cast<float>(n));
  for (size_t start = 0; start < heads * head_dim; start += n) {
    float* block = x + start;
    float y[256];
    for (size_t stage = 1; stage < n; stage *= 2) {
      for (size_t i = 0; i < n / 2; ++i) {
        y[i] = block[2 * i] + block[2 * i + 1];
        y[i + n / 2] = block[2 * i] - block[2 * i + 1];
      }
      for (size_t i = 0; i < n; ++i) block[i] = y[i];
    }
    for (size_t i = 0; i < n; ++i) block[i] *= factor;
  }
}

namespace {

struct Grid {
  uint16_t scale;    // f16
  uint16_t minimum;  // f16
  float inverse;     // of the scale as stored, or 0
};

/// minimum = f16(min x), scale = f16((max x − minimum) / levels).
Grid grid_of(const float* x, size_t n, float levels) noexcept {
  constexpr uint32_t kLargestF16 = 0x477fe000u;  // 65504
  constexpr uint16_t kNan = 0x7e00;
  float high = -kInfinity;
  float low = -kInfinity;  // of −x
  bool fits = true;
  for (size_t d = 0; d < n; ++d) {
    high = select_max(x[d], high);
    low = select_max(-x[d], low);
    fits = fits && magnitude_bits(x[d]) <= kLargestF16;
  }
  if (!fits) return {kNan, kNan, 0.0f};
  const uint16_t minimum = f32_to_f16(-low + 0.0f);  // never −0, whichever zero came first
  const float range = select_max((high - f16_to_f32(minimum)) / levels, 0.0f);
  const uint16_t scale = f32_to_f16(range);
  const float stored = f16_to_f32(scale);
  return {scale, minimum, stored > 0.0f ? 1.0f / stored : 0.0f};
}

/// RNE((x − minimum) · (1 / scale)), within 0 … levels.
uint8_t code_of(float x, const Grid& grid, float levels) noexcept {
  if (grid.inverse == 0.0f) return 0;
  const float position = (x - f16_to_f32(grid.minimum)) * grid.inverse;
  const float above = select_max(position, 0.0f);
  return static_cast<uint8_t>(round_even(above < levels ? above : levels));
}

Grid write_grid(KvFormat format, const float* x, size_t n, size_t token, uint8_t* part) noexcept {
  const Grid grid = grid_of(x, n, kv_levels(format));
  auto* header = reinterpret_cast<uint16_t*>(part);
  header[token] = grid.scale;
  header[kKvBlockTokens + token] = grid.minimum;
  return grid;
}

}  // namespace

void store_key(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  if (format == KvFormat::f16) {
    auto* keys = reinterpret_cast<uint16_t*>(part);
    for (size_t d = 0; d < head_dim; ++d) keys[d * kKvBlockTokens + token] = f32_to_f16(x[d]);
    return;
  }
  const float levels = kv_levels(format);
  const Grid grid = write_grid(format, x, head_dim, token, part);
  for (size_t d = 0; d < head_dim; ++d) {
    uint8_t& byte = part[kv_key_byte(format, d, token)];
    const int code = code_of(x[d], grid, levels);
    const bool high = format == KvFormat::q4 && d % 4 >= 2;  // the low half is there by then
    byte = static_cast<uint8_t>(high ? byte | code << 4 : code);
  }
}

void store_value(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept {
  if (format == KvFormat::f16) {
    auto* values = reinterpret_cast<uint16_t*>(part) + token * head_dim;
    for (size_t d = 0; d < head_dim; ++d) values[d] = f32_to_f16(x[d]);
    return;
  }
  const float levels = kv_levels(format);
  const Grid grid = write_grid(format, x, head_dim, token, part);
  const size_t row = kv_value_row_bytes(format, head_dim);
  for (size_t i = 0; i < row; ++i) {
    uint8_t& byte = part[kv_value_byte(format, head_dim, i, token)];
    if (format == KvFormat::q8) {
      byte = code_of(x[i], grid, levels);
    } else {
      const size_t d = i / 16 * 32 + i % 16;
      const int high = d + 16 < head_dim ? code_of(x[d + 16], grid, levels) : 0;
      byte = static_cast<uint8_t>(code_of(x[d], grid, levels) | high << 4);
    }
  }
}

}  // namespace nibble::kernels::reference
