#include "rates.h"

#include <cstring>

namespace nibble {
namespace {

// Scalar code: one multiply and one add at a time; the empty asm keeps each sum in a register of its own, out of reach
// of the vectorizer. (A fused f32 multiply-add would be a call into libm on the x86 baseline, and slower.)
constexpr size_t kSums = 8;
#if defined(__x86_64__)
#define NIBBLE_FLOAT_REGISTER "+x"
#elif defined(__aarch64__)
#define NIBBLE_FLOAT_REGISTER "+w"
#else
#define NIBBLE_FLOAT_REGISTER "+m"
#endif

void int8_scalar(size_t steps) noexcept {
  int32_t a = 3;
  int32_t sums[kSums] = {};
  for (size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kSums; ++i) {
      asm volatile("" : "+r"(a));
      sums[i] += a * static_cast<int32_t>(step);
      asm volatile("" : "+r"(sums[i]));
    }
  }
}

void fp32_scalar(size_t steps) noexcept {
  float a = 0.5f;
  float b = 0.75f;
  float sums[kSums] = {};
  for (size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kSums; ++i) {
      asm volatile("" : NIBBLE_FLOAT_REGISTER(a));
      sums[i] += a * b;
      asm volatile("" : NIBBLE_FLOAT_REGISTER(sums[i]));
    }
  }
}

void read_scalar(const uint8_t* data, size_t bytes, size_t streams) noexcept {
  const size_t part = bytes / streams;
  uint64_t sums[4] = {};
  for (size_t at = 0; at < part; at += 64) {
    for (size_t stream = 0; stream < streams; ++stream) {
#pragma GCC unroll 8
      for (size_t i = 0; i < 8; ++i) {
        uint64_t word;
        std::memcpy(&word, data + stream * part + at + 8 * i, sizeof(word));
        sums[i % 4] |= word;
      }
    }
  }
  for (uint64_t& sum : sums) asm volatile("" : "+r"(sum));
}

constexpr RateLoops kScalar = {int8_scalar, kSums, fp32_scalar, kSums, read_scalar};

}  // namespace

const RateLoops& rate_loops(Isa isa) noexcept {
  if (const RateLoops* loops = x86_rate_loops(isa)) return *loops;
  if (const RateLoops* loops = arm_rate_loops(isa)) return *loops;
  return kScalar;
}

}  // namespace nibble
