// Tender on this level: a translation unit like table.cpp, and like it everything in it is internal but one function.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

// See table.cpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(NIBBLE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "simde_gaps.h"
#else
#include <immintrin.h>
#endif

#include "../tender.h"

namespace nibble::kernels::avx512 {
namespace {

constinit std::atomic<uint64_t> calls{0};
inline void count_call() noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
}

#include "simd.h"

/// Three row tiles × four columns share each broadcast activation: items of many columns are multiples of three tiles.
constexpr size_t kTenderRows = 3;
constexpr int tender_offset(int bits) noexcept {
  return bits == 4 ? 8 : 128;
}
template <int Bits>
NIBBLE_INLINE I32x16 tender_codes(I32x16 w) noexcept {
  return Bits == 4 ? w : bit_xor(w, set1_i32(static_cast<int32_t>(0x80808080u)));
}
template <int Bits>
NIBBLE_INLINE I32x16 dot(I32x16 sum, I32x16 w, I32x16 q) noexcept {
  return {_mm512_dpbusd_epi32(sum.v, w.v, q.v)};
}

#include "../generic/tender.h"

}  // namespace

const TenderKernels& tender() noexcept {
  return instance;
}

}  // namespace nibble::kernels::avx512
