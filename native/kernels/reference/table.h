#pragma once
#include "../kernel_table.h"

namespace nibble::kernels::reference {

/// Calls of linear and attention kernels of this level.
extern std::atomic<uint64_t> calls;

/// The scalar level: the executable form of docs/arithmetic.md.
const KernelTable& table() noexcept;

}  // namespace nibble::kernels::reference
