#include "tender.h"

namespace nibble {

// Each level exports this one symbol beside its table.
namespace kernels::reference {
const TenderKernels& tender() noexcept;
}
namespace kernels::avx2 {
const TenderKernels& tender() noexcept;
}
namespace kernels::avxvnni {
const TenderKernels& tender() noexcept;
}
namespace kernels::avx512 {
const TenderKernels& tender() noexcept;
}
namespace kernels::neon {
const TenderKernels& tender() noexcept;
}

const TenderKernels* tender_kernels(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return &kernels::reference::tender();
#if defined(NIBBLE_HAS_AVX2)
    case Isa::avx2:
      return &kernels::avx2::tender();
#endif
#if defined(NIBBLE_HAS_AVXVNNI)
    case Isa::avxvnni:
      return &kernels::avxvnni::tender();
#endif
#if defined(NIBBLE_HAS_AVX512)
    case Isa::avx512:
      return &kernels::avx512::tender();
#endif
#if defined(NIBBLE_HAS_NEON)
    case Isa::neon:
      return &kernels::neon::tender();
#endif
    default:
      return nullptr;
  }
}

uint64_t tender_accumulator_max(const uint32_t* ends, size_t count, uint32_t limit_x, uint32_t limit_w) noexcept {
  constexpr uint64_t kMost = INT64_MAX;
  uint64_t sum = 0;
  uint32_t begin = 0;
  for (size_t g = 0; g < count; ++g) {
    const uint64_t part = uint64_t{4} * (ends[g] - begin) * limit_x * limit_w;
    if (sum > kMost / 2 || part > kMost - 2 * sum) return kMost;
    sum = 2 * sum + part;
    begin = ends[g];
  }
  return sum;
}

}  // namespace nibble
