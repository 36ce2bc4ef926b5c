// Rate loops of the x86 levels. Target attributes rather than flags per folder: each loop is one static function, so
// that nothing here can end up in code that an older CPU runs.
#include "rates.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace nibble {
namespace {

// Sixteen accumulators cover latency 4–5 × two ports with room; more would spill on AVX2 (16 registers, two of them
// operands), so that level has twelve.
constexpr size_t kWide = 16;
constexpr size_t kNarrow = 12;

#define NIBBLE_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), noinline))
#define NIBBLE_AVXVNNI __attribute__((target("avx2,fma,avxvnni"), noinline))
#define NIBBLE_AVX2 __attribute__((target("avx2,fma"), noinline))
// Makes a register's value unknown to the compiler: an operand that may change can't be hoisted, and sums that started
// unknown can't be merged into one.
#define NIBBLE_OPAQUE(value) asm volatile("" : "+v"(value))
#define NIBBLE_OPAQUE_AVX2(value) asm volatile("" : "+x"(value))

NIBBLE_AVX512 void int8_avx512(size_t steps) noexcept {
  __m512i a = _mm512_set1_epi8(3);
  __m512i b = _mm512_set1_epi8(-5);
  __m512i sums[kWide];
#pragma GCC unroll 16
  for (size_t i = 0; i < kWide; ++i) {
    sums[i] = _mm512_setzero_si512();
    NIBBLE_OPAQUE(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE(a);
    NIBBLE_OPAQUE(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kWide; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kWide; ++i) NIBBLE_OPAQUE(sums[i]);
}

NIBBLE_AVX512 void fp32_avx512(size_t steps) noexcept {
  __m512 a = _mm512_set1_ps(0.5f);
  __m512 b = _mm512_set1_ps(0.75f);
  __m512 sums[kWide];
#pragma GCC unroll 16
  for (size_t i = 0; i < kWide; ++i) {
    sums[i] = _mm512_setzero_ps();
    NIBBLE_OPAQUE(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE(a);
    NIBBLE_OPAQUE(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kWide; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kWide; ++i) NIBBLE_OPAQUE(sums[i]);
}

NIBBLE_AVXVNNI void int8_avxvnni(size_t steps) noexcept {
  __m256i a = _mm256_set1_epi8(3);
  __m256i b = _mm256_set1_epi8(-5);
  __m256i sums[kNarrow];
#pragma GCC unroll 16
  for (size_t i = 0; i < kNarrow; ++i) {
    sums[i] = _mm256_setzero_si256();
    NIBBLE_OPAQUE_AVX2(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE_AVX2(a);
    NIBBLE_OPAQUE_AVX2(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kNarrow; ++i) sums[i] = _mm256_dpbusd_avx_epi32(sums[i], a, b);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kNarrow; ++i) NIBBLE_OPAQUE_AVX2(sums[i]);
}

/// Without VNNI a multiply-accumulate is vpmaddubsw + vpaddw, as a 4-bit kernel uses them (docs/arithmetic.md).
NIBBLE_AVX2 void int8_avx2(size_t steps) noexcept {
  __m256i a = _mm256_set1_epi8(3);
  __m256i b = _mm256_set1_epi8(-5);
  __m256i sums[8];
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) {
    sums[i] = _mm256_setzero_si256();
    NIBBLE_OPAQUE_AVX2(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; ++i) {
      NIBBLE_OPAQUE_AVX2(a);
      sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(a, b));
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < 8; ++i) NIBBLE_OPAQUE_AVX2(sums[i]);
}

NIBBLE_AVX2 void fp32_avx2(size_t steps) noexcept {
  __m256 a = _mm256_set1_ps(0.5f);
  __m256 b = _mm256_set1_ps(0.75f);
  __m256 sums[kNarrow];
#pragma GCC unroll 16
  for (size_t i = 0; i < kNarrow; ++i) {
    sums[i] = _mm256_setzero_ps();
    NIBBLE_OPAQUE_AVX2(sums[i]);
  }
  for (size_t step = 0; step < steps; ++step) {
    NIBBLE_OPAQUE_AVX2(a);
    NIBBLE_OPAQUE_AVX2(b);
#pragma GCC unroll 16
    for (size_t i = 0; i < kNarrow; ++i) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kNarrow; ++i) NIBBLE_OPAQUE_AVX2(sums[i]);
}

template <size_t kStreams>
NIBBLE_AVX512 void read_streams_avx512(const uint8_t* data, size_t bytes) noexcept {
  const size_t part = bytes / kStreams;
  __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (size_t at = 0; at < part; at += 256) {
#pragma GCC unroll 8
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const uint8_t* from = data + stream * part + at;
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) sums[i] = _mm512_or_si512(sums[i], _mm512_load_si512(from + 64 * i));
    }
  }
  for (size_t i = 0; i < 4; ++i) NIBBLE_OPAQUE(sums[i]);
}

template <size_t kStreams>
NIBBLE_AVX2 void read_streams_avx2(const uint8_t* data, size_t bytes) noexcept {
  const size_t part = bytes / kStreams;
  __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (size_t at = 0; at < part; at += 256) {
#pragma GCC unroll 8
    for (size_t stream = 0; stream < kStreams; ++stream) {
      const __m256i* from = reinterpret_cast<const __m256i*>(data + stream * part + at);
#pragma GCC unroll 8
      for (size_t i = 0; i < 8; ++i) sums[i % 4] = _mm256_or_si256(sums[i % 4], _mm256_load_si256(from + i));
    }
  }
  for (size_t i = 0; i < 4; ++i) NIBBLE_OPAQUE_AVX2(sums[i]);
}

void read_avx512(const uint8_t* data, size_t bytes, size_t streams) noexcept {
  switch (streams) {
    case 1:
      return read_streams_avx512<1>(data, bytes);
    case 2:
      return read_streams_avx512<2>(data, bytes);
    case 4:
      return read_streams_avx512<4>(data, bytes);
    default:
      return read_streams_avx512<8>(data, bytes);
  }
}

void read_avx2(const uint8_t* data, size_t bytes, size_t streams) noexcept {
  switch (streams) {
    case 1:
      return read_streams_avx2<1>(data, bytes);
    case 2:
      return read_streams_avx2<2>(data, bytes);
    case 4:
      return read_streams_avx2<4>(data, bytes);
    default:
      return read_streams_avx2<8>(data, bytes);
  }
}

constexpr RateLoops kAvx512 = {int8_avx512, kWide * 64, fp32_avx512, kWide * 16, read_avx512};
constexpr RateLoops kAvxVnni = {int8_avxvnni, kNarrow * 32, fp32_avx2, kNarrow * 8, read_avx2};
constexpr RateLoops kAvx2 = {int8_avx2, 8 * 32, fp32_avx2, kNarrow * 8, read_avx2};

}  // namespace

const RateLoops* x86_rate_loops(Isa isa) noexcept {
  switch (isa) {
    case Isa::avx512:
      return &kAvx512;
    case Isa::avxvnni:
      return &kAvxVnni;
    case Isa::avx2:
      return &kAvx2;
    default:
      return nullptr;
  }
}

}  // namespace nibble
#else
namespace nibble {
const RateLoops* x86_rate_loops(Isa) noexcept {
  return nullptr;
}
}  // namespace nibble
#endif
