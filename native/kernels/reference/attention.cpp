// Attention over one split of 256 positions, and the merging of splits.
//
// Softmax inside a split is two-pass (all scores, one maximum, then exp and sum) rather than online per block: the
// scores of a split fit the L1 cache, there is one exp per position and no rescaling of the outputs, and the order of
// the additions is plain. Splits are merged left to right, whatever the number of threads that computed them.
// A masked position is no operand of any sum: its K gives a score that nobody reads, its V isn't touched (it may hold
// NaN).
#include "attention.h"

#include "../../formats/f16.h"
#include "math.h"
#include "table.h"

namespace nibble::kernels::reference {
namespace {

/// Id of the block that holds position `t` of the task's split.
int32_t block_of(const AttentionTask& task, size_t t) noexcept {
  return task.blocks[(task.split * kSplitTokens + t) / kKvBlockTokens];
}
const uint8_t* keys_of(const AttentionTask& task, size_t t) noexcept {
  return task.kv.keys + kv_offset(task.kv.key_bytes, task.kv.group_bytes, block_of(task, t));
}
const uint8_t* values_of(const AttentionTask& task, size_t t) noexcept {
  return task.kv.values + kv_offset(task.kv.value_bytes, task.kv.group_bytes, block_of(task, t));
}

/// A stored number.
float key_at(const uint8_t* part, size_t d, size_t token) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[d * kKvBlockTokens + token]);
}
float value_at(const uint8_t* part, size_t d, size_t token, size_t head_dim) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[token * head_dim + d]);
}
/// A code.
int32_t key_code(KvFormat format, const uint8_t* part, size_t d, size_t token) noexcept {
  const uint8_t byte = part[kv_key_byte(format, d, token)];
  return format == KvFormat::q8 ? byte : byte >> (d % 4 / 2 * 4) & 15;
}
int32_t value_code(KvFormat format, const uint8_t* part, size_t d, size_t token, size_t head_dim) noexcept {
  if (format == KvFormat::q8) return part[kv_value_byte(format, head_dim, d, token)];
  return part[kv_value_byte(format, head_dim, d / 32 * 16 + d % 16, token)] >> (d % 32 / 16 * 4) & 15;
}
float scale_at(const uint8_t* part, size_t token) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[token]);
}
float minimum_at(const uint8_t* part, size_t token) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[kKvBlockTokens + token]);
}

/// x as integers of 16 bits times a step, which is returned; NaN if x isn't finite.
float round_to_16_bits(const float* x, size_t n, int32_t* out) noexcept {
  float amax = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    finite = finite && magnitude_bits(x[i]) < kInfinityBits;
    amax = select_max(__builtin_fabsf(x[i]), amax);
  }
  const bool rounds = finite && amax >= 0x1p-100f;
  const float inverse = rounds ? kKvLevels16 / amax : 0.0f;
  for (size_t i = 0; i < n; ++i) out[i] = rounds ? round_even(x[i] * inverse) : 0;
  if (!finite) return __builtin_nanf("");
  return rounds ? amax / kKvLevels16 : 0.0f;
}

/// Unscaled scores of the positions that the query sees.
void score_keys(const AttentionTask& task, const float* q, size_t visible, float* score) noexcept {
  const KvFormat format = task.formats.keys;
  float lane[kLanes] = {};
  for (size_t d = 0; d < task.head_dim; ++d) lane[d % kLanes] += q[d];
  const float q_sum = fold_sum(lane);
  int32_t code[256];
  const float step = round_to_16_bits(q, task.head_dim, code);
  for (size_t t = 0; t < visible; ++t) {
    const uint8_t* part = keys_of(task, t);
    const size_t token = t % kKvBlockTokens;
    if (format == KvFormat::f16) {
      score[t] = 0.0f;
      for (size_t d = 0; d < task.head_dim; ++d) score[t] = fma(q[d], key_at(part, d, token), score[t]);
    } else {
      int32_t sum = 0;
      for (size_t d = 0; d < task.head_dim; ++d) sum += code[d] * key_code(format, part, d, token);
      const float a = step * static_cast<float>(sum);
      score[t] = fma(minimum_at(part, token), q_sum, scale_at(part, token) * a);
    }
  }
}

