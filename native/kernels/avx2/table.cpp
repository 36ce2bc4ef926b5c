// The AVX2 level: one translation unit, everything in it internal but table(), so that no function compiled with this
// level's flags can take the place of the same function built for the baseline.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <immintrin.h>

#include "../exp_constants.h"
#include "../kernel_table.h"

namespace nibble::kernels::avx2 {
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

#include "../generic/linear_planes.h"
#include "../generic/lookup_256.h"
#include "../generic/make_tables_256.h"

template <WeightFormat F>
void lookup(const LinearTask& task) noexcept {
  lookup_256<F>(task);
}

#include "../generic/linear_a8_table.h"
#include "../generic/make_table.h"

constinit const KernelTable instance = make_table_of_all(Isa::avx2);

}  // namespace

const KernelTable& table() noexcept {
  return instance;
}

}  // namespace nibble::kernels::avx2
