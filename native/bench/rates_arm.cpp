// Rate loops of the NEON level.
#include "rates.h"

#if defined(__aarch64__)
#include <arm_neon.h>

namespace nibble {
namespace {

constexpr size_t kSums = 16;  // latency 4 × up to four pipes
#define NIBBLE_NEON __attribute__((target("arch=armv8.2-a+dotprod"), noinline))
#define NIBBLE_OPAQUE(value) asm volatile("" : "+w"(value))

NIBBLE_NEON void int8_neon(size_t steps) noexcept {
  int8x16_t a = vdupq_n_s8(3);
  int8x16_t b = vdupq_n_s8(-5);
  int32x4_t sums[kSums];
#pragma GCC unroll 16
  for (size_t i = 0; i < kSums; ++i) {
    sums[i] = vdupq_n_s32(0);
    NIBBLE_OPAQUE(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE(a);
    NIBBLE_OPAQUE(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kSums; ++i) sums[i] = vdotq_s32(sums[i], a, b);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kSums; ++i) NIBBLE_OPAQUE(sums[i]);
}

NIBBLE_NEON void fp32_neon(size_t steps) noexcept {
  float32x4_t a = vdupq_n_f32(0.5f);
  float32x4_t b = vdupq_n_f32(0.75f);
  float32x4_t sums[kSums];
#pragma GCC unroll 16
  for (size_t i = 0; i < kSums; ++i) {
    sums[i] = vdupq_n_f32(0);
    NIBBLE_OPAQUE(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE(a);
    NIBBLE_OPAQUE(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kSums; ++i) sums[i] = vfmaq_f32(sums[i], a, b);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kSums; ++i) NIBBLE_OPAQUE(sums[i]);
}

template <size_t kStreams>
NIBBLE_NEON void read_streams(const uint8_t* data, size_t bytes) noexcept {
  const size_t part = bytes / kStreams;
  uint8x16_t sums[8];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) sums[i] = vdupq_n_u8(0);
  for (size_t at = 0; at < part; at += 256) {
#pragma GCC unroll 8
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const uint8_t* from = data + stream * part + at;
#pragma GCC unroll 16
      for (size_t i = 0; i < 16; ++i) sums[i % 8] = vorrq_u8(sums[i % 8], vld1q_u8(from + 16 * i));
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) NIBBLE_OPAQUE(sums[i]);
}

void read_neon(const uint8_t* data, size_t bytes, size_t streams) noexcept {
  switch (streams) {
    case 1:
      return read_streams<1>(data, bytes);
    case 2:
      return read_streams<2>(data, bytes);
    case 4:
      return read_streams<4>(data, bytes);
    default:
      return read_streams<8>(data, bytes);
  }
}

constexpr RateLoops kNeon = {int8_neon, kSums * 16, fp32_neon, kSums * 4, read_neon};

}  // namespace

const RateLoops* arm_rate_loops(Isa isa) noexcept {
  return isa == Isa::neon ? &kNeon : nullptr;
}

}  // namespace nibble
#else
namespace nibble {
const RateLoops* arm_rate_loops(Isa) noexcept {
  return nullptr;
}
}  // namespace nibble
#endif
