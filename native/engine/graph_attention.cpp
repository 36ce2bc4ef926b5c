// Attention of the forward pass: rotation, the KV cache, and the items of the step's plan.
#include <algorithm>
#include <cstring>

#include "graph.h"

namespace nibble {
namespace {

/// Uniform in [0, 1), of layer and position alone: SplitMix64's last step (Steele, Lea, Flood 2014).
float chance(size_t layer, int32_t position) noexcept {
  uint64_t z = (layer << 32 | static_cast<uint32_t>(position)) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-24f;
}

const int32_t* blocks_of(const Stage& stage, int32_t sequence) noexcept {
  return stage.tables.blocks.data() + stage.tables.block_start[static_cast<size_t>(sequence)];
}

}  // namespace

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
  if (model_.kv.rotates_keys()) model_.kernels->hadamard(heads, count, a.head_dim);
}

/// @param v is rotated in place if the format of values wants that
/// @param blocks of the sequence, from position 0
void Graph::store(size_t layer, size_t kv_head, const float* k, float* v, const int32_t* blocks,
                  int32_t position) noexcept {
  const auto token = static_cast<size_t>(position) % kKvBlockTokens;
  const int32_t block = blocks[static_cast<size_t>(position) / kKvBlockTokens];
  const auto [keys, values] = model_.kv.formats();
  const size_t head_dim = model_.spec.head_dim;
  if (model_.kv.rotates_values()) model_.kernels->hadamard(v, 1, head_dim);
  model_.kernels->store_key(keys, k, head_dim, token, model_.kv.keys(layer, kv_head, block));
  model_.kernels->store_value(values, v, head_dim, token, model_.kv.values(layer, kv_head, block));
}

/// Chunks: all queries and keys of the step are rotated in place and stored before any attention.
void Graph::rotate_and_store(size_t layer, const Stage& stage, size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const LayerWeights& weights = model_.weights.layers[layer];
  const size_t columns = stage.columns();
  constexpr size_t kGrain = 8;
  for (size_t i; (i = team_.claim(thread, columns, kGrain)) < columns;) {
    for (size_t t = i; t < std::min(i + kGrain, columns); ++t) {
      float* q = qkv_ + t * model_.qkv_width();
      float* k = q + a.heads * a.head_dim;
      float* v = k + a.kv_heads * a.head_dim;
      const int32_t position = stage.tables.positions[t];
      const int32_t* blocks = blocks_of(stage, stage.plan.token_sequence[t]);
      rotate_heads(weights, q, a.heads, true, position);
      rotate_heads(weights, k, a.kv_heads, false, position);
      for (size_t h = 0; h < a.kv_heads; ++h) {
        store(layer, h, k + h * a.head_dim, v + h * a.head_dim, blocks, position);
      }
    }
  }
}

/// A decode's queries of one KV head, rotated into the thread's buffer; the item that owns the newest token also stores
/// its key and value. Rotation is cheap enough to be repeated by the item of each split.
const float* Graph::rotate_decoded(size_t layer, const Stage& stage, const AttentionItem& item, float* row,
                                   size_t thread) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const LayerWeights& weights = model_.weights.layers[layer];
  float* heads = threads_[thread].heads;
  const size_t d = a.head_dim;
  const size_t group = a.heads / a.kv_heads;
  const auto kv_head = static_cast<size_t>(item.kv_head);
  std::memcpy(heads, row + kv_head * group * d, group * d * sizeof(float));
  rotate_heads(weights, heads, group, true, item.first_position);
  if (item.owns_new_token) {
    float* k = heads + group * d;
    std::memcpy(k, row + (a.heads + kv_head) * d, d * sizeof(float));
    rotate_heads(weights, k, 1, false, item.first_position);
    float* v = row + (a.heads + a.kv_heads + kv_head) * d;
    store(layer, kv_head, k, v, blocks_of(stage, item.sequence), item.first_position);
  }
  return heads;
}

