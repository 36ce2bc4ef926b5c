// Tender on this level: a translation unit like table.cpp, and like it everything in it is internal but one function.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(NIBBLE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/arm/neon.h>
#else
#include <arm_neon.h>
#endif

#include "../tender.h"

namespace nibble::kernels::neon {
namespace {

constinit std::atomic<uint64_t> calls{0};
inline void count_call() noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
}

#include "simd.h"

/// Four quarters of a row tile × four columns are 16 of the 32 registers.
constexpr size_t kTenderRows = 1;
constexpr int tender_offset(int bits) noexcept {
  return bits == 4 ? 8 : 0;
}
template <int Bits>
NIBBLE_INLINE I32x16 tender_codes(I32x16 w) noexcept {
  return w;
}
NIBBLE_INLINE int32x4_t dot4(int32x4_t sum, int32x4_t w, int32x4_t q) noexcept {
  return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(q));
}
template <int Bits>
NIBBLE_INLINE I32x16 dot(I32x16 sum, I32x16 w, I32x16 q) noexcept {
  return {dot4(sum.a, w.a, q.a), dot4(sum.b, w.b, q.b), dot4(sum.c, w.c, q.c), dot4(sum.d, w.d, q.d)};
}

#include "../generic/tender.h"

}  // namespace

const TenderKernels& tender() noexcept {
  return instance;
}

}  // namespace nibble::kernels::neon
