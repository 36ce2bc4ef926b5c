#pragma once
// One table of kernels per instruction-set level; all fulfil the same contracts, bit for bit (docs/arithmetic.md).
// A kernel is a leaf: no allocation, no lock, no log, no thread. The caller splits the work.
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "../formats/a8.h"
#include "../formats/a8_table.h"
#include "../formats/kv_format.h"
#include "../formats/weight_format.h"
#include "isa.h"

namespace nibble {

/// y[c, n] for all columns (tokens) c and the 16·row_tiles output rows n of consecutive row tiles:
///   v = Σ_k w[n, k] · x[c, k] (order: docs/arithmetic.md, "Quantized linear");  v += bias[n] if bias;
///   y[c, n] = accumulate ? y[c, n] + v : v.
struct LinearTask {
  const uint8_t* tiles;  // first tile of the first row tile
  size_t groups;         // K / 32; a multiple of the format's strips
  size_t row_tiles;      // ≥ 1
  const void* x;         // A8Block [columns][x_stride] or float [columns][x_stride], x_stride in elements
  size_t x_stride;
  size_t columns;     // ≥ 1
  float* y;           // [columns][y_stride]; 16 · row_tiles floats are written per column
  size_t y_stride;    // in floats
  const float* bias;  // [16 · row_tiles] or null
  bool accumulate;
  uint8_t* scratch = nullptr;  // of linear_a8 with bit planes: linear_scratch_bytes(K), 64-byte aligned
};
/// Bit planes are expanded to this many row tiles of 4-bit codes at a time, which then serve all columns.
inline constexpr size_t kExpandedTiles = 3;
constexpr size_t linear_scratch_bytes(size_t inputs) noexcept {
  return kExpandedTiles * row_tile_bytes(WeightFormat::w4g64a32, inputs);
}
using LinearKernel = void (*)(const LinearTask& task) noexcept;

inline constexpr size_t kSplitTokens = 256;

/// Attention of some queries of one sequence over one KV head, for one split of 256 absolute positions.
/// Column (i, h), i < queries, h < group: query i, query head h of those that share the KV head. Query i stands at
/// absolute position first_position + i and sees positions [0, first_position + i].
///   a_t = Σ_d q_d·K_td (fma over d ascending from +0);  s_t = scale · a_t;  m = max s_t;  p_t = exp(s_t − m);
///   l = Σ p_t (sixteen-lane);  o_d = Σ_t p_t·V_td (fma over t ascending from +0).
/// Quantized keys: K_td is the code, q_d an integer of 16 bits and a step for all d; the sum is exact, and then a_t =
/// fma(minimum_t, Σ_d q_d, scale_t · (step · a_t)) (Σ sixteen-lane). Quantized values: V_td is the code, its weight
/// p_t · scale_t an integer and a step for the split, o_d = fma(exact sum, step, Σ_t p_t·minimum_t) (fma,
/// sixteen-lane). A column that sees no position of the split gets m = −infinity, l = 0, o = 0.
struct AttentionTask {
  const float* q;   // query i, head h at q + i·q_stride + h·head_dim
  size_t q_stride;  // in floats
  size_t queries;   // ≥ 1
  size_t group;     // query heads per KV head, ≥ 1
  size_t head_dim;  // multiple of 16, ≤ 256
  float scale;
  size_t first_position;
  size_t split;           // positions [256·split, 256·split + 256)
  const int32_t* blocks;  // block ids of the sequence, from position 0
  KvView kv;
  KvFormats formats;
  /// The task that this thread is likely to run next: its first blocks and where its keys are in them, to be
  /// prefetched.
  const int32_t* next_blocks;  // [next_count]; not read if next_count is 0
  size_t next_count;
  const uint8_t* next_keys;  // `keys` of its KvView
  float* o;                  // [queries·group][head_dim], column (i, h) is row i·group + h
  float* m;                  // [queries·group]
  float* l;                  // [queries·group]
  float* first_scores;       // [queries·group] s_0 of split 0; null: not wanted. Other splits leave it as it is
  float* scratch;            // attention_scratch_floats(queries·group, head_dim) floats, 64-byte aligned
};
/// For levels: the scores of a few columns, every column's query, and a split's keys and values as f32 or, of codes,
/// integers of 16 bits.
/// For the reference: every column's scores.
constexpr size_t attention_scratch_floats(size_t columns, size_t head_dim) noexcept {
  return (columns < 8 ? 8 : columns) * (kSplitTokens + head_dim) + 2 * kSplitTokens * head_dim;
}
/// A task has at most this many columns (queries · group), so that its scratch stays in the L2 cache.
inline constexpr size_t kAttentionColumnsMax = 96;

/// Merges the partial (o2, m2, l2) of the next split into (o, m, l), for every column:
///   M = m > m2 ? m : m2; a = exp(m − M); b = exp(m2 − M); l = fma(l2, b, l·a); o = fma(o2, b, o·a); m = M.
/// l2 = 0 (the split shows this column nothing) changes nothing, so that a split may be merged or left out.
struct AttentionMerge {
  float* o;  // [columns][head_dim]
  float* m;  // [columns]
  float* l;
  const float* o2;
  const float* m2;
  const float* l2;
  size_t columns;
  size_t head_dim;
};

struct RowStats {
  float max;    // largest element; meaningless if !finite
  bool finite;  // no NaN, no infinity
};

/// An orthogonal matrix of n inputs, R = (S ⊗ H) / √n: S [order][order] of ±1 with orthogonal rows, H the Hadamard
/// matrix of size n / order, a power of two of at least 16.
struct RotationView {
  size_t n;
  size_t order;
  const float* signs;  // S, row by row; its transpose gives the inverse of R
};

struct KernelTable {
  Isa isa;
  /// Indexed by WeightFormat. linear_a8 is null for float formats.
  LinearKernel linear_a8[kWeightFormatCount];
  LinearKernel linear_f32[kWeightFormatCount];
  /// The same results as linear_a8's, by looking sums up: of bit planes only, else null. x is A8Table
  /// [columns][x_stride], made by make_tables of what quantize_a8 made with kTableLevels.
  LinearKernel linear_table[kWeightFormatCount];

