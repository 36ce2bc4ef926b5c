// Tender on this level: a translation unit like table.cpp, and like it everything in it is internal but one function.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "../tender.h"

namespace nibble::kernels::avx2 {
namespace {

constinit std::atomic<uint64_t> calls{0};
inline void count_call() noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
}

#include "simd.h"

/// Both halves of a row tile and four columns are 8 of the 16 registers.
constexpr size_t kTenderRows = 1;
constexpr int tender_offset(int bits) noexcept {
  return bits == 4 ? 8 : 0;
}
template <int Bits>
NIBBLE_INLINE I32x16 tender_codes(I32x16 w) noexcept {
  return w;
}
/// vpmaddubsw adds two products to 16 bits: 2 · 15 · 127 fits, and 2 · 128 · 127 of signed codes whose signs have moved
/// to the activations.
template <int Bits>
NIBBLE_INLINE __m256i dot8(__m256i sum, __m256i w, __m256i q) noexcept {
  const __m256i pairs =
      Bits == 4 ? _mm256_maddubs_epi16(w, q) : _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <int Bits>
NIBBLE_INLINE I32x16 dot(I32x16 sum, I32x16 w, I32x16 q) noexcept {
  return {dot8<Bits>(sum.a, w.a, q.a), dot8<Bits>(sum.b, w.b, q.b)};
}

#include "../generic/tender.h"

}  // namespace

const TenderKernels& tender() noexcept {
  return instance;
}

}  // namespace nibble::kernels::avx2
