// The NEON level: one translation unit, everything in it internal but table(), so that no function compiled with
// this level's flags can take the place of the same function built for the baseline.
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

#include "../exp_constants.h"
#include "../kernel_table.h"

namespace nibble::kernels::neon {
namespace {

constinit std::atomic<uint64_t> calls{0};
inline void count_call() noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
}

#include "simd.h"

#include "pairs.h"

#include "../generic/exp.h"

#include "../generic/elementwise.h"
#include "../generic/tile.h"

#include "../generic/attention.h"
#include "../generic/attention_merge.h"
#include "../generic/kv_store.h"

#include "../generic/planes.h"

#include "../generic/linear_f32.h"
#include "../generic/rotate.h"
#include "linear_a8.h"
#include "linear_a8_groups.h"
#include "lookup.h"

#include "../generic/linear_planes.h"

#include "../generic/linear_a8_table.h"
#include "../generic/make_table.h"

constinit const KernelTable instance = make_table_of_all(Isa::neon);

}  // namespace

const KernelTable& table() noexcept {
  return instance;
}

}  // namespace nibble::kernels::neon
