#pragma once
// Scalar twins of the linear kernels for every weight format; contracts: ../kernel_table.h.
#include "../kernel_table.h"

namespace nibble::kernels::reference {

/// Null for float formats.
LinearKernel linear_a8(WeightFormat format) noexcept;
LinearKernel linear_f32(WeightFormat format) noexcept;
LinearKernel linear_table(WeightFormat format) noexcept;

}  // namespace nibble::kernels::reference