/// @param p softmax weights of the positions that the query sees
void add_values(const AttentionTask& task, const float* p, size_t visible, float* o) noexcept {
  for (size_t d = 0; d < task.head_dim; ++d) o[d] = 0.0f;
  for (size_t t = 0; t < visible; ++t)
    for (size_t d = 0; d < task.head_dim; ++d)
      o[d] = fma(p[t], value_at(values_of(task, t), d, t % kKvBlockTokens, task.head_dim), o[d]);
}
void add_value_codes(const AttentionTask& task, const float* p, size_t visible, float* o) noexcept {
  float lane[kLanes] = {};
  float weight[kSplitTokens];
  int32_t code[kSplitTokens];
  for (size_t t = 0; t < visible; ++t) {
    const uint8_t* part = values_of(task, t);
    const size_t token = t % kKvBlockTokens;
    lane[t % kLanes] = fma(p[t], minimum_at(part, token), lane[t % kLanes]);
    weight[t] = p[t] * scale_at(part, token);
  }
  const float offset = fold_sum(lane);
  const float step = round_to_16_bits(weight, visible, code);
  for (size_t d = 0; d < task.head_dim; ++d) {
    int32_t sum = 0;
    for (size_t t = 0; t < visible; ++t)
      sum += code[t] * value_code(task.formats.values, values_of(task, t), d, t % kKvBlockTokens, task.head_dim);
    o[d] = fma(static_cast<float>(sum), step, offset);
  }
}

void attend(const AttentionTask& task, const float* q, size_t visible, size_t column) noexcept {
  float* score = task.scratch + column * kSplitTokens;
  score_keys(task, q, visible, score);
  for (size_t t = 0; t < visible; ++t) score[t] *= task.scale;
  if (task.first_scores != nullptr && task.split == 0) task.first_scores[column] = score[0];

  float lane[kLanes];
  for (float& value : lane) value = -kInfinity;
  for (size_t t = 0; t < visible; ++t) lane[t % kLanes] = select_max(score[t], lane[t % kLanes]);
  const float m = fold_max(lane);

  for (float& value : lane) value = 0.0f;
  for (size_t t = 0; t < visible; ++t) {
    score[t] = exp(score[t] - m);
    lane[t % kLanes] += score[t];
  }
  task.m[column] = m;
  task.l[column] = fold_sum(lane);

  float* o = task.o + column * task.head_dim;
  if (task.formats.values == KvFormat::f16) return add_values(task, score, visible, o);
  add_value_codes(task, score, visible, o);
}

}  // namespace

void attention(const AttentionTask& task) noexcept {
  calls.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < task.queries; ++i) {
    const size_t seen = task.first_position + i + 1;
    const size_t start = task.split * kSplitTokens;
    size_t visible = seen > start ? seen - start : 0;
    if (visible > kSplitTokens) visible = kSplitTokens;
    for (size_t h = 0; h < task.group; ++h)
      attend(task, task.q + i * task.q_stride + h * task.head_dim, visible, i * task.group + h);
  }
}

void attention_merge(const AttentionMerge& merge) noexcept {
  for (size_t c = 0; c < merge.columns; ++c) {
    const float m2 = merge.m2[c];
    const float l2 = merge.l2[c];
    if (l2 == 0.0f) continue;
    const float top = select_max(merge.m[c], m2);
    const float a = exp(merge.m[c] - top);
    const float b = exp(m2 - top);
    merge.l[c] = fma(l2, b, merge.l[c] * a);
    float* o = merge.o + c * merge.head_dim;
    const float* o2 = merge.o2 + c * merge.head_dim;
    for (size_t d = 0; d < merge.head_dim; ++d) o[d] = fma(o2[d], b, o[d] * a);
    merge.m[c] = top;
  }
}

void attention_finish(const float* o, float l, size_t head_dim, float* y) noexcept {
  const float inverse = 1.0f / l;
  for (size_t d = 0; d < head_dim; ++d) y[d] = o[d] * inverse;
}

}  // namespace nibble::kernels::reference
