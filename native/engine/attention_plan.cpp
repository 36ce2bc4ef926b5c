#include "attention_plan.h"

#include <algorithm>

#include "../kernels/kernel_table.h"

namespace nibble {

void AttentionPlan::build(const StepBatch& batch, const ArchitectureSpec& a, size_t threads) {
  const size_t sequences = batch.slots.size();
  const size_t group = a.heads / a.kv_heads;
  const int32_t tile = static_cast<int32_t>(std::max<size_t>(1, std::min<size_t>(16, kAttentionColumnsMax / group)));
  const auto kv_heads = static_cast<int32_t>(a.kv_heads);
  // One sequence alone can't feed the threads by its heads, so its splits are shared out; many can.
  const bool share_splits = sequences * a.kv_heads < 8 * threads;

  items.clear();
  first_partial.assign(sequences, -1);
  split_count.resize(sequences);
  token_sequence.resize(batch.tokens.size());
  decode_only = true;
  kv_bytes = macs = 0;
  int32_t partials = 0;

  for (size_t s = 0; s < sequences; ++s) {
    const int32_t begin = batch.seq_start[s];
    const int32_t end = batch.seq_start[s + 1];
    std::fill(token_sequence.begin() + begin, token_sequence.begin() + end, static_cast<int32_t>(s));
    decode_only = decode_only && end - begin == 1;
    const int32_t last_position = batch.positions[end - 1];
    const int32_t splits = last_position / static_cast<int32_t>(kSplitTokens) + 1;
    split_count[s] = splits;
    const bool share = share_splits && end - begin == 1 && splits > 1;
    if (share) {
      first_partial[s] = partials;
      partials += kv_heads * splits;
    }
    for (int32_t first = begin; first < end; first += tile) {
      const int32_t queries = std::min(tile, end - first);
      const int32_t position = batch.positions[first];
      const auto visible = static_cast<uint64_t>(position + queries);  // of the tile's last query
      kv_bytes += visible * a.kv_heads * a.head_dim * 2 * sizeof(uint16_t);
      for (int32_t q = 0; q < queries; ++q) macs += static_cast<uint64_t>(position + q + 1) * a.heads * a.head_dim * 2;
      for (int32_t h = 0; h < kv_heads; ++h) {
        AttentionItem item{static_cast<int32_t>(s), h, first, queries, position, 0, 0, -1, true};
        if (share) {
          for (int32_t split = 0; split < splits; ++split) {
            item.first_split = split;
            item.splits = 1;
            item.partial = first_partial[s] + h * splits + split;
            item.owns_new_token = split + 1 == splits;
            items.push_back(item);
          }
        } else {
          item.splits = static_cast<int32_t>((visible - 1) / kSplitTokens + 1);
          items.push_back(item);
        }
      }
    }
  }
  // Longest first, so that no thread starts a long item when the others are done.
  std::stable_sort(items.begin(), items.end(), [](const AttentionItem& l, const AttentionItem& r) {
    return l.queries * l.splits > r.queries * r.splits;
  });
  const auto count = static_cast<size_t>(partials);
  if (partial_m.size() < count * group) {
    partial_o.resize(count * group * a.head_dim);
    partial_m.resize(count * group);
    partial_l.resize(count * group);
  }
}

}  // namespace nibble