/// Tells the kernel which keys this thread reads next, to prefetch them: the next split, or the next item.
void Graph::announce(size_t layer, const Stage& stage, AttentionTask& task, const AttentionItem* next,
                     size_t split) const noexcept {
  task.next_count = 0;
  if (next == stage.plan.items.data() + stage.plan.items.size()) return;
  constexpr size_t kSplitBlocks = kSplitTokens / kKvBlockTokens;
  task.next_blocks = blocks_of(stage, next->sequence) + split * kSplitBlocks;
  const auto last_position = static_cast<size_t>(next->first_position + next->queries - 1);
  task.next_count = last_position / kKvBlockTokens + 1 - split * kSplitBlocks;  // the split begins at or before it
  task.next_keys = model_.kv.view(layer, static_cast<size_t>(next->kv_head)).keys;
}

void Graph::finish(const float* o, float l, float* y) const noexcept {
  const size_t d = model_.spec.head_dim;
  model_.kernels->attention_finish(o, l, d, y);
  if (model_.kv.rotates_values()) model_.kernels->hadamard(y, 1, d);
}

void Graph::attend(size_t layer, Stage& stage, const AttentionItem& item, size_t thread) noexcept {
  AttentionPlan& plan = stage.plan;
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& kernels = *model_.kernels;
  ThreadBuffers& buffers = threads_[thread];
  const size_t d = a.head_dim;
  const size_t group = a.heads / a.kv_heads;
  const auto kv_head = static_cast<size_t>(item.kv_head);
  const auto queries = static_cast<size_t>(item.queries);
  const auto first_token = static_cast<size_t>(item.first_token);
  float* row = qkv_ + first_token * model_.qkv_width();
  const float* q = row + kv_head * group * d;

  if (plan.decode_only) q = rotate_decoded(layer, stage, item, row, thread);

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
      .blocks = blocks_of(stage, item.sequence),
      .kv = model_.kv.view(layer, kv_head),
      .formats = model_.kv.formats(),
      .next_blocks = nullptr,
      .next_count = 0,
      .next_keys = nullptr,
      .o = buffers.total_o,
      .m = buffers.partial_ml + 2 * kAttentionColumnsMax,
      .l = buffers.partial_ml + 3 * kAttentionColumnsMax,
      .first_scores = weighs(layer) ? buffers.first_scores : nullptr,
      .scratch = buffers.scratch,
  };
  const AttentionItem* next = &item + 1;
  const size_t next_split = next == plan.items.data() + plan.items.size() ? 0 : static_cast<size_t>(next->first_split);

  if (item.partial >= 0) {
    const auto partial = static_cast<size_t>(item.partial);
    task.split = static_cast<size_t>(item.first_split);
    task.o = plan.partial_o.data() + partial * group * d;
    task.m = plan.partial_m.data() + partial * group;
    task.l = plan.partial_l.data() + partial * group;
    if (weighs(layer)) task.first_scores = first_weights_ + first_token * a.heads + kv_head * group;
    announce(layer, stage, task, next, next_split);
    kernels.attention(task);
    return;
  }

  float* total_o = task.o;
  float* total_m = task.m;
  float* total_l = task.l;
  const auto splits = static_cast<size_t>(item.splits);
  for (size_t split = 0; split < splits; ++split) {
    task.split = split;
    const bool last = split + 1 == splits;
    announce(layer, stage, task, last ? next : &item, last ? next_split : split + 1);
    kernels.attention(task);
    if (split > 0) kernels.attention_merge({total_o, total_m, total_l, task.o, task.m, task.l, columns, d});
    task.o = buffers.partial_o;
    task.m = buffers.partial_ml;
    task.l = buffers.partial_ml + kAttentionColumnsMax;
  }
  for (size_t c = 0; c < columns; ++c) {
    float* out = attention_ + (first_token + c / group) * a.heads * d + (kv_head * group + c % group) * d;
    finish(total_o + c * d, total_l[c], out);
  }
  if (!weighs(layer)) return;
  weigh_first(buffers.first_scores, total_m, total_l, columns);
  for (size_t c = 0; c < columns; ++c)
    first_weights_[(first_token + c / group) * a.heads + kv_head * group + c % group] = buffers.first_scores[c];
}

