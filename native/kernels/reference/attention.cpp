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

/// A stored number, or its code.
float key_at(KvFormat format, const uint8_t* part, size_t d, size_t token) noexcept {
  const uint8_t* codes = part + kv_codes_at(format);
  switch (format) {
    case KvFormat::f16:
      return f16_to_f32(reinterpret_cast<const uint16_t*>(codes)[d * kKvBlockTokens + token]);
    case KvFormat::q8:
      return codes[d * kKvBlockTokens + token];
    case KvFormat::q4:
      break;
  }
  return static_cast<float>(codes[d / 2 * kKvBlockTokens + token] >> (d % 2 * 4) & 15);
}
float value_at(KvFormat format, const uint8_t* part, size_t d, size_t token, size_t head_dim) noexcept {
  const uint8_t* codes = part + kv_codes_at(format) + token * kv_value_row_bytes(format, head_dim);
  switch (format) {
    case KvFormat::f16:
      return f16_to_f32(reinterpret_cast<const uint16_t*>(codes)[d]);
    case KvFormat::q8:
      return codes[d];
    case KvFormat::q4:
      break;
  }
  return static_cast<float>(codes[d / 32 * 16 + d % 16] >> (d % 32 / 16 * 4) & 15);
}
float scale_at(const uint8_t* part, size_t token) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[token]);
}
float minimum_at(const uint8_t* part, size_t token) noexcept {
  return f16_to_f32(reinterpret_cast<const uint16_t*>(part)[kKvBlockTokens + token]);
}

void attend(const AttentionTask& task, const float* q, size_t visible, size_t column) noexcept {
  const auto [keys, values] = task.formats;
  float lane[kLanes];
  for (float& value : lane) value = 0.0f;
  for (size_t d = 0; d < task.head_dim; ++d) lane[d % kLanes] += q[d];
  const float q_sum = fold_sum(lane);

  float* score = task.scratch + column * kSplitTokens;
  for (size_t t = 0; t < visible; ++t) {
    const uint8_t* part = keys_of(task, t);
    const size_t token = t % kKvBlockTokens;
    float sum = 0.0f;
    for (size_t d = 0; d < task.head_dim; ++d) sum = fma(q[d], key_at(keys, part, d, token), sum);
    if (keys != KvFormat::f16) sum = fma(minimum_at(part, token), q_sum, scale_at(part, token) * sum);
    score[t] = task.scale * sum;
  }

  if (task.first_scores != nullptr && task.split == 0) task.first_scores[column] = score[0];

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
  for (size_t d = 0; d < task.head_dim; ++d) o[d] = 0.0f;
  for (float& value : lane) value = 0.0f;
  for (size_t t = 0; t < visible; ++t) {
    const uint8_t* part = values_of(task, t);
    const size_t token = t % kKvBlockTokens;
    float weight = score[t];
    if (values != KvFormat::f16) {
      lane[t % kLanes] = fma(weight, minimum_at(part, token), lane[t % kLanes]);
      weight *= scale_at(part, token);
    }
    for (size_t d = 0; d < task.head_dim; ++d)
      o[d] = fma(weight, value_at(values, part, d, token, task.head_dim), o[d]);
  }
  if (values == KvFormat::f16) return;
  const float offset = fold_sum(lane);
  for (size_t d = 0; d < task.head_dim; ++d) o[d] += offset;
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
