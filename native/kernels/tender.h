#pragma once
// Tender (arXiv 2406.12930): linear layers over activations whose channels are in groups, each with a quantization step
// half that of the group before. The int32 accumulator is shifted left by one at each boundary, so that nothing is
// multiplied by a float before the end:
//   A = 0; per group g: A = 2·A (not before the first), A += Σ_{k in g} q_w[n, k] · q_x[k];  y[n] = f32(A) · (d_w[n] ·
//   d)
// where d is the step of the last group. Hence A = Σ_g 2^(G−1−g) · P_g, exactly. Kernels of their own, beside
// kernel_table.h: other operands, other weights (w8row and w4row of weight_format.h).
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../formats/a8.h"
#include "isa.h"
#include "kernel_table.h"

namespace nibble {

/// How one row of activations becomes codes.
struct TenderInput {
  const int32_t* order;   // [inputs] channel at each place
  const float* bias;      // [inputs] by place: taken away first
  const float* finer;     // [inputs] by place: 2^g
  const int32_t* weight;  // [inputs] by place: 2^(G−1−g)
  size_t inputs;          // multiple of 32
  float inverse;          // 1 / step of the first group; unless `own`
  float step;             // of the last group; unless `own`
  float limit;            // largest code, ≤ 127
  float last;             // 2^−(G−1)
  float* own;             // [inputs] scratch: the row has steps of its own; or null
};

struct TenderTask {
  /// tiles: row tiles of w8row or w4row; x: A8Block rows as `quantize` makes them; groups: inputs / 32.
  LinearTask linear;
  const uint32_t* ends;  // [count] where each group of channels ends, in units of 4 inputs; ascending to inputs / 4
  size_t count;          // ≥ 1
  bool wide;             // |A| may leave int32: 64 bits
};

struct TenderKernels {
  /// [0] weights of 8 bits, [1] of 4.
  void (*linear[2])(const TenderTask& task) noexcept;
  /// The same weights over f32 inputs in the order of the weights' columns: w = q · d, acc = fma(w, x, acc) over inputs
  /// ascending from +0. For evaluations; never tuned.
  LinearKernel linear_f32[2];
  /// x[order[i]] → q = RNE(clamp(((x − bias) · finer) · inverse, ±limit)); in out[0] also d = step and
  /// n16[0] = −Σ weight · q (modulo 2³²), by which levels with unsigned weights correct A. A row that isn't finite: q =
  /// 0, d = NaN. Other fields of the blocks are 0. With `own` steps, top = max |(x − bias) · finer| gives inverse =
  /// limit / top and step = (top / limit) · last; top < 2⁻¹⁰⁰: both 0, top infinite: as a row that isn't finite.
  void (*quantize)(const float* x, const TenderInput& how, A8Block* out) noexcept;
  /// Calls of the level's kernels.
  std::atomic<uint64_t>* calls;
};

/// Null if the level isn't in this build.
const TenderKernels* tender_kernels(Isa isa) noexcept;

/// The largest |A| that a layer can reach, or 2⁶³ − 1 if not even 64 bits hold it. `ends` as in TenderTask.
uint64_t tender_accumulator_max(const uint32_t* ends, size_t count, uint32_t limit_x, uint32_t limit_w) noexcept;

}  // namespace nibble