  /// y = gain · (x · (1/√(Σx²/n + eps))); n % 16 == 0; Σ sixteen-lane with fma(x, x, ·). In place allowed.
  void (*rmsnorm)(const float* x, const float* gain, size_t n, float eps, float* y) noexcept;
  /// n % group == 0, group 32, 64 or 128; out[n/32]. levels: the largest code, 127, 7 or kTableLevels.
  void (*quantize_a8)(const float* x, size_t n, size_t group, int32_t levels, A8Block* out) noexcept;
  /// Tables of n quantized inputs (codes of kTableLevels) in groups of 64 or 128; out[n/32].
  void (*make_tables)(const A8Block* x, size_t n, size_t group, A8Table* out) noexcept;
  /// y = (g / (1 + exp(−g))) · u, elementwise; n % 16 == 0. In place on either input allowed.
  void (*silu_mul)(const float* gate, const float* up, size_t n, float* y) noexcept;
  /// Rotates the first `rotary` dimensions of each head in place. cos/sin: [rotary/2] of this token's position.
  ///   a' = fma(a, cos, −(b·sin)), b' = fma(a, sin, b·cos); pairs (2i, 2i+1) if interleaved, else (i, i + rotary/2).
  void (*rope)(float* x, size_t heads, size_t head_dim, size_t rotary, const float* cos, const float* sin,
               bool interleaved) noexcept;
  /// Rotates each head in place by the normalised Hadamard matrix of the largest power of two that divides head_dim
  /// (its own inverse), block by block.
  void (*hadamard)(float* x, size_t heads, size_t head_dim) noexcept;
  /// x ← R·x, in place. Within each part of n / order neighbours: stage by stage, a pair (a, b) at distance 1, 2, 4, …
  /// becomes (a + b, a − b). Then part r = Σ_i S_ri · part i (fma, i ascending, from +0), if order > 1; then times
  /// 1/√n.
  /// @param scratch [n], not x
  void (*rotate)(const RotationView& rotation, float* x, float* scratch) noexcept;
  /// Writes the key, or value, of one token of one KV head to its part of a block; head_dim % 16 == 0, ≤ 256. What
  /// isn't finite, or beyond f16, makes a quantized token NaN.
  void (*store_key)(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept;
  void (*store_value)(KvFormat format, const float* x, size_t head_dim, size_t token, uint8_t* part) noexcept;
  void (*attention)(const AttentionTask& task) noexcept;
  void (*attention_merge)(const AttentionMerge& merge) noexcept;
  /// y = o · (1/l).
  void (*attention_finish)(const float* o, float l, size_t head_dim, float* y) noexcept;

  /// Over n ≥ 1 elements, any n.
  RowStats (*row_stats)(const float* x, size_t n) noexcept;
  /// Σ exp(x − max), sixteen-lane, any n.
  float (*sum_exp)(const float* x, size_t n, float max) noexcept;
  /// y = exp((x − max) · scale), any n.
  void (*exp_row)(const float* x, size_t n, float max, float scale, float* y) noexcept;

  /// Calls of linear and attention kernels of this level, from the kernels themselves: tests read which level ran.
  std::atomic<uint64_t>* calls;
};

/// Null if the level isn't in this build. (Whether the CPU can run it: supported_isas().)
const KernelTable* kernel_table(Isa isa) noexcept;

}  // namespace nibble
