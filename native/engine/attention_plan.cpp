#include "attention_plan.h"

#include <algorithm>

#include "../kernels/kernel_table.h"

namespace nibble {
namespace {

/// Work is cut finely enough that threads finish together.
constexpr size_t kItemsPerThread = 8;

}  // namespace

void AttentionPlan::build(const StageTables& stage, const ArchitectureSpec& a, size_t threads) {
  const size_t sequences = stage.seq_start.size() - 1;
  const size_t group = a.heads / a.kv_heads;
  const auto kv_heads = static_cast<int32_t>(a.kv_heads);
  const auto splits_of = [&](int32_t token) {
    return stage.positions[static_cast<size_t>(token)] / static_cast<int32_t>(kSplitTokens) + 1;
  };
  int64_t work = 0;  // splits of queries, over all KV heads
  for (size_t s = 0; s < sequences; ++s) {
    const int64_t queries = stage.seq_start[s + 1] - stage.seq_start[s];
    work += queries * splits_of(stage.seq_start[s + 1] - 1) * kv_heads;
  }
  // An item of this much work delays the end of the phase by little.
  const int64_t fair = std::max<int64_t>(1, work / static_cast<int64_t>(kItemsPerThread * threads));

  items.clear();
  first_partial.assign(sequences, -1);
  split_count.resize(sequences);
  token_sequence.resize(stage.positions.size());
  decode_only = true;
  positions_read = macs = 0;
  int32_t partials = 0;

  for (size_t s = 0; s < sequences; ++s) {
    const int32_t begin = stage.seq_start[s];
    const int32_t end = stage.seq_start[s + 1];
    std::fill(token_sequence.begin() + begin, token_sequence.begin() + end, static_cast<int32_t>(s));
    decode_only = decode_only && end - begin == 1;
    const int32_t splits = splits_of(end - 1);
    split_count[s] = splits;
    // Widening keys and values is shared by the queries of an item, so they should be many.
    const int32_t most = std::max<int32_t>(1, static_cast<int32_t>(kAttentionColumnsMax / group));
    const auto tile = static_cast<int32_t>(std::clamp<int64_t>(fair / splits, std::min(8, most), most));
    const bool share = end - begin == 1 && splits > 1 && splits > fair;
    if (share) {
      first_partial[s] = partials;
      partials += kv_heads * splits;
    }
    add_items(stage, a, s, tile);
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

/// The items of sequence `s`: tiles of queries, or the splits of its one query if its partials are reserved.
void AttentionPlan::add_items(const StageTables& stage, const ArchitectureSpec& a, size_t s, int32_t tile) {
  const int32_t end = stage.seq_start[s + 1];
  const int32_t splits = split_count[s];
  for (int32_t first = stage.seq_start[s]; first < end; first += tile) {
    const int32_t queries = std::min(tile, end - first);
    const int32_t position = stage.positions[static_cast<size_t>(first)];
    const auto visible = static_cast<uint64_t>(position + queries);  // of the tile's last query
    positions_read += visible;
    for (int32_t q = 0; q < queries; ++q) macs += static_cast<uint64_t>(position + q + 1) * a.heads * a.head_dim * 2;
    for (int32_t h = 0; h < static_cast<int32_t>(a.kv_heads); ++h) {
      AttentionItem item{static_cast<int32_t>(s), h, first, queries, position, 0, 0, -1, true};
      if (first_partial[s] < 0) {
        item.splits = static_cast<int32_t>((visible - 1) / kSplitTokens + 1);
        items.push_back(item);
        continue;
      }
      for (int32_t split = 0; split < splits; ++split) {
        item.first_split = split;
        item.splits = 1;
        item.partial = first_partial[s] + h * splits + split;
        item.owns_new_token = split + 1 == splits;
        items.push_back(item);
      }
    }
  }
}

}  // namespace nibble
