#pragma once
// Scalar twins; contracts: ../kernel_table.h.
#include "../kernel_table.h"

namespace nibble::kernels::reference {

void attention(const AttentionTask& task) noexcept;
void attention_merge(const AttentionMerge& merge) noexcept;
void attention_finish(const float* o, float l, size_t head_dim, float* y) noexcept;

}  // namespace nibble::kernels::reference