/// Joins the partial results of one decoded token, splits left to right, heads side by side.
void Graph::merge_splits(const AttentionPlan& plan, size_t token, float* out) const noexcept {
  const ArchitectureSpec& a = model_.spec;
  const KernelTable& kernels = *model_.kernels;
  const size_t d = a.head_dim;
  const size_t group = a.heads / a.kv_heads;
  const auto sequence = static_cast<size_t>(plan.token_sequence[token]);
  const auto splits = static_cast<size_t>(plan.split_count[sequence]);
  float m[kAttentionColumnsMax], l[kAttentionColumnsMax];
  for (size_t h = 0; h < a.kv_heads; ++h) {
    const size_t first = static_cast<size_t>(plan.first_partial[sequence]) + h * splits;
    float* o = out + h * group * d;
    std::memcpy(o, plan.partial_o.data() + first * group * d, group * d * sizeof(float));
    std::memcpy(m, plan.partial_m.data() + first * group, group * sizeof(float));
    std::memcpy(l, plan.partial_l.data() + first * group, group * sizeof(float));
    for (size_t part = first + 1; part < first + splits; ++part) {
      const size_t column = part * group;
      kernels.attention_merge({o, m, l, plan.partial_o.data() + column * d, plan.partial_m.data() + column,
                               plan.partial_l.data() + column, group, d});
    }
    for (size_t c = 0; c < group; ++c) finish(o + c * d, l[c], o + c * d);
  }
}

void Graph::weigh_first(float* scores, const float* m, const float* l, size_t columns) const noexcept {
  for (size_t c = 0; c < columns; ++c) scores[c] -= m[c];
  model_.kernels->exp_row(scores, columns, 0.0f, 1.0f, scores);
  for (size_t c = 0; c < columns; ++c) scores[c] *= 1.0f / l[c];
}

/// The same for a decoded token whose splits are partial results: its scores are there, their maximum and sum aren't.
void Graph::weigh_first_of_splits(const AttentionPlan& plan, size_t token) noexcept {
  const ArchitectureSpec& a = model_.spec;
  const size_t group = a.heads / a.kv_heads;
  const auto sequence = static_cast<size_t>(plan.token_sequence[token]);
  const auto splits = static_cast<size_t>(plan.split_count[sequence]);
  float m[kAttentionColumnsMax], l[kAttentionColumnsMax];
  for (size_t h = 0; h < a.kv_heads; ++h) {
    const size_t first = static_cast<size_t>(plan.first_partial[sequence]) + h * splits;
    std::memcpy(m, plan.partial_m.data() + first * group, group * sizeof(float));
    std::memcpy(l, plan.partial_l.data() + first * group, group * sizeof(float));
    for (size_t part = first + 1; part < first + splits; ++part) {
      model_.kernels->attention_merge({nullptr, m, l, nullptr, plan.partial_m.data() + part * group,
                                       plan.partial_l.data() + part * group, group, 0});
    }
    weigh_first(first_weights_ + token * a.heads + h * group, m, l, group);
  }
}

bool Graph::weighs(size_t layer) const noexcept {
  if (model_.wants_importance || taps_.importance != nullptr) return true;
  const std::span<const Stage> stages = stages_.all();
  return std::any_of(stages.begin(), stages.end(),
                     [layer](const Stage& stage) { return !stage.windows.empty() && stage.first_layer == layer + 1; });
}

/// A phase: importance = Σ over the heads, ascending from +0, of the softmax weight that the token's own row gives
/// position 0.
void Graph::sum_importance(size_t layer, const Stage& stage, size_t thread) noexcept {
  constexpr size_t kGrain = 16;
  const size_t heads = model_.spec.heads;
  const AttentionPlan& plan = stage.plan;
  const size_t columns = stage.columns();
  for (size_t i; (i = team_.claim(thread, columns, kGrain)) < columns;) {
    for (size_t t = i; t < std::min(i + kGrain, columns); ++t) {
      if (plan.first_partial[static_cast<size_t>(plan.token_sequence[t])] >= 0) weigh_first_of_splits(plan, t);
      float sum = 0.0f;
      for (size_t h = 0; h < heads; ++h) sum += first_weights_[t * heads + h];
      const bool random = model_.agile_choice == AgileChoice::random;
      importance_[t] = random ? chance(layer, stage.tables.positions[t]) : sum;
      if (taps_.importance != nullptr) taps_.importance[layer * tokens_->size() + t] = sum;
    }
  }
  mark(Operator::attention, thread);
}

}  // namespace nibble
