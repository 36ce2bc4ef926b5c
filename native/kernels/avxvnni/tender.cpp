// Tender on this level: a translation unit like table.cpp, and like it everything in it is internal but one function.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "../tender.h"

namespace nibble::kernels::avxvnni {
namespace {

constinit std::atomic<uint64_t> calls{0};
inline void count_call() noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
}

#include "simd.h"

/// Both halves of a row tile and four columns are 8 of the 16 registers.
constexpr size_t kTenderRows = 1;
constexpr int tender_offset(int bits) noexcept {
  return bits == 4 ? 8 : 128;
}
template <int Bits>
NIBBLE_INLINE I32x16 tender_codes(I32x16 w) noexcept {
  return Bits == 4 ? w : bit_xor(w, set1_i32(static_cast<int32_t>(0x80808080u)));
}
template <int Bits>
NIBBLE_INLINE I32x16 dot(I32x16 sum, I32x16 w, I32x16 q) noexcept {
  return {_mm256_dpbusd_avx_epi32(sum.a, w.a, q.a), _mm256_dpbusd_avx_epi32(sum.b, w.b, q.b)};
}

#include "../generic/tender.h"

}  // namespace

const TenderKernels& tender() noexcept {
  return instance;
}

}  // namespace nibble::kernels::avxvnni
