#pragma once
// Scalar twins; contracts: ../kernel_table.h.
#include "../kernel_table.h"

namespace nibble::kernels::reference {

void hadamard(float* x, size_t heads, size_t head_dim) noexcept;
void store_key(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept;
void store_value(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept;
void attention(const AttentionTask& task) noexcept;
void attention_merge(const AttentionMerge& merge) noexcept;
void attention_finish(const float* o, float l, size_t head_dim, float* y) noexcept;

}  // namespace nibble::kernels::reference
