#pragma once
// Scalar twins; contracts: ../kernel_table.h.
#include "../kernel_table.h"

namespace nibble::kernels::reference {

void rmsnorm(const float* x, const float* gain, size_t n, float eps, float* y) noexcept;
void quantize_a8(const float* x, size_t n, size_t group, int32_t levels, A8Block* out) noexcept;
void make_tables(const A8Block* x, size_t n, size_t group, A8Table* out) noexcept;
void silu_mul(const float* gate, const float* up, size_t n, float* y) noexcept;
void rope(float* x, size_t heads, size_t head_dim, size_t rotary, const float* cos, const float* sin,
          bool interleaved) noexcept;
RowStats row_stats(const float* x, size_t n) noexcept;
float sum_exp(const float* x, size_t n, float max) noexcept;
void exp_row(const float* x, size_t n, float max, float scale, float* y) noexcept;

void rotate(const RotationView& rotation, float* x, float* scratch) noexcept;

}  // namespace nibble::kernels::reference
