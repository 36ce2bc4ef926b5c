// Attention of the forward pass: rotation, the KV cache, and the items of the step's plan.
#include <algorithm>
#include <cstring>

#include "graph.h"

namespace nibble {

void Graph::rotate_heads(const LayerWeights& weights, float* heads, size_t count, bool query,
                         int32_t position) const noexcept {
  const ArchitectureSpec& a = model_.spec;
  const std::vector<float>& gain = query ? weights.q_norm : weights.k_norm;
  if (!gain.empty()) {
    for (size_t h = 0; h < count; ++h) {
      float* x = heads + h * a.head_dim;
      model_.kernels->rmsnorm(x, gain.data(), a.head_dim, a.rms_eps, x);
    }
  }
  const auto p = static_cast<size_t>(position);
  model_.kernels->rope(heads, count, a.head_dim, a.rope.dimensions, model_.rope.cos(p), model_.rope.sin(p),
                       a.rope.interleaved);
}

void Graph::store(size_t layer, size_t kv_head, const float* k, const float* v, int32_t sequence,
                  int32_t position) noexcept {
  const int32_t* blocks = batch_->blocks.data() + batch_->block_start[static_cast<size_t>(sequence)];
  const auto token = static_cast<size_t>(position) % kKvBlockTokens;
  const auto block = static_cast<size_t>(blocks[static_cast<size_t>(position) / kKvBlockTokens]);
  uint8_t* base = model_.kv.data() + block * model_.kv.block_bytes();
  model_.kernels->store_kv(k, v, model_.spec.head_dim, token,
                           reinterpret_cast<uint16_t*>(base + model_.kv.k_offset(layer, kv_head)),
                           reinterpret_cast<uint16_t*>(base + model_.kv.v_offset(layer, kv_head)));
}

/// Chunks: all queries and keys of the step are rotated in place and stored before any attention.
void Graph::rotate_and_store(size_t layer, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const LayerWeights& weights = model_.weights.layers[layer];
  const size_t columns = tokens_->size();
  constexpr size_t kGrain = 8;
  for (size_t i; (i = team_.claim(thread, columns, kGrain)) < columns;) {
    for (size_t t = i; t < std::min(i + kGrain, columns); ++t) {
      float* q = qkv_ + t * model_.qkv_width();
      float* k = q + a.heads * a.head_dim;
      const float* v = k + a.kv_heads * a.head_dim;
      const int32_t position = batch_->positions[t];
      rotate_heads(weights, q, a.heads, true, position);
      rotate_heads(weights, k, a.kv_heads, false, position);
      for (size_t h = 0; h < a.kv_heads; ++h) {
        store(layer, h, k + h * a.head_dim, v + h * a.head_dim, plan_.token_sequence[t], position);
      }
    }
  }
}

void Graph::attend(size_t layer, const AttentionItem& item, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& kernels = *model_.kernels;
  const LayerWeights& weights = model_.weights.layers[layer];
  ThreadBuffers& buffers = threads_[thread];
  const size_t d = a.head_dim;
  const size_t group = a.heads / a.kv_heads;
  const auto kv_head = static_cast<size_t>(item.kv_head);
  const auto queries = static_cast<size_t>(item.queries);
  const auto first_token = static_cast<size_t>(item.first_token);
  float* row = qkv_ + first_token * model_.qkv_width();
  const float* q = row + kv_head * group * d;

  if (plan_.decode_only) {
    // Rotation is cheap enough to be repeated by each split's item; the newest one also stores the key and value.
    std::memcpy(buffers.heads, q, group * d * sizeof(float));
    rotate_heads(weights, buffers.heads, group, true, item.first_position);
    q = buffers.heads;
    if (item.owns_new_token) {
      float* k = buffers.heads + group * d;
      std::memcpy(k, row + (a.heads + kv_head) * d, d * sizeof(float));
      rotate_heads(weights, k, 1, false, item.first_position);
      store(layer, kv_head, k, row + (a.heads + a.kv_heads + kv_head) * d, item.sequence, item.first_position);
    }
  }

  const size_t columns = queries * group;
  AttentionTask task{
      .q = q,
      .q_stride = model_.qkv_width(),
      .queries = queries,
      .group = group,
      .head_dim = d,
      .scale = 1.0f / __builtin_sqrtf(static_cast<float>(d)),
      .first_position = static_cast<size_t>(item.first_position),
      .split = 0,
      .blocks = batch_->blocks.data() + batch_->block_start[static_cast<size_t>(item.sequence)],
      .pool = model_.kv.data(),
      .block_bytes = model_.kv.block_bytes(),
      .k_offset = model_.kv.k_offset(layer, kv_head),
      .v_offset = model_.kv.v_offset(layer, kv_head),
      .o = buffers.total_o,
      .m = buffers.partial_ml + 2 * kAttentionColumnsMax,
      .l = buffers.partial_ml + 3 * kAttentionColumnsMax,
      .scratch = buffers.scratch,
  };
  if (item.partial >= 0) {
    const auto partial = static_cast<size_t>(item.partial);
    task.split = static_cast<size_t>(item.first_split);
    task.o = plan_.partial_o.data() + partial * group * d;
    task.m = plan_.partial_m.data() + partial * group;
    task.l = plan_.partial_l.data() + partial * group;
    kernels.attention(task);
    return;
  }

  float* total_o = task.o;
  float* total_m = task.m;
  float* total_l = task.l;
  kernels.attention(task);
  task.o = buffers.partial_o;
  task.m = buffers.partial_ml;
  task.l = buffers.partial_ml + kAttentionColumnsMax;
  for (size_t split = 1; split < static_cast<size_t>(item.splits); ++split) {
    task.split = split;
    kernels.attention(task);
    for (size_t c = 0; c < columns; ++c) {
      if (task.first_position + c / group < split * kSplitTokens) continue;  // this query sees nothing of the split
      kernels.attention_merge(total_o + c * d, total_m + c, total_l + c, task.o + c * d, task.m[c], task.l[c], d);
    }
  }
  for (size_t c = 0; c < columns; ++c) {
    float* out = attention_ + (first_token + c / group) * a.heads * d + (kv_head * group + c % group) * d;
    kernels.attention_finish(total_o + c * d, total_l[c], d, out);
  }
}

/// Joins the partial results of one decoded token, splits left to right, heads side by side.
void Graph::merge_splits(size_t token, float* out) const noexcept {
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& kernels = *model_.kernels;
  const size_t d = a.head_dim;
  const size_t group = a.heads / a.kv_heads;
  const auto sequence = static_cast<size_t>(plan_.token_sequence[token]);
  const auto splits = static_cast<size_t>(plan_.split_count[sequence]);
  for (size_t h = 0; h < a.heads; ++h) {
    const size_t first = static_cast<size_t>(plan_.first_partial[sequence]) + h / group * splits;
    float* o = out + h * d;
    float m = 0, l = 0;
    for (size_t s = 0; s < splits; ++s) {
      const size_t column = (first + s) * group + h % group;
      const float* part = plan_.partial_o.data() + column * d;
      if (s == 0) {
        std::memcpy(o, part, d * sizeof(float));
        m = plan_.partial_m[column];
        l = plan_.partial_l[column];
      } else {
        kernels.attention_merge(o, &m, &l, part, plan_.partial_m[column], plan_.partial_l[column], d);
      }
    }
    kernels.attention_finish(o, l, d, o);
  }
}

}  // namespace nibble
