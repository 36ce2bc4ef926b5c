#include "kernel_table.h"

#include "reference/table.h"

namespace nibble {

// Each level exports this one symbol.
namespace kernels::avx2 {
const KernelTable& table() noexcept;
}
namespace kernels::avxvnni {
const KernelTable& table() noexcept;
}
namespace kernels::avx512 {
const KernelTable& table() noexcept;
}
namespace kernels::neon {
const KernelTable& table() noexcept;
}

const KernelTable* kernel_table(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar:
      return &kernels::reference::table();
    case Isa::avx2:
#if defined(NIBBLE_HAS_AVX2)
      return &kernels::avx2::table();
#else
      return nullptr;
#endif
    case Isa::avxvnni:
#if defined(NIBBLE_HAS_AVXVNNI)
      return &kernels::avxvnni::table();
#else
      return nullptr;
#endif
    case Isa::avx512:
#if defined(NIBBLE_HAS_AVX512)
      return &kernels::avx512::table();
#else
      return nullptr;
#endif
    case Isa::neon:
#if defined(NIBBLE_HAS_NEON)
      return &kernels::neon::table();
#else
      return nullptr;
#endif
  }
  return nullptr;
}

}  // namespace nibble
